package oom

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func TestJudge(t *testing.T) {
	limit := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		name       string
		c          Case
		cause      string
		underlying string
		confidence string
		says       []string
		never      []string
	}{
		{
			name:  "leak over an hour",
			c:     Case{Kill: anonymousKill(), Window: points(time.Hour, line(5*mib, 32*mib, 20)...)},
			cause: event.CauseLeak, confidence: event.ConfidenceHigh,
			says: []string{"grew from 5.00 MiB to 32.0 MiB in the last 60 min", "app[7] held 31.0 MiB", "heap profile", "nothing left to take"},
		},
		{
			name:  "leak over seven seconds might be a start-up",
			c:     Case{Kill: anonymousKill(), Window: points(7*time.Second, line(5*mib, 32*mib, 20)...)},
			cause: event.CauseLeak, confidence: event.ConfidenceMedium, says: []string{"a start-up that needs more than the limit looks the same"},
		},
		{
			name:  "steady for a fifth of a second is no leak",
			c:     Case{Kill: anonymousKill(), Window: points(200*time.Millisecond, line(5*mib, 32*mib, 6)...)},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"cannot be told"},
		},
		{
			name:  "three readings are no steady growth",
			c:     Case{Kill: anonymousKill(), Window: points(time.Hour, 5*mib, 18*mib)},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name:  "a plateau, then a burst",
			c:     Case{Kill: anonymousKill(), Window: points(time.Minute, slices.Repeat([]uint64{10 * mib}, 30)...)},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceMedium,
			says: []string{"about 10.0 MiB for 58.0 s, then rose to 32.0 MiB", "raise the limit above 32.0 MiB", "cannot be told: it was killed on the way"},
		},
		{
			name: "a plateau of which the first and the last reading are kept",
			c: Case{Kill: anonymousKill(), Window: []Point{{At: -6 * time.Second}, {At: -5 * time.Second, Usage: 4 * mib, Anon: 4 * mib},
				{At: -200 * time.Millisecond, Usage: 4 * mib, Anon: 4 * mib}}},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceMedium, says: []string{"within 200 ms"},
		},
		{
			name:  "level near the limit",
			c:     Case{Kill: anonymousKill(), Window: points(time.Minute, slices.Repeat([]uint64{30 * mib}, 30)...)},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceMedium, says: []string{"its ordinary need"},
		},
		{
			name: "what was before a restart does not count",
			c: Case{Kill: anonymousKill(), Window: append(points(2*time.Hour, line(5*mib, 32*mib, 10)...)[:5:5],
				points(time.Hour, line(5*mib, 32*mib, 20)...)...)},
			cause: event.CauseLeak, confidence: event.ConfidenceHigh, says: []string{"in the last 60 min"},
		},
		{
			name: "killed at once after its start",
			c: func() Case {
				e := anonymousKill()
				e.Victim.StartTimeNS = int64(99950 * time.Millisecond)
				return Case{Kill: e, SinceBoot: 100 * time.Second}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceMedium, says: []string{"started only 50 ms before"},
		},
		{
			name:  "from a kernel log",
			c:     Case{Kill: anonymousKill()},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"no readings from before"}, never: []string{"raise the limit"},
		},
		{
			name:  "tmpfs",
			c:     Case{Kill: kill(memory(32*mib, 32*mib, 7900*kib, 24*mib, 0, 100*kib), process(7, "app", "/app", 7*mib))},
			cause: event.CauseTmpfs, confidence: event.ConfidenceHigh, says: []string{"24.0 MiB of the 32.0 MiB in use (75%)", "most are plain files"},
		},
		{
			name: "tmpfs known from the LRU lists and what processes hold",
			c: Case{Kill: kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(31 * mib), LRUFile: b(0), Unevictable: b(0)},
				process(7, "app", "/app", 7*mib)), Window: []Point{{At: -time.Second, Usage: 24 * mib, Anon: 5 * mib, Shmem: 18 * mib}}},
			cause: event.CauseTmpfs, confidence: event.ConfidenceMedium,
		},
		{
			name: "files that cannot be evicted, known from the LRU lists",
			c: Case{Kill: kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(11 * mib), LRUFile: b(0), Unevictable: b(20 * mib)},
				process(7, "app", "/app", 11*mib))},
			cause: event.CausePageCachePinned, confidence: event.ConfidenceMedium, says: []string{"20.0 MiB locked or unevictable"},
		},
		{
			name: "locked memory of a process, known from the LRU lists",
			c: Case{Kill: kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(11 * mib), LRUFile: b(0), Unevictable: b(20 * mib)},
				process(7, "app", "/app", 31*mib))},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name: "memory of a victim that is still exiting is no tmpfs",
			c: Case{Kill: kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(31 * mib), LRUFile: b(0), Unevictable: b(0)},
				process(7, "app", "/app", 7*mib)), Window: []Point{{At: -time.Second, Usage: 24 * mib, Anon: 20 * mib, Shmem: 3 * mib}}},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"do not tell them apart"},
		},
		{
			name: "memory of no process, and no reading from before",
			c: Case{Kill: kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(31 * mib), LRUFile: b(0), Unevictable: b(0)},
				process(7, "app", "/app", 7*mib))},
			cause: event.CauseUnknown, confidence: event.ConfidenceLow, says: []string{"24.0 MiB of the 32.0 MiB in use (75%) are no page cache, and no process that was weighed holds them"},
		},
		{
			name: "LRU lists alone do not tell tmpfs from anonymous memory",
			c: func() Case {
				e := kill(&event.Figures{Usage: b(32 * mib), Limit: b(32 * mib), LRUAnon: b(31 * mib), LRUFile: b(0)}, process(7, "app", "/app", 7*mib))
				e.CandidatesMissing = 3
				return Case{Kill: e, Window: points(time.Hour, line(5*mib, 32*mib, 20)...)}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"do not tell them apart"},
		},
		{
			name: "tmpfs that was always there, and a leak beside it",
			c: Case{Kill: kill(memory(32*mib, 32*mib, 14*mib, 17*mib, 0, 100*kib), process(7, "app", "/app", 14*mib)),
				Window: []Point{{At: -time.Hour, Usage: 18 * mib, Shmem: 17 * mib, Anon: mib}}},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"another 17.0 MiB, most of which was there before"},
		},
		{
			name: "page tables",
			c: func() Case {
				m := memory(32*mib, 32*mib, mib, 0, 0, 31*mib)
				m.PageTables, m.SlabUnreclaimable = b(29*mib), b(mib)
				p := process(7, "mapper", "/app", mib)
				p.PageTables, p.TotalVM = b(29*mib), b(58*gib)
				return Case{Kill: kill(m, p)}
			}(),
			cause: event.CauseKernelMemory, confidence: event.ConfidenceHigh,
			says: []string{"31.0 MiB of the 32.0 MiB", "page tables 29.0 MiB", "mapper[7] has 29.0 MiB of them for 58.0 GiB"},
		},
		{
			name: "stacks on v1, by the number of threads",
			c: Case{Kill: kill(memory(32*mib, 32*mib, 5*mib, 0, 0, 26*mib), process(7, "app", "/app", 5*mib)),
				Window: []Point{{At: -time.Second, Usage: 30 * mib, Threads: 1250}}},
			cause: event.CauseKernelMemory, confidence: event.ConfidenceHigh, says: []string{"1250 threads", "kernel stacks 19.5 MiB"},
		},
		{
			name: "sockets",
			c: func() Case {
				m := memory(32*mib, 32*mib, 9*mib, 0, 0, mib)
				m.Sock = b(21 * mib)
				return Case{Kill: kill(m, process(7, "app", "/app", 9*mib))}
			}(),
			cause: event.CauseKernelMemory, confidence: event.ConfidenceMedium, says: []string{"sockets 21.0 MiB", "ss -tm", "another 9.00 MiB"},
		},
		{
			name: "dirty page cache",
			c: func() Case {
				m := memory(24*mib, 24*mib, 3*mib, 0, 20*mib, 500*kib)
				m.FileDirty, m.FileWriteback = b(12*mib), b(7*mib)
				return Case{Kill: kill(m, process(7, "app", "/app", 3*mib))}
			}(),
			cause: event.CausePageCachePinned, confidence: event.ConfidenceHigh, says: []string{"12.0 MiB dirty, 7.00 MiB under writeback", "faster than the disk"},
		},
		{
			name: "locked page cache",
			c: func() Case {
				m := memory(32*mib, 32*mib, 11*mib, 0, 20*mib, 500*kib)
				m.InactiveFile, m.Unevictable = b(0), b(20*mib)
				return Case{Kill: kill(m, process(7, "app", "/app", 11*mib))}
			}(),
			cause: event.CausePageCachePinned, confidence: event.ConfidenceMedium, says: []string{"20.0 MiB locked or unevictable", "VmLck"},
		},
		{
			name:  "clean page cache that reclaim left",
			c:     Case{Kill: kill(memory(32*mib, 32*mib, 3*mib, 0, 28*mib, 500*kib), process(7, "app", "/app", 3*mib))},
			cause: event.CauseUnknown, confidence: event.ConfidenceLow, says: []string{"do not say why reclaim could not take it"},
		},
		{
			name: "others below the parent use much of it",
			c: func() Case {
				e := kill(memory(48*mib, 48*mib, 47*mib, 0, 0, 300*kib), process(7, "big", "/app/big", 28*mib), process(8, "small", "/app/small", 19*mib))
				return Case{Kill: e, Branch: &Child{"/app/big", 28 * mib, nil, nil}, Others: []Child{{"/app/small", 19 * mib, limit(40 * mib), nil}}}
			}(),
			cause: event.CauseAncestorLimit, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
			says: []string{"48.0 MiB, is that of /app", "/app/big, where the victim was, used 28.0 MiB without a limit of its own; 20.0 MiB were used by others, most of it by /app/small."},
		},
		{
			name: "by name where names are known",
			c: func() Case {
				e := kill(memory(48*mib, 48*mib, 47*mib, 0, 0, 300*kib), process(7, "big", "/app/big", 28*mib), process(8, "small", "/app/small", 19*mib))
				pod := &event.Pod{Namespace: "shop", Name: "web-0"}
				e.Domain.Container = &event.Container{Pod: pod}
				return Case{Kill: e, Branch: &Child{"/app/big", 28 * mib, nil, nil}, Others: []Child{{"/app/small", 19 * mib, nil, &event.Container{Name: "proxy", Pod: pod}}}}
			}(),
			cause: event.CauseAncestorLimit, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
			says: []string{"is that of pod shop/web-0, above", "most of it by container shop/web-0/proxy.", "To do: raise the limit of pod shop/web-0, or"},
		},
		{
			name: "the child may use more than its parent",
			c: func() Case {
				e := kill(memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib), process(7, "app", "/app/child", 23*mib))
				return Case{Kill: e, Branch: &Child{"/app/child", 24 * mib, limit(64 * mib), nil}}
			}(),
			cause: event.CauseAncestorLimit, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh, says: []string{"to at least 64.0 MiB"},
		},
		{
			name: "alone below the limit of its parent",
			c: func() Case {
				e := kill(memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib), process(7, "app", "/app/child", 23*mib))
				return Case{Kill: e, Branch: &Child{"/app/child", 24 * mib, nil, nil}}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"24.0 MiB, is that of /app, above the victim's own cgroup."},
		},
		{
			name: "the others were killed too before they were read",
			c: func() Case {
				e := kill(memory(48*mib, 48*mib, 47*mib, 0, 0, 300*kib), process(7, "big", "/app/big", 28*mib), process(8, "small", "/app/small", 19*mib))
				return Case{Kill: e, Branch: &Child{"/app/big", 28 * mib, nil, nil}, Others: []Child{{"/app/small", 60 * kib, nil, nil}}}
			}(),
			cause: event.CauseAncestorLimit, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
			says: []string{"20.0 MiB were used by others."},
		},
		{
			name: "a name that begins alike is no ancestor",
			c: func() Case {
				e := kill(memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib), process(7, "app", "/application", 23*mib))
				return Case{Kill: e, Others: []Child{{"/app/child", 12 * mib, limit(64 * mib), nil}}}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name: "from a log: others below the parent's limit",
			c: func() Case {
				e := kill(memory(48*mib, 48*mib, 47*mib, 0, 0, 300*kib), process(7, "big", "/app/big", 28*mib), process(8, "small", "", 19*mib))
				e.Candidates[1].Cgroup = nil
				return Case{Kill: e}
			}(),
			cause: event.CauseAncestorLimit, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"which cgroups they were in is not told"},
		},
		{
			name: "the whole group for one",
			c: func() Case {
				e := kill(memory(32*mib, 32*mib, 31*mib, 0, 0, 300*kib), process(7, "app", "/app", 29*mib), process(8, "sh", "/app", 200*kib))
				e.Group = true
				e.Killed = append(e.Killed, event.Killed{Actor: e.Candidates[1].Actor, Reason: "group"})
				return Case{Kill: e}
			}(),
			cause: event.CauseGroupPolicy, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
			says: []string{"all 2 processes", "app[7] alone held 30.0 MiB and all others 1.20 MiB", "singleProcessOOMKill"},
		},
		{
			name: "a group of equals",
			c: func() Case {
				e := kill(memory(32*mib, 32*mib, 31*mib, 0, 0, 300*kib),
					process(7, "w", "/app", 10*mib), process(8, "w", "/app", 10*mib), process(9, "w", "/app", 10*mib))
				e.Group = true
				for _, c := range e.Candidates[1:] {
					e.Killed = append(e.Killed, event.Killed{Actor: c.Actor, Reason: "group"})
				}
				return Case{Kill: e}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name: "swap at its limit",
			c: func() Case {
				m := memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib)
				m.SwapUsage, m.SwapLimit = b(12*mib), b(12*mib)
				return Case{Kill: kill(m, process(7, "app", "/app", 23*mib))}
			}(),
			cause: event.CauseSwapFull, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
			says: []string{"12.0 MiB are in swap, of the 12.0 MiB that its limit allows", "at least 36.0 MiB"},
		},
		{
			name: "the machine's swap is full",
			c: func() Case {
				m := memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib)
				m.SwapUsage = b(12 * mib)
				return Case{Kill: kill(m, process(7, "app", "/app", 23*mib)), Node: &Node{Total: gib, SwapTotal: 64 * mib, SwapFree: 100 * kib}}
			}(),
			cause: event.CauseSwapFull, underlying: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh,
		},
		{
			name: "swap is not allowed at all",
			c: func() Case {
				m := memory(24*mib, 24*mib, 23*mib, 0, 0, 300*kib)
				m.SwapUsage, m.SwapLimit = b(0), b(0)
				return Case{Kill: kill(m, process(7, "app", "/app", 23*mib))}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name:  "fork storm",
			c:     Case{Kill: kill(memory(48*mib, 48*mib, 25*mib, 0, 0, 22*mib), young(118, "/app", mib)...), SinceBoot: 100 * time.Second},
			cause: event.CauseForkStorm, confidence: event.ConfidenceMedium, says: []string{"118 of 118 processes", "called forker", "pids.max", "as many workers"},
		},
		{
			name:  "as many of a kernel log, without their ages",
			c:     Case{Kill: kill(memory(48*mib, 48*mib, 25*mib, 0, 0, 22*mib), young(118, "/app", mib)...)},
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow,
		},
		{
			name: "a limit lowered from outside",
			c: func() Case {
				e := kill(memory(32*mib, 16*mib, 31*mib, 0, 0, 100*kib), process(7, "app", "/app", 31*mib))
				e.Trigger.Actor = event.Actor{Process: event.Process{PID: 1, Comm: "systemd"}, Cgroup: &event.Cgroup{Path: "/init.scope"}}
				return Case{Kill: e}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh, says: []string{"lowered to 16.0 MiB by systemd[1] while 32.0 MiB", "at least 32.0 MiB"},
		},
		{
			name: "a limit lowered from within",
			c: func() Case {
				e := kill(memory(32*mib, 16*mib, 31*mib, 0, 0, 100*kib), process(7, "app", "/app", 31*mib))
				e.Trigger.InvokedBy = event.InvokedByLimitWrite
				return Case{Kill: e}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh, says: []string{"lowered to 16.0 MiB by app[7]"},
		},
		{
			name: "a task from outside that allocates",
			c: func() Case {
				e := kill(memory(32*mib, 16*mib, 31*mib, 0, 0, 100*kib), process(7, "app", "/app", 31*mib))
				e.Trigger.Actor = event.Actor{Process: event.Process{PID: 1, Comm: "systemd"}, Cgroup: &event.Cgroup{Path: "/init.scope"}}
				e.Trigger.InvokedBy = event.InvokedByAllocation
				return Case{Kill: e}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, never: []string{"lowered"},
		},
		{
			name: "the machine",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib), process(8, "sh", "/other", mib))
				e.Domain = event.OOMDomain{Constraint: event.ConstraintGlobal, Source: event.SourceBPF}
				return Case{Kill: e, Node: &Node{Total: gib, Anon: 700 * mib, Shmem: mib}}
			}(),
			cause: event.CauseNodePressure, confidence: event.ConfidenceHigh, says: []string{"1.00 GiB of RAM", "no swap", "/app: 901 MiB of the 903 MiB"},
		},
		{
			name: "the machine, as far as can be seen",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib))
				e.Domain = event.OOMDomain{Constraint: event.ConstraintGlobal, Source: event.SourceInferred}
				return Case{Kill: e}
			}(),
			cause: event.CauseNodePressure, confidence: event.ConfidenceMedium,
		},
		{
			name: "a cpuset",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib))
				e.Domain = event.OOMDomain{Constraint: event.ConstraintCpuset, Source: event.SourceBPF}
				return Case{Kill: e}
			}(),
			cause: event.CauseCpusetOrPolicy, confidence: event.ConfidenceHigh, says: []string{"cpuset.mems"},
		},
		{
			name: "SysRq",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib))
				e.Domain = event.OOMDomain{Constraint: event.ConstraintGlobal}
				e.Trigger.Order = order(-1)
				return Case{Kill: e}
			}(),
			cause: event.CauseUnknown, confidence: event.ConfidenceHigh, says: []string{"SysRq-f"},
		},
		{
			name: "SysRq, seen live",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib))
				e.Domain = event.OOMDomain{Constraint: event.ConstraintGlobal}
				e.Trigger.InvokedBy = event.InvokedBySysrq
				return Case{Kill: e}
			}(),
			cause: event.CauseUnknown, confidence: event.ConfidenceHigh, says: []string{"SysRq-f"},
		},
		{
			name: "one line of a kernel log",
			c: func() Case {
				e := kill(nil, process(7, "app", "/app", 900*mib))
				e.Domain = event.OOMDomain{}
				return Case{Kill: e}
			}(),
			cause: event.CauseUnknown, confidence: event.ConfidenceLow, says: []string{"ten reports in five seconds"},
		},
		{
			name: "nobody could be killed",
			c: func() Case {
				e := anonymousKill()
				e.Killed, e.Victim = nil, event.Candidate{}
				e.Candidates[0].Unkillable = "oom_score_adj"
				return Case{Kill: e}
			}(),
			cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow, says: []string{"Nobody could be killed: of 1 "},
		},
		{
			name:  "nothing is known",
			c:     Case{Kill: &event.OOMKill{}},
			cause: event.CauseUnknown, confidence: event.ConfidenceLow,
		},
		{
			name:  "an earlier victim's memory is on its way out",
			c:     Case{Kill: kill(memory(16*mib, 16*mib, 4500*kib, 0, 0, 552*kib), process(7, "tr", "/app", 64*kib))},
			cause: event.CauseUnknown, confidence: event.ConfidenceLow, says: []string{"on its way out"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.c.PageBytes = 4096
			v := Judge(&c.c)
			all := strings.Join(v.Evidence, "\n")
			if v.Cause != c.cause || v.Underlying != c.underlying || v.Confidence != c.confidence {
				t.Errorf("%s, below it %q, %s; want %s, %q, %s\n%s", v.Cause, v.Underlying, v.Confidence, c.cause, c.underlying, c.confidence, all)
			}
			for _, s := range c.says {
				if !strings.Contains(all, s) {
					t.Errorf("does not say %q:\n%s", s, all)
				}
			}
			for _, s := range c.never {
				if strings.Contains(all, s) {
					t.Errorf("says %q:\n%s", s, all)
				}
			}
			if len(v.Evidence) == 0 {
				t.Error("no evidence")
			}
			for _, s := range v.Evidence {
				if s == "" || !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, ")") || strings.Contains(s, "%!") {
					t.Errorf("no sentence: %q", s)
				}
			}
		})
	}
}
