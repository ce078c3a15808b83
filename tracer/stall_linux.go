package tracer

import (
	"cmp"
	"slices"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/symbol"
)

func reclaimKind(k uint32) string {
	switch bpf.CoreReclaimKind(k) {
	case bpf.CoreReclaimKindRECLAIM_LIMIT:
		return event.ReclaimMemcgLimit
	case bpf.CoreReclaimKindRECLAIM_HIGH:
		return event.ReclaimMemcgHigh
	case bpf.CoreReclaimKindRECLAIM_SOFT:
		return event.ReclaimMemcgSoft
	case bpf.CoreReclaimKindRECLAIM_DIRECT:
		return event.ReclaimDirect
	case bpf.CoreReclaimKindRECLAIM_NODE:
		return event.ReclaimNode
	case bpf.CoreReclaimKindRECLAIM_THROTTLED:
		return event.ReclaimDirectThrottled
	}
	return event.ReclaimMemcgProactive
}

func (t *Tracer) reclaim(r *decode.Reclaim) error {
	if r.Domain != 0 {
		t.underPressure(r.Domain, r.Head.Time)
	}
	e := &event.Reclaim{
		Meta:    event.Meta{Type: event.TypeReclaim, Time: t.clock.wall(r.Head.Time - r.Duration)},
		Kind:    reclaimKind(r.Kind),
		Process: process((*bpf.CoreRecTask)(&r.Task)), Domain: t.names.domain(r.Domain),
		DurationNS: int64(r.Duration), Reclaimed: r.Reclaimed, GFPFlags: t.gfp.String(r.Gfp),
	}
	if bpf.CoreCertainty(r.Certainty) == bpf.CoreCertaintyINFERRED {
		e.KindSource = event.SourceInferred
	}
	e.Cgroup, e.Container = t.names.cgroup(r.Task.Cgroup)
	e.CPUNS, e.Order = nanoseconds(r.CpuNs), nonNegative(r.Order)
	e.Scanned = optional(r.Scanned)
	e.Priority, e.Node = nonNegative(r.Priority), nonNegative(r.Node)
	e.Evicted, e.EvictedOtherPages = t.evicted(r), uint64(r.EvictedOther)
	if r.Stack != nil {
		e.Stack = t.symbols().Stack(r.Stack)
		e.UserStack = t.users.Stack(symbol.Image{PID: e.Process.PID, MM: r.Image}, r.UserStack)
	}
	return t.emit(e)
}

func (t *Tracer) kswapd(r *decode.Reclaim) error {
	if len(t.opts.Cgroups) > 0 && !slices.ContainsFunc(r.Evicted, func(e bpf.CoreRecEvicted) bool { return t.selected(e.Owner) }) {
		return nil
	}
	order, reclaimed := int(r.Order), r.Reclaimed
	e := &event.Kswapd{
		Meta: event.Meta{Type: event.TypeKswapd, Time: t.clock.wall(r.Head.Time - r.Duration)},
		Node: int(r.Node), DurationNS: int64(r.Duration), CPUNS: nanoseconds(r.CpuNs), Order: &order, Scanned: optional(r.Scanned),
		Evicted: t.evicted(r), EvictedOtherPages: uint64(r.EvictedOther),
	}
	if e.Scanned != nil {
		e.Reclaimed = &reclaimed
	}
	return t.emit(e)
}

func (t *Tracer) throttle(r *bpf.CoreRecThrottle) error {
	if r.Domain != 0 {
		t.underPressure(r.Domain, r.Head.Time)
	}
	e := &event.Throttle{
		Meta:    event.Meta{Type: event.TypeThrottle, Time: t.clock.wall(r.Head.Time - r.Duration)},
		Process: process((*bpf.CoreRecTask)(&r.Task)), Domain: t.names.domain(r.Domain), DurationNS: int64(r.Duration),
	}
	e.Cgroup, e.Container = t.names.cgroup(r.Task.Cgroup)
	return t.emit(e)
}

// evicted names what an episode pushed out, the largest first.
func (t *Tracer) evicted(r *decode.Reclaim) []event.Evicted {
	var out []event.Evicted
	for _, v := range r.Evicted {
		e := event.Evicted{Pages: v.Pages, Reparented: v.Reparented}
		e.Cgroup, e.Container = t.names.cgroup(v.Owner)
		f := t.names.file(v.Dev, v.Generation, v.Inode)
		e.File = &f
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b event.Evicted) int { return cmp.Compare(b.Pages, a.Pages) })
	return out
}

func optional(v uint64) *uint64 {
	if v == unknown {
		return nil
	}
	return &v
}

func nanoseconds(v uint64) *int64 {
	if v == unknown {
		return nil
	}
	n := int64(v)
	return &n
}

func nonNegative(v int32) *int {
	if v < 0 {
		return nil
	}
	n := int(v)
	return &n
}
