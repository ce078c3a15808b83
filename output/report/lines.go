package report

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// named reports whether anybody was killed, as far as the input says.
func (s *Story) named() bool { return s.Kill.Victim.PID != 0 || len(s.Kill.Killed) > 0 }

// domain names the cgroup whose limit fired.
func (s *Story) domain() Part {
	d := &s.Kill.Domain
	return called(cmp.Or(place(d.Container, d.Cgroup), "a cgroup"))
}

func (s *Story) limit() string {
	if m := s.Kill.Domain.Memory; m != nil && m.Limit != nil {
		return size(*m.Limit)
	}
	return ""
}

// title is the story in one line.
func (s *Story) title() Text {
	k := s.Kill
	who := process(&k.Victim.Process)
	verb := " was killed"
	if n := len(k.Killed) - 1; n > 0 {
		who, verb = say(who, " and ", counted(n, "other")), " were killed"
	}
	if !s.named() {
		who, verb = say("out of memory"), ""
	}
	if s.asked() {
		return say(who, verb, ": the OOM killer was asked to, by hand")
	}
	switch k.Domain.Constraint {
	case event.ConstraintMemcg:
		limit := "the memory limit"
		if l := s.limit(); l != "" {
			limit = "the limit of " + l
		}
		if k.Trigger.InvokedBy == event.InvokedByLimitWrite {
			return say(who, verb, ": ", limit, " of ", s.domain(), " was set below what it used")
		}
		return say(who, verb, ": ", limit, " of ", s.domain(), " was reached")
	case event.ConstraintGlobal:
		return say(who, verb, ": the node ran out of memory")
	case event.ConstraintCpuset:
		return say(who, verb, ": the memory nodes of a cpuset ran out")
	case event.ConstraintMempolicy:
		return say(who, verb, ": the memory nodes of a memory policy ran out")
	}
	return say(who, verb)
}

// lines tells the story in paragraphs: who was killed, by whose limit, triggered
// by whom; what memory was; what came before; what came back.
func (s *Story) lines() []Text {
	var out []Text
	for _, sentences := range [][]Text{
		{s.who(), s.why(), s.trigger()},
		{s.held(), s.choice()},
		{s.course(), s.stalled(), s.pushed()},
		{s.after()},
	} {
		var paragraph Text
		for _, t := range sentences {
			if len(t) == 0 {
				continue
			}
			if len(paragraph) > 0 {
				paragraph = say(paragraph, " ")
			}
			paragraph = say(paragraph, t)
		}
		if len(paragraph) > 0 {
			out = append(out, paragraph)
		}
	}
	return out
}

// spared reports whether it is known that nobody could be killed.
func (s *Story) spared() bool {
	return !s.named() && s.Kill.Killed != nil && s.Kill.Source != event.SourceKmsg
}

func (s *Story) who() Text {
	k := s.Kill
	var when []any
	if s.Header != nil && s.Header.Host != "" {
		when = append(when, " on ", called(s.Header.Host))
	}
	if at := clock(k); at != "" {
		when = append(when, " at "+at)
	}
	if s.spared() {
		t := say(append([]any{"The kernel's OOM killer found no process that it could kill"}, append(when, ".")...)...)
		if n := s.Kill.Repeated; n > 0 {
			t = say(t, " It tried ", counted(n, "more time"), " for this cgroup.")
		}
		return t
	}
	if !s.named() {
		return say(append([]any{"The kernel invoked its OOM killer"}, append(when, "; who was killed, if anybody, is not told.")...)...)
	}
	t := say(append([]any{actor(&k.Victim.Actor), " was killed by the kernel's OOM killer"}, append(when, ".")...)...)
	if n := len(k.Killed) - 1; n > 0 {
		why := say(".")
		switch {
		case k.Group:
			why = say(", because ", called("memory.oom.group"), " is set: the group dies as one.")
		case slices.ContainsFunc(k.Killed, func(x event.Killed) bool { return x.Reason == "shared_mm" }):
			why = say("; they shared its memory.")
		}
		t = say(t, " "+counted(n, "other process")+" died with it", why)
	}
	return t
}

