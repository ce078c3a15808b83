package tracer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// A leak at a known pace: the forecast says when it ends, and it does.
func TestRankForecast(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		t.Skip("in a guest seconds are too short, and a minute is too long")
	}
	h := newHerd(t)
	h.top.limit(256 * mib)
	h.add(h.top, "anon=20")
	quiet, err := h.look.Rank(context.Background(), h.top.path, time.Second)
	if err != nil || quiet.Forecast == nil || quiet.Forecast.Trend != event.TrendFlat || quiet.Forecast.ReachedInNS != nil {
		t.Fatalf("%s, %v", show(quiet), err)
	}
	leaker := h.top.start("comm=leak", "leak=1024,25") // 40 MiB a second, or less
	for *h.top.figures().Usage < 60*mib {
		time.Sleep(time.Millisecond)
	}
	l := newLook(t)
	r, err := l.Rank(context.Background(), h.top.path, time.Second)
	for err == nil && r.Forecast == nil {
		r, err = l.Rank(context.Background(), h.top.path, time.Second) // with the readings so far
	}
	if err != nil {
		t.Fatal(err)
	}
	f := r.Forecast
	if f == nil || f.Trend != event.TrendGrowing || f.ReachedInNS == nil || *f.Growth > 60*mib {
		t.Fatalf("%s", show(f))
	}
	if !killed(leaker.Wait()) {
		t.Fatal("the leak was not killed")
	}
	took := time.Since(r.Time)
	t.Logf("foreseen in %v, killed after %v", time.Duration(*f.ReachedInNS), took)
	// The machine may have become busier or idler since.
	if said := time.Duration(*f.ReachedInNS); took < said/3 || took > 3*said+time.Second {
		t.Errorf("foreseen in %v, killed after %v", said, took)
	}
	if r.Next.Comm != "leak" && *r.Next.Badness < 5000 {
		t.Errorf("%s", show(r.Next))
	}
}

// onlyInGuest skips what would disturb a machine that others use.
func onlyInGuest(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip(why + ": only in a guest (make test-guests)")
	}
}

// bound sets the memory limit alone: swap stays allowed.
func (g *group) bound(bytes uint64) {
	g.t.Helper()
	file := "memory.max"
	if g.m.Version == 1 {
		file = "memory.limit_in_bytes"
	}
	g.set(file, strconv.FormatUint(bytes, 10))
}

// What is swapped out counts as much as what is not, and swap counts in what
// oom_score_adj is scaled by.
func TestRankSwap(t *testing.T) {
	onlyInGuest(t, "switches swap on")
	h := newHerd(t)
	const swap = 40 // MiB; half of it has to last while the third makes room
	(&stage{t: t}).swapOn(swap)
	h.add(h.top, "nohuge", "anon=34")
	h.add(h.top, "nohuge", "anon=22", "adj=40")
	h.top.bound(*h.top.figures().Usage + 3*mib)
	h.add(h.top, "nohuge", "anon=16") // makes room for itself
	if pid, ok := h.log.next(); ok {
		t.Fatalf("%d was killed while there was swap", pid)
	}
	h.top.bound(*h.top.figures().Usage + 4*mib)
	said := rankNow(t, h.look, h.top.path)
	victims := h.fill(h.top, swap+4) // more than the limit and what is left of swap
	h.want(said, h.top, victims[0])
	swapped := uint64(0)
	for _, p := range said.Processes {
		swapped += *p.Swap
	}
	if swapped < 8*mib || said.Domain.SwapLeft == nil || *said.Domain.SwapLeft > (swap-8)*mib {
		t.Errorf("%s", show(said))
	}
	if page := uint64(os.Getpagesize()); said.Domain.TotalPages != (*said.Domain.Limit.Limit+swap*mib)/page-1 {
		t.Errorf("total %d of %s", said.Domain.TotalPages, show(said.Domain))
	}
	t.Logf("%d MiB were in swap, rank said %d, the kernel killed %d", swapped/mib, said.Next.PID, victims)
}

