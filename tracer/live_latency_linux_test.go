package tracer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

// bars counts histograms by where buckets end.
type bars map[uint64]uint64

func (b bars) add(buckets []event.Bucket) {
	for _, v := range buckets {
		if v.Count > 0 {
			b[v.UpTo] += v.Count
		}
	}
}

// stallSum is what the events of one kind add up to.
type stallSum struct {
	count, reclaimed, scanned uint64
	total, longest            int64
	bars                      bars
}

func newSums() map[string]*stallSum { return make(map[string]*stallSum) }

func sumOf(sums map[string]*stallSum, kind string) *stallSum {
	if sums[kind] == nil {
		sums[kind] = &stallSum{bars: make(bars)}
	}
	return sums[kind]
}

// counted adds up the stalls events of a cgroup, by kind.
func counted(t *testing.T, events []event.Event, g *group) map[string]*stallSum {
	t.Helper()
	sums := newSums()
	for _, e := range of[*event.Stalls](events) {
		if e.Cgroup == nil || e.Cgroup.Path != g.path {
			continue
		}
		s := sumOf(sums, e.Kind)
		var n uint64
		for _, b := range e.DurationNS {
			n += b.Count
		}
		if n != e.Count || n == 0 {
			t.Fatalf("%s: %d stalls, %d in the histogram", e.Kind, e.Count, n)
		}
		s.count += e.Count
		s.total += e.TotalNS
		s.longest = max(s.longest, e.MaxNS)
		s.bars.add(e.DurationNS)
		if e.Reclaimed != nil {
			s.reclaimed += *e.Reclaimed
		}
		if e.Scanned != nil {
			s.scanned += *e.Scanned
		}
	}
	return sums
}

// What is counted in the kernel is to the last stall and nanosecond what is sent
// one by one, also by a tracer that sends none.
func TestStallHistograms(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		g := newGroup(t).limit(24 * mib)
		mine := []Selector{{ID: g.id()}}
		short := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim, FamilyStalls}, Cgroups: mine, Interval: 50 * time.Millisecond})
		long := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim, FamilyStalls}, Cgroups: mine, MinStall: time.Hour})
		file := filepath.Join(dir, "file")
		g.run("write="+file+",48", "threads=4", "read="+file+",4096,random,12")
		all, none := short.stop(), long.stop()

		sent := newSums()
		for _, r := range of[*event.Reclaim](all) {
			if r.Cgroup == nil || r.Cgroup.Path != g.path {
				continue
			}
			s := sumOf(sent, r.Kind)
			s.count++
			s.total += r.DurationNS
			s.longest = max(s.longest, r.DurationNS)
			s.reclaimed += r.Reclaimed
			if r.Scanned != nil {
				s.scanned += *r.Scanned
			}
			s.bars[endOf(uint64(r.DurationNS))]++
		}
		if sent[event.ReclaimMemcgLimit] == nil {
			t.Fatal("no stalls at the limit")
		}
		got := counted(t, all, g)
		for kind, want := range sent {
			s := sumOf(got, kind)
			if s.count != want.count || s.total != want.total || s.reclaimed != want.reclaimed || s.scanned != want.scanned {
				t.Errorf("%s: %d stalls of %d ns, %d of %d pages; sent %d of %d ns, %d of %d pages",
					kind, s.count, s.total, s.reclaimed, s.scanned, want.count, want.total, want.reclaimed, want.scanned)
			}
			if s.longest != want.longest {
				t.Errorf("%s: the longest is %d ns, sent %d ns", kind, s.longest, want.longest)
			}
			for end, n := range want.bars {
				if s.bars[end] != n {
					t.Errorf("%s: %d up to %d ns, sent %d", kind, s.bars[end], end, n)
				}
			}
		}
		if n := len(of[*event.Reclaim](none)); n != 0 {
			t.Errorf("%d stalls of an hour and more", n)
		}
		unsent := counted(t, none, g)
		for kind, want := range sent {
			if s := sumOf(unsent, kind); s.count != want.count || s.reclaimed != want.reclaimed {
				t.Errorf("%s: %d stalls counted below --min-stall, %d happened", kind, s.count, want.count)
			}
		}
	})
}

