// Package tally reads what the eBPF programs count instead of sending: the
// page-cache traffic of each cgroup and file, who evicted whom, the reclaim of
// the last seconds, and how many records were sent and lost.
//
// Counters in the kernel only grow; a Reader remembers what it saw last and
// gives differences.
package tally

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
)

// Counts are pages of page cache.
type Counts struct {
	Added, Evicted, Truncated, Invalidated uint64
}

func (c Counts) zero() bool { return c == Counts{} }

func (c *Counts) add(cause bpf.CoreCause, pages uint64) {
	switch cause {
	case bpf.CoreCauseCAUSE_ADD:
		c.Added += pages
	case bpf.CoreCauseCAUSE_EVICT, bpf.CoreCauseCAUSE_EVICT_REPARENTED:
		c.Evicted += pages
	case bpf.CoreCauseCAUSE_TRUNCATE:
		c.Truncated += pages
	case bpf.CoreCauseCAUSE_INVALIDATE:
		c.Invalidated += pages
	}
}

// since gives what came on top of an earlier reading. A run that moved between
// two maps while they were read can make a counter seem to fall for a moment;
// then nothing came, and the higher reading stays.
func (c *Counts) since(last *Counts) Counts {
	return Counts{
		rise(&last.Added, c.Added), rise(&last.Evicted, c.Evicted),
		rise(&last.Truncated, c.Truncated), rise(&last.Invalidated, c.Invalidated),
	}
}

func rise(last *uint64, now uint64) uint64 {
	if now <= *last {
		return 0
	}
	d := now - *last
	*last = now
	return d
}

// File is the traffic of one file.
type File struct {
	Inode           uint64
	Dev, Generation uint32
	Counts
}

// Evictor is who pushed pages out: the cgroup of the task, and on which way.
type Evictor struct {
	Cgroup uint64
	Kind   bpf.CoreReclaimKind // RECLAIM_NONE: on a way that has no tracepoint
	Pages  uint64
	// Reparented are those of Pages that had been charged to a cgroup below the
	// owner, whose removal made them the owner's.
	Reparented uint64
}

// Evicted is whose pages a cgroup's tasks pushed out.
type Evicted struct {
	Owner      uint64
	Kind       bpf.CoreReclaimKind
	Pages      uint64
	Reparented uint64 // as for an Evictor
}

// Traffic is what happened to the page cache of one cgroup between two
// readings.
type Traffic struct {
	Counts
	Refaulted uint64
	Files     []File
	EvictedBy []Evictor
	EvictedOf []Evicted // by tasks of this cgroup, whoever owned it
}

type fileSeen struct {
	born  uint64
	last  Counts
	round uint64
}

// Cache reads the page-cache maps.
type Cache struct {
	maps    map[string]*ebpf.Map
	totals  map[uint64]*Counts
	files   map[bpf.CoreFileKey]*fileSeen
	evicted map[bpf.CoreEvictKey]*bpf.CoreEvictCounts
	refault map[uint64]*uint64
	round   uint64
}

// NewCache reads from the maps of an attached session.
func NewCache(maps map[string]*ebpf.Map) *Cache {
	return &Cache{
		maps: maps, totals: make(map[uint64]*Counts), files: make(map[bpf.CoreFileKey]*fileSeen),
		evicted: make(map[bpf.CoreEvictKey]*bpf.CoreEvictCounts), refault: make(map[uint64]*uint64),
	}
}

// reading is what the maps hold at one moment.
type reading struct {
	totals   map[uint64]Counts
	files    map[bpf.CoreFileKey]bpf.CoreFileCounts
	evicted  map[bpf.CoreEvictKey]bpf.CoreEvictCounts
	refaults map[uint64]uint64
}

func newReading() *reading {
	return &reading{
		totals: make(map[uint64]Counts), files: make(map[bpf.CoreFileKey]bpf.CoreFileCounts),
		evicted: make(map[bpf.CoreEvictKey]bpf.CoreEvictCounts), refaults: make(map[uint64]uint64),
	}
}

