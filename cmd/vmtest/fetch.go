//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// store is the cache: a tree of host tools and one tree for each kernel
// series, each complete or absent. What is there is used without looking at
// the network; removing a tree makes the next run fetch the newest one.
type store struct {
	dir string
	log io.Writer
}

// lock keeps other vmtests out of the cache until the returned func is called.
func (s store) lock() (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// tools fetches QEMU and the few programs and files that vmtest needs, with
// every library down to libc: nothing is installed and any host will do.
//
// QEMU comes from backports because the emulator of QEMU 7.2, Debian 12's own,
// corrupts guest memory. Debian's keyring is the newest one that the machine's
// own keyring vouches for: the machine may be older than the suites.
func (s store) tools(ctx context.Context) (tools, error) {
	t := tools{root: filepath.Join(s.dir, "tools")}
	if exists(t.root) {
		return t, nil
	}
	m, err := s.mirrors()
	if err != nil {
		return t, err
	}
	fmt.Fprintln(s.log, "vmtest: fetching qemu and tools")
	p, err := newApt(ctx, filepath.Join(s.dir, "apt", "tools"), bookworm, m)
	if err != nil {
		return t, err
	}
	err = s.build(t.root, p, func(tmp string) error {
		return p.downloadAll(ctx, tmp, "bookworm-backports", nil,
			"qemu-system-x86", "busybox-static", "e2fsprogs", "xz-utils", "debian-archive-keyring")
	})
	if err != nil {
		return t, fmt.Errorf("fetch qemu: %w", err)
	}
	return t, nil
}

// kernel fetches the newest kernel of a series.
func (s store) kernel(ctx context.Context, k series, t tools) (kernel, error) {
	tree := filepath.Join(s.dir, "linux-"+k.name)
	if exists(tree) {
		return openKernel(tree)
	}
	m, err := s.mirrors()
	if err != nil {
		return kernel{}, err
	}
	fmt.Fprintf(s.log, "vmtest: fetching linux %s\n", k.name)
	p, err := newApt(ctx, filepath.Join(s.dir, "apt", k.name), k.archive, m, t.path(archiveKeyring))
	if err != nil {
		return kernel{}, err
	}
	parts, err := p.kernel(ctx, k.name)
	if err != nil && k.fallback != "" {
		fmt.Fprintf(s.log, "vmtest: %v\nvmtest: taking the newest linux %s instead\n", err, k.fallback)
		parts, err = p.kernel(ctx, k.fallback)
	}
	if err == nil {
		err = s.build(tree, p, func(tmp string) error { return p.download(ctx, tmp, parts) })
	}
	if err != nil {
		return kernel{}, fmt.Errorf("fetch linux %s: %w", k.name, err)
	}
	return openKernel(tree)
}

func (s store) mirrors() (mirrors, error) {
	sources, err := readSources("/etc/apt")
	if err != nil {
		return mirrors{}, err
	}
	return findMirrors(sources)
}

// build makes the tree at root with fill, all or nothing. After that p has
// done its duty; a p that failed keeps what it got for the next try.
func (s store) build(root string, p *apt, fill func(tmp string) error) error {
	tmp, err := os.MkdirTemp(s.dir, ".unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp, root), os.RemoveAll(p.dir))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tools is an unpacked tree of Debian packages whose programs run with its own
// dynamic linker and libraries.
type tools struct {
	root    string
	systemd string // disk with systemd, when that is wanted
}

// path is where the tree holds a file of Debian's.
func (t tools) path(elem string) string { return filepath.Join(t.root, elem) }

// command runs a program of the tree.
func (t tools) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	var libs []string
	for _, dir := range []string{"lib", "usr/lib"} {
		libs = append(libs, t.path(dir+"/x86_64-linux-gnu"))
	}
	cmd := exec.CommandContext(ctx, t.path("lib64/ld-linux-x86-64.so.2"),
		append([]string{"--library-path", strings.Join(libs, ":"), t.path(program)}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C",
		"QEMU_MODULE_DIR="+t.path("usr/lib/x86_64-linux-gnu/qemu"),
		"MKE2FS_CONFIG="+t.path("etc/mke2fs.conf"))
	return cmd
}
