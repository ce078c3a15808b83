package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	demoLimit    = 48 << 20
	demoFile     = 96 << 20
	demoPatience = 60 * time.Second
	// demoMinStall is lower than that of a live trace, so that fast disks have
	// some to show too; on slow ones the view is thinned.
	demoMinStall = 200 * time.Microsecond
)

// show is a demo that runs.
type show struct {
	*env
	group *demoGroup
	file  string // of the worker; "" when there is no disk to write to
	stop  context.CancelFunc

	mu       sync.Mutex
	worker   *exec.Cmd
	exited   chan struct{} // closed when the worker is reaped
	over     bool          // no worker may be started any more
	err      error
	incident string
	killed   atomic.Bool
}

// demonstrate runs the demo. Whatever it made is gone when it returns.
func (e *env) demonstrate(ctx context.Context, c common) (err error) {
	if os.Geteuid() != 0 {
		return &tracer.Unsupported{
			Missing: []string{"the demo makes a cgroup, which needs root; this is user " + strconv.Itoa(os.Geteuid())},
			Remedy:  []string{"run it as root: sudo oomtrace demo"},
		}
	}
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	s := &show{env: e, stop: cancel, exited: make(chan struct{})}
	e.whenAbandoned(func() { _ = s.clean(time.Second) })
	defer func() {
		left := s.clean(10 * time.Second)
		switch {
		case left != nil && err != nil:
			e.say("%v", left)
		case left != nil:
			err = left
		case s.group != nil:
			e.say("demo: the worker, its file and its cgroups are gone again")
		}
	}()
	if err := s.prepare(c); err != nil {
		return err
	}

	o := c.options()
	o.Families = []string{tracer.FamilyOOM, tracer.FamilyReclaim, tracer.FamilyCache}
	o.Cgroups = []tracer.Selector{{Path: s.group.path}}
	v := view{common: c, saw: s.saw}
	if c.output == outputText {
		o.MinStall, v.hide, v.thin = demoMinStall, demoMinStall, true
	}
	if err := e.trace(ctx, o, v, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return s.err
	case s.killed.Load():
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("demo: no kill was seen within %v", demoPatience)
	}
	return errors.New("demo: it was ended before the kill")
}

// prepare makes the cgroups and the file.
func (s *show) prepare(c common) error {
	dir, passed := diskDir([]string{cmp.Or(s.getenv("TMPDIR"), "/tmp"), "/var/tmp", "."})
	for _, why := range passed {
		s.say("demo: %s", why)
	}
	if dir == "" {
		s.say("demo: no directory on a disk was found (TMPDIR names one): the page cache is left out, the leak is not")
	}
	group, err := newDemoGroup(c.cgroupRoot, c.procRoot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		_ = group.remove(time.Second)
		return context.Canceled
	}
	s.group = group
	s.say("demo: made cgroup %s with a limit of %d MiB, and %s below it without one", group.path, demoLimit>>20, group.child)
	if dir == "" {
		return nil
	}
	f, err := os.CreateTemp(dir, "oomtrace-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w: name a directory that can be written to in TMPDIR", err)
	}
	s.file = f.Name()
	return f.Close()
}

// diskDir picks the first directory whose files are not themselves memory and
// that has room; the others are said to be passed.
func diskDir(dirs []string) (dir string, passed []string) {
	for _, dir := range dirs {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			passed = append(passed, fmt.Sprintf("%s: %v", dir, err))
			continue
		}
		switch {
		case st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC:
			passed = append(passed, dir+" is memory itself (tmpfs), so files there are no page cache")
		case st.Bavail*uint64(st.Bsize) < 2*demoFile:
			passed = append(passed, fmt.Sprintf("%s has less than %d MiB of room", dir, 2*demoFile>>20))
		case unix.Access(dir, unix.W_OK) != nil:
			passed = append(passed, dir+" cannot be written to")
		default:
			return dir, passed
		}
	}
	return "", passed
}

// saw follows the trace: the header starts the worker, the end of its kill ends
// the demo.
func (s *show) saw(ev event.Event) {
	switch ev := ev.(type) {
	case *event.Header:
		if err := s.start(); err != nil {
			s.give(err)
		}
	case *event.OOMKill:
		s.mu.Lock()
		// Its pid is another in a container; its cgroup is nobody else's.
		if s.worker != nil && (int(ev.Victim.PID) == s.worker.Process.Pid ||
			ev.Victim.Cgroup != nil && ev.Victim.Cgroup.Path == s.group.child) {
			s.incident = ev.Incident
			s.killed.Store(true)
		}
		s.mu.Unlock()
	case *event.OOMEnd:
		s.mu.Lock()
		if s.incident != "" && ev.Incident == s.incident {
			s.stop()
		}
		s.mu.Unlock()
	}
}

// start runs the worker, which enters its cgroup by itself before it takes any
// memory.
func (s *show) start() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	cmd := exec.Command(self, workerCommand, s.group.procs(), strconv.Itoa(demoLimit), s.file)
	cmd.Stderr = s.stderr
	// The worker ends with us, however we end: this pipe closes then.
	if _, err := cmd.StdinPipe(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("demo: start the worker: %w", err)
	}
	s.worker = cmd
	s.say("demo: started the worker, process %d", cmd.Process.Pid)
	go s.wait(cmd)
	return nil
}

// wait reaps the worker. When its end was no kill, or no kill is heard of, the
// demo has failed.
func (s *show) wait(cmd *exec.Cmd) {
	err := cmd.Wait()
	close(s.exited)
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if over {
		return
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		// What the tracer has to tell is on its way.
		time.AfterFunc(10*time.Second, func() {
			if !s.killed.Load() {
				s.give(errors.New("demo: the worker was killed, but the trace did not show it"))
			}
		})
		return
	}
	s.give(fmt.Errorf("demo: the worker ended without being killed: %v", cmp.Or(err, errors.New("exit status 0"))))
}

// give ends the demo with an error.
func (s *show) give(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.stop()
}

// clean removes all that was made. It may be called twice.
func (s *show) clean(patience time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.worker != nil {
		_ = s.worker.Process.Kill()
		select {
		case <-s.exited:
		case <-time.After(patience):
		}
	}
	var err error
	if s.file != "" {
		if removing := os.Remove(s.file); removing != nil && !os.IsNotExist(removing) {
			err = fmt.Errorf("demo: %w", removing)
		}
	}
	if s.group != nil {
		err = errors.Join(err, s.group.remove(patience))
	}
	return err
}