// The node itself runs out.
func TestRankGlobal(t *testing.T) {
	onlyInGuest(t, "runs the machine out of memory")
	h := newHerd(t)
	greedy := h.add(h.top, "comm=greedy", "adj=700", "anon=120")
	h.add(h.top, "comm=spare", "adj=600", "anon=60") // should the kernel want another
	m, err := h.look.proc.Meminfo()
	if err != nil {
		t.Fatal(err)
	}
	r := rankNow(t, h.look, h.top.path)
	if r.Domain.Constraint != event.ConstraintGlobal || r.Domain.Cgroup != nil || r.Next == nil || r.Next.PID != greedy {
		t.Fatalf("%s", show(r))
	}
	if node := rankNow(t, h.look, ""); node.Next.PID != greedy || node.Total < 3 {
		t.Errorf("%s", show(node))
	}
	// What is called available leaves out some that there is. Killed memory may be
	// slow to come back: then who wants it comes next, and not this test.
	victims := h.exhaust(h.top, "adj=0", fmt.Sprintf("anon=%d", *m.Available>>20+110))
	if victims[0] != greedy {
		t.Errorf("killed %d, want %d", victims, greedy)
	}
}

// In every scenario of the bench: the last time that rank looked before the kill
// it named the victim.
func TestRankScenarios(t *testing.T) {
	needRoot(t)
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		t.Skip("takes minutes in a guest, where the other tests of rank run")
	}
	x := startTrace(t, Options{Families: []string{FamilyOOM}}) // some scenarios look at what it has seen
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			for take := range 10 {
				done := true // also when it is skipped, or fails
				t.Run(strconv.Itoa(take), func(t *testing.T) { done = foreseen(t, &sc, x) })
				if done {
					return
				}
			}
			t.Error("rank never had a look at the victim before it was killed")
		})
	}
}

// foreseen plays a scenario while rank looks on. It is false when the victim was
// gone before rank had seen it: some live for a few milliseconds.
func foreseen(t *testing.T, sc *scenario, x *trace) bool {
	s := &stage{t: t, g: newGroup(t), x: x}
	x.t = t
	if sc.not != nil {
		if why := sc.not(s); why != "" {
			t.Skip(why)
		}
	}
	t.Cleanup(s.clear)
	s.g.limit(sc.limit * mib)
	log, look := openKillLog(t), newLook(t)
	var mu sync.Mutex
	last := make(map[int32]*event.Rank) // by process: the last in which it could be killed
	ctx, stop := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			r, err := look.Rank(ctx, s.g.path, 0)
			if err != nil || r.Domain.Cgroup == nil {
				continue
			}
			mu.Lock()
			for _, p := range r.Processes {
				if p.Badness != nil {
					last[p.PID] = r
				}
			}
			mu.Unlock()
		}
	})
	defer looking.Wait()
	defer stop()
	sc.run(s)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pid, _ := log.next()
		mu.Lock()
		said := last[pid]
		mu.Unlock()
		if said != nil {
			(&herd{t: t}).want(said, s.g, pid)
			return true
		}
	}
	return false
}

