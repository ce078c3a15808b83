//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// verdict is what a guest reports on its third serial port. A guest that
// crashed reports nothing.
type verdict struct {
	Release string // of the kernel that really ran
	Status  int    // of the command, 128+signal if one killed it
	Error   string // why the command could not be run at all
}

// The serial ports of a guest, in QEMU's order. Output, kernel log and verdict
// never mix, and no program's output can be mistaken for a verdict.
const (
	outputPort  = "/dev/ttyS0"
	kernelPort  = "ttyS1"
	verdictPort = "/dev/ttyS2"
)

// scratch is where the guest mounts its disk.
const scratch = "/mnt"

// guestMain is the guest's init. It does not return.
func guestMain() { finish(guestRun()) }

// serviceMain is the service of systemd that does the job where the guest's init
// has made way for systemd. It does not return.
func serviceMain() {
	j, err := readJob(initramfs)
	v := verdict{Release: release()}
	if err == nil {
		v.Status, err = runJob(j, initramfs)
	}
	finish(v, err)
}

// finish gives the verdict and ends the guest.
func finish(v verdict, err error) {
	if err != nil {
		v.Error = err.Error()
	}
	if text, err := json.Marshal(v); err == nil {
		writePort(verdictPort, append(text, '\n'))
	}
	unix.Sync()
	// With -no-reboot this ends QEMU; unlike power off it needs no ACPI.
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func guestRun() (verdict, error) {
	var v verdict
	if err := mountAll([]mount{
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"devpts", "/dev/pts", "devpts", ""},
		{"tmpfs", "/tmp", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		{"tracefs", "/sys/kernel/tracing", "tracefs", ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", ""},
		{"bpf", "/sys/fs/bpf", "bpf", ""},
	}); err != nil {
		return v, err
	}
	v.Release = release()
	j, err := readJob("")
	if err != nil {
		return v, err
	}
	if err := loadModules(j.Modules); err != nil {
		return v, err
	}
	if j.Systemd {
		return v, startSystemd()
	}
	if err := mountAll([]mount{
		{"/dev/vda", scratch, "ext4", ""},
		{"configfs", "/sys/kernel/config", "configfs", ""},
	}); err != nil {
		return v, err
	}
	if err := mountCgroups(j.Cgroup); err != nil {
		return v, err
	}
	v.Status, err = runJob(j, "")
	// The scratch disk is thrown away: nothing is gained by unmounting it.
	return v, err
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// readJob reads the job from where the initramfs is mounted.
func readJob(initramfs string) (j job, err error) {
	text, err := os.ReadFile(initramfs + jobPath)
	if err != nil {
		return j, err
	}
	return j, json.Unmarshal(text, &j)
}

// runJob runs the command with what every guest has.
func runJob(j job, initramfs string) (status int, err error) {
	if err := os.Chmod(scratch, 0o777|os.ModeSticky); err != nil {
		return 0, err
	}
	for _, args := range [][]string{
		{"/bin/busybox", "--install", "-s", "/bin"},
		{"/bin/busybox", "ip", "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	if err := os.MkdirAll("/root", 0o700); err != nil {
		return 0, err
	}
	return runCommand(j, initramfs)
}

type mount struct{ source, target, fstype, data string }

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		// Kernels mount some of these by themselves.
		err := unix.Mount(m.source, m.target, m.fstype, 0, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// mountCgroups mounts either v2 alone, or v1 as systemd's hybrid layout has
// it: each controller in a hierarchy of its own beside an empty v2 tree.
func mountCgroups(version string) error {
	const root = "/sys/fs/cgroup"
	if version == "v2" {
		if err := mountAll([]mount{{"cgroup2", root, "cgroup2", ""}}); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0)
	}
	mounts := []mount{{"tmpfs", root, "tmpfs", "mode=755"}}
	for _, c := range []string{"memory", "pids", "cpu,cpuacct", "freezer"} {
		mounts = append(mounts, mount{"cgroup", filepath.Join(root, c), "cgroup", c})
	}
	mounts = append(mounts, mount{"cgroup2", filepath.Join(root, "unified"), "cgroup2", ""})
	if err := mountAll(mounts); err != nil {
		return err
	}
	// As systemd does; kernels since 5.11 know nothing else.
	err := os.WriteFile(filepath.Join(root, "memory/memory.use_hierarchy"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func loadModules(modules []loadable) error {
	for _, m := range modules {
		image, err := os.ReadFile(m.Path)
		if err != nil {
			return err
		}
		if err := unix.InitModule(image, m.Parameters); err != nil {
			return fmt.Errorf("load %s: %w", m.Path, err)
		}
		// The root is memory.
		if err := os.Remove(m.Path); err != nil {
			return err
		}
	}
	return nil
}

// runCommand runs the command to its end and kills what it leaves behind. Its
// output goes through a pipe: a test must not think that it has a terminal.
func runCommand(j job, initramfs string) (status int, err error) {
	port, err := openPort(outputPort)
	if err != nil {
		return 0, err
	}
	defer port.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	// Files land in / unless told otherwise, so that is part of the path.
	search := "/bin:/sbin:/usr/bin:/usr/sbin:/"
	if initramfs != "" {
		search += ":" + initramfs + "/bin:" + initramfs
	}
	if err := os.Setenv("PATH", search); err != nil {
		return 0, err
	}
	path, err := exec.LookPath(j.Command[0])
	if err != nil {
		return 127, err
	}
	env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "TMPDIR=" + scratch, "TERM=dumb"}, j.Env...)
	command, err := os.StartProcess(path, j.Command, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{null, w, w},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return 126, err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(port, r)
		copied <- err
	}()
	status = reap(command.Pid)
	unix.Kill(-1, unix.SIGKILL)
	select {
	case err = <-copied:
	case <-time.After(10 * time.Second):
		err = errors.New("the command left a process that cannot be killed")
	}
	return status, errors.Join(err, drain(port))
}

// reap is init's duty, without which orphans would stay as zombies. It returns
// when pid has ended.
func reap(pid int) (status int) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case got == pid && ws.Exited():
			return ws.ExitStatus()
		}
	}
}

// openPort opens a serial port that passes bytes as they are.
func openPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		raw.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, raw)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make %s raw: %w", path, err)
	}
	return f, nil
}

// drain waits until all that was written has left the port.
func drain(port *os.File) error {
	return unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
}

// writePort reports as best it can: without a verdict the guest has failed.
func writePort(path string, text []byte) {
	port, err := openPort(path)
	if err != nil {
		return
	}
	defer port.Close()
	if _, err := port.Write(text); err == nil {
		_ = drain(port)
	}
}
