//go:build linux

package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// job is what the guest's init is told to do.
type job struct {
	Cgroup  string     // v1 or v2
	Systemd bool       // is to be process 1
	Modules []loadable // in the order to load them
	Env     []string
	Command []string
}

// loadable is a module's file beneath /modules, and what it is told.
type loadable struct{ Path, Parameters string }

// Where the initramfs has what the guest's init looks for.
const (
	jobPath    = "/vmtest.json"
	modulesDir = "/modules"
)

// writeInitramfs writes the root of a guest: this program as /init, busybox,
// modules, the job and the files asked for.
func writeInitramfs(out string, t tools, j job, modules []module, files []file) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	// Not compressed: an emulated processor takes longer to unpack it (0.6 s
	// for 20 MB) than the host to copy it.
	buffered := bufio.NewWriterSize(f, 1<<20)
	c := newCpioWriter(buffered)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files = append([]file{{self, "/init"}, {t.path("bin/busybox"), "/bin/busybox"}}, files...)
	for _, f := range files {
		if err := addTree(c, f); err != nil {
			return err
		}
	}
	for _, m := range modules {
		p := path.Join(modulesDir, m.name+".ko")
		j.Modules = append(j.Modules, loadable{p, m.parameters})
		c.add(p, modeRegular|0o644, int64(len(m.image)), bytes.NewReader(m.image))
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	c.add(jobPath, modeRegular|0o644, int64(len(text)), bytes.NewReader(text))
	if err := c.close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// addTree adds a file, or a directory with all that is in it. A symbolic link
// is followed when it is what was asked for and kept beneath a directory.
func addTree(c *cpioWriter, f file) error {
	root, err := filepath.EvalSymlinks(f.src)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(src string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, src)
		if err != nil {
			return err
		}
		dst := path.Join(f.dst, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		perm := uint32(info.Mode().Perm())
		switch {
		case d.IsDir():
			c.add(dst, modeDir|perm, 0, nil)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(src)
			if err != nil {
				return err
			}
			c.add(dst, modeSymlink|0o777, int64(len(target)), strings.NewReader(target))
		case d.Type().IsRegular():
			return addFile(c, src, dst, perm, info.Size())
		}
		return c.err
	})
}

// addFile adds a regular file and, if it is a dynamically linked program, the
// linker and libraries that it runs with here.
func addFile(c *cpioWriter, src, dst string, perm uint32, size int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	c.add(dst, modeRegular|perm, size, in)
	if c.err != nil {
		return fmt.Errorf("%s: %w", src, c.err)
	}
	if perm&0o111 == 0 || !dynamic(in) {
		return nil
	}
	out, err := exec.Command("ldd", src).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w: link it statically", src, err)
	}
	for field := range strings.FieldsSeq(string(out)) {
		if !strings.HasPrefix(field, "/") || c.seen[field] {
			continue
		}
		if err := addTree(c, file{field, field}); err != nil {
			return err
		}
	}
	return nil
}

// dynamic says whether f is a program that needs a dynamic linker.
func dynamic(f *os.File) bool {
	e, err := elf.NewFile(f)
	if err != nil {
		return false
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}