// endOf is the end of the bucket of a duration, worked out in another way than
// the programs do: eight steps in each power of two of 1024 ns.
func endOf(ns uint64) uint64 {
	v := ns / tally.TimeUnit
	step := uint64(1)
	for v/step >= 16 {
		step *= 2
	}
	return (v/step + 1) * step * tally.TimeUnit
}

// Sleeps for memory.high are as long as the kernel works them out: for each 64
// pages that a task takes while its cgroup is above memory.high by a share x of
// that, 64 x² seconds, at most 2 and not below 10 ms.
func TestHighSleeps(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t)
		if g.m.Version == 1 {
			t.Skip("cgroup v1 has no memory.high")
		}
		if tier == TierTracepoint {
			t.Skip("sleeps for memory.high have no tracepoint")
		}
		const high, batch = 64 * mib, 64 << 12
		g.set("memory.high", strconv.Itoa(high))
		g.set("memory.swap.max", "0")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyThrottle, FamilyStalls}, Cgroups: []Selector{{ID: g.id()}}})
		g.start("nohuge", "anon=66", "comm=done", "wait")
		for usage := uint64(0); usage < 66*mib; usage = *g.figures().Usage {
			time.Sleep(10 * time.Millisecond)
		}
		// It has what it wants when its usage stands still for longer than any sleep.
		last, since := *g.figures().Usage, time.Now()
		for time.Since(since) < 2500*time.Millisecond {
			if now := *g.figures().Usage; now > last {
				last, since = now, time.Now()
			}
			time.Sleep(20 * time.Millisecond)
		}
		var want time.Duration
		for usage := last; usage > high; usage -= batch {
			over := float64(usage-high) / high
			if sleep := time.Duration(min(64*over*over, 2) * float64(time.Second)); sleep >= 10*time.Millisecond {
				want += sleep
			}
		}
		events := x.stop()
		var asleep time.Duration
		var n uint64
		for _, e := range of[*event.Throttle](events) {
			asleep += time.Duration(e.DurationNS)
			n++
		}
		t.Logf("%d sleeps, %v; by the kernel's arithmetic %v", n, asleep, want)
		if asleep < want*6/10 || asleep > want*15/10 {
			t.Errorf("asleep for %v, want about %v", asleep, want)
		}
		s := sumOf(counted(t, events, g), event.StallThrottle)
		if s.count != n || s.total != int64(asleep) {
			t.Errorf("counted %d sleeps of %v, sent %d of %v", s.count, time.Duration(s.total), n, asleep)
		}
	})
}

// Two cgroups share a limit: what the flood of one evicted of the other's file
// is told on both sides, page for page what the cache's own totals say.
func TestEvictionMatrix(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t).limit(48 * mib)
		quiet, loud := top.child("quiet"), top.child("loud")
		mine, theirs := filepath.Join(dir, "mine"), filepath.Join(dir, "theirs")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache}, Cgroups: []Selector{{ID: top.id()}}})
		quiet.run("write="+mine+",16", "read="+mine+",65536,seq,16")
		loud.run("write="+theirs+",64", "read="+theirs+",65536,seq,64", "read="+theirs+",65536,seq,64")
		events := x.stop()
		type pair struct{ owner, evictor, kind string }
		by, of := make(map[pair]uint64), make(map[pair]uint64)
		evicted, told := make(map[string]uint64), make(map[string]uint64)
		for _, c := range ofCaches(events) {
			evicted[c.Cgroup.Path] += c.Evicted
			told[c.Cgroup.Path] += c.EvictedByOtherPages
			for _, v := range c.EvictedBy {
				p := pair{c.Cgroup.Path, "", v.Kind}
				if v.Cgroup != nil {
					p.evictor = v.Cgroup.Path
				}
				by[p] += v.Pages
				told[c.Cgroup.Path] += v.Pages
			}
			for _, v := range c.EvictedOf {
				if v.Cgroup != nil {
					of[pair{v.Cgroup.Path, c.Cgroup.Path, v.Kind}] += v.Pages
				}
			}
		}
		// The maps are read one after the other, so it is the whole that agrees.
		for path, n := range evicted {
			if told[path] != n {
				t.Errorf("%s: %d pages evicted, by somebody %d", path, n, told[path])
			}
		}
		// To the page, but for what the node itself may have taken.
		theft := pair{quiet.path, loud.path, event.ReclaimMemcgLimit}
		var foreign uint64
		for p, n := range by {
			if p.kind != event.ReclaimMemcgLimit {
				foreign += n
			} else if of[p] != n {
				t.Errorf("%+v: %d pages, %d on the evictor's side", p, n, of[p])
			}
		}
		if by[theft] == 0 || by[theft]+by[pair{quiet.path, quiet.path, event.ReclaimMemcgLimit}]+foreign < evicted[quiet.path] {
			t.Errorf("loud evicted %d of quiet's %d pages: %v", by[theft], evicted[quiet.path], by)
		}
	})
}

