package cgroup

import (
	"os"
	"sync"
	"syscall"
)

// files reads the small files of one cgroup's directory into one buffer that is
// used again. It goes round os.File, which would register every file with the
// poller: reading ten thousand cgroups a second is what this is for.
type files struct {
	dir string
	buf []byte
}

var pool = sync.Pool{New: func() any { return &files{buf: make([]byte, 8<<10)} }}

func openDir(dir string) *files {
	r := pool.Get().(*files)
	r.dir = dir
	return r
}

func (r *files) release() { pool.Put(r) }

// maxFile bounds what is read of one file, should it not be what it claims.
const maxFile = 1 << 20

// read gives a file's content, valid until the next read. A file of a cgroup
// that is being removed (ENODEV) is reported as one that does not exist.
func (r *files) read(name string) ([]byte, error) {
	name = r.dir + "/" + name
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	for err == syscall.EINTR {
		fd, err = syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, gone("open", name, err)
	}
	defer syscall.Close(fd)
	n := 0
	for n < maxFile {
		if n == len(r.buf) {
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
		got, err := syscall.Read(fd, r.buf[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, gone("read", name, err)
		}
		if got <= 0 {
			break
		}
		n += got
		// The kernel shows these files in one piece: what ends a line and leaves
		// room in the buffer is all of it, and need not be asked for the end.
		if n < len(r.buf) && r.buf[n-1] == '\n' {
			break
		}
	}
	return r.buf[:n], nil
}

func gone(op, name string, err error) error {
	if err == syscall.ENODEV {
		err = syscall.ENOENT
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// present gives an error that is fs.ErrNotExist when the directory itself is
// not there.
func (r *files) present() error {
	_, err := ID(r.dir)
	return err
}
