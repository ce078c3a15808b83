package tracer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

const (
	busiestFiles   = 10 // named in one cache event
	busiestEvictor = 10
	// pressureLasts is how long after its last stall a cgroup's memory is
	// still sampled.
	pressureLasts = 10 * time.Second
)

func (t *Tracer) underPressure(id, at uint64) {
	t.window.press(id)
	if t.opts.wants(FamilyMemory) {
		t.pressures[id] = at
	}
}

// tellIntervals writes the events that come once an interval.
func (t *Tracer) tellIntervals() error {
	began, now := t.lastCache, t.clock.now()
	t.lastCache = now
	stalls, returns := t.histograms.read(t.opts.Warn)
	if err := t.tellStalls(stalls, began, now); err != nil {
		return err
	}
	if t.cache != nil {
		if err := t.tellCache(returns, began, now); err != nil {
			return err
		}
	}
	if t.profile != nil {
		if err := t.tellProfile(); err != nil {
			return err
		}
	}
	if err := t.tellThrash(began, now, returns, stalls); err != nil {
		return err
	}
	t.forget(now)
	if t.opts.wants(FamilyMemory) {
		return t.tellMemory(t.sampled())
	}
	return nil
}

func (t *Tracer) tellCache(returns map[uint64]*tally.Returns, began, now uint64) error {
	traffic, err := t.cache.Read()
	if err != nil {
		t.opts.Warn(err.Error())
	}
	// What sampling saw after the counters were read comes with its interval.
	for owner, r := range returns {
		if traffic[owner] == nil && len(r.ByDomain) > 0 {
			traffic[owner] = &tally.Traffic{}
		}
	}
	if err := t.catchUp(); err != nil { // with the paths of files that were just counted
		return err
	}
	t.lateRefaults(traffic, now)
	for _, owner := range sortedKeys(traffic) {
		if owner != 0 && !t.selected(owner) || owner == 0 && len(t.opts.Cgroups) > 0 {
			continue
		}
		if err := t.emit(t.cacheEvent(owner, traffic[owner], returns[owner], began, now)); err != nil {
			return err
		}
	}
	return nil
}

// forget frees the counters of cgroups that are gone, once a minute.
func (t *Tracer) forget(now uint64) {
	if now < t.forgotten+uint64(time.Minute) {
		return
	}
	t.forgotten = now
	if t.cache != nil {
		t.cache.Forget(t.longGone)
		maps.DeleteFunc(t.stats, func(id uint64, _ cgroup.Stat) bool { return t.longGone(id) })
	}
	t.histograms.forget(t.longGone)
}

// longGone tells whether a cgroup was removed ten minutes ago or more: what is
// counted for it may be forgotten.
func (t *Tracer) longGone(id uint64) bool {
	e, ok := t.names.tree.Entry(id)
	return id != 0 && (!ok || !e.Died.IsZero() && time.Since(e.Died) > 10*time.Minute)
}

func (t *Tracer) cacheEvent(owner uint64, tr *tally.Traffic, r *tally.Returns, began, now uint64) *event.Cache {
	e := &event.Cache{
		Meta:       event.Meta{Type: event.TypeCache, Time: t.clock.wall(began)},
		IntervalNS: int64(now - began), Added: tr.Added, Evicted: tr.Evicted,
		Removed: tr.Truncated + tr.Invalidated, Invalidated: tr.Invalidated,
	}
	e.Cgroup, e.Container = t.names.cgroup(owner)
	t.refaults(e, owner, tr)
	t.returned(e, r)
	t.evictions(e, tr)
	total := func(f tally.File) uint64 { return f.Added + f.Evicted + f.Truncated + f.Invalidated }
	slices.SortFunc(tr.Files, func(a, b tally.File) int {
		return cmp.Or(cmp.Compare(total(b), total(a)), cmp.Compare(a.Inode, b.Inode))
	})
	for _, f := range tr.Files[:min(len(tr.Files), busiestFiles)] {
		e.Files = append(e.Files, event.CacheFile{
			File: t.names.file(f.Dev, f.Generation, f.Inode), Added: f.Added, Evicted: f.Evicted, Removed: f.Truncated + f.Invalidated,
		})
	}
	return e
}

// refaults tells how many pages came back after they were evicted: counted by
// the hook where there is one, else what the cgroup's own statistics rose by.
func (t *Tracer) refaults(e *event.Cache, owner uint64, tr *tally.Traffic) {
	if t.refaultHook() {
		e.Refaulted, e.RefaultedOf = &tr.Refaulted, event.SourceBPF
		return
	}
	if e.Cgroup == nil || e.Cgroup.Path == "" {
		return
	}
	now, err := t.mount.Stat(e.Cgroup.Path)
	if err != nil || now.RefaultFile == nil {
		return
	}
	before, known := t.stats[owner]
	t.stats[owner] = now
	entry, _ := t.names.tree.Entry(owner)
	if now.Hierarchical && t.hasChildren(owner) {
		return // theirs are in it
	}
	if !known && !entry.Born.IsZero() {
		before.RefaultFile = new(uint64) // born under our eyes
	}
	if before.RefaultFile == nil || *now.RefaultFile < *before.RefaultFile {
		return
	}
	n := *now.RefaultFile - *before.RefaultFile
	e.Refaulted, e.RefaultedOf = &n, event.SourceCgroupfs
}

// settleStats is for how long after its last traffic a cgroup is looked at for
// refaults: the kernel gathers its statistics up to 2 s late.
const settleStats = 4 * time.Second

