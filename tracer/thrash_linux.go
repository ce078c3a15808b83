package tracer

import (
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

// Page cache thrashes when what was evicted a moment ago is read again, and that
// costs the readers time. docs/events.md states these thresholds. To end it the
// figures must fall below half of them, for longer than they had to be above.
const (
	thrashWindow   = time.Second
	thrashBegins   = 2 // windows in a row above the thresholds
	thrashEnds     = 3 // windows in a row below half of them
	thrashRecent   = time.Minute
	thrashRate     = 256   // pages a second that come back within thrashRecent, estimated
	thrashRefaults = 0.20  // of all pages added
	thrashStalled  = 0.005 // of wall time, the owner's tasks added up
)

// span is what one owner's page cache went through in some time.
type span struct {
	ns                        uint64
	added, refaulted, stalled uint64 // sampled pages, sampled pages, ns
	after                     tally.Histogram
	byDomain                  map[uint64]tally.Histogram // distances
}

func (s *span) add(o span) {
	s.ns += o.ns
	s.added += o.added
	s.refaulted += o.refaulted
	s.stalled += o.stalled
	if o.after != nil {
		s.after = s.after.Add(o.after)
	}
	for domain, distance := range o.byDomain {
		if s.byDomain == nil {
			s.byDomain = make(map[uint64]tally.Histogram)
		}
		s.byDomain[domain] = s.byDomain[domain].Add(distance)
	}
}

// above tells whether a span passes the thresholds, scaled.
func (s *span) above(scale float64) bool {
	seconds := float64(s.ns) / float64(time.Second)
	return float64(s.refaulted*tally.Sampling) >= scale*thrashRate*seconds &&
		float64(s.refaulted) >= scale*thrashRefaults*float64(s.added) &&
		float64(s.stalled) >= scale*thrashStalled*float64(s.ns)
}

// domain is the one for which most of what came back was evicted.
func (s *span) domain() (domain uint64, distance tally.Histogram) {
	most := uint64(0)
	for _, id := range sortedKeys(s.byDomain) {
		if n := s.byDomain[id].Count(); n > most {
			most, domain, distance = n, id, s.byDomain[id]
		}
	}
	return domain, distance
}

// thrashing is the state of one owner.
type thrashing struct {
	on    bool
	turns int    // windows in a row that speak for the other state
	began uint64 // CLOCK_MONOTONIC
	sum   span   // since then, to the last window that was not below
	below span   // the windows below since
}

// thrashes watches all owners.
type thrashes struct {
	owners map[uint64]*thrashing
	window map[uint64]*span
	began  uint64 // of the window
	ns     uint64
}

// turn is an owner that begins or ends to thrash.
type turn struct {
	owner uint64
	on    bool
	began uint64
	sum   span
}

func newThrashes() *thrashes {
	return &thrashes{owners: make(map[uint64]*thrashing), window: make(map[uint64]*span)}
}

// add takes in an interval, and gives who changed state when a window is full.
func (t *thrashes) add(began, now uint64, returns map[uint64]*tally.Returns, stalls []tally.Stall) []turn {
	if t.ns == 0 {
		t.began = began
	}
	t.ns += now - began
	of := func(owner uint64) *span {
		if t.window[owner] == nil {
			t.window[owner] = &span{}
		}
		return t.window[owner]
	}
	for owner, r := range returns {
		s := of(owner)
		s.added += r.Added
		for _, d := range r.ByDomain {
			s.add(span{
				refaulted: d.After.Below(uint64(thrashRecent) / tally.TimeUnit), after: d.After,
				byDomain: map[uint64]tally.Histogram{d.Domain: d.Distance},
			})
		}
	}
	for _, s := range stalls {
		if costs(s.Kind) {
			of(s.Cgroup).stalled += s.Total
		}
	}
	if t.ns < uint64(thrashWindow) {
		return nil
	}
	return t.judge()
}

// costs tells the kinds of stalls that a thrashing cache makes. Sleeps within
// reclaim are in its episodes.
func costs(kind uint64) bool {
	switch kind {
	case uint64(bpf.CoreStallKindSTALL_WAIT), uint64(bpf.CoreStallKindSTALL_COMPACTION), uint64(bpf.CoreReclaimKindRECLAIM_PROACTIVE):
		return false
	}
	return true
}

// judge ends the window.
func (t *thrashes) judge() []turn {
	for owner := range t.window {
		if t.owners[owner] == nil && t.window[owner].above(1) {
			t.owners[owner] = &thrashing{}
		}
	}
	var out []turn
	for _, owner := range sortedKeys(t.owners) {
		w, o := t.window[owner], t.owners[owner]
		if w == nil {
			w = &span{}
		}
		w.ns = t.ns
		if !o.on && o.turns == 0 {
			o.began = t.began
		}
		switch {
		case !o.on && !w.above(1):
			delete(t.owners, owner)
			continue
		case o.on && !w.above(0.5):
			o.below.add(*w)
		case o.on:
			o.sum.add(o.below)
			o.sum.add(*w)
			o.below, o.turns = span{}, 0
			continue
		default:
			o.sum.add(*w)
		}
		o.turns++
		if !o.on && o.turns == thrashBegins || o.on && o.turns == thrashEnds {
			o.on, o.turns = !o.on, 0
			out = append(out, turn{owner, o.on, o.began, o.sum})
			if !o.on {
				delete(t.owners, owner)
			}
		}
	}
	clear(t.window)
	t.ns = 0
	return out
}

// rest ends what has not ended, with the trace.
func (t *thrashes) rest() []turn {
	var out []turn
	for _, owner := range sortedKeys(t.owners) {
		if o := t.owners[owner]; o.on {
			out = append(out, turn{owner, false, o.began, o.sum})
		}
	}
	clear(t.owners)
	return out
}

// tellThrash takes in an interval and writes who began or ended to thrash.
func (t *Tracer) tellThrash(began, now uint64, returns map[uint64]*tally.Returns, stalls []tally.Stall) error {
	if t.histograms.thrashes == nil {
		return nil
	}
	return t.tellTurns(t.histograms.thrashes.add(began, now, returns, stalls))
}

// endThrash ends what has not ended by the end of the trace.
func (t *Tracer) endThrash() error {
	if t.histograms.thrashes == nil {
		return nil
	}
	return t.tellTurns(t.histograms.thrashes.rest())
}

func (t *Tracer) tellTurns(turns []turn) error {
	for _, v := range turns {
		if v.owner == 0 || !t.selected(v.owner) {
			continue
		}
		e := &event.Thrash{
			Meta:  event.Meta{Type: event.TypeThrash, Time: t.clock.wall(v.began)},
			State: event.StateBegin, DurationNS: int64(v.sum.ns),
			Refaulted: v.sum.refaulted * tally.Sampling, Added: v.sum.added * tally.Sampling, Sampling: tally.Sampling,
			StalledNS: int64(v.sum.stalled), RefaultAfterP50NS: int64(v.sum.after.Quantile(0.5) * tally.TimeUnit),
			Source: event.SourceInferred,
		}
		if !v.on {
			e.State = event.StateEnd
		}
		if cg, c := t.names.cgroup(v.owner); cg != nil {
			e.Cgroup, e.Container = *cg, c
		}
		domain, distance := v.sum.domain()
		e.Domain = t.names.domain(domain)
		t.suffice(e, domain, distance)
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// suffice estimates the limit that would have kept nine tenths of what came
// back: a page that came back after so many others were evicted would have
// stayed had there been room for those. Pages that are evicted again and again
// are counted each time, so there is a second bound: with room for all that was
// evicted and has not come back, nothing would have been missing.
func (t *Tracer) suffice(e *event.Thrash, domain uint64, distance tally.Histogram) {
	if e.Domain == nil || e.Domain.Path == "" {
		return
	}
	memory, err := t.mount.Read(e.Domain.Path)
	if err != nil {
		return
	}
	if e.Limit = memory.Limit; e.Limit == nil {
		e.Limit = memory.Usage
	}
	if e.Limit == nil || distance.Count() == 0 {
		return
	}
	more := distance.Quantile(0.9)
	if away := t.histograms.refaults.Away(domain); away > 0 {
		more = min(more, away)
	}
	sufficient := *e.Limit + more*tally.Sampling*t.page
	e.Sufficient = &sufficient
}
