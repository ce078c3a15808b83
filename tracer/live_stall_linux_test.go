package tracer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Every begin of reclaim has its end, each is told once, and times add up.
func TestEpisodes(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
		if err != nil {
			t.Fatal(err)
		}
		defer stats.Close()
		dir := scratch(t)
		g := newGroup(t).limit(24 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim}, Stacks: true})
		file := filepath.Join(dir, "file")
		g.run("write="+file+",48", "threads=4", "read="+file+",4096,random,12")
		// From 7.0 the kernel passes a program over on a CPU where it was preempted
		// in the middle; it counts that, and the tracer tells it as lost.
		runs := func(program string) (all, skipped uint64) {
			info, err := x.tracer.session.Programs[program].Stats()
			if err != nil {
				t.Fatal(err)
			}
			return uint64(info.RunCount) + info.RecursionMisses, info.RecursionMisses
		}
		begins, unbegun := runs("memcg_begin")
		ends, unended := runs("memcg_end")
		events := x.stop()
		var told, others uint64
		for _, r := range of[*event.Reclaim](events) {
			if r.Kind == event.ReclaimDirect || r.Kind == event.ReclaimNode {
				continue
			}
			told++
			if r.Cgroup.Path != g.path {
				others++
				continue
			}
			if r.Kind != event.ReclaimMemcgLimit || r.Domain == nil || r.Domain.ID != g.id() {
				t.Fatalf("kind %s, domain %+v", r.Kind, r.Domain)
			}
			if r.DurationNS <= 0 || r.CPUNS != nil && (*r.CPUNS > r.DurationNS || *r.CPUNS == 0) {
				t.Fatalf("duration %d, cpu %d", r.DurationNS, *r.CPUNS)
			}
			if !slices.ContainsFunc(r.Stack, func(f string) bool { return strings.HasPrefix(f, "try_to_free_mem_cgroup_pages+") }) {
				t.Fatalf("stack %q", r.Stack)
			}
		}
		// Where others reclaim as well, theirs may be under way at either end.
		if begins == 0 || abs(int64(begins)-int64(ends)) > int64(others) || told > ends+others || told+unbegun+unended+others < ends {
			t.Errorf("%d begins, %d ends, %d told (%d of others), passed over %d and %d", begins, ends, told, others, unbegun, unended)
		}
	})
}

// A stall that is shorter than asked for stays in the kernel.
func TestMinStall(t *testing.T) {
	needRoot(t)
	dir := scratch(t)
	g := newGroup(t).limit(24 * mib)
	x := startTrace(t, Options{Families: []string{FamilyReclaim}, MinStall: time.Hour})
	file := filepath.Join(dir, "file")
	g.run("write=" + file + ",48")
	if n := len(of[*event.Reclaim](x.stop())); n != 0 {
		t.Errorf("%d episodes of an hour and more", n)
	}
}

// Only what is asked for is told, a cgroup's descendants and one that does not
// exist yet included.
func TestFilter(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t)
		in, out := top.child("in"), top.child("out").limit(24*mib)
		later := &group{t, top.m, top.path + "/later"}
		x := startTrace(t, Options{Tier: tier, Families: Families(), Interval: 100 * time.Millisecond,
			Cgroups: []Selector{{ID: in.id()}, {Path: later.dir() + "/"}}})
		below := in.child("below").limit(24 * mib)
		later.make()
		later.limit(24 * mib)
		for _, g := range []*group{below, out, later} {
			g.run("write=" + filepath.Join(dir, g.path[len(top.path)+1:len(top.path)+3]) + ",40")
			g.runKilled("hog")
		}
		events := x.stop()
		inside := func(path string) bool { return strings.HasPrefix(path, in.path) || strings.HasPrefix(path, later.path) }
		seen := make(map[string]map[string]int)
		for _, e := range events {
			var cg *event.Cgroup
			switch e := e.(type) {
			case *event.Reclaim:
				cg = e.Cgroup
			case *event.OOMKill:
				cg = e.Victim.Cgroup
			case *event.Cache:
				cg = e.Cgroup
			case *event.MemorySample:
				cg = &e.Cgroup
			case *event.CgroupChange:
				cg = &e.Cgroup
			default:
				continue
			}
			kind := e.Head().Type
			if cg == nil || !inside(cg.Path) {
				t.Errorf("%s of %+v", kind, cg)
				continue
			}
			if seen[cg.Path] == nil {
				seen[cg.Path] = make(map[string]int)
			}
			seen[cg.Path][kind]++
		}
		for _, g := range []*group{below, later} {
			for _, kind := range []string{event.TypeReclaim, event.TypeOOMKill, event.TypeCache, event.TypeMemory, event.TypeCgroup} {
				if seen[g.path][kind] == 0 {
					t.Errorf("%s: no %s event: %v", g.path, kind, seen[g.path])
				}
			}
		}
	})
}