// lateRefaults adds the cgroups whose traffic has ended, but whose refaults the
// kernel may only have counted since.
func (t *Tracer) lateRefaults(traffic map[uint64]*tally.Traffic, now uint64) {
	if t.refaultHook() {
		return
	}
	for owner := range t.recent {
		if traffic[owner] != nil {
			continue
		}
		if t.recent[owner] < now {
			delete(t.recent, owner)
		}
		cg, _ := t.names.cgroup(owner)
		if cg == nil || cg.Path == "" {
			continue
		}
		if stat, err := t.mount.Stat(cg.Path); err == nil && stat.RefaultFile != nil {
			if before := t.stats[owner].RefaultFile; before != nil && *stat.RefaultFile > *before {
				traffic[owner] = &tally.Traffic{}
			}
		}
	}
	for owner := range traffic {
		if traffic[owner].Counts != (tally.Counts{}) {
			t.recent[owner] = now + uint64(settleStats)
		}
	}
}

func (t *Tracer) hasChildren(id uint64) bool {
	for range t.names.tree.Children(id) {
		return true
	}
	return false
}

func (t *Tracer) refaultHook() bool { return t.sees(FamilyCache, "refault") }

// seedStats reads where refault counts begin.
func (t *Tracer) seedStats() {
	if t.refaultHook() {
		return
	}
	for id, path := range t.names.tree.All() {
		if s, err := t.mount.Stat(path); err == nil {
			t.stats[id] = s
		}
	}
}

// sampled gives the cgroups whose memory is told once an interval: those that
// were asked for, or without a filter those under pressure.
func (t *Tracer) sampled() []uint64 {
	if len(t.opts.Cgroups) == 0 {
		return t.filling()
	}
	var ids []uint64
	for _, root := range sortedKeys(t.roots) {
		ids = append(ids, root)
		for id := range t.names.tree.Subtree(root) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// filling gives the cgroups that are under pressure, and then those whose usage
// rises towards a limit.
func (t *Tracer) filling() []uint64 {
	now := t.clock.now()
	var ids []uint64
	for _, id := range sortedKeys(t.pressures) {
		if now > t.pressures[id]+uint64(pressureLasts) {
			delete(t.pressures, id)
			continue
		}
		ids = append(ids, id)
	}
	for _, id := range t.window.filling(now) {
		if _, known := t.pressures[id]; !known {
			ids = append(ids, id)
		}
	}
	return slices.DeleteFunc(ids, func(id uint64) bool { return !t.selected(id) })
}

// denseShare bounds how long one round of dense samples may take; what it does
// not come to has its turn with the interval.
const denseShare = 10 * time.Millisecond

func (t *Tracer) dense() bool { return t.opts.MemoryInterval > 0 && t.opts.wants(FamilyMemory) }

// tellFilling samples, between intervals, what may soon be killed.
func (t *Tracer) tellFilling() error {
	until := t.clock.now() + uint64(denseShare)
	for _, id := range t.filling() {
		if t.clock.now() > until {
			break
		}
		if err := t.tellMemory([]uint64{id}); err != nil {
			return err
		}
	}
	return nil
}

// tellMemory samples the composition of cgroups.
func (t *Tracer) tellMemory(ids []uint64) error {
	for _, id := range ids {
		if !t.names.tree.Alive(id) {
			continue
		}
		cg, c := t.names.cgroup(id)
		at := t.clock.now()
		figures, err := t.mount.Read(cg.Path)
		if err != nil { // removed meanwhile
			continue
		}
		e := &event.MemorySample{Meta: event.Meta{Type: event.TypeMemory, Time: t.clock.wall(at)}, Cgroup: *cg, Container: c, Memory: figures}
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// tellLosses reads how much was sent and lost and writes what was lost since it
// was told last.
func (t *Tracer) tellLosses() error {
	records, err := tally.ReadRecords(t.session.Maps["tallies"])
	if err != nil {
		t.opts.Warn(err.Error())
		return nil
	}
	since := t.counters.told
	now := time.Now()
	t.counters.told = now
	tell := func(family string, n uint64, reason string) error {
		if n == 0 {
			return nil
		}
		return t.emit(&event.Lost{
			Meta: event.Meta{Type: event.TypeLost, Time: now.UTC()}, Family: family, Count: n, Since: since.UTC(), Reason: reason,
		})
	}
	for i, r := range records {
		t.counters.sent[i] = r.Sent
		if err := tell(familyName(i), r.Lost-t.counters.lost[i], "the ring buffer was full"); err != nil {
			return err
		}
		t.counters.lost[i] = r.Lost
		if err := tell(familyName(i), r.MapFull-t.counters.full[i], "a map was full"); err != nil {
			return err
		}
		t.counters.full[i] = r.MapFull
	}
	for _, s := range t.countSkipped() {
		if err := tell(s.family, s.count, "program "+s.program+" was passed over: it was already running on that CPU"); err != nil {
			return err
		}
	}
	return nil
}

type skipped struct {
	family, program string
	count           uint64
}

// countSkipped gives how often the kernel passed programs over since it was
// asked last (5.12; earlier kernels do not count).
func (t *Tracer) countSkipped() []skipped {
	var out []skipped
	for _, c := range t.session.Choices {
		if c.Way == nil {
			continue
		}
		for _, p := range c.Way.Programs {
			prog := t.session.Programs[p.Name]
			if prog == nil {
				continue
			}
			stats, err := prog.Stats()
			if err != nil || stats.RecursionMisses <= t.counters.skipped[p.Name] {
				continue
			}
			out = append(out, skipped{c.Family, p.Name, stats.RecursionMisses - t.counters.skipped[p.Name]})
			t.counters.skipped[p.Name] = stats.RecursionMisses
		}
	}
	return out
}