// asked reports whether somebody wanted a kill (SysRq-f): nothing had run out.
func (s *Story) asked() bool {
	t := &s.Kill.Trigger
	return t.InvokedBy == event.InvokedBySysrq || t.Order != nil && *t.Order < 0
}

func (s *Story) why() Text {
	if s.asked() {
		return say("It was asked for by hand, through SysRq-f; nothing had run out.")
	}
	d := &s.Kill.Domain
	var t Text
	switch d.Constraint {
	case event.ConstraintMemcg:
		limit := "memory limit"
		if l := s.limit(); l != "" {
			limit = "memory limit of " + l
		}
		t = say("The ", limit, " of ", s.domain(), " was reached")
		if s.Kill.Trigger.InvokedBy == event.InvokedByLimitWrite {
			t = say("The ", limit, " of ", s.domain(), " was set below what it used")
		}
		if v := s.Kill.Victim.Cgroup; v != nil && d.Cgroup != nil && event.Below(v.Path, d.Cgroup.Path) {
			t = say(t, ", which is that of a parent: the victim lived below it, in ", called(place(s.Kill.Victim.Container, v)))
		}
	case event.ConstraintGlobal:
		t = say("The node ran out of memory")
		if d.TotalPages != nil {
			t = say(t, " ("+s.pages(*d.TotalPages)+" of RAM and swap)")
		}
	case event.ConstraintCpuset:
		t = say("The memory nodes of a cpuset ran out; other nodes may have had memory free")
	case event.ConstraintMempolicy:
		t = say("The memory nodes of a memory policy ran out; other nodes may have had memory free")
	default:
		return nil
	}
	if d.Source == event.SourceInferred {
		t = say(t, " (inferred)")
	}
	return say(t, ".")
}

func (s *Story) trigger() Text {
	tr := &s.Kill.Trigger
	var t Text
	switch {
	case s.asked(), tr.Comm == "" && tr.PID == 0:
		return nil
	case tr.PID != 0 && tr.PID == s.Kill.Victim.PID:
		t = say("The allocation that found no memory was the victim's own")
	default:
		t = say("The allocation that found no memory was that of ", actor(&tr.Actor))
	}
	if tr.InvokedBy == event.InvokedByLimitWrite {
		return say("It was ", actor(&tr.Actor), " that wrote the limit.")
	}
	if o := tr.Order; o != nil && *o < 32 {
		t = say(t, ", of ", s.pages(1<<*o))
	}
	return say(t, ".")
}

// held says what the memory was at the kill.
func (s *Story) held() Text {
	m := s.Kill.Domain.Memory
	if m == nil {
		return nil
	}
	parts := split(m)
	whole := m.Usage
	if whole == nil {
		whole = m.Limit
	}
	if whole == nil || len(parts) == 0 {
		return nil
	}
	var list []any
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.bytes, a.bytes) })
	for i, p := range parts {
		if p.bytes == 0 || p.bytes < *whole/100 && i > 0 {
			continue
		}
		if len(list) > 0 {
			list = append(list, ", ")
		}
		list = append(list, bold(size(p.bytes)+" "+p.name))
		if share := unit.Percent(p.bytes, *whole); share != "" {
			list = append(list, " ("+share+")")
		}
	}
	if len(list) == 0 {
		return nil
	}
	t := say(append([]any{"Of the " + size(*whole) + " in use there was "}, list...)...)
	if n := m.SwapUsage; n != nil && *n > 0 {
		t = say(t, ", and ", size(*n), " beside them in swap")
	}
	return say(t, ".")
}

