//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// systemdPackages make the container runtimes' tree one that can be booted.
var systemdPackages = []string{"systemd", "dbus", "libc6"}

// systemdDisk fetches a root file system, an image of ext4: systemd and the
// container runtimes, packages as they are unpacked. Nothing is configured in
// it; the guest's init adds what little is needed.
func (s store) systemdDisk(ctx context.Context, t tools) (image string, err error) {
	tree := filepath.Join(s.dir, "systemd")
	image = filepath.Join(tree, "root.ext4")
	if exists(tree) {
		return image, nil
	}
	runtimes, err := s.runtimes(ctx)
	if err != nil {
		return "", err
	}
	m, err := s.mirrors()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(s.log, "vmtest: fetching systemd")
	p, err := newApt(ctx, filepath.Join(s.dir, "apt", "systemd"), bookworm, m)
	if err != nil {
		return "", err
	}
	err = s.build(tree, p, func(tmp string) error {
		root := filepath.Join(tmp, "root")
		if err := os.CopyFS(root, os.DirFS(runtimes)); err != nil {
			return err
		}
		if err := p.downloadAll(ctx, root, "bookworm", nil, systemdPackages...); err != nil {
			return err
		}
		if err := makeDisk(ctx, t, filepath.Join(tmp, filepath.Base(image)), 2<<30, "-d", root); err != nil {
			return err
		}
		return os.RemoveAll(root)
	})
	if err != nil {
		return "", fmt.Errorf("fetch systemd: %w", err)
	}
	return image, nil
}

// makeDisk makes a disk, a sparse file of so many bytes.
func makeDisk(ctx context.Context, t tools, path string, size int64, options ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	args := append([]string{"-q", "-F", "-t", "ext4", "-E", "root_owner=0:0"}, options...)
	out, err := t.command(ctx, "sbin/mke2fs", append(args, path)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mke2fs: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}
