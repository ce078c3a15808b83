package tracer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// A prime number of kills, each in a cgroup of its own that is removed at once:
// each must be told once, with the right process, cgroup and limit.
func TestKills(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		const kills = 13
		top := newGroup(t)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		want := make(map[string]int32)
		ids := make(map[string]uint64)
		for i := range kills {
			g := top.child(fmt.Sprintf("kill-%d", i)).limit(uint64(16+i) * mib)
			ids[g.path] = g.id()
			want[g.path] = g.runKilled(fmt.Sprintf("comm=victim-%d", i), "hog")
			g.remove()
		}
		waitFor(x, func(events []event.Event) (bool, bool) { return true, len(of[*event.OOMEnd](events)) >= kills })
		events := x.stop()
		got := killsBelow(events, top.path)
		if len(got) != kills {
			t.Errorf("%d kills told, %d made", len(got), kills)
		}
		for _, k := range got {
			path := k.Victim.Cgroup.Path
			n := strings.TrimPrefix(path, top.path+"/kill-")
			if k.Victim.PID != want[path] || k.Victim.Comm != "victim-"+n {
				t.Errorf("%s: victim %d %q, want %d", path, k.Victim.PID, k.Victim.Comm, want[path])
			}
			delete(want, path)
			checkKill(t, k, path, path, ids[path])
			if !slices.ContainsFunc(of[*event.OOMEnd](events), func(e *event.OOMEnd) bool {
				return e.Incident == k.Incident && e.Timeline.ExitedNS != nil && e.Freed != nil && len(e.Survivors) == 0
			}) {
				t.Errorf("%s: no oom_end with exit and freed memory", path)
			}
		}
		for path := range want {
			t.Errorf("%s: kill not told", path)
		}
	})
}

// checkKill checks what must be true of every kill by a cgroup's limit.
func checkKill(t *testing.T, k *event.OOMKill, victimPath, domainPath string, domainID uint64) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", victimPath, fmt.Sprintf(format, args...))
	}
	if k.Domain.Constraint != event.ConstraintMemcg {
		fail("constraint %q", k.Domain.Constraint)
	}
	if k.Domain.Cgroup == nil || k.Domain.Cgroup.Path != domainPath || domainID != 0 && k.Domain.Cgroup.ID != domainID {
		fail("domain %+v, want %s %d", k.Domain.Cgroup, domainPath, domainID)
	}
	if m := k.Domain.Memory; m == nil || m.Usage == nil || m.Limit == nil || *m.Usage > *m.Limit+64<<10 || *m.Usage+4*mib < *m.Limit { // a huge page may have been asked for
		fail("usage and limit: %s", show(m))
	} else if m.LRUAnon == nil || *m.LRUAnon < *m.Usage/2 || m.Anon != nil && *m.Anon < *m.Usage/2 {
		fail("anonymous memory: %s, candidates %s", show(m), show(k.Candidates))
	}
	v := &k.Victim
	if v.AnonRSS == nil || *v.AnonRSS < 8*mib || v.PageTables == nil || v.Badness == nil || v.TotalVM == nil {
		fail("victim's memory: %+v", v.TaskMemory)
	} else if pages := int64(*v.RSS()+*v.Swap+*v.PageTables) / int64(os.Getpagesize()); v.OOMScoreAdj != nil && *v.OOMScoreAdj == 0 && abs(pages-*v.Badness) > 256 {
		// what the kernel weighed moments before, in approximate counters
		fail("badness %d, pages held %d", *v.Badness, pages)
	}
	if len(k.Candidates) == 0 || k.CandidatesMissing != 0 {
		fail("%d candidates, %d missing", len(k.Candidates), k.CandidatesMissing)
	} else if k.Candidates[0].PID != v.PID {
		fail("the worst candidate is %d, the victim %d", k.Candidates[0].PID, v.PID)
	}
	if k.Trigger.PID == 0 || k.Trigger.Cgroup == nil || k.Trigger.Order == nil && k.Timeline.InvokedNS != nil || k.Trigger.GFPFlags == "" {
		fail("trigger %+v", k.Trigger)
	}
	if k.Timeline.SignalledNS == nil || *k.Timeline.SignalledNS > 0 {
		fail("timeline %+v", k.Timeline)
	}
	if k.ReclaimBefore == nil || k.ReclaimBefore.Episodes == 0 {
		fail("no reclaim before: %+v", k.ReclaimBefore)
	}
	if len(k.Killed) == 0 || k.Killed[0].PID != v.PID || k.Killed[0].Reason != "chosen" {
		fail("killed %+v", k.Killed)
	}
}