// choice says what the victim held and why it was the one.
func (s *Story) choice() Text {
	v := &s.Kill.Victim
	rss := v.RSS()
	if rss == nil || v.PID == 0 {
		return nil
	}
	t := say("The victim held ", bold(size(*rss)), " in RAM")
	if v.Swap != nil && *v.Swap > 0 {
		t = say(t, " and ", size(*v.Swap), " in swap")
	}
	rival, weighed := (*event.Candidate)(nil), 0
	for i := range s.Kill.Candidates {
		c := &s.Kill.Candidates[i]
		if weighed++; c.PID == v.PID || c.Badness == nil {
			continue
		}
		if rival == nil || *c.Badness > *rival.Badness {
			rival = c
		}
	}
	switch {
	case v.Badness == nil || rival == nil:
	case *rival.Badness <= *v.Badness:
		t = say(t, "; of ", counted(weighed, "process"), " weighed its badness was the highest, ", score(*v.Badness),
			" against ", score(*rival.Badness), " of ", process(&rival.Process))
	default:
		t = say(t, "; ", process(&rival.Process), " had the higher badness, ", score(*rival.Badness), " against ", score(*v.Badness))
	}
	if a := v.OOMScoreAdj; a != nil && *a != 0 {
		t = say(t, " (its ", called("oom_score_adj"), " was ", strconv.Itoa(*a), ")")
	}
	return say(t, ".")
}

// unreclaimable is what reclaim cannot simply drop: anonymous memory and shmem.
func unreclaimable(f *event.Figures) (uint64, bool) {
	if f.Anon == nil {
		if f.LRUAnon == nil {
			return 0, false
		}
		return *f.LRUAnon, true // has shmem in it
	}
	n := *f.Anon
	if f.Shmem != nil {
		n += *f.Shmem
	}
	return n, true
}

// span finds the first and last samples up to the kill that tell what cannot be
// dropped.
func (c *Course) span() (first, last *Sample) {
	for i := range c.Samples {
		x := &c.Samples[i]
		if _, ok := unreclaimable(&x.Memory); ok && x.OffsetNS <= 0 {
			if first == nil {
				first = x
			}
			last = x
		}
	}
	return first, last
}

// growth is by how much that grew over the window; false when it is not known.
func (c *Course) growth() (int64, bool) {
	first, last := c.span()
	if first == nil || last.OffsetNS-first.OffsetNS <= 0 {
		return 0, false
	}
	a, _ := unreclaimable(&first.Memory)
	b, _ := unreclaimable(&last.Memory)
	return int64(b - a), true
}

// main is the course of the domain, nil when there is none.
func (s *Story) main() *Course {
	if len(s.Memory) > 0 && s.Memory[0].Role == RoleDomain {
		return s.Memory[0]
	}
	return nil
}

// course says how the memory went before the kill, and who grew.
func (s *Story) course() Text {
	c := s.main()
	if c == nil {
		return s.polled()
	}
	grew, known := c.growth()
	if !known {
		return nil
	}
	first, last := c.span()
	took := last.OffsetNS - first.OffsetNS
	a, _ := unreclaimable(&first.Memory)
	b, _ := unreclaimable(&last.Memory)
	t := say("Over the ", lasting(took), " of samples before, memory that cannot be dropped ")
	switch whole := max(a, b, 1); {
	case uint64(max(grew, -grew)) < whole/50:
		t = say(t, "stayed at ", bold(size(b)))
	case grew < 0:
		t = say(t, "fell from ", size(a), " to ", bold(size(b)))
	default:
		t = say(t, "grew from ", size(a), " to ", bold(size(b)), ", by ", size(uint64(float64(grew)/(float64(took)/1e9))), " a second")
		if who, by := s.grower(); who != nil && by > 0 {
			t = say(t, "; most of that in ", called(place(who.Container, &who.Cgroup)), " (", size(uint64(by)), ")")
		}
	}
	return say(t, ".")
}

