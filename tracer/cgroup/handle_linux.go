package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernfsHandle is the type of file handle that holds a kernfs id (FILEID_KERNFS,
// since Linux 5.5).
const kernfsHandle = 0xfe

// pathByHandle asks the kernel which cgroup has an id, without looking through
// the hierarchy. The error is fs.ErrNotExist when none has; any other means that
// it could not be asked.
func pathByHandle(root string, id uint64) (string, error) {
	mount, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(mount)
	var st unix.Statfs_t
	if err := unix.Fstatfs(mount, &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", root, err)
	}
	if st.Type != unix.CGROUP_SUPER_MAGIC && st.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", errors.ErrUnsupported
	}
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	switch {
	case errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOTDIR):
		return "", fs.ErrNotExist
	case err != nil:
		return "", fmt.Errorf("open cgroup %d by its id: %w", id, err)
	}
	defer unix.Close(fd)
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(mount))
	if err != nil {
		return "", err
	}
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	below, ok := strings.CutPrefix(dir, strings.TrimSuffix(top, "/"))
	if !ok || below != "" && below[0] != '/' {
		return "", fmt.Errorf("cgroup %d is at %s, not below %s", id, dir, top)
	}
	if below == "" {
		below = "/"
	}
	// A cgroup that was removed in between is shown as "/name (deleted)".
	if now, err := ID(root + below); err != nil || now != id {
		return "", fs.ErrNotExist
	}
	return below, nil
}
