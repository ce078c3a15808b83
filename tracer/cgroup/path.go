package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrNamespace is wrapped by PathOf when a process lies outside the reader's
// cgroup namespace.
var ErrNamespace = errors.New("outside our cgroup namespace")

// ID is the kernfs id of a cgroup's directory: its inode number. The error is
// fs.ErrNotExist when there is no such directory.
func ID(dir string) (uint64, error) {
	var st syscall.Stat_t
	if err := ignoringEINTR(func() error { return syscall.Stat(dir, &st) }); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: syscall.ENOTDIR}
	}
	return st.Ino, nil
}

// Dir is the directory of the cgroup with this path.
func (m Mount) Dir(cgroupPath string) string {
	return filepath.Join(m.Root, filepath.Clean("/"+cgroupPath))
}

// PathOf is the path of the memory cgroup that a process is in, from
// /proc/PID/cgroup. The error is fs.ErrNotExist when there is no such process,
// and wraps ErrNamespace when its cgroup cannot be named from here.
func (m Mount) PathOf(procRoot string, pid int) (string, error) {
	name := filepath.Join(procRoot, strconv.Itoa(pid), "cgroup")
	data, err := os.ReadFile(name)
	if err != nil {
		if errors.Is(err, syscall.ESRCH) {
			err = &os.PathError{Op: "read", Path: name, Err: os.ErrNotExist}
		}
		return "", fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(data)) {
		id, controllers, p, ok := cgroupLine(line)
		if !ok {
			continue
		}
		unified := id == 0 && controllers == ""
		if m.Version == 2 && !unified || m.Version != 2 && !hasController(controllers, "memory") {
			continue
		}
		if p == "/.." || strings.HasPrefix(p, "/../") {
			return "", fmt.Errorf("process %d is in cgroup %s, %w: run in the host's (docker run --cgroupns=host, or nsenter --cgroup --target 1)", pid, p, ErrNamespace)
		}
		if dead, ok := strings.CutSuffix(p, " (deleted)"); ok && !exists(m.Dir(p)) {
			p = dead // the process lingers in a cgroup that was removed
		}
		return path.Clean(p), nil
	}
	return "", fmt.Errorf("cgroup of process %d: %s has no line for the memory controller (version %d)", pid, name, m.Version)
}

// cgroupLine reads a line of /proc/PID/cgroup: "4:memory:/docker/ab" or "0::/".
func cgroupLine(line string) (id int, controllers, path string, ok bool) {
	number, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
	if !ok {
		return 0, "", "", false
	}
	controllers, path, ok = strings.Cut(rest, ":")
	if !ok || !strings.HasPrefix(path, "/") {
		return 0, "", "", false
	}
	id, err := strconv.Atoi(number)
	return id, controllers, path, err == nil
}

// Normalize makes a path below the mount of what a user may give as a cgroup: a
// path with or without its leading slash, the full path of its directory (here
// or on the host), or a line of /proc/PID/cgroup or an argument of cgexec, such
// as memory:/foo. The result begins with a slash and has none at its end; ".."
// never leads out of the hierarchy. Whether the cgroup exists is not looked at.
func (m Mount) Normalize(arg string) string {
	arg = strings.Trim(arg, "\r\n\x00")
	arg = trimControllers(arg)
	p := path.Clean("/" + arg)
	roots := []string{m.Root, "/sys/fs/cgroup"}
	if m.Version == 1 {
		roots[1] = "/sys/fs/cgroup/memory"
	}
	for _, root := range roots {
		if root == "" || root == "/" {
			continue
		}
		if below, ok := strings.CutPrefix(p, root); ok && (below == "" || below[0] == '/') {
			return path.Clean("/" + below)
		}
	}
	return p
}

// trimControllers cuts the "4:memory:", "memory:" or "0::" off a cgroup's path.
func trimControllers(arg string) string {
	list, rest, ok := strings.Cut(arg, ":")
	if !ok {
		return arg
	}
	if _, err := strconv.ParseUint(list, 10, 31); err == nil {
		controllers, p, ok := strings.Cut(rest, ":")
		if ok && strings.HasPrefix(p, "/") && (controllers == "" || hasController(controllers, "memory")) {
			return p
		}
		return arg
	}
	if hasController(list, "memory") {
		return rest
	}
	return arg
}

func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); err != syscall.EINTR {
			return err
		}
	}
}
