//go:build linux

package main

import (
	"fmt"
	"io"
	"path"
)

// cpioWriter writes an archive in the "newc" format, the only one that the
// kernel unpacks. The first error sticks; close returns it.
type cpioWriter struct {
	w       io.Writer
	entries uint32
	offset  int64
	seen    map[string]bool
	err     error
}

// Mode bits of a cpio entry, those of stat(2).
const (
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

func newCpioWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, seen: map[string]bool{"/": true}}
}

// add writes an entry and the directories above it. The name is absolute; size
// bytes are read from r. A name that has been there is left as it was.
func (c *cpioWriter) add(name string, mode uint32, size int64, r io.Reader) {
	if c.seen[name] {
		return
	}
	if dir := path.Dir(name); !c.seen[dir] {
		c.add(dir, modeDir|0o755, 0, nil)
	}
	c.seen[name] = true
	c.entry(name[1:], mode, size, r)
}

func (c *cpioWriter) entry(name string, mode uint32, size int64, r io.Reader) {
	if c.err == nil && size > 0xffff_ffff {
		c.err = fmt.Errorf("%s: too large for a cpio archive", name)
	}
	if c.err != nil {
		return
	}
	c.entries++
	// Magic, ino, mode, uid, gid, nlink, mtime, size, device numbers of the
	// file and of the node, length of the name with its NUL, checksum.
	c.print("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad()
	if size > 0 && c.err == nil {
		var n int64
		n, c.err = io.CopyN(c.w, r, size)
		c.offset += n
	}
	c.pad()
}

func (c *cpioWriter) print(format string, args ...any) {
	if c.err == nil {
		var n int
		n, c.err = fmt.Fprintf(c.w, format, args...)
		c.offset += int64(n)
	}
}

// pad aligns to four bytes, as names and data must be.
func (c *cpioWriter) pad() {
	c.print("%s", "\x00\x00\x00"[:-c.offset&3])
}

func (c *cpioWriter) close() error {
	c.entry("TRAILER!!!", 0, 0, nil)
	return c.err
}
