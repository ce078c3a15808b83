package tracer

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stubborn writes to a file of a tmpfs again and again, also when there is no
// memory for it: unlike a page fault that fails a write concerns nobody else.
func stubborn(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	block := make([]byte, mib)
	for {
		_, _ = f.Write(block)
	}
}

// brood starts a process that enters the cgroup of an open cgroup.procs, where
// there is one, touches so much memory, and waits for ever. It is a fork
// that executes nothing: hundreds of them cost next to nothing. Of Go's runtime
// nothing but the one thread is there, so it must not need any of it. It dies
// with the thread that started it.
func brood(procs, n int) (int, error) {
	b, err := unix.Mmap(-1, 0, n*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return 0, err
	}
	self := [1]byte{'0'}
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
		if procs >= 0 {
			syscall.RawSyscall(syscall.SYS_WRITE, uintptr(procs), uintptr(unsafe.Pointer(&self[0])), 1)
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		for {
			syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return int(pid), unix.Munmap(b)
}

// massacre has processes killed, one after the other, each for the limit of a
// cgroup of its own, and removes that at once. It tells of each on stdout: its
// pid and the name of its cgroup.
func massacre(top string, n, limit int) error {
	file := "memory.max"
	if _, err := os.Stat(filepath.Join(top, "memory.limit_in_bytes")); err == nil {
		file = "memory.limit_in_bytes"
	}
	for i := range n {
		dir := filepath.Join(top, fmt.Sprintf("kill-%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, limit*mib), 0); err != nil {
			return err
		}
		_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0)
		procs, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		pid, err := brood(int(procs.Fd()), 16*limit)
		if err != nil {
			return err
		}
		procs.Close()
		var ws syscall.WaitStatus
		for {
			_, err = syscall.Wait4(pid, &ws, 0, nil)
			if err != syscall.EINTR {
				break
			}
		}
		if err != nil || ws.Signal() != syscall.SIGKILL {
			return fmt.Errorf("%s: process %d: %v, %v", dir, pid, err, ws)
		}
		for err = syscall.Rmdir(dir); err == syscall.EBUSY; err = syscall.Rmdir(dir) {
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		fmt.Printf("%d kill-%d\n", pid, i)
	}
	return nil
}

// childOfOurs waits until this process has a child.
func childOfOurs() error {
	for {
		tasks, err := filepath.Glob("/proc/self/task/*/children")
		if err != nil {
			return err
		}
		for _, name := range tasks {
			if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
				return nil
			}
		}
	}
}

// touchEach maps memory and touches one page in each step of it.
func touchEach(size, step, flags int) error {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	for i := 0; i < size; i += step {
		b[i] = 1
	}
	return nil
}

func swapoff(name string) error {
	path := append([]byte(name), 0)
	for { // until no signal is in the way, such as SIGCHLD
		switch _, _, errno := syscall.Syscall(syscall.SYS_SWAPOFF, uintptr(unsafe.Pointer(&path[0])), 0, 0); errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

// makeSwap makes a file that the kernel takes for swap space, and turns it on.
func makeSwap(name string, size int) error {
	return swapon(name, append(swapHead(size), make([]byte, size-page)...)) // without holes
}

const page = 4096

// swapHead is the first page of swap space.
func swapHead(size int) []byte {
	head := make([]byte, page)
	binary.NativeEndian.PutUint32(head[1024:], 1) // version
	binary.NativeEndian.PutUint32(head[1028:], uint32(size/page-1))
	copy(head[page-10:], "SWAPSPACE2")
	return head
}

// swapon writes to a file or device and turns it on as swap space.
func swapon(name string, content []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	path := append([]byte(name), 0)
	if _, _, errno := syscall.Syscall(syscall.SYS_SWAPON, uintptr(unsafe.Pointer(&path[0])), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
