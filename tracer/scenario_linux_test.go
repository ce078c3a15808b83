package tracer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// scenario is a way to run out of memory of which the cause is known, for it was
// made here.
type scenario struct {
	name string
	// not says why this kernel or machine cannot do it; "" when it can.
	not   func(s *stage) string
	limit uint64 // MiB, of the cgroup s.g
	// run does it. It returns the victims that are right, by pid; nil where only
	// where tells.
	run    func(s *stage) []int32
	victim string // cgroup of the victim below s.g; "" for s.g itself
	nodes  string // constraint, where memory nodes ran out and not the limit of s.g
	group  bool
	cause  string
	below  string   // underlying
	sure   []string // confidences that will do
	// each says that it depends on how kills are seen, so that it is played on
	// each tier; for the others one will do.
	each  bool
	check func(s *stage, k *event.OOMKill)
}

// stage is where a scenario is played.
type stage struct {
	t *testing.T
	g *group
	x *trace
}

func (s *stage) killed(words ...string) []int32 { return []int32{s.g.runKilled(words...)} }

// tmpfs mounts one of the stage's own.
func (s *stage) tmpfs() string { return s.mount("tmpfs", "size=256m,nr_inodes=0") }

func (s *stage) mount(fs, options string) string {
	s.t.Helper()
	return mounted(s.t, "oomtrace-test", fs, options, unix.MNT_DETACH)
}

// clear ends all that is left in the stage's cgroup.
func (s *stage) clear() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(s.g.dir(), "cgroup.procs"))
		if err != nil || len(text) == 0 {
			return
		}
		for _, pid := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
	}
}

// until waits for something that a workload does.
func (s *stage) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %v: %s; usage %d, readings %+v", patience, what, *s.g.figures().Usage, s.x.tracer.window.before(s.g.id(), s.x.tracer.clock.now()))
		}
	}
}

// mentions checks that the evidence has the figure or remedy that makes it of use.
func (s *stage) mentions(k *event.OOMKill, what string) {
	s.t.Helper()
	if !strings.Contains(strings.Join(k.Verdict.Evidence, "\n"), what) {
		s.t.Errorf("no word of %q: %q", what, k.Verdict.Evidence)
	}
}

// swapOn makes a swap file of so many MiB and uses it until the scenario is over.
func (s *stage) swapOn(n int) {
	s.t.Helper()
	page := os.Getpagesize()
	file := filepath.Join(scratch(s.t), "swap")
	b := bytes.Repeat([]byte{0}, n*mib)
	b[1024] = 1 // version
	last := uint32(n*mib/page - 1)
	b[1028], b[1029], b[1030], b[1031] = byte(last), byte(last>>8), byte(last>>16), byte(last>>24)
	copy(b[page-10:], "SWAPSPACE2")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	name, err := unix.BytePtrFromString(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		s.t.Fatalf("swapon: %v", errno)
	}
	s.t.Cleanup(func() {
		if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
			s.t.Errorf("swapoff: %v", errno)
		}
	})
}

// Every scenario is played for real, and victim, domain, group and cause must be
// what they were made to be.
func TestScenarios(t *testing.T) {
	first := true
	eachTier(t, func(t *testing.T, tier string) {
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		for _, sc := range scenarios() {
			if !sc.each && !first {
				continue
			}
			t.Run(sc.name, func(t *testing.T) { sc.play(t, x) })
		}
		first = false
		x.stop()
	})
}

