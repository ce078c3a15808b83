package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// workerComm is how the worker is called, so that it can be told from the tracer.
const workerComm = "demo-leak"

// demoWorker is the victim: it enters a cgroup, thrashes its page cache and leaks
// until it is killed. Its arguments are the file to enter the cgroup by, the
// limit in bytes, and the file to write, which may be "".
func demoWorker(_ context.Context, e *env, args []string) error {
	if len(args) != 3 {
		return usagef("%s belongs to the demo", workerCommand).hinted("run oomtrace demo")
	}
	limit, err := strconv.Atoi(args[1])
	if err != nil {
		return usagef("%s: %q is no limit", workerCommand, args[1])
	}
	// Names are the threads' own; the one that allocates and the process get it.
	runtime.LockOSThread()
	for _, file := range []string{"/proc/self/comm", "/proc/thread-self/comm"} {
		_ = os.WriteFile(file, []byte(workerComm), 0)
	}
	if err := os.WriteFile(args[0], []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("demo: enter the cgroup: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, e.stdin)
		os.Exit(exitFailed) // the demo is gone
	}()
	if args[2] != "" {
		if err := e.thrash(args[2], 2*limit); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return e.leak(limit)
}

// thrash makes twice as much page cache as fits.
func (e *env) thrash(name string, size int) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	e.say("demo: the worker writes %d MiB to %s and reads it twice", size>>20, name)
	block := make([]byte, 256<<10)
	for written := 0; written < size; written += len(block) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	for range 2 {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, block); err != nil {
			return err
		}
	}
	return nil
}

// leak takes memory that is not the Go runtime's, a MiB at a time, and touches
// every page.
func (e *env) leak(limit int) error {
	e.say("demo: the worker leaks memory until it is killed")
	const step = 1 << 20
	page := os.Getpagesize()
	for taken := 0; taken < 4*limit; taken += step {
		b, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("demo: mmap: %w", err)
		}
		for i := 0; i < len(b); i += page {
			b[i] = 1
		}
		// As slow as real leaks are, as far as an impatient viewer allows.
		time.Sleep(60 * time.Millisecond)
	}
	return fmt.Errorf("demo: %d MiB were taken below a limit of %d MiB and nobody was killed", 4*limit>>20, limit>>20)
}
