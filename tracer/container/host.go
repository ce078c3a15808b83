package container

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// host is the host's file system, seen from wherever we run: below a directory
// that stands for its root. Nothing in it is trusted: a symbolic link leads
// nowhere but to what is below, and only regular files of a bounded size are
// read.
type host struct{ root string }

// errAbsent says that a file or directory is not there, which is no trouble.
var errAbsent = errors.New("not there")

const (
	maxState   = 4 << 20  // bytes of one container's state
	maxStorage = 64 << 20 // of a list of all containers
)

// hosts gives the file systems in which a runtime's state may lie. The host's own
// is the root of its first process, which a container sees too when it has the
// host's /proc; where that may not be entered, that of kthreadd often is the same.
// Directories that were mounted into our container are in ours.
func hosts(procRoot string) []host {
	ours := host{"/"}
	for _, first := range [...]string{"1/root", "2/root"} {
		theirs := host{filepath.Join(procRoot, first)}
		info, err := os.Stat(theirs.root + "/.")
		if err != nil {
			continue
		}
		if own, err := os.Stat("/"); err == nil && os.SameFile(own, info) {
			break
		}
		return []host{theirs, ours}
	}
	return []host{ours}
}

// stamp tells whether a file is the same, and unchanged.
type stamp struct {
	size  int64
	mtime int64
	inode uint64
}

// read reads a whole regular file.
func (h host) read(path string, limit int64) ([]byte, error) {
	f, err := h.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.Size() > limit:
		return nil, fmt.Errorf("%s is too large: %d bytes, at most %d are read", path, info.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1)) // it may be growing
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is too large: at most %d bytes are read", path, limit)
	}
	return b, err
}

// list gives the names of what is in a directory.
func (h host) list(dir string) ([]string, error) {
	f, err := h.openDir(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 1 << 16
	names, err := f.Readdirnames(most)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// absent makes errAbsent of the errors that mean that: what is below a file that
// lies among a runtime's directories is not there either.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return errAbsent
	}
	return err
}

// home gives a user's home directory, "" when it is not known.
func (h host) home(uid string) string {
	b, err := h.read("/etc/passwd", maxState)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= 6 && f[2] == uid && filepath.IsAbs(f[5]) {
			return filepath.Clean(f[5])
		}
	}
	return ""
}