// ofCaches gives the cache events that have a cgroup.
func ofCaches(events []event.Event) []*event.Cache {
	return slices.DeleteFunc(of[*event.Cache](events), func(c *event.Cache) bool { return c.Cgroup == nil })
}

// A file is read, evicted and read again after a pause: every sampled page of it
// comes back once, after no less than the pause and no more than the whole took.
func TestRefaultTimes(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		const pause = 1200 * time.Millisecond
		dir := scratch(t)
		g := newGroup(t).limit(24 * mib)
		file, flood := filepath.Join(dir, "file"), filepath.Join(dir, "flood")
		g.run("write="+flood+",96", "write="+file+",16")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache}, Cgroups: []Selector{{ID: g.id()}}})
		g.run("fadvise="+file, "fadvise="+flood, "read="+file+",65536,seq,16")
		began := time.Now()
		g.run("read=" + flood + ",65536,seq,96")
		flooded := time.Now()
		time.Sleep(pause)
		resumed := time.Now()
		g.run("read=" + file + ",65536,seq,16")
		ended := time.Now()
		events := x.stop()

		_, files := traffic(events, g.path)
		again := files[file].Added - 4096 // the first reading is no return
		var samples uint64
		for _, c := range ofCaches(events) {
			var lower uint64
			for _, b := range c.RefaultAfterNS {
				if b.Count > 0 {
					samples += b.Count
					if time.Duration(b.UpTo) < resumed.Sub(flooded) || time.Duration(lower) > ended.Sub(began) {
						t.Errorf("%d pages came back after %v to %v, the pause was %v and all took %v", b.Count,
							time.Duration(lower), time.Duration(b.UpTo), resumed.Sub(flooded), ended.Sub(began))
					}
				}
				lower = b.UpTo
			}
			if c.RefaultAfterNS != nil && c.RefaultSampling != tally.Sampling {
				t.Errorf("sampling %d", c.RefaultSampling)
			}
		}
		// One in 256 of the file's 4096 pages.
		if want := again / tally.Sampling; again < 2048 || samples+1 < want || samples > want+1 {
			t.Errorf("%d sampled pages came back of %d that were read again", samples, again)
		}
	})
}

