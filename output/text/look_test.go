package text

import (
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func megs(n uint64) *uint64 { return ptr(n * mib) }

func ranked(pid int32, comm, path string, rss uint64, adj int, badness int64, position int) event.Ranked {
	r := event.Ranked{Position: position}
	r.PID, r.Comm, r.AnonRSS, r.OOMScoreAdj = pid, comm, megs(rss), &adj
	r.Cgroup = &event.Cgroup{ID: 7, Path: path, Version: 2}
	score := 670
	r.OOMScore, r.OOMScoreComputed = &score, &score
	if position > 0 {
		r.Badness = &badness
	}
	return r
}

// looks are a rank and an inspect with everything in them, and with next to
// nothing.
func looks() []event.Event {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web := &event.Container{ID: "0123456789abcdef0123456789abcdef", Name: "web", Runtime: "docker"}
	cg := &event.Cgroup{ID: 9, Path: "/docker/0123456789abcdef0123456789abcdef", Version: 2}
	above := &event.Cgroup{ID: 8, Path: "/docker", Version: 2}
	limits := []event.Limit{
		{Cgroup: cg, Container: web, Usage: megs(300), Reclaimable: megs(20)},
		{Cgroup: above, Limit: megs(512), High: megs(480), Usage: megs(500), Reclaimable: megs(30), SwapLeft: megs(8), Headroom: megs(50), Tightest: true},
		{Limit: megs(16 << 10), Usage: megs(9 << 10), Reclaimable: megs(1 << 10), Headroom: megs(8 << 10)},
	}
	yes, no, swappiness, threads := true, false, 60, 4
	growth, reached := uint64(5<<20), int64(10*time.Second)
	r := &event.Rank{
		Meta: event.Meta{Type: event.TypeRank, Time: at}, Cgroup: cg, Container: web, Limits: limits,
		Domain:   event.RankDomain{Constraint: event.ConstraintMemcg, Limit: limits[1], TotalPages: 133120},
		Forecast: &event.Forecast{Trend: event.TrendGrowing, WindowNS: int64(time.Second), Samples: 21, Noise: 512 << 10, Growth: &growth, ReachedInNS: &reached},
		Group:    above, GroupProcesses: 3, Total: 30, DomainTotal: 40,
	}
	first := ranked(11, "ja\x1b[31mva", cg.Path, 200, 0, 51200, 1)
	second := ranked(12, "worker", cg.Path, 199, 0, 51100, 2)
	other := 690
	second.OOMScore = &other
	second.Swap, second.PageTables = megs(3), megs(40)
	exempt := ranked(13, "agent", cg.Path, 30, -1000, 0, 0)
	exempt.Unkillable = "oom_score_adj"
	r.Next, r.Processes, r.Close = &first, []event.Ranked{first, second, exempt}, []event.Process{second.Process}

	bare := &event.Rank{Meta: event.Meta{Type: event.TypeRank, Time: at}, Domain: event.RankDomain{Constraint: event.ConstraintGlobal}}
	off := &event.Rank{Meta: event.Meta{Type: event.TypeRank, Time: at}, Cgroup: cg, Domain: event.RankDomain{Constraint: event.ConstraintMemcg, Limit: event.Limit{Cgroup: cg, Limit: megs(5)}}, OOMKillDisabled: true,
		Forecast: &event.Forecast{Trend: event.TrendFlat, WindowNS: int64(time.Second), Noise: 512 << 10}}

	kind := event.MemoryKind{
		PSS: megs(280), Anon: megs(250), File: megs(10), Shmem: megs(20), Swap: megs(3), Heap: megs(100), Stack: megs(1), Libraries: megs(9),
		Mapped: megs(1), Anonymous: megs(149), Shared: megs(20), Other: new(uint64),
	}
	i := &event.Inspect{
		Meta: event.Meta{Type: event.TypeInspect, Time: at}, Cgroup: cg, Container: web, Limits: limits,
		Memory: event.Figures{
			Usage: megs(300), Limit: megs(400), Anon: megs(250), File: megs(40), Shmem: megs(20), FileDirty: megs(2), Kernel: megs(9), SlabUnreclaimable: megs(4),
			PageTables: megs(3), SwapUsage: megs(3), SwapLimit: megs(100), WorkingSet: megs(290), Available: megs(130), MaxUsage: megs(399), InactiveFile: megs(10), Source: event.SourceCgroupfs,
		},
		Lists:    &event.Lists{ActiveAnon: megs(100), InactiveAnon: megs(170), ActiveFile: megs(10), InactiveFile: megs(10), Unevictable: megs(0)},
		Kernel:   &event.KernelParts{Percpu: megs(1), Zswap: megs(2)},
		Settings: &event.Settings{Swappiness: &swappiness, OOMGroup: &yes, OOMKillDisable: &no, High: megs(380), Low: megs(0)},
		Events:   map[string]uint64{"max": 1234, "oom_kill": 1, "low": 0},
		Pressure: &event.Pressure{Some: &event.Stalled{Avg10: 1.5, TotalNS: 12e9}, Full: &event.Stalled{}},
		Processes: &event.ProcessMemory{Total: 3, Threads: 9, Read: 2, Sum: kind, RSS: megs(310), PageTables: megs(3), Largest: []event.ProcessKinds{
			{Actor: first.Actor, RSS: megs(210), Threads: threads, MemoryKind: kind},
			{Actor: exempt.Actor, RSS: megs(30), Unread: "permission denied"},
		}},
		Children:      []event.ChildUsage{{Cgroup: event.Cgroup{ID: 10, Path: cg.Path + "/a"}, Usage: megs(200), Limit: megs(256)}, {Cgroup: event.Cgroup{ID: 11, Path: cg.Path + "/b"}, Usage: megs(20)}},
		ChildrenOther: &event.ChildrenOther{Cgroups: 4, Usage: 5 << 20},
		Unread:        []event.Unread{{What: "smaps of processes", Count: 1, Reason: "permission denied: needs CAP_SYS_PTRACE"}},
	}
	return []event.Event{r, bare, off, i, &event.Inspect{Meta: event.Meta{Type: event.TypeInspect, Time: at}}}
}

// Whatever is missing, and however narrow the screen: no panic, nothing wider.
func TestLooksNarrow(t *testing.T) {
	for width := 1; width < 140; width += 3 {
		check(t, render(t, Options{Width: width}, looks()...), width)
	}
}
