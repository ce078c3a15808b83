package text

import (
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const mib = 1 << 20

func ptr[T any](v T) *T { return &v }

func meta(typ string, after time.Duration) event.Meta {
	return event.Meta{Type: typ, Time: time.Date(2026, 3, 1, 3, 12, 7, 123456789, time.UTC).Add(after)}
}

var (
	id       = strings.Repeat("4c01db0b339c", 6)[:64]
	pod      = &event.Cgroup{ID: 4100, Path: "/kubepods/burstable/pod7f1c8a52-9d3e-4b1a-8c55-0f2f6a7c9d10", Version: 2}
	app      = &event.Cgroup{ID: 4107, Path: pod.Path + "/" + id, Version: 2}
	batch    = &event.Cgroup{ID: 5100, Path: "/system.slice/batch.service", Version: 2}
	checkout = &event.Container{ID: id, Name: "app", Runtime: "containerd", Image: "registry.example/checkout:1.4",
		Pod: &event.Pod{Name: "checkout-7d9f8b6c5-x2x4z", Namespace: "shop", UID: "7f1c8a52-9d3e-4b1a-8c55-0f2f6a7c9d10"}}
	batchUnit = &event.Container{Runtime: "systemd", Unit: "batch.service"}
	hostile   = "a\x1b[2J\n\u202e<b>"
	java      = event.Process{PID: 48213, TID: 48240, PPID: 48190, Comm: "java", UID: ptr(int64(1000)), ContainerPID: 7}
)

func head() *event.Header {
	return &event.Header{
		Meta: meta(event.TypeHeader, -time.Second), Schema: 1, Version: "0.4.0", Host: "node-7", Kernel: "6.12.95-cloud", Arch: "x86_64",
		PageBytes: 4096, CgroupVersion: 2,
		Hooks: []event.Hook{
			{Family: "oom", Hook: "oom_kill_process", Kind: "fentry"}, {Family: "oom", Hook: "mark_victim", Kind: "tp_btf"},
			{Family: "reclaim", Hook: "mm_vmscan_memcg_reclaim_begin", Kind: "tp_btf"}, {Family: "cache", Hook: "mm_filemap_add_to_page_cache", Kind: "tp_btf"},
		},
		Missing: []event.Missing{
			{Family: "throttle", Reason: "this kernel's mem_cgroup_handle_over_high is inlined and kprobes are locked down (lockdown=integrity); boot with lockdown=none to have it"},
			{Family: "reclaim", What: "domain", Reason: "inferred from counters"},
		},
	}
}

func candidate(pid int32, comm string, anonMiB, swapMiB uint64, adj int, badness int64, g *event.Cgroup, c *event.Container) event.Candidate {
	return event.Candidate{
		Actor: event.Actor{Process: event.Process{PID: pid, Comm: comm}, Cgroup: g, Container: c},
		TaskMemory: event.TaskMemory{AnonRSS: ptr(anonMiB * mib), FileRSS: ptr(uint64(2 * mib)), ShmemRSS: ptr(uint64(0)), Swap: ptr(swapMiB * mib),
			PageTables: ptr(uint64(212 << 10)), OOMScoreAdj: ptr(adj), Badness: ptr(badness)},
	}
}

// parentKill is a kill in a container for the limit of its pod, set off by
// another process, with everything known.
func parentKill() *event.OOMKill {
	victim := candidate(48213, "java", 438, 12, 936, 239616, app, checkout)
	victim.Process = java
	victim.TotalVM = ptr(uint64(4831 * mib))
	exempt := candidate(48100, "pause", 0, 0, -998, 0, pod, nil)
	exempt.Badness, exempt.Unkillable = nil, "oom_score_adj"
	e := &event.OOMKill{
		Meta: meta(event.TypeOOMKill, 2*time.Second), Incident: "b3a1-17",
		Trigger: event.Trigger{
			Actor:    event.Actor{Process: event.Process{PID: 48300, Comm: "envoy"}, Cgroup: &event.Cgroup{ID: 4110, Path: pod.Path + "/" + strings.Repeat("b", 64)}, Container: &event.Container{Name: "istio-proxy", Pod: checkout.Pod}},
			GFPFlags: "GFP_KERNEL|__GFP_ZERO|__GFP_ACCOUNT", Order: ptr(0),
			Stack: []string{"try_charge_memcg+0x3e1", "charge_memcg+0x8a", "__mem_cgroup_charge+0x2b", "do_anonymous_page+0x1f2", "__handle_mm_fault+0x9b0", "handle_mm_fault+0xe2", "do_user_addr_fault+0x211", "exc_page_fault+0x7e", "asm_exc_page_fault+0x26"},
		},
		Victim: victim,
		Domain: event.OOMDomain{Constraint: event.ConstraintMemcg, Cgroup: pod, TotalPages: ptr(uint64(131072)), Source: event.SourceBPF,
			Memory: &event.Figures{Usage: ptr(uint64(512 * mib)), Limit: ptr(uint64(512 * mib)), SwapUsage: ptr(uint64(12 * mib)), SwapLimit: ptr(uint64(64 * mib)),
				Anon: ptr(uint64(451 * mib)), File: ptr(uint64(41 * mib)), Shmem: ptr(uint64(24 * mib)), FileDirty: ptr(uint64(3 * mib)), FileMapped: ptr(uint64(9 * mib)),
				ActiveFile: ptr(uint64(10 * mib)), InactiveFile: ptr(uint64(7 * mib)), Kernel: ptr(uint64(12 * mib)), SlabReclaimable: ptr(uint64(4 * mib)),
				SlabUnreclaimable: ptr(uint64(3 * mib)), PageTables: ptr(uint64(2 * mib)), KernelStack: ptr(uint64(900 << 10)), Sock: ptr(uint64(1 * mib)),
				Source: event.SourceCgroupfs}},
		Candidates: []event.Candidate{victim, candidate(48300, "envoy", 18, 0, 936, 128900, pod, &event.Container{Name: "istio-proxy", Pod: checkout.Pod}),
			candidate(48251, "sh", 1, 0, 936, 123120, app, checkout), candidate(48252, "tail", 1, 0, 936, 123090, app, checkout),
			candidate(48253, "logger", 1, 0, 0, 700, app, checkout), candidate(48254, "sleep", 0, 0, 0, 60, app, checkout), exempt},
		CandidatesMissing: 3,
		Killed:            []event.Killed{{Actor: victim.Actor, Reason: "chosen"}},
		Timeline:          event.Timeline{InvokedNS: ptr(int64(-1210000)), SelectedNS: ptr(int64(-402000)), SignalledNS: ptr(int64(12400))},
		ReclaimBefore:     &event.ReclaimBefore{WindowNS: 10e9, Episodes: 212, StalledNS: 3_320_000_000, Reclaimed: 9120},
		Verdict: &event.Verdict{Cause: event.CauseAncestorLimit, Underlying: event.CauseLeak, Confidence: "high", Evidence: []string{
			"The limit that was reached, 512 MiB, is that of " + pod.Path + ", above the victim's own cgroup.",
			"Anonymous memory (heaps and stacks of the processes) is 451 MiB of the 512 MiB in use (88%); java[48213] held 438 MiB.",
			"To do: raise the limit, or give the cgroups below it limits that add up to less than it.",
		}},
		Source: event.SourceBPF,
	}
	return e
}

// groupKill is a memory.oom.group kill whose victim set it off.
func groupKill() *event.OOMKill {
	victim := candidate(901, "worker", 58, 0, 0, 15104, batch, batchUnit)
	e := &event.OOMKill{
		Meta: meta(event.TypeOOMKill, 3*time.Second), Incident: "b3a1-18", Group: true, Victim: victim,
		Trigger: event.Trigger{Actor: victim.Actor, GFPFlags: "0xcc0", Order: ptr(2)},
		Domain: event.OOMDomain{Constraint: event.ConstraintMemcg, Cgroup: batch, Container: batchUnit, Source: event.SourceInferred,
			Memory: &event.Figures{Limit: ptr(uint64(64 * mib)), Anon: ptr(uint64(58 * mib)), File: ptr(uint64(2 * mib)), PageTables: ptr(uint64(1 * mib))}},
		Candidates: []event.Candidate{victim},
		Source:     event.SourceKmsg,
	}
	for i := range int32(12) {
		e.Killed = append(e.Killed, event.Killed{Actor: event.Actor{Process: event.Process{PID: 901 + i, Comm: "worker"}}, Reason: "group"})
	}
	return e
}

// nodeKill is a global OOM: names are hostile.
func nodeKill() *event.OOMKill {
	evil := &event.Container{Name: "web\x1b]0;pwned\x07 日本語", Runtime: "docker", Image: "reg/\x1b[2Jimage:1",
		Parent: &event.Container{Name: "kind\n\x07node", Runtime: "docker", Image: "kindest/node\x00"}}
	victim := candidate(4194304, hostile, 6100, 0, 1000, 3_561_600, &event.Cgroup{ID: 9, Path: "/docker/" + id}, evil)
	return &event.OOMKill{
		Meta: meta(event.TypeOOMKill, 25*time.Hour), Incident: "b3a1-\x1b19", Victim: victim,
		Trigger: event.Trigger{Actor: event.Actor{Process: event.Process{PID: 1, Comm: "systemd"}, Cgroup: &event.Cgroup{ID: 1, Path: "/init.scope"}},
			GFPFlags: "GFP_HIGHUSER_MOVABLE", Order: ptr(0)},
		Domain: event.OOMDomain{Constraint: event.ConstraintGlobal, TotalPages: ptr(uint64(2_000_000)),
			Memory: &event.Figures{Usage: ptr(uint64(7800 * mib)), Anon: ptr(uint64(6900 * mib)), File: ptr(uint64(80 * mib)), Shmem: ptr(uint64(60 * mib))}},
		Candidates: []event.Candidate{victim, candidate(2, `back\slash`+"\u2028", 100, 0, 0, 25000, nil, nil)},
		Killed:     []event.Killed{{Actor: victim.Actor, Reason: "chosen"}, {Actor: event.Actor{Process: event.Process{PID: 77, Comm: "<script>"}}, Reason: "shared_mm"}},
		Verdict:    &event.Verdict{Cause: "evil\nname", Confidence: "low", Evidence: []string{"\x1b[31mred " + strings.Repeat("long ", 80), strings.Repeat("unbroken", 40)}},
		Source:     event.SourceBPF,
	}
}

// story is a stream with some of everything.
func story() []event.Event {
	var events []event.Event
	add := func(e ...event.Event) { events = append(events, e...) }
	add(head())
	add(&event.CgroupChange{Meta: meta(event.TypeCgroup, 0), State: "identified", Cgroup: *app, Container: checkout},
		&event.CgroupChange{Meta: meta(event.TypeCgroup, 0), State: "appeared", Cgroup: *batch})
	add(stalls()...)
	for i := range 3 {
		add(&event.Throttle{Meta: meta(event.TypeThrottle, time.Duration(i)*time.Millisecond), Process: java, Cgroup: app, Container: checkout,
			Domain: &event.Domain{Cgroup: *app, Container: checkout}, DurationNS: 100e6})
	}
	add(parentKill(),
		&event.OOMEnd{Meta: meta(event.TypeOOMEnd, 2*time.Second), Incident: "b3a1-17", Timeline: event.Timeline{ExitedNS: ptr(int64(48e6)), FreedNS: ptr(int64(61e6))}, Freed: ptr(uint64(450 * mib))},
		groupKill(),
		&event.OOMEnd{Meta: meta(event.TypeOOMEnd, 3*time.Second), Incident: "b3a1-18", Freed: ptr(uint64(3 * mib)), Survivors: []event.Process{{PID: 905, Comm: "worker"}}},
		&event.OOMEnd{Meta: meta(event.TypeOOMEnd, 3*time.Second), Incident: "elsewhere"})
	add(traffic()...)
	add(&event.Lost{Meta: meta(event.TypeLost, 5*time.Second), Family: "cache", Count: 1234, Since: meta("", 4*time.Second).Time, Reason: "ring buffer full"})
	add(nodeKill())
	add(&event.Summary{Meta: meta(event.TypeSummary, 26*time.Hour), Events: map[string]uint64{"header": 1, "reclaim": 12345, "oom_kill": 3, "oom_end": 3, "cache": 400},
		Lost: map[string]uint64{"cache": 1234}, Sent: 1_301_234, Received: 1_300_000, WallNS: 26 * 3600e9, CPUNS: 61e9, PeakRSS: 34 * mib})
	return events
}

// stalls has every kind of reclaim.
func stalls() []event.Event {
	var events []event.Event
	for i, k := range []string{event.ReclaimMemcgLimit, event.ReclaimMemcgHigh, event.ReclaimMemcgProactive, event.ReclaimMemcgSoft, event.ReclaimDirect, event.ReclaimNode} {
		r := &event.Reclaim{Meta: meta(event.TypeReclaim, time.Duration(i)*137*time.Millisecond), Kind: k, Process: java, Cgroup: app, Container: checkout,
			DurationNS: []int64{12_400_000, 850_000, 1_320_000_000, 123_000, 212_000_000, 63e9}[i], Scanned: ptr(uint64(870)), Reclaimed: uint64(32 * i)}
		switch k {
		case event.ReclaimMemcgLimit:
			r.Domain = &event.Domain{Cgroup: *pod}
			r.Evicted = []event.Evicted{{Cgroup: app, Container: checkout, File: &event.File{Dev: "8:1", Inode: 7, Path: "/var/lib/app/index.db"}, Pages: 24}, {Pages: 3}}
		case event.ReclaimMemcgHigh:
			r.KindSource = event.SourceInferred
			r.Domain = &event.Domain{Cgroup: *app, Container: checkout}
			r.Scanned = nil
		case event.ReclaimMemcgProactive:
			r.Process = event.Process{PID: 611, Comm: "senpai"}
			r.Cgroup, r.Container = &event.Cgroup{ID: 2, Path: "/system.slice/senpai.service"}, nil
			r.Domain = &event.Domain{Cgroup: *app, Container: checkout}
			r.Evicted = []event.Evicted{{Cgroup: app, Container: checkout, File: &event.File{Dev: "8:1", Inode: 1234}, Pages: 512}}
		case event.ReclaimDirect:
			r.Process.Comm = hostile
			r.Evicted = []event.Evicted{{Cgroup: batch, Container: batchUnit, File: &event.File{Dev: "8:1", Inode: 7, Path: "/data/seg-0001"}, Pages: 4000}}
			r.Stack = []string{"try_to_free_pages+0xe1", "__alloc_pages_slowpath.constprop.0+0x3b2", "alloc_pages_mpol+0x91", "folio_alloc+0x5b", "page_cache_ra_unbounded+0x10a"}
		case event.ReclaimNode:
			r.Cgroup, r.Container = nil, nil
		}
		events = append(events, r)
	}
	return append(events, &event.Kswapd{Meta: meta(event.TypeKswapd, time.Second), Node: 0, DurationNS: 4_210_000, Scanned: ptr(uint64(4096)), Reclaimed: ptr(uint64(4001)),
		Evicted: []event.Evicted{{Cgroup: batch, Container: batchUnit, Pages: 3000, Reparented: 1000}}})
}

func traffic() []event.Event {
	return []event.Event{
		&event.Cache{Meta: meta(event.TypeCache, 4*time.Second), IntervalNS: 1e9, Cgroup: app, Container: checkout, Added: 3072, Evicted: 2560, Reparented: 512, Removed: 20,
			Refaulted: ptr(uint64(1800)), RefaultAfterNS: []event.Bucket{{UpTo: 67_108_864, Count: 100}, {UpTo: 134_217_728, Count: 1500}, {UpTo: 268_435_456, Count: 200}},
			EvictedBy: []event.EvictedBy{{Kswapd: true, Pages: 500}, {Cgroup: batch, Container: batchUnit, Pages: 2000}, {Cgroup: app, Container: checkout, Pages: 60}},
			Files: []event.CacheFile{{File: event.File{Dev: "8:1", Inode: 7, Path: "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/412/fs/var/lib/app/index.db"}, Added: 2900, Evicted: 2400},
				{File: event.File{Dev: "8:1", Inode: 99}, Added: 20, Removed: 20}, {File: event.File{Dev: "8:1", Inode: 8, Path: "/var/log/app.log"}, Added: 152, Evicted: 160},
				{File: event.File{Dev: "0:22", Inode: 9, Path: "/run/x"}, Added: 1}}},
		&event.Cache{Meta: meta(event.TypeCache, 4*time.Second), IntervalNS: 1e9},
		&event.Stalls{Meta: meta(event.TypeStalls, 4*time.Second), IntervalNS: 1e9, Cgroup: app, Container: checkout, Domain: &event.Domain{Cgroup: *pod},
			Kind: event.ReclaimMemcgLimit, Count: 213, TotalNS: 70_397_779, MaxNS: 41_432_183, Scanned: ptr(uint64(25453)), Reclaimed: ptr(uint64(17773)),
			DurationNS: []event.Bucket{{UpTo: 65536}, {UpTo: 73728, Count: 180}, {UpTo: 131072}, {UpTo: 147456, Count: 31}, {UpTo: 41943040, Count: 2}}},
		&event.Thrash{Meta: meta(event.TypeThrash, 4*time.Second), State: event.StateBegin, Cgroup: *app, Container: checkout, Domain: &event.Domain{Cgroup: *pod},
			DurationNS: 2e9, Refaulted: 32512, Added: 40704, Sampling: 256, StalledNS: 116_831_482, RefaultAfterP50NS: 503_316_480,
			Limit: ptr(uint64(32 * mib)), Sufficient: ptr(uint64(66 * mib)), Source: event.SourceInferred},
		&event.Thrash{Meta: meta(event.TypeThrash, 4*time.Second), State: event.StateEnd, Cgroup: *app, Container: checkout, Domain: &event.Domain{Cgroup: *app},
			DurationNS: 7e9, Refaulted: 44800, Added: 52992, Sampling: 256, StalledNS: 171_085_867, RefaultAfterP50NS: 603_979_776, Source: event.SourceInferred},
		&event.MemorySample{Meta: meta(event.TypeMemory, 4*time.Second), Cgroup: *app, Container: checkout, Memory: *parentKill().Domain.Memory},
		&event.MemorySample{Meta: meta(event.TypeMemory, 4*time.Second), Cgroup: *batch, Memory: event.Figures{Usage: ptr(uint64(30 * mib)), Anon: ptr(uint64(12 * mib))}},
	}
}

// bare has every event with nothing but what the contract demands.
func bare() []event.Event {
	return []event.Event{
		&event.Header{Meta: meta(event.TypeHeader, 0), Schema: 1, Version: "0.4.0", PageBytes: 0},
		&event.CgroupChange{Meta: meta(event.TypeCgroup, 0), State: "gone", Cgroup: event.Cgroup{ID: 12}},
		&event.Reclaim{Meta: meta(event.TypeReclaim, 0), Kind: event.ReclaimDirect, Process: event.Process{PID: 5}, Reclaimed: 3, Evicted: []event.Evicted{{Pages: 3}}},
		&event.Kswapd{Meta: meta(event.TypeKswapd, 0)},
		&event.Throttle{Meta: meta(event.TypeThrottle, 0), Process: event.Process{PID: 5, Comm: "a"}},
		&event.OOMKill{Meta: meta(event.TypeOOMKill, 0), Incident: "1", Victim: event.Candidate{Actor: event.Actor{Process: event.Process{PID: 5, Comm: "a"}}},
			Trigger: event.Trigger{Actor: event.Actor{Process: event.Process{PID: 6, Comm: "b"}}}, Domain: event.OOMDomain{Constraint: event.ConstraintMemcg}},
		&event.OOMKill{Meta: meta(event.TypeOOMKill, 0), Incident: "2"},
		&event.OOMEnd{Meta: meta(event.TypeOOMEnd, 0), Incident: "2"},
		&event.Cache{Meta: meta(event.TypeCache, 0), Added: 7},
		&event.Stalls{Meta: meta(event.TypeStalls, 0), Kind: event.StallCompaction, Count: 1},
		&event.Thrash{Meta: meta(event.TypeThrash, 0), State: event.StateBegin, Cgroup: event.Cgroup{ID: 12}},
		&event.MemorySample{Meta: meta(event.TypeMemory, 0), Cgroup: event.Cgroup{ID: 12}},
		&event.Lost{Meta: meta(event.TypeLost, 0), Family: "oom", Count: 1},
		&event.Summary{Meta: meta(event.TypeSummary, 0)},
	}
}