// add takes in a run that has not reached the maps yet.
func (r *reading) add(run *bpf.CoreRun) {
	cause := bpf.CoreCause(run.Cause)
	total := r.totals[run.Owner]
	total.add(cause, run.Pages)
	r.totals[run.Owner] = total
	key := bpf.CoreFileKey{Owner: run.Owner, Inode: run.Inode, Dev: run.Dev, Generation: run.Generation}
	if f, ok := r.files[key]; ok {
		counts := counts(f.Pages)
		counts.add(cause, run.Pages)
		f.Pages = bpf.CoreCacheCounts{Added: counts.Added, Evicted: counts.Evicted, Truncated: counts.Truncated, Invalidated: counts.Invalidated}
		r.files[key] = f
	}
	if cause == bpf.CoreCauseCAUSE_EVICT || cause == bpf.CoreCauseCAUSE_EVICT_REPARENTED {
		key := bpf.CoreEvictKey{Owner: run.Owner, Evictor: run.Evictor, Kind: uint64(run.Kind)}
		evicted := r.evicted[key]
		evicted.Pages += run.Pages
		if cause == bpf.CoreCauseCAUSE_EVICT_REPARENTED {
			evicted.Reparented += run.Pages
		}
		r.evicted[key] = evicted
	}
}

func counts(c bpf.CoreCacheCounts) Counts {
	return Counts{c.Added, c.Evicted, c.Truncated, c.Invalidated}
}

// Read gives the traffic since the last Read, by owner (0: pages that are
// charged to no cgroup). Only owners with traffic are in it. Beside an error is
// what could be read.
func (c *Cache) Read() (map[uint64]*Traffic, error) {
	now := newReading()
	err := errors.Join(
		each(c.maps["cache_totals"], func(k uint64, v bpf.CoreCacheCounts) { now.totals[k] = counts(v) }),
		each(c.maps["cache_files"], func(k bpf.CoreFileKey, v bpf.CoreFileCounts) { now.files[k] = v }),
		each(c.maps["cache_evictors"], func(k bpf.CoreEvictKey, v bpf.CoreEvictCounts) { now.evicted[k] = v }),
		c.pending(now.add),
		each(c.maps["cache_refaults"], func(k, v uint64) { now.refaults[k] = v }),
	)
	return c.since(now), err
}

// since gives what came on top of the readings before.
func (c *Cache) since(now *reading) map[uint64]*Traffic {
	c.round++
	out := make(map[uint64]*Traffic)
	of := func(owner uint64) *Traffic {
		if out[owner] == nil {
			out[owner] = &Traffic{}
		}
		return out[owner]
	}
	for owner, total := range now.totals {
		if c.totals[owner] == nil {
			c.totals[owner] = &Counts{}
		}
		if d := total.since(c.totals[owner]); !d.zero() {
			of(owner).Counts = d
		}
	}
	for key, f := range now.files {
		seen := c.files[key]
		if seen == nil || seen.born != f.Born {
			seen = &fileSeen{born: f.Born}
			c.files[key] = seen
		}
		seen.round = c.round
		total := counts(f.Pages)
		if d := total.since(&seen.last); !d.zero() {
			t := of(key.Owner)
			t.Files = append(t.Files, File{key.Inode, key.Dev, key.Generation, d})
		}
	}
	for key, seen := range c.files {
		if seen.round != c.round { // forgotten by the kernel side
			delete(c.files, key)
		}
	}
	for key, counts := range now.evicted {
		last := c.evicted[key]
		if last == nil {
			last = &bpf.CoreEvictCounts{}
			c.evicted[key] = last
		}
		if d := rise(&last.Pages, counts.Pages); d > 0 {
			kind, reparented := bpf.CoreReclaimKind(key.Kind), rise(&last.Reparented, counts.Reparented)
			t := of(key.Owner)
			t.EvictedBy = append(t.EvictedBy, Evictor{key.Evictor, kind, d, reparented})
			if key.Evictor != 0 {
				by := of(key.Evictor)
				by.EvictedOf = append(by.EvictedOf, Evicted{key.Owner, kind, d, reparented})
			}
		}
	}
	for owner, pages := range now.refaults {
		if c.refault[owner] == nil {
			c.refault[owner] = new(uint64)
		}
		if d := rise(c.refault[owner], pages); d > 0 {
			of(owner).Refaulted = d
		}
	}
	return out
}