// A cgroup with known contents.
func TestInspect(t *testing.T) {
	h := newHerd(t)
	h.top.limit(256 * mib)
	g := h.top.child("job")
	file := filepath.Join(scratch(t), "file")
	h.add(g, "comm=mixed) x", "anon=40", "shm=30", "write="+file+",16", "sparse=2")
	other := h.top.child("other")
	h.add(other, "anon=8")
	// The kernel adds up what its CPUs have counted every two seconds.
	for deadline := time.Now().Add(patience); *g.figures().File < 45*mib && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	e, err := h.look.Inspect(g.path, InspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got *uint64, want, slack uint64) {
		t.Helper()
		if got == nil || *got+slack < want || *got > want+slack {
			t.Errorf("%s: %s, want %d within %d", what, show(got), want, slack)
		}
	}
	m := &e.Memory
	near("anon", m.Anon, 41*mib, 4*mib)
	near("shmem", m.Shmem, 30*mib, mib)
	near("file with shmem", m.File, 46*mib, 2*mib)
	near("working set", m.WorkingSet, *m.Usage-*e.Lists.InactiveFile, mib)
	if e.Cgroup.ID != g.id() || m.Usage == nil || *m.Usage < 86*mib || m.Limit != nil {
		t.Errorf("%s", show(e))
	}
	if v2 := g.m.Version == 2; v2 != (m.PageTables != nil) || v2 && *m.PageTables < 2*mib {
		t.Errorf("kernel: %s", show(m))
	}
	if len(e.Limits) != 3 || e.Limits[1].Cgroup.ID != h.top.id() || !e.Limits[1].Tightest || e.Limits[0].Headroom != nil || e.Limits[2].Cgroup != nil {
		t.Errorf("limits %s", show(e.Limits))
	}
	if e.Settings == nil || e.Settings.Swappiness == nil || (g.m.Version == 2) != (e.Settings.OOMGroup != nil) || (g.m.Version == 1) != (e.Settings.OOMKillDisable != nil) {
		t.Errorf("settings %s", show(e.Settings))
	}
	p := e.Processes
	if p.Total != 1 || p.Read != 1 || len(p.Largest) != 1 || p.Largest[0].Comm != "mixed) x" || len(e.Unread) != 0 {
		t.Fatalf("processes %s, unread %s", show(p), show(e.Unread))
	}
	k := &p.Largest[0].MemoryKind
	// What a process touches before it enters the cgroup is charged elsewhere, in
	// huge pages where those are always on; and in a guest its program is on a
	// tmpfs.
	near("private memory", event.Sum(k.Anonymous, k.Heap), 45*mib, 6*mib)
	near("shared memory", k.Shared, 32*mib, 2*mib+64<<10)
	near("pss of anon", k.Anon, *m.Anon+5*mib, 6*mib)
	near("pss of shmem", k.Shmem, 32*mib, 2*mib+64<<10)
	if *k.Libraries < mib/2 || *k.Stack == 0 || *p.Largest[0].PageTables < 2*mib {
		t.Errorf("%s", show(k))
	}
	kinds := uint64(0)
	for _, n := range []*uint64{k.Heap, k.Stack, k.Libraries, k.Mapped, k.Anonymous, k.Shared, k.Other} {
		kinds += *n
	}
	near("the sum of the kinds", &kinds, *k.PSS, mib)

	e, err = h.look.Inspect(h.top.path, InspectOptions{Processes: 1, Children: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Children) != 1 || e.Children[0].Cgroup.ID != g.id() || e.ChildrenOther == nil || e.ChildrenOther.Cgroups != 1 || e.Processes.Total != 2 || len(e.Processes.Largest) != 1 {
		t.Errorf("%s", show(e))
	}

	node, err := h.look.Inspect("", InspectOptions{Processes: 3, Children: 3})
	if err != nil {
		t.Fatal(err)
	}
	if node.Cgroup != nil || *node.Memory.Limit < 128*mib || *node.Memory.Usage > *node.Memory.Limit || *node.Memory.Kernel == 0 || node.Processes.Total < 3 || len(node.Limits) != 1 {
		t.Errorf("%s", show(node))
	}
	// Gone is an error that says so.
	if _, err := h.look.Inspect(h.top.path+"/none", InspectOptions{}); !os.IsNotExist(err) {
		t.Error(err)
	}
	if _, err := h.look.Rank(context.Background(), h.top.path+"/none", 0); !os.IsNotExist(err) {
		t.Error(err)
	}
	for _, sel := range []Selector{{ID: g.id()}, {Path: g.path}, {PID: int(p.Largest[0].PID)}} {
		if path, err := h.look.Find(sel); err != nil || path != g.path {
			t.Errorf("%+v: %s, %v", sel, path, err)
		}
	}
	for _, sel := range []Selector{{ID: 1 << 60}, {Path: g.path + "/none"}, {PID: 1 << 30}, {Container: "none-of-this-name"}, {Pod: "none"}} {
		if path, err := h.look.Find(sel); err == nil {
			t.Errorf("%+v: %s", sel, path)
		}
	}
}