func (sc *scenario) play(t *testing.T, x *trace) {
	s := &stage{t: t, g: newGroup(t), x: x}
	x.t = t
	if sc.not != nil {
		if why := sc.not(s); why != "" {
			t.Skip(why)
		}
	}
	t.Cleanup(s.clear)
	s.g.limit(sc.limit * mib)
	want := sc.run(s)
	k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		k := killsBelow(events, s.g.path)
		return firstOf(k), len(k) > 0
	})
	s.clear()

	where := s.g.path
	if sc.victim != "" {
		where += "/" + sc.victim
	}
	if k.Victim.Cgroup.Path != where || want != nil && !slices.Contains(want, k.Victim.PID) {
		t.Errorf("victim %s in %s, want %v in %s", show(k.Victim.Process), k.Victim.Cgroup.Path, want, where)
	}
	switch d := k.Domain; {
	case sc.nodes != "" && (d.Constraint != sc.nodes || d.Cgroup != nil):
		t.Errorf("domain %s, want %s", show(d), sc.nodes)
	case sc.nodes == "" && (d.Constraint != event.ConstraintMemcg || d.Cgroup == nil || d.Cgroup.Path != s.g.path):
		t.Errorf("domain %s, want %s", show(d), s.g.path)
	}
	if k.Group != sc.group {
		t.Errorf("group %v", k.Group)
	}
	v := k.Verdict
	cause, sure := sc.expected(k)
	if v.Cause != cause || !slices.Contains(sure, v.Confidence) || (v.Underlying == "") != (sc.below == "") {
		t.Errorf("verdict %s (%s, below it %q), want %s (%v); memory %s; window %s", v.Cause, v.Confidence, v.Underlying, cause, sure,
			show(k.Domain.Memory), show(k.Window))
	}
	if sc.check != nil {
		sc.check(s, k)
	}
	t.Logf("%s (%s confidence, below it %q), domain by %s, %s\n  %s", v.Cause, v.Confidence, v.Underlying, k.Domain.Source, show(k.Timeline), strings.Join(v.Evidence, "\n  "))
}

// expected is the cause and how sure the verdict may be of it. On a machine that
// others keep busy a burst may take as long as a leak, and a tmpfs be full before
// anything was read.
func (sc *scenario) expected(k *event.OOMKill) (cause string, sure []string) {
	w, m := k.Window, k.Domain.Memory
	low := []string{event.ConfidenceLow}
	switch {
	case sc.cause == event.CauseLimitTooSmall && w != nil && w.Shape == event.ShapeSteady && w.GrowthNS >= int64(time.Second):
		return event.CauseLeak, low
	case sc.cause == event.CauseTmpfs && w == nil && (m == nil || m.Shmem == nil):
		return event.CauseUnknown, low
	}
	return sc.cause, sc.sure
}

// oneNode says why a scenario that needs two memory nodes is skipped.
func oneNode(s *stage) string {
	if exists("/sys/devices/system/node/node1") {
		return v2only("the test has no cpuset hierarchy of cgroup v1")(s)
	}
	if os.Getenv("OOMTRACE_TEST_NODES") != "" {
		s.t.Fatal("this guest was to have two memory nodes")
	}
	return "needs two memory nodes (make test-guests NODE=128)"
}

// noSlowDisk says why dirty page cache cannot be had to kill.
func noSlowDisk(s *stage) string {
	if os.Getenv("OOMTRACE_TEST_NODES") == "" {
		return "is played in one guest, that of two memory nodes (make test-guests NODE=128): it slows the disk down"
	}
	return v2only("with cgroup v1 reclaim waits until dirty pages are written, however long that takes")(s)
}

// slowDisk lets the stage's cgroup write next to nothing to the disk of a
// directory, and the machine have more dirty pages than by default: with a fifth
// whoever writes is stopped early enough.
func (s *stage) slowDisk(dir string) {
	s.t.Helper()
	for _, ratio := range []struct{ file, value string }{{"dirty_ratio", "90"}, {"dirty_background_ratio", "80"}} {
		file := filepath.Join("/proc/sys/vm", ratio.file)
		old, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(ratio.value), 0)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = os.WriteFile(file, old, 0) })
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		s.t.Fatal(err)
	}
	s.controller("io")
	limit := fmt.Sprintf("%d:%d wbps=", unix.Major(st.Dev), unix.Minor(st.Dev))
	s.g.set("io.max", limit+"65536")
	s.t.Cleanup(func() { s.g.set("io.max", limit+"max") })
}

// controller turns a controller of cgroup v2 on for the stage's cgroup.
func (s *stage) controller(name string) {
	s.t.Helper()
	root := &group{s.t, s.g.m, "/"}
	root.set("cgroup.subtree_control", "+"+name)
	s.t.Cleanup(func() { root.set("cgroup.subtree_control", "-"+name) })
}

// cpuset has the stage's cgroup use the memory of some nodes only.
func (s *stage) cpuset(nodes string) {
	s.t.Helper()
	s.controller("cpuset")
	s.g.set("cpuset.mems", nodes)
}

// lastThreads is how many threads the window counted last, 0 when none yet.
func lastThreads(s *stage) uint64 {
	for _, p := range slices.Backward(s.x.tracer.window.before(s.g.id(), s.x.tracer.clock.now())) {
		if p.Threads > 0 {
			return p.Threads
		}
	}
	return 0
}
