package text

import (
	"math"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// nanos makes a bucket's end a duration.
func nanos(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// stalls is one line: how often and how long tasks of a cgroup stalled.
func (w *Writer) stallCounts(e *event.Stalls) {
	where, parent := sufferer(e.Container, e.Cgroup, e.Domain)
	if parent {
		where += "^"
		w.note("^ the limit is that of a parent cgroup, not of the one shown")
	}
	l := w.at(e.Time).put(plain, "stalls").to(body+8).put(plain, term.Elide(where, placeWide)).to(body + 8 + placeWide + 2)
	l.put(plain, term.Elide(kind(e.Kind), 10)).skip(1).put(plain, counted(e.Count, "stall")+" "+duration(e.TotalNS))
	if e.IntervalNS > 0 {
		l.put(dim, " of "+duration(e.IntervalNS))
	}
	if p50, p99 := event.Quantile(e.DurationNS, 0.5), event.Quantile(e.DurationNS, 0.99); p50 > 0 && e.Count > 1 {
		longest := nanos(uint64(max(e.MaxNS, 0)))
		l.skip(2).whole(dim, "p50 "+duration(min(nanos(p50), longest))).skip(1).whole(dim, "p99 "+duration(min(nanos(p99), longest)))
	}
	l.skip(1).whole(dim, "max "+duration(e.MaxNS)).end()
}

// thrash tells that page cache is read again as fast as it is evicted.
func (w *Writer) thrash(e *event.Thrash) {
	const in = body + 8
	name := term.Elide(place(e.Container, &e.Cgroup), placeWide)
	l := w.at(e.Time)
	if e.State == event.StateEnd {
		l.put(plain, "thrash").to(in).put(plain, name).to(in+placeWide+2).put(plain, "ended, after "+duration(e.DurationNS)).end()
	} else {
		l.put(alarm, "THRASH").to(in).put(bold, name).to(in+placeWide+2).put(warn, "page cache is read again as soon as it is evicted").end()
	}
	read := "~" + w.pages(e.Refaulted) + " of " + w.pages(e.Added) + " read had been evicted less than a minute before"
	if e.RefaultAfterP50NS > 0 {
		read += ", half within " + duration(e.RefaultAfterP50NS)
	}
	w.line().to(in).wrap(plain, read, in, 2)
	stalled := "tasks stalled " + duration(e.StalledNS)
	if e.DurationNS > 0 && e.StalledNS >= 0 {
		stalled += " in " + duration(e.DurationNS) + " (" + term.Text(unit.Percent(uint64(e.StalledNS), uint64(e.DurationNS))) + ")"
	}
	if e.Domain != nil && e.Domain.ID != e.Cgroup.ID {
		stalled += "; the limit is that of " + place(e.Domain.Container, &e.Domain.Cgroup)
	}
	w.line().to(in).wrap(plain, stalled, in, 2)
	if e.Limit != nil && e.Sufficient != nil {
		w.line().to(in).wrap(plain, "limit "+size(*e.Limit)+"; ~"+size(*e.Sufficient)+
			" would have kept nine tenths of it in memory (an estimate, from how much was evicted in between)", in, 2)
	}
}