func show(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func abs(n int64) int64 { return max(n, -n) }

// The limit that fires is the parent's; the biggest of the candidates dies, not
// the one that asked for memory.
func TestParentLimit(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		top := newGroup(t).limit(64 * mib)
		big, small := top.child("big"), top.child("small")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}, Stacks: true, Cgroups: []Selector{{Path: top.path}}})
		victim := big.start("comm=big", "anon=40", "wait")
		for *big.figures().Usage < 40*mib {
			if victim.ProcessState != nil {
				t.Fatal("the workload ended")
			}
		}
		trigger := small.start("comm=small", "anon=30", "wait")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, top.path)
			return firstOf(k), len(k) > 0
		})
		checkKill(t, k, big.path, top.path, top.id())
		if k.Victim.Comm != "big" || int(k.Victim.PID) != victim.Process.Pid || k.Victim.Cgroup.ID != big.id() {
			t.Errorf("victim %+v", k.Victim)
		}
		if k.Trigger.Comm != "small" || int(k.Trigger.PID) != trigger.Process.Pid || k.Trigger.Cgroup.ID != small.id() {
			t.Errorf("trigger %+v", k.Trigger)
		}
		if len(k.Candidates) != 2 {
			t.Errorf("candidates %+v", k.Candidates)
		}
		if !slices.ContainsFunc(k.Trigger.Stack, func(f string) bool { return strings.HasPrefix(f, "oom_kill_process+") }) {
			t.Errorf("stack %q", k.Trigger.Stack)
		}
		x.stop()
	})
}

func firstOf[T any](s []T) T {
	var zero T
	if len(s) == 0 {
		return zero
	}
	return s[0]
}

// A cgroup at its limit has the same usage while its cache is being reclaimed and
// when it is killed for anonymous memory: the composition told is that of the
// kill.
func TestComposition(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		file := filepath.Join(scratch(t), "file")
		g := newGroup(t).limit(32 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		g.runKilled("write="+file+",48", "read="+file+",65536,seq,48", "hog")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		checkKill(t, k, g.path, g.path, g.id())
		m := k.Domain.Memory
		if *m.LRUFile > 4*mib || m.File != nil && *m.File > 4*mib {
			t.Errorf("page cache at the kill: %s", show(m))
		}
		x.stop()
	})
}

// memory.oom.group: one incident, however many processes.
func TestGroupKill(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(64 * mib)
		if g.m.Version == 1 {
			t.Skip("cgroup v1 has no memory.oom.group")
		}
		g.set("memory.oom.group", "1")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		pids := []int{g.start("anon=5", "wait").Process.Pid, g.start("anon=5", "wait").Process.Pid}
		for *g.figures().Usage < 10*mib {
		}
		pids = append(pids, int(g.runKilled("hog")))
		waitFor(x, func(events []event.Event) (bool, bool) { return true, len(of[*event.OOMEnd](events)) > 0 })
		kills := killsBelow(x.stop(), g.path)
		if len(kills) != 1 {
			t.Fatalf("%d incidents", len(kills))
		}
		k := kills[0]
		checkKill(t, k, g.path, g.path, g.id())
		var got []int
		for _, v := range k.Killed {
			got = append(got, int(v.PID))
		}
		slices.Sort(got)
		slices.Sort(pids)
		if !k.Group || !slices.Equal(got, pids) {
			t.Errorf("group %v, killed %v, want %v", k.Group, got, pids)
		}
	})
}