// A reader that has stopped costs records, never their count, and never a kill.
func TestStoppedReader(t *testing.T) {
	needRoot(t)
	dir := scratch(t)
	g := newGroup(t).limit(16 * mib)
	x := startTrace(t, Options{Families: []string{FamilyReclaim, FamilyOOM}, RingBytes: 1 << 16})
	x.mu.Lock()
	held := make(chan struct{})
	x.hold = held
	x.mu.Unlock()
	file := filepath.Join(dir, "file")
	storm := []string{"write=" + file + ",64"}
	for range 8 {
		storm = append(storm, "read="+file+",4096,seq,64")
	}
	g.run(storm...)
	pid := g.runKilled("hog")
	close(held)
	events := x.stop() // checks that sent = received + lost
	if kills := killsBelow(events, g.path); len(kills) != 1 || kills[0].Victim.PID != pid {
		t.Errorf("%d kills told", len(kills))
	}
	s := events[len(events)-1].(*event.Summary)
	if s.Lost[FamilyReclaim] == 0 || s.Received == 0 {
		t.Errorf("received %d, lost %v", s.Received, s.Lost)
	}
	var told uint64
	for _, l := range of[*event.Lost](events) {
		if l.Family == FamilyReclaim { // of kills elsewhere on the machine records are lost too
			told += l.Count
		}
	}
	if told != s.Lost[FamilyReclaim] {
		t.Errorf("lost %d, told %d", s.Lost[FamilyReclaim], told)
	}
}

// memory.high puts tasks to sleep; the reclaim before is of its own kind.
func TestThrottle(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t)
		if g.m.Version == 1 {
			t.Skip("cgroup v1 has no memory.high")
		}
		g.set("memory.high", "16777216")
		g.set("memory.swap.max", "0")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim, FamilyThrottle, FamilyOOM}})
		began := time.Now()
		g.run("anon=20")
		wall := time.Since(began)
		events := x.stop()
		var high int
		for _, r := range of[*event.Reclaim](events) {
			if r.Cgroup == nil || r.Cgroup.Path != g.path {
				continue
			}
			high++
			if r.Kind != event.ReclaimMemcgHigh || r.Domain == nil || r.Domain.ID != g.id() {
				t.Fatalf("kind %s (%s), domain %+v", r.Kind, r.KindSource, r.Domain)
			}
		}
		if high == 0 {
			t.Error("no reclaim for memory.high")
		}
		sleeps := of[*event.Throttle](events)
		if tier == TierTracepoint {
			if len(sleeps) != 0 {
				t.Errorf("%d sleeps seen without a hook", len(sleeps))
			}
			if !slices.ContainsFunc(x.tracer.Header().Missing, func(m event.Missing) bool { return m.Family == FamilyThrottle }) {
				t.Error("the header does not say that throttling cannot be seen")
			}
			return
		}
		var asleep time.Duration
		for _, s := range sleeps {
			if s.Cgroup.Path != g.path || s.Domain == nil || s.Domain.ID != g.id() {
				t.Fatalf("throttle of %+v by %+v", s.Cgroup, s.Domain)
			}
			asleep += time.Duration(s.DurationNS)
		}
		if len(sleeps) == 0 || asleep > wall || asleep < wall/4 {
			t.Errorf("%d sleeps, %v of %v", len(sleeps), asleep, wall)
		}
	})
}

// memory.reclaim shrinks a cgroup from outside: proactive, whoever asks.
func TestProactive(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		g := newGroup(t).limit(256 * mib)
		if !exists(filepath.Join(g.dir(), "memory.reclaim")) {
			t.Skip("this kernel has no memory.reclaim (cgroup v2, 5.19)")
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim, FamilyCache}})
		g.run("write=" + filepath.Join(dir, "file") + ",32")
		g.set("memory.reclaim", "16M")
		events := x.stop()
		var pages uint64
		for _, r := range of[*event.Reclaim](events) {
			if r.Kind != event.ReclaimMemcgProactive {
				continue
			}
			if r.Domain != nil && r.Domain.ID != g.id() || r.Domain == nil && tier != TierTracepoint {
				t.Errorf("domain %+v", r.Domain)
			}
			for _, v := range r.Evicted {
				if v.Cgroup != nil && v.Cgroup.ID == g.id() {
					pages += v.Pages
				}
			}
		}
		if pages < 4096*9/10 {
			t.Errorf("evicted %d pages on request for 4096", pages)
		}
		sum, _ := traffic(events, g.path)
		var asked uint64
		for _, v := range sum.EvictedBy {
			if v.Kind == event.ReclaimMemcgProactive && v.Cgroup != nil {
				asked += v.Pages
			}
		}
		if asked != pages {
			t.Errorf("%d pages by proactive reclaim in the cache's totals, %d in its episodes", asked, pages)
		}
	})
}

// Cgroups that come and go are told, and known by name ever after.
func TestLifecycle(t *testing.T) {
	needRoot(t)
	x := startTrace(t, Options{Families: []string{FamilyCgroup}})
	top := newGroup(t)
	g := top.child("briefly")
	id := g.id()
	g.run("anon=1")
	g.remove()
	waitFor(x, func(events []event.Event) (bool, bool) {
		var states []string
		for _, c := range of[*event.CgroupChange](events) {
			if c.Cgroup.ID == id && c.Cgroup.Path == g.path {
				states = append(states, c.State)
			}
		}
		return true, slices.Equal(states, []string{"appeared", "identified", "gone"})
	})
	x.stop()
}
