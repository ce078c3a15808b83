package report

import (
	"iter"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const mib = 1 << 20

func ptr[T any](v T) *T { return &v }

func meta(typ string, at time.Duration) event.Meta {
	return event.Meta{Type: typ, Time: time.Date(2026, 3, 1, 3, 12, 9, 123456789, time.UTC).Add(at)}
}

var (
	shop     = event.Cgroup{ID: 10, Path: "/shop", Version: 2}
	checkout = event.Cgroup{ID: 11, Path: "/shop/checkout", Version: 2}
	search   = event.Cgroup{ID: 12, Path: "/shop/search", Version: 2}
	batch    = event.Cgroup{ID: 20, Path: "/batch", Version: 2}
	image    = &event.Container{ID: "4c01db0b339c", Name: "checkout", Runtime: "docker"}
	java     = event.Process{PID: 48213, TID: 48240, Comm: "java"}
)

func header() *event.Header {
	return &event.Header{Meta: meta(event.TypeHeader, -time.Minute), Schema: 1, Version: "1.0.0", Host: "node-7", BootID: "b1", Kernel: "6.12.1", Arch: "amd64",
		PageBytes: 4096, CgroupVersion: 2, Hooks: []event.Hook{{Family: "oom", Hook: "mark_victim", Kind: "tp_btf"}},
		Missing: []event.Missing{{Family: "throttle", What: "memory.high", Reason: "no kprobes"}}}
}

func sample(at time.Duration, g event.Cgroup, anon, shmem, file uint64) *event.MemorySample {
	return &event.MemorySample{Meta: meta(event.TypeMemory, at), Cgroup: g, Memory: event.Figures{
		Usage: ptr((anon + shmem + file + 1) * mib), Limit: ptr(uint64(128 * mib)), Anon: ptr(anon * mib), Shmem: ptr(shmem * mib),
		File: ptr((shmem + file) * mib), Kernel: ptr(uint64(mib)), SwapUsage: ptr(anon / 8 * mib), Source: event.SourceCgroupfs}}
}

func stall(at time.Duration, g event.Cgroup, ns int64) *event.Reclaim {
	return &event.Reclaim{Meta: meta(event.TypeReclaim, at), Kind: event.ReclaimMemcgLimit, Process: java, Cgroup: &g, Domain: &event.Domain{Cgroup: shop},
		DurationNS: ns, Reclaimed: 32, Stack: []string{"try_to_free_mem_cgroup_pages+0x21d", "charge_memcg+0x2f"},
		Evicted: []event.Evicted{{Cgroup: &search, File: &event.File{Dev: "8:1", Inode: 7, Path: "/srv/index.db"}, Pages: 32}}}
}

func kill(at time.Duration, incident string) *event.OOMKill {
	victim := event.Candidate{Actor: event.Actor{Process: java, Cgroup: &checkout, Container: image}, TaskMemory: event.TaskMemory{
		AnonRSS: ptr(uint64(100 * mib)), FileRSS: ptr(uint64(2 * mib)), ShmemRSS: ptr(uint64(0)), Swap: ptr(uint64(4 * mib)), OOMScoreAdj: ptr(100), Badness: ptr(int64(30000))}}
	rival := event.Candidate{Actor: event.Actor{Process: event.Process{PID: 7, Comm: "envoy"}, Cgroup: &search}, TaskMemory: event.TaskMemory{AnonRSS: ptr(uint64(mib)), Badness: ptr(int64(300))}}
	exempt := event.Candidate{Actor: event.Actor{Process: event.Process{PID: 6, Comm: "pause"}}, Unkillable: "oom_score_adj"}
	return &event.OOMKill{
		Meta: meta(event.TypeOOMKill, at), Incident: incident, Victim: victim, Group: true,
		Trigger: event.Trigger{Actor: rival.Actor, GFPFlags: "GFP_KERNEL", Order: ptr(0), Stack: []string{"out_of_memory+0x214"}},
		Domain: event.OOMDomain{Constraint: event.ConstraintMemcg, Cgroup: &shop, Source: event.SourceBPF, Memory: &event.Figures{
			Usage: ptr(uint64(128 * mib)), Limit: ptr(uint64(128 * mib)), Anon: ptr(uint64(110 * mib)), Shmem: ptr(uint64(10 * mib)), File: ptr(uint64(11 * mib)),
			Kernel: ptr(uint64(mib)), SwapUsage: ptr(uint64(12 * mib)), SwapLimit: ptr(uint64(16 * mib)), FileDirty: ptr(uint64(mib)), ReadNS: ptr(int64(-75_500)), Source: event.SourceCgroupfs}},
		Candidates: []event.Candidate{exempt, rival, victim}, CandidatesMissing: 2, CandidatesTruncated: true,
		Killed:        []event.Killed{{Actor: victim.Actor, Reason: "chosen"}, {Actor: event.Actor{Process: event.Process{PID: 48214, Comm: "sh"}}, Reason: "group"}},
		Timeline:      event.Timeline{InvokedNS: ptr(int64(-1_210_000)), SelectedNS: ptr(int64(-402_000)), SignalledNS: ptr(int64(12_400))},
		ReclaimBefore: &event.ReclaimBefore{WindowNS: 10e9, Episodes: 212, StalledNS: 3_320_000_000, Reclaimed: 9120},
		Verdict:       &event.Verdict{Cause: "leak", Confidence: "high", Evidence: []string{"Anonymous memory grew by 2.0 MiB/s.", "To do: take a heap profile."}},
		Source:        event.SourceBPF,
	}
}

// stream has some of everything around one kill.
func stream() []event.Event { return every(1) }

// every is the same with what was sampled once in so many seconds (1, 2, 5, 10).
func every(seconds int) []event.Event {
	events := []event.Event{header()}
	for i := 0; i < 60; i += seconds {
		at := time.Duration(i-50) * time.Second
		anon := uint64(2 * i)
		if i > 50 {
			anon = 4
		}
		events = append(events, sample(at, shop, anon+2, 10, 115-anon), sample(at, checkout, anon, 0, 5), sample(at, search, 2, 10, 20), sample(at, batch, 1, 1, 1),
			stall(at+time.Millisecond, checkout, int64(i+1)*200_000), stall(at+2*time.Millisecond, search, 20_000),
			&event.Cache{Meta: meta(event.TypeCache, at-time.Second), IntervalNS: 1e9, Cgroup: &search, Added: 300, Evicted: 256, Refaulted: ptr(uint64(100)),
				EvictedBy: []event.EvictedBy{{Cgroup: &checkout, Container: image, Pages: 200}, {Kswapd: true, Pages: 50, Reparented: 20}, {Pages: 6}},
				Files:     []event.CacheFile{{File: event.File{Dev: "8:1", Inode: 7, Path: "/srv/index.db"}, Added: 300, Evicted: 256}}})
		if i == 40 {
			events = append(events,
				&event.Throttle{Meta: meta(event.TypeThrottle, at), Process: java, Cgroup: &checkout, Domain: &event.Domain{Cgroup: shop}, DurationNS: 100e6},
				&event.Kswapd{Meta: meta(event.TypeKswapd, at), DurationNS: 5e6, Evicted: []event.Evicted{{Cgroup: &search, Pages: 3}}},
				&event.Profile{Meta: meta(event.TypeProfile, at), IntervalNS: 1e9, Process: java, Cgroup: &checkout, Fault: event.FaultMinor, Bytes: 5 * mib,
					UserStack: []event.Frame{{Function: "malloc"}, {Module: "/bin/java", Offset: 0x1f}}},
				&event.Profile{Meta: meta(event.TypeProfile, at), Process: java, Cgroup: &batch, Bytes: mib, UserStack: []event.Frame{{Function: "x"}}},
				&event.Lost{Meta: meta(event.TypeLost, at), Family: "cache", Count: 3, Since: meta("", at-time.Second).Time, Reason: "ring buffer full"},
				&event.OOMPause{Meta: meta(event.TypeOOMPause, at), State: event.PauseEnd, Cgroup: checkout, DurationNS: ptr(int64(1e9)), Ended: event.PauseLimitRaised},
				kill(at, "before"))
		}
		if i == 50 {
			events = append(events, kill(0, "k1"), &event.Kmsg{Meta: meta(event.TypeKmsg, 0), Incident: "k1", Text: "```", Sequence: 8},
				&event.Kmsg{Meta: meta(event.TypeKmsg, 0), Incident: "k1", Text: "java invoked oom-killer", Sequence: 7},
				&event.Kmsg{Meta: event.Meta{Type: event.TypeKmsg}, Incident: "k1", Text: "Killed process 48213 (java)", Sequence: 9}, &event.Kmsg{Meta: meta(event.TypeKmsg, 0), Incident: "other", Text: "x"},
				&event.Thrash{Meta: meta(event.TypeThrash, -3*time.Second), State: event.StateBegin, Cgroup: search},
				&event.OOMEnd{Meta: meta(event.TypeOOMEnd, 0), Incident: "k1", Timeline: event.Timeline{ExitedNS: ptr(int64(48e6)), FreedNS: ptr(int64(61e6))},
					Freed: ptr(uint64(100 * mib)), Survivors: []event.Process{{PID: 9, Comm: "zombie"}}})
		}
	}
	return append(events, &event.Summary{Meta: meta(event.TypeSummary, 10*time.Second)})
}

// seq gives events as a stream.
func seq(events []event.Event) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for _, e := range events {
			if !yield(Whole(e), nil) {
				return
			}
		}
	}
}