// Reads that come back to what was evicted thrash; reads that never come back,
// and a cgroup at rest, do not.
func TestThrash(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t)
		thrashing, streaming, idle := top.child("thrashing").limit(24*mib), top.child("streaming").limit(24*mib), top.child("idle").limit(24*mib)
		file, stream := filepath.Join(dir, "file"), filepath.Join(dir, "stream")
		top.child("writer").run("write="+file+",48", "write="+stream+",192", "fadvise="+file, "fadvise="+stream)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyThrash}, Cgroups: []Selector{{ID: top.id()}}})
		idle.start("anon=4", "wait")
		streaming.run("read=" + stream + ",65536,seq,192")
		// More often than it can take for the stalls to make up their share.
		reader := thrashing.start(slices.Repeat([]string{"read=" + file + ",4096,random,48"}, 5000)...)
		is := func(state string) func([]event.Event) (*event.Thrash, bool) {
			return func(events []event.Event) (*event.Thrash, bool) {
				for _, e := range of[*event.Thrash](events) {
					if e.State == state && e.Cgroup.Path == thrashing.path {
						return e, true
					}
				}
				return nil, false
			}
		}
		begun := waitFor(x, is(event.StateBegin))
		if err := reader.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		ended := waitFor(x, is(event.StateEnd))
		for _, e := range []*event.Thrash{begun, ended} {
			if e.Domain == nil || e.Domain.ID != thrashing.id() || e.Limit == nil || *e.Limit != 24*mib {
				t.Errorf("%s: domain %+v, limit %v", e.State, e.Domain, e.Limit)
			}
			if e.Refaulted > e.Added || e.Refaulted == 0 || e.StalledNS <= 0 || e.DurationNS <= 0 || e.RefaultAfterP50NS <= 0 {
				t.Errorf("%s: %s", e.State, show(e))
			}
		}
		// The same random reads come again and again: they touch 1 - 1/e of the 48
		// MiB. That and little else is the working set; some fifty of its pages are
		// in the sample.
		if s := ended.Sufficient; s == nil || *s < 26*mib || *s > 44*mib {
			t.Errorf("sufficient: %s", show(ended))
		}
		for _, e := range of[*event.Thrash](x.stop()) {
			if e.Cgroup.Path != thrashing.path {
				t.Errorf("%s thrashes: %s", e.Cgroup.Path, show(e))
			}
		}
	})
}

// DAMON pages out what it finds idle, from a kernel thread of its own.
func TestDAMON(t *testing.T) {
	needRoot(t)
	const admin = "/sys/kernel/mm/damon/admin/kdamonds"
	if text, err := os.ReadFile(admin + "/nr_kdamonds"); err != nil {
		t.Skip("this kernel has no DAMON with a sysfs interface (5.18, CONFIG_DAMON_SYSFS)")
	} else if strings.TrimSpace(string(text)) != "0" {
		t.Skip("DAMON is in use on this machine")
	}
	file := filepath.Join(scratch(t), "file")
	g := newGroup(t).limit(256 * mib)
	x := startTrace(t, Options{Families: []string{FamilyCache}, Cgroups: []Selector{{ID: g.id()}}, Interval: 200 * time.Millisecond})
	worker := g.start("write="+file+",16", "map="+file+",16", "wait")
	waitFor(x, func(events []event.Event) (bool, bool) {
		sum, _ := traffic(events, g.path)
		return true, sum.Added >= 4096
	})
	for deadline := time.Now().Add(patience); mapped(g) < 12*mib; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d mapped", mapped(g))
		}
	}
	set := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(admin+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	set("/nr_kdamonds", "1")
	defer set("/nr_kdamonds", "0")
	set("/0/contexts/nr_contexts", "1")
	const context = "/0/contexts/0"
	set(context+"/operations", "vaddr")
	set(context+"/targets/nr_targets", "1")
	set(context+"/targets/0/pid_target", strconv.Itoa(worker.Process.Pid))
	set(context+"/schemes/nr_schemes", "1")
	set(context+"/schemes/0/action", "pageout")
	set(context+"/schemes/0/access_pattern/sz/max", fmt.Sprint(uint64(1)<<40))
	set(context+"/schemes/0/access_pattern/age/max", "1000000")
	if err := os.WriteFile(admin+"/0/state", []byte("on"), 0); errors.Is(err, syscall.EBUSY) {
		t.Skip("the kernel uses DAMON itself (DAMON_STAT), which is exclusive")
	} else if err != nil {
		t.Fatal(err)
	}
	defer set("/0/state", "off")
	waitFor(x, func(events []event.Event) (bool, bool) {
		var pages uint64
		for _, c := range ofCaches(events) {
			for _, v := range c.EvictedBy {
				if v.Kind == event.EvictDAMON && v.Cgroup == nil && c.Cgroup.Path == g.path {
					pages += v.Pages
				}
			}
		}
		return true, pages >= 2048
	})
	x.stop()
}

// mapped is how much file memory of a cgroup is mapped.
func mapped(g *group) uint64 {
	f := g.figures()
	if f.FileMapped == nil {
		return 0
	}
	return *f.FileMapped
}