// A process that shares the victim's memory goes with it, in the same incident.
func TestSharedMemory(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(48 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		pid := g.runKilled("sharer", "hog")
		waitFor(x, func(events []event.Event) (bool, bool) { return true, len(killsBelow(events, g.path)) > 0 })
		kills := killsBelow(x.stop(), g.path)
		if len(kills) != 1 {
			t.Fatalf("%d incidents", len(kills))
		}
		killed := kills[0].Killed
		if len(killed) != 2 {
			t.Fatalf("killed %+v", killed)
		}
		// either of the two may be chosen: they hold the same memory
		if killed[0].PID != pid && killed[1].PID != pid || killed[1].Reason != "shared_mm" {
			t.Errorf("killed %+v, started %d", killed, pid)
		}
	})
}

// The node is short of memory, and kswapd takes the page cache of a cgroup that
// is far from its own limit. Before TestGlobal: after an OOM of the node, newer
// kernels take kswapd for hopeless and do not wake it for a while.
func TestKswapd(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip("makes the whole machine short of memory: only in a guest (make test-guests)")
	}
	bestTier(t, func(t *testing.T, tier string) {
		file := filepath.Join(scratch(t), "file")
		g := newGroup(t)
		big, cached := g.child("big"), g.child("cached")
		free, err := os.ReadFile("/proc/meminfo")
		if err != nil {
			t.Fatal(err)
		}
		var kib uint64
		_, rest, _ := strings.Cut(string(free), "MemAvailable:")
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			t.Fatal(err)
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyKswapd, FamilyCache, FamilyReclaim}, Interval: 100 * time.Millisecond})
		mib := kib/1024 - 160
		big.start(fmt.Sprintf("anon=%d", mib), "wait")
		for *big.figures().Usage < mib<<20 {
		}
		cached.run("write="+file+",300", "read="+file+",65536,seq,300")
		waitFor(x, func(events []event.Event) (bool, bool) {
			var runs, by uint64
			for _, k := range of[*event.Kswapd](events) {
				for _, v := range k.Evicted {
					if v.Cgroup != nil && v.Cgroup.Path == cached.path && v.File.Path == file {
						runs += v.Pages
					}
				}
			}
			sum, _ := traffic(events, cached.path)
			for _, v := range sum.EvictedBy {
				if v.Kswapd && v.Kind == event.EvictKswapd && v.Cgroup == nil {
					by += v.Pages
				}
			}
			return true, runs > 0 && by > 0
		})
		x.stop()
	})
}

// The whole node runs out: the domain is global and the candidates are all.
func TestGlobal(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip("runs the machine out of memory: only in a guest (make test-guests)")
	}
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t)
		x := startTrace(t, Options{Tier: tier, Families: Families()})
		pid := g.runKilled("comm=greedy", "adj=1000", "hog")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		if k.Domain.Constraint != event.ConstraintGlobal || k.Domain.Cgroup != nil || k.Victim.PID != pid {
			t.Errorf("domain %+v victim %d, want %d", k.Domain, k.Victim.PID, pid)
		}
		if k.Verdict == nil || k.Verdict.Cause != event.CauseNodePressure {
			t.Errorf("verdict %s", show(k.Verdict))
		}
		if len(k.Candidates) < 2 || k.Candidates[0].PID != pid || k.Candidates[0].Badness == nil {
			t.Errorf("candidates %+v", k.Candidates)
		}
		events := x.stop()
		if !slices.ContainsFunc(of[*event.Reclaim](events), func(r *event.Reclaim) bool { return r.Kind == event.ReclaimDirect && r.Domain == nil }) {
			t.Error("no direct reclaim")
		}
	})
}

// scratch is a directory on a disk: page cache needs one.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(diskDir(t), "oomtrace-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Clean(dir)
}