// polled says the same by what the tracer itself had read before the kill, when
// there are no samples.
func (s *Story) polled() Text {
	w := s.Kill.Window
	if w == nil || w.Samples < 2 || w.SpanNS <= 0 {
		return nil
	}
	t := say("In the ", lasting(w.SpanNS), " before, memory that cannot be dropped ")
	switch a, b := w.NeedFirst, w.NeedLast; {
	case max(a, b)-min(a, b) < max(a, b, 1)/50:
		t = say(t, "stayed at ", bold(size(b)))
	case b < a:
		t = say(t, "fell from ", size(a), " to ", bold(size(b)))
	default:
		t = say(t, "grew from ", size(a), " to ", bold(size(b)))
		if w.Slope != nil && *w.Slope > 0 {
			t = say(t, ", at last by ", size(uint64(*w.Slope)), " a second")
		}
	}
	return say(t, ".")
}

// grower is the cgroup below the domain that grew most, if it made up most of the
// growth. Of a cgroup and its parent the child is meant.
func (s *Story) grower() (*Course, int64) {
	all, _ := s.main().growth()
	var most *Course
	var by int64
	for _, c := range s.Memory[1:] {
		if slices.ContainsFunc(s.Memory, func(d *Course) bool { return event.Below(d.Cgroup.Path, c.Cgroup.Path) }) {
			continue
		}
		if n, ok := c.growth(); ok && n > by {
			most, by = c, n
		}
	}
	if by < all/2 {
		return nil, 0
	}
	return most, by
}

func (s *Story) stalled() Text {
	if r := s.Kill.ReclaimBefore; r != nil && r.Episodes > 0 {
		t := say("In the last ", lasting(r.WindowNS), " tasks stalled ", bold(counted(r.Episodes, "time")), " to reclaim, for ",
			bold(lasting(r.StalledNS)), " in all")
		if r.Reclaimed == 0 {
			return say(t, ", and freed nothing.")
		}
		return say(t, ", and freed ", s.pages(r.Reclaimed), ".")
	}
	st := s.Stalls
	if st == nil {
		return nil
	}
	episodes, ns := st.Episodes, st.StalledNS
	if st.left() {
		episodes, ns = st.Counted.Episodes, st.Counted.StalledNS
	}
	if episodes == 0 {
		return nil
	}
	return say("In the window tasks stalled ", bold(counted(episodes, "time")), ", for ", bold(lasting(ns)), " in all.")
}

func (s *Story) pushed() Text {
	c := s.Cache
	if c == nil || c.Evicted == 0 || len(c.Pairs) == 0 {
		return nil
	}
	p := c.Pairs[0]
	t := say("In the window ", bold(s.pages(c.Evicted)), " of page cache was pushed out, the most (", s.pages(p.Pages), ") ")
	switch {
	case p.By.key() == p.Owner.key():
		t = say(t, "by ", called(p.Owner.Name()), " of its own")
	default:
		t = say(t, "that of ", called(p.Owner.Name()), " by ", called(p.By.Name()))
	}
	if c.Refaulted != nil && *c.Refaulted > 0 {
		t = say(t, "; ", s.pages(*c.Refaulted), " had to be read again")
	}
	return say(t, ".")
}

// after says what came back.
func (s *Story) after() Text {
	e := s.End
	if e == nil {
		return nil
	}
	var t Text
	if n := e.Timeline.ExitedNS; n != nil {
		t = say("It had exited ", lasting(*n), " after the kill")
	} else {
		t = say("Its exit was not seen")
	}
	switch {
	case e.Freed != nil && e.Timeline.FreedNS != nil:
		t = say(t, ", and ", bold(size(*e.Freed)), " came back, the first of it after ", lasting(*e.Timeline.FreedNS))
	case e.Freed != nil:
		t = say(t, ", and ", bold(size(*e.Freed)), " came back")
	}
	if n := len(e.Survivors); n > 0 {
		t = say(t, "; ", counted(n, "process"), " marked to die still lived at the end")
	}
	return say(t, ".")
}
