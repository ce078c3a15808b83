package oom

import (
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

func b(n uint64) *uint64 { return &n }

func order(n int) *int { return &n }

// memory is a composition; shmem is counted in file, as the kernel does.
func memory(usage, limit, anon, shmem, cache, kernel uint64) *event.Figures {
	zero := uint64(0)
	return &event.Figures{
		Usage: b(usage), Limit: b(limit), Anon: b(anon), Shmem: b(shmem), File: b(shmem + cache),
		ActiveFile: &zero, InactiveFile: b(cache), Unevictable: b(0), FileDirty: b(0), FileWriteback: b(0), Kernel: b(kernel),
	}
}

// process is a candidate that holds anonymous memory.
func process(pid int32, comm, path string, anon uint64) event.Candidate {
	c := event.Candidate{}
	c.PID, c.Comm = pid, comm
	c.Cgroup = &event.Cgroup{Path: path}
	c.AnonRSS, c.FileRSS, c.ShmemRSS, c.Swap, c.PageTables = b(anon), b(mib), b(0), b(0), b(100*kib)
	c.TotalVM = b(2 * anon)
	return c
}

// kill is one by the limit of /app, of a process in it.
func kill(m *event.Figures, candidates ...event.Candidate) *event.OOMKill {
	e := &event.OOMKill{Source: event.SourceBPF, Candidates: candidates}
	e.Domain = event.OOMDomain{Constraint: event.ConstraintMemcg, Cgroup: &event.Cgroup{Path: "/app"}, Memory: m, Source: event.SourceBPF}
	if len(candidates) > 0 {
		e.Victim = candidates[0]
		e.Killed = []event.Killed{{Actor: candidates[0].Actor, Reason: "chosen"}}
		e.Trigger.Actor = candidates[0].Actor
	}
	e.ReclaimBefore = &event.ReclaimBefore{WindowNS: int64(10 * time.Second), Episodes: 18, StalledNS: 671_000}
	return e
}

// points gives readings of need, which is all anonymous, at even times.
func points(over time.Duration, needs ...uint64) []Point {
	var out []Point
	for i, n := range needs {
		at := -over + over*time.Duration(i)/time.Duration(len(needs))
		out = append(out, Point{At: at, Usage: n, Anon: n})
	}
	return out
}

func line(from, to uint64, n int) []uint64 {
	var out []uint64
	for i := range n {
		out = append(out, from+(to-from)*uint64(i)/uint64(n))
	}
	return out
}

func anonymousKill() *event.OOMKill {
	return kill(memory(32*mib, 32*mib, 31900*kib, 0, 0, 112*kib), process(7, "app", "/app", 31*mib))
}

// young are n processes that began a second before the kill at 100 s.
func young(n int, path string, each uint64) []event.Candidate {
	var out []event.Candidate
	for i := range n {
		c := process(int32(100+i), "forker", path, each)
		c.StartTimeNS = int64(99 * time.Second)
		out = append(out, c)
	}
	return out
}

func TestSummary(t *testing.T) {
	c := Case{Kill: anonymousKill(), Window: points(time.Minute, line(2*mib, 32*mib, 30)...)}
	c.Window[3].HasRefaults, c.Window[3].RefaultedPages = true, 100
	c.Window[9].HasRefaults, c.Window[9].RefaultedPages = true, 175
	w := Summary(&c)
	if w == nil || w.SpanNS != int64(time.Minute) || w.Samples != 31 || w.NeedFirst != 2*mib || w.NeedLast != 32*mib || w.Shape != event.ShapeSteady ||
		w.Slope == nil || *w.Slope < 500*kib-500 || *w.Slope > 530*kib || w.Refaulted == nil || *w.Refaulted != 75 {
		t.Errorf("%+v", w)
	}
	if w := Summary(&Case{Kill: anonymousKill()}); w != nil {
		t.Errorf("without readings: %+v", w)
	}
	// Memory in swap is needed; page cache is not.
	c.Window = []Point{{At: -time.Second, Usage: 30 * mib, Cache: 20 * mib, Swap: 5 * mib}}
	if w := Summary(&c); w.NeedFirst != 15*mib {
		t.Errorf("need %d", w.NeedFirst)
	}
}

func TestSay(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10 * kib: "10.0 KiB", 999 * kib: "999 KiB", 1000 * kib: "0.98 MiB", 47*mib + 921*kib: "47.9 MiB",
		512 * mib: "512 MiB", 3 * gib: "3.00 GiB", 1 << 62: "4096 PiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 µs", 671 * time.Microsecond: "671 µs", 12 * time.Millisecond: "12 ms", 7300 * time.Millisecond: "7.3 s",
		time.Hour: "60 min", 30 * time.Hour: "30.0 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// Whatever the figures, there is a verdict with evidence, and no panic.
func FuzzJudge(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})
	f.Fuzz(func(t *testing.T, in []byte) {
		next := func() uint64 {
			if len(in) == 0 {
				return 0
			}
			v := uint64(in[0])
			in = in[1:]
			return v << (v % 57)
		}
		maybe := func() *uint64 {
			if next()%3 == 0 {
				return nil
			}
			return b(next())
		}
		m := &event.Figures{Usage: maybe(), Limit: maybe(), Anon: maybe(), File: maybe(), Shmem: maybe(), ActiveFile: maybe(), InactiveFile: maybe(),
			Unevictable: maybe(), LRUAnon: maybe(), LRUFile: maybe(), Kernel: maybe(), Sock: maybe(), PageTables: maybe(), SwapUsage: maybe(), SwapLimit: maybe(), FileDirty: maybe()}
		e := kill(m, young(int(next()%40), "/app/x", next())...)
		e.Domain.Constraint = []string{"", "memcg", "global", "cpuset"}[next()%4]
		e.Group = next()%2 == 0
		c := Case{Kill: e, SinceBoot: time.Duration(next()), PageBytes: next(), Node: &Node{Total: next(), SwapTotal: next(), SwapFree: next()}}
		for range next() % 20 {
			c.Window = append(c.Window, Point{At: -time.Duration(next()), Usage: next(), Cache: next(), Swap: next()})
		}
		if next()%2 == 0 {
			c.Branch = &Child{"/app/y", next(), maybe(), nil}
		}
		for range next() % 4 {
			c.Others = append(c.Others, Child{"/app/x", next(), maybe(), nil})
		}
		v := Judge(&c)
		Summary(&c)
		if v.Cause == "" || v.Confidence == "" || len(v.Evidence) == 0 {
			t.Errorf("%+v", v)
		}
	})
}
