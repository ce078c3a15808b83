package report

import (
	"time"

	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// count takes in the stalls that the kernel counted in one interval, if all of it
// lies in the window. Sleeps within reclaim and compaction have no events of
// their own, and are no episodes.
func (b *builder) count(e *event.Stalls) {
	if e.Kind == event.StallThrottled || e.Kind == event.StallCompaction ||
		e.Time.Before(b.from) || e.Time.Add(time.Duration(e.IntervalNS)).Sub(b.kill.Time) > after ||
		!b.concerns(e.Cgroup) && (e.Domain == nil || !b.concerns(&e.Domain.Cgroup)) && !b.everywhere() {
		return
	}
	s := b.stalls()
	if s.Counted == nil {
		s.Counted = &Counted{}
	}
	s.Counted.Episodes += e.Count
	s.Counted.StalledNS += e.TotalNS
}

// left tells whether the kernel counted more stalls than have events here.
func (s *Stalls) left() bool { return s.Counted != nil && s.Counted.Episodes > s.Episodes }

// told says which stalls the map and the tables are made of.
func (s *Stalls) told() string {
	switch {
	case s == nil || len(s.Cells) == 0:
	case s.left():
		return "Made of the " + unit.Count(s.Episodes) + " stalls that have events of their own (" + lasting(s.StalledNS) + " in all); the kernel counted " +
			unit.Count(s.Counted.Episodes) + " (" + lasting(s.Counted.StalledNS) + "): the others were too short to be recorded (--min-stall), or lost."
	case s.Counted == nil:
		return "Made of the stalls that have events of their own; shorter ones than were recorded (--min-stall) are not in it."
	}
	return "" // all of them
}
