package cgroup

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// NotifyOOM asks cgroup v1 to be told when a cgroup, or one above it, is out of
// memory and the OOM killer is invoked or tasks wait instead. Each read of the
// file waits for that; at once when it is so already. It is told too when the
// cgroup is removed. The caller closes the file.
func (m Mount) NotifyOOM(path string) (*os.File, error) {
	dir := m.Dir(path)
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	events := os.NewFile(uintptr(fd), "eventfd of "+path)
	order := fmt.Sprintf("%d %d", fd, control.Fd())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(order), 0); err != nil {
		events.Close()
		return nil, err
	}
	return events, nil
}
