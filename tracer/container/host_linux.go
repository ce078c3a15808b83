package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// open opens a regular file for reading, and nothing else: a pipe would have
// whoever writes to it go on, and some devices act on being opened. So what is
// there is looked at first, and opened by that.
func (h host) open(path string) (*os.File, error) {
	at, err := h.locate(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	if info, err := at.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at.Fd()), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), at.Name()), nil
}

// openDir opens a directory for reading.
func (h host) openDir(path string) (*os.File, error) {
	return h.locate(path, unix.O_RDONLY|unix.O_DIRECTORY)
}

// stat gives the stamp of a file or directory.
func (h host) stat(path string) (stamp, error) {
	at, err := h.locate(path, unix.O_PATH)
	if err != nil {
		return stamp{}, err
	}
	defer at.Close()
	info, err := at.Stat()
	if err != nil {
		return stamp{}, err
	}
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s, nil
}

// locate opens what is at a path.
func (h host) locate(path string, flags uint64) (*os.File, error) {
	if h.root == "/" {
		f, err := os.OpenFile(path, int(flags), 0)
		return f, absent(err)
	}
	root, err := unix.Open(h.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, absent(&os.PathError{Op: "open", Path: h.root, Err: err})
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	var fd int
	for range 8 { // EAGAIN: something on the way was renamed meanwhile
		fd, err = unix.Openat2(root, path, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, absent(&os.PathError{Op: "open", Path: filepath.Join(h.root, path), Err: err})
	}
	return os.NewFile(uintptr(fd), filepath.Join(h.root, path)), nil
}