// Forget frees what is kept of cgroups that are gone, here and in the kernel.
// Call it with cgroups whose last page is long gone.
func (c *Cache) Forget(gone func(cgroup uint64) bool) {
	for owner := range c.totals {
		if gone(owner) {
			delete(c.totals, owner)
			delete(c.refault, owner)
			_ = c.maps["cache_totals"].Delete(owner)
			_ = c.maps["cache_refaults"].Delete(owner)
		}
	}
	for key := range c.evicted {
		if gone(key.Owner) || gone(key.Evictor) {
			delete(c.evicted, key)
			_ = c.maps["cache_evictors"].Delete(key)
		}
	}
}

// pending gives the runs that have not reached the maps yet.
func (c *Cache) pending(fn func(*bpf.CoreRun)) error {
	m := c.maps["cache_runs"]
	if m == nil {
		return nil
	}
	for slot := range m.MaxEntries() {
		// A run may be changing while it is read. Two readings that name the
		// same file are of the same run; any other comes with the next Read.
		var runs, again []bpf.CoreRun
		if err := errors.Join(m.Lookup(slot, &runs), m.Lookup(slot, &again)); err != nil {
			return fmt.Errorf("map cache_runs: %w", err)
		}
		for i := range runs {
			if runs[i].Pages > 0 && sameRun(runs[i], again[i]) {
				fn(&runs[i])
			}
		}
	}
	return nil
}

func sameRun(a, b bpf.CoreRun) bool {
	pages := b.Pages
	b.Pages = a.Pages
	return a == b && a.Pages <= pages
}

// each reads a whole hash map. Entries that come or go meanwhile may be missed
// or not, as with any hash map that is in use.
func each[K, V any](m *ebpf.Map, fn func(K, V)) error {
	if m == nil {
		return nil
	}
	const chunk = 1024
	keys, values := make([]K, chunk), make([]V, chunk)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			fn(keys[i], values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case errors.Is(err, ebpf.ErrNotSupported):
			return eachSlowly(m, fn)
		case err != nil:
			return fmt.Errorf("read map %s: %w", m, err)
		}
	}
}

func eachSlowly[K, V any](m *ebpf.Map, fn func(K, V)) error {
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		fn(k, v)
	}
	return it.Err()
}

// Records is how many records of a family were tried and lost, and how much
// could not be counted because a map was full.
type Records struct {
	Sent, Lost, MapFull uint64
}

// ReadRecords gives the counters since the session began, by family.
func ReadRecords(m *ebpf.Map) ([]Records, error) {
	out := make([]Records, m.MaxEntries())
	for family := range m.MaxEntries() {
		var cpus []bpf.CoreTally
		if err := m.Lookup(family, &cpus); err != nil {
			return nil, fmt.Errorf("map tallies: %w", err)
		}
		for _, c := range cpus {
			out[family].Sent += c.Sent
			out[family].Lost += c.Lost
			out[family].MapFull += c.MapFull
		}
	}
	return out, nil
}

// History is the reclaim of one cgroup over a window.
type History struct {
	Episodes  uint64
	Stalled   time.Duration
	Reclaimed uint64
}

// ReadHistory sums up the reclaim of a domain in the window before a moment of
// CLOCK_MONOTONIC, to the second. Windows of up to 15 s are kept.
func ReadHistory(m *ebpf.Map, domain, now uint64, window time.Duration) (History, error) {
	var h bpf.CoreHistory
	if err := m.Lookup(domain, &h); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return History{}, nil
		}
		return History{}, fmt.Errorf("map histories: %w", err)
	}
	return sum(&h, now, window), nil
}

// sum adds up the seconds of a window. A slot holds the latest second that fell
// on it, which may be long past.
func sum(h *bpf.CoreHistory, now uint64, window time.Duration) History {
	var out History
	last := now / uint64(time.Second)
	seconds := uint64(window / time.Second)
	for _, s := range h.Seconds {
		if s.Second+seconds > last && s.Second <= last {
			out.Episodes += s.Episodes
			out.Stalled += time.Duration(s.Stalled)
			out.Reclaimed += s.Reclaimed
		}
	}
	return out
}
