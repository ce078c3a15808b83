//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// runtimePackages are the container runtimes that tests run, with what they
// call. Nothing of it is installed, and so no daemon started or enabled.
var runtimePackages = []string{
	"docker.io", "containerd", "runc", "crun", "podman", "conmon", "iptables", "lxc", "busybox-static",
}

// runtimes fetches container runtimes into a tree of their own. They re-execute
// themselves, so they cannot be run by a dynamic linker of the tree's: they get
// the machine's libc (2.36 or newer), and all other libraries from the tree.
func (s store) runtimes(ctx context.Context) (string, error) {
	root := filepath.Join(s.dir, "runtimes")
	if exists(root) {
		return root, nil
	}
	m, err := s.mirrors()
	if err != nil {
		return "", err
	}
	fmt.Fprintln(s.log, "vmtest: fetching container runtimes")
	p, err := newApt(ctx, filepath.Join(s.dir, "apt", "runtimes"), bookworm, m)
	if err != nil {
		return "", err
	}
	err = s.build(root, p, func(tmp string) error {
		return p.downloadAll(ctx, tmp, "bookworm", []string{"libc6", "libc-bin"}, runtimePackages...)
	})
	if err != nil {
		return "", fmt.Errorf("fetch container runtimes: %w", err)
	}
	return root, nil
}

// showRuntimes prints where the runtimes are, and sees to it that they are.
func showRuntimes(ctx context.Context, cache string) error {
	s := store{dir: cache, log: os.Stderr}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	root, err := s.runtimes(ctx)
	if err == nil {
		fmt.Println(root)
	}
	return err
}
