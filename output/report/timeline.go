package report

import (
	"cmp"
	"slices"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// moments are what happened around the kill, in order; what the builder has seen
// is given.
func (s *Story) moments(out []Moment) []Moment {
	k := s.Kill
	add := func(at *int64, t Text) {
		if at != nil {
			out = append(out, Moment{OffsetNS: *at, Text: t})
		}
	}
	if w := s.Window; w != nil {
		add(&w.FromNS, say("what the input holds of this begins"))
		add(w.StallsFromNS, say("stalls before this moment were too many to keep"))
	}
	if at, ok := s.atLimit(); ok {
		add(&at, say("the memory in use first comes within 1% of the limit"))
	}
	if st := s.Stalls; st != nil && st.Longest != nil {
		out = append(out, *st.Longest)
	}
	for _, o := range s.Others {
		at := o.OffsetNS
		t := say("another kill: ", actor(&o.Victim))
		if o.Domain != nil && (k.Domain.Cgroup == nil || !same(o.Domain, k.Domain.Cgroup)) {
			t = say(t, ", for the limit of ", called(place(o.Container, o.Domain)))
		}
		add(&at, t)
	}
	add(k.Timeline.InvokedNS, say("the OOM killer is invoked"))
	add(k.Timeline.SelectedNS, say("the victim is selected"))
	if s.named() {
		out = append(out, Moment{Text: say(process(&k.Victim.Process), " is marked to die"), mark: true})
	} else {
		out = append(out, Moment{Text: say("the OOM killer runs"), mark: true})
	}
	add(k.Timeline.SignalledNS, say("SIGKILL is sent"))
	exited, freed := k.Timeline.ExitedNS, k.Timeline.FreedNS
	if e := s.End; e != nil {
		exited, freed = cmp.Or(e.Timeline.ExitedNS, exited), cmp.Or(e.Timeline.FreedNS, freed)
	}
	add(exited, say("the victim's last thread has exited"))
	add(freed, say("the memory in use is seen to fall"))
	for _, l := range s.Lost {
		at := int64(l.Time.Sub(k.Time))
		add(&at, lostLine(l))
	}
	slices.SortStableFunc(out, func(a, b Moment) int { return cmp.Compare(a.OffsetNS, b.OffsetNS) })
	return out
}

// atLimit is when the domain's usage first reached its limit, near enough, in the
// samples.
func (s *Story) atLimit() (int64, bool) {
	c := s.main()
	if c == nil {
		return 0, false
	}
	for _, x := range c.Samples {
		if u, l := x.Memory.Usage, x.Memory.Limit; u != nil && l != nil && x.OffsetNS < 0 && *u >= *l-*l/100 {
			return x.OffsetNS, true
		}
	}
	return 0, false
}

func lostLine(l *event.Lost) Text {
	t := say(counted(l.Count, "record"), " of ", called(l.Family), " were lost")
	if l.Reason != "" {
		t = say(t, ": ", quoted(l.Reason))
	}
	return t
}

// reason says why a task reclaimed.
func reason(kind string) Text {
	switch kind {
	case event.ReclaimMemcgLimit:
		return say("at the cgroup's limit")
	case event.ReclaimMemcgHigh:
		return say("above memory.high")
	case event.ReclaimMemcgProactive:
		return say("on request (memory.reclaim)")
	case event.ReclaimMemcgSoft:
		return say("above the soft limit")
	case event.ReclaimDirect:
		return say("for want of free memory on the node")
	case event.ReclaimNode:
		return say("on its NUMA node alone")
	case event.ReclaimDirectThrottled:
		return say("asleep until kswapd has freed memory of the node")
	case event.TypeThrottle:
		return say("put to sleep above memory.high")
	}
	return say(called(kind))
}
