package tracer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
)

// The tests of this file's kind trace the real kernel: they make cgroups with
// small limits, run this very binary in them as the workload (work_linux_test.go)
// and hold the events against what they did and what the kernel counted.
// cmd/vmtest runs them on other kernels.

const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "work" {
		os.Exit(work(os.Args[2:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "inside" {
		os.Exit(inside(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// needRoot skips a test for an ordinary user. Where the suite is to be whole
// (OOMTRACE_TEST_ALL is set by `make test`) that is a failure.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("OOMTRACE_TEST_ALL") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("needs root: run `make test`")
}

// eachTier runs a test with the best hooks of this kernel and, where those are
// more than tracepoints, again with tracepoints only and with kprobes.
func eachTier(t *testing.T, test func(t *testing.T, tier string)) {
	needRoot(t)
	k, err := hook.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	if k.Allowed(hook.Fentry) == nil {
		t.Run("fentry", func(t *testing.T) { test(t, TierBest) })
	}
	if k.Allowed(hook.Kprobe) == nil {
		t.Run("kprobe", func(t *testing.T) { test(t, TierKprobe) })
	}
	t.Run("tracepoint", func(t *testing.T) { test(t, TierTracepoint) })
}

// bestTier runs a test with the best hooks alone: for what does not depend on
// them much, since guests take their time.
func bestTier(t *testing.T, test func(t *testing.T, tier string)) {
	needRoot(t)
	test(t, TierBest)
}

// trace is a running tracer whose events are collected.
type trace struct {
	t      *testing.T
	tracer *Tracer
	cancel context.CancelFunc
	done   chan error

	mu       sync.Mutex
	events   []event.Event
	warnings []string
	more     chan struct{} // closed and replaced with each event
	hold     chan struct{} // when set, the sink waits for it
}

func startTrace(t *testing.T, o Options) *trace {
	t.Helper()
	x := &trace{t: t, done: make(chan error, 1), more: make(chan struct{})}
	o.Warn = func(msg string) {
		t.Log("warning:", msg)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.warnings = append(x.warnings, msg)
	}
	tr, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	// A program that does not load gives way to a weaker one in silence: ours are
	// meant to load wherever the plan takes them.
	for _, c := range tr.session.Choices {
		for _, why := range c.Passed {
			if strings.Contains(why, "the verifier refused it") {
				t.Errorf("%s, %s: %s", c.Family, c.Name, why)
			}
		}
	}
	if tr.window != nil && os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		// The poll's share of a CPU is meant for real ones: emulated ones are
		// many times slower.
		tr.window.cpu = func() uint64 { return threadTime() / 32 }
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.tracer, x.cancel = tr, cancel
	go func() { x.done <- tr.Run(ctx, x.sink) }()
	t.Cleanup(func() {
		cancel()
		tr.Close()
	})
	waitFor(x, func(events []event.Event) (bool, bool) { return true, len(events) > 0 })
	return x
}

func (x *trace) sink(e event.Event) error {
	x.mu.Lock()
	hold := x.hold
	x.mu.Unlock()
	if hold != nil {
		<-hold
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
	close(x.more)
	x.more = make(chan struct{})
	return nil
}

// waitFor waits until find is content with the events so far.
func waitFor[T any](x *trace, find func([]event.Event) (T, bool)) T {
	x.t.Helper()
	deadline := time.After(patience)
	for {
		x.mu.Lock()
		v, ok := find(x.events)
		more := x.more
		x.mu.Unlock()
		if ok {
			return v
		}
		select {
		case <-more:
		case err := <-x.done:
			x.t.Fatalf("the tracer ended early: %v", err)
		case <-deadline:
			x.dump()
			x.t.Fatalf("not seen within %v", patience)
		}
	}
}

func (x *trace) dump() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events[max(0, len(x.events)-5):] {
		x.t.Logf("event: %T %.300s", e, show(e))
	}
}

// stop ends the trace and gives all events, the summary last.
func (x *trace) stop() []event.Event {
	x.t.Helper()
	x.cancel()
	select {
	case err := <-x.done:
		if err != nil {
			x.t.Fatalf("run: %v", err)
		}
	case <-time.After(patience):
		x.t.Fatal("the tracer did not stop")
	}
	s, ok := x.events[len(x.events)-1].(*event.Summary)
	if !ok {
		x.t.Fatalf("the last event is %T, not the summary", x.events[len(x.events)-1])
	}
	var lost uint64
	for _, n := range s.Lost {
		lost += n
	}
	if s.Sent != s.Received+lost {
		x.t.Errorf("sent %d, received %d, lost %d", s.Sent, s.Received, lost)
	}
	return x.events
}

func of[T event.Event](events []event.Event) []T {
	var out []T
	for _, e := range events {
		if v, ok := e.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// killsBelow gives the kills whose victim was in a cgroup or below it.
func killsBelow(events []event.Event, path string) []*event.OOMKill {
	return slices.DeleteFunc(of[*event.OOMKill](events), func(k *event.OOMKill) bool {
		return k.Victim.Cgroup == nil || k.Victim.Cgroup.Path != path && !strings.HasPrefix(k.Victim.Cgroup.Path, path+"/")
	})
}

// group is a cgroup of a test's own.
type group struct {
	t    testing.TB
	m    cgroup.Mount
	path string
}

// newGroup makes a top-level memory cgroup that is gone when the test is over.
func newGroup(t testing.TB) *group {
	t.Helper()
	return newGroupNamed(t, "")
}

// newGroupNamed makes another one for a test that needs several.
func newGroupNamed(t testing.TB, suffix string) *group {
	t.Helper()
	m, err := cgroup.FindMount("/sys/fs/cgroup", "/proc")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.NewReplacer("/", "-", " ", "_").Replace(t.Name()) + suffix
	g := &group{t, m, fmt.Sprintf("/oomtrace-test-%d-%s", os.Getpid(), name)}
	g.make()
	return g
}

func (g *group) child(name string) *group {
	g.t.Helper()
	c := &group{g.t, g.m, g.path + "/" + name}
	if g.m.Version == 2 {
		g.set("cgroup.subtree_control", "+memory")
	}
	c.make()
	return c
}

func (g *group) make() {
	g.t.Helper()
	if err := os.Mkdir(g.dir(), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if g.m.Version == 1 {
		// 5.10 and 6.1 warn otherwise, once
		_ = os.WriteFile(filepath.Join(g.dir(), "memory.use_hierarchy"), []byte("1"), 0)
	}
	g.t.Cleanup(g.remove)
}

func (g *group) remove() {
	deadline := time.Now().Add(patience)
	for {
		err := os.Remove(g.dir())
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			g.t.Errorf("remove cgroup: %v", err)
			return
		}
		time.Sleep(time.Millisecond) // EBUSY while its last process is being reaped
	}
}

func (g *group) dir() string { return g.m.Dir(g.path) }

func (g *group) id() uint64 {
	g.t.Helper()
	id, err := cgroup.ID(g.dir())
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

// set writes one of its files. Files of the os package do not block where they can
// be polled, as these can, and since 6.16 a limit that is written so neither
// reclaims nor kills.
func (g *group) set(file, value string) {
	g.t.Helper()
	fd, err := unix.Open(filepath.Join(g.dir(), file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		for err = unix.EINTR; err == unix.EINTR; { // such as by SIGCHLD of one that was killed
			_, err = unix.Write(fd, []byte(value))
		}
		unix.Close(fd)
	}
	if err != nil {
		g.t.Fatalf("%s of %s: %v", file, g.path, err)
	}
}

// limit sets the memory limit, and takes swap away so that it is final.
func (g *group) limit(bytes uint64) *group {
	g.t.Helper()
	v := strconv.FormatUint(bytes, 10)
	if g.m.Version == 2 {
		g.set("memory.max", v)
		_ = os.WriteFile(filepath.Join(g.dir(), "memory.swap.max"), []byte("0"), 0)
	} else {
		g.set("memory.limit_in_bytes", v)
	}
	return g
}

func (g *group) figures() event.Figures {
	g.t.Helper()
	f, err := g.m.Read(g.path)
	if err != nil {
		g.t.Fatal(err)
	}
	return f
}

// start runs a workload in the cgroup; it is ended with the test.
func (g *group) start(args ...string) *exec.Cmd {
	g.t.Helper()
	return g.startWith(func(*exec.Cmd) {}, args...)
}

// startWith does it with what `with` sets.
func (g *group) startWith(with func(*exec.Cmd), args ...string) *exec.Cmd {
	g.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"work", filepath.Join(g.dir(), "cgroup.procs")}, args...)...)
	cmd.Stderr = os.Stderr
	with(cmd)
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// startRounds runs a workload whose first words are rounds, of which each call of
// `round` has it do one; it goes on after end.
func (g *group) startRounds(args ...string) (cmd *exec.Cmd, round func() time.Duration, end func()) {
	g.t.Helper()
	toward, told, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	ask, asked, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { asked.Close(); toward.Close() })
	cmd = g.startWith(func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout = ask, told }, args...)
	ask.Close()
	told.Close()
	round = func() time.Duration {
		var ns int64
		if _, err := asked.Write([]byte{'\n'}); err != nil {
			g.t.Fatal(err)
		}
		if _, err := fmt.Fscanln(toward, &ns); err != nil {
			g.t.Fatal(err)
		}
		return time.Duration(ns)
	}
	return cmd, round, func() { asked.Close() }
}

// until waits for something that a workload comes to; what is wrong while it has not.
func (g *group) until(wrong string, done func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("workload of %s: %s", g.path, wrong)
		}
	}
}

// startStopped runs a workload until its cgroup uses so much, and then stops it:
// from then on nobody in the cgroup allocates.
func (g *group) startStopped(usage uint64, args ...string) *exec.Cmd {
	g.t.Helper()
	cmd := g.start(args...)
	g.until("too little memory", func() bool { return *g.figures().Usage >= usage })
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		g.t.Fatal(err)
	}
	g.until("not stopped", func() bool {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", cmd.Process.Pid))
		return len(stats) > 0 && !slices.ContainsFunc(stats, func(file string) bool {
			text, err := os.ReadFile(file)
			return err != nil || !strings.Contains(string(text), ") T ")
		})
	})
	return cmd
}

// run runs a workload to its end, and wants it to succeed.
func (g *group) run(args ...string) {
	g.t.Helper()
	if err := g.start(args...).Wait(); err != nil {
		g.t.Fatalf("work %q: %v", args, err)
	}
}

// runKilled runs a workload that must be killed, and gives its pid.
func (g *group) runKilled(args ...string) int32 {
	g.t.Helper()
	cmd := g.start(args...)
	err := cmd.Wait()
	if !killed(err) {
		g.t.Fatalf("work %q was not killed: %v", args, err)
	}
	return int32(cmd.Process.Pid)
}

const mib = 1 << 20

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
