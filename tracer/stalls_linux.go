package tracer

import (
	"cmp"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

func stallKind(k uint64) string {
	switch bpf.CoreStallKind(k) {
	case bpf.CoreStallKindSTALL_THROTTLE:
		return event.StallThrottle
	case bpf.CoreStallKindSTALL_WAIT:
		return event.StallThrottled
	case bpf.CoreStallKindSTALL_COMPACTION:
		return event.StallCompaction
	}
	return reclaimKind(uint32(k))
}

// evictKind names the way on which page cache was evicted, "" where it has no
// name.
func evictKind(k bpf.CoreReclaimKind) string {
	switch k {
	case bpf.CoreReclaimKindRECLAIM_NONE:
		return ""
	case bpf.CoreReclaimKindRECLAIM_KSWAPD:
		return event.EvictKswapd
	case bpf.CoreReclaimKindRECLAIM_DAMON:
		return event.EvictDAMON
	}
	return reclaimKind(uint32(k))
}

// histograms read what is counted in the kernel as such; nil what is not
// wanted.
type histograms struct {
	stalls   *tally.Stalls
	refaults *tally.Refaults
	thrashes *thrashes
}

func newHistograms(o Options, maps map[string]*ebpf.Map) (h histograms) {
	if o.wants(FamilyStalls) || o.wants(FamilyThrash) {
		h.stalls = tally.NewStalls(maps)
	}
	if o.wants(FamilyCache) || o.wants(FamilyThrash) {
		h.refaults = tally.NewRefaults(maps)
	}
	if o.wants(FamilyThrash) {
		h.thrashes = newThrashes()
	}
	return h
}

// read gives what was counted since it was read last.
func (h *histograms) read(warn func(string)) (stalls []tally.Stall, returns map[uint64]*tally.Returns) {
	var err error
	if h.stalls != nil {
		if stalls, err = h.stalls.Read(); err != nil {
			warn(err.Error())
		}
	}
	if h.refaults != nil {
		if returns, err = h.refaults.Read(); err != nil {
			warn(err.Error())
		}
	}
	return stalls, returns
}

func (h *histograms) forget(gone func(uint64) bool) {
	if h.stalls != nil {
		h.stalls.Forget(gone)
	}
	if h.refaults != nil {
		h.refaults.Forget(gone)
	}
}

// tellStalls writes the histograms of one interval.
func (t *Tracer) tellStalls(stalls []tally.Stall, began, now uint64) error {
	if !t.opts.wants(FamilyStalls) {
		return nil
	}
	slices.SortFunc(stalls, func(a, b tally.Stall) int {
		return cmp.Or(cmp.Compare(a.Cgroup, b.Cgroup), cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Kind, b.Kind))
	})
	for _, s := range stalls {
		if !t.selected(s.Cgroup) && (s.Domain == 0 || !t.selected(s.Domain)) {
			continue
		}
		e := &event.Stalls{
			Meta:       event.Meta{Type: event.TypeStalls, Time: t.clock.wall(began)},
			IntervalNS: int64(now - began), Domain: t.names.domain(s.Domain), Kind: stallKind(s.Kind),
			Count: s.Durations.Count(), TotalNS: int64(s.Total), MaxNS: int64(s.Longest),
			DurationNS: s.Durations.Bars(tally.TimeUnit), Scanned: s.Scanned,
		}
		if s.Kind < uint64(bpf.CoreStallKindSTALL_THROTTLE) {
			e.Reclaimed = &s.Reclaimed
		}
		e.Cgroup, e.Container = t.names.cgroup(s.Cgroup)
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// returned tells of the sampled pages that came back to an owner.
func (t *Tracer) returned(e *event.Cache, r *tally.Returns) {
	if r == nil || len(r.ByDomain) == 0 {
		return
	}
	var after tally.Histogram
	for _, d := range r.ByDomain {
		after = after.Add(d.After)
		e.RefaultDistances = append(e.RefaultDistances, event.RefaultDistance{
			Domain: t.names.domain(d.Domain), Sampled: d.After.Count(),
			P50: d.Distance.Quantile(0.5) * tally.Sampling, P90: d.Distance.Quantile(0.9) * tally.Sampling,
		})
	}
	slices.SortFunc(e.RefaultDistances, func(a, b event.RefaultDistance) int { return cmp.Compare(b.Sampled, a.Sampled) })
	e.RefaultAfterNS, e.RefaultSampling = after.Bars(tally.TimeUnit), tally.Sampling
}

// evictions fills in who evicted whose page cache: the ten that did most of it,
// and how much the others did.
func (t *Tracer) evictions(e *event.Cache, tr *tally.Traffic) {
	slices.SortFunc(tr.EvictedBy, func(a, b tally.Evictor) int { return cmp.Compare(b.Pages, a.Pages) })
	for i, v := range tr.EvictedBy {
		e.Reparented += v.Reparented
		if i >= busiestEvictor {
			e.EvictedByOtherPages += v.Pages
			continue
		}
		by := event.EvictedBy{Kswapd: v.Kind == bpf.CoreReclaimKindRECLAIM_KSWAPD, Kind: evictKind(v.Kind), Pages: v.Pages, Reparented: v.Reparented}
		if !by.Kswapd && by.Kind != event.EvictDAMON { // threads of the kernel, of no cgroup
			by.Cgroup, by.Container = t.names.cgroup(v.Cgroup)
		}
		e.EvictedBy = append(e.EvictedBy, by)
	}
	slices.SortFunc(tr.EvictedOf, func(a, b tally.Evicted) int { return cmp.Compare(b.Pages, a.Pages) })
	for i, v := range tr.EvictedOf {
		if i >= busiestEvictor {
			e.EvictedOfOtherPages += v.Pages
			continue
		}
		of := event.EvictedOf{Kind: evictKind(v.Kind), Pages: v.Pages, Reparented: v.Reparented}
		of.Cgroup, of.Container = t.names.cgroup(v.Owner)
		e.EvictedOf = append(e.EvictedOf, of)
	}
}
