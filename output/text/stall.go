package text

import (
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// headingEvery is after how many stall lines the heading comes again.
const headingEvery = 40

const (
	slow     = 100_000_000   // ns; a stall that users begin to feel
	verySlow = 1_000_000_000 // ns; one that fails their requests
)

// stall is one line of the table of stalls.
type stall struct {
	head     *event.Meta
	duration int64
	why      term.Text
	inferred bool // why was
	parent   bool // a parent cgroup's limit is why
	process  *event.Process
	who      term.Text // in place of a process
	where    term.Text
	freed    term.Text
	evicted  []event.Evicted
	stack    []string
}

// The table's columns; who, where and evicted grow with the width.
type columns struct{ stall, why, who, whoWide, where, whereWide, freed, freedWide, evicted int }

func (w *Writer) columns() columns {
	extra := max(w.opt.Width-defaultWidth, 0)
	wider := min(extra/3, 7)
	c := columns{stall: body, why: body + 8, who: body + 19, whoWide: 16 + wider, whereWide: 16 + (extra-wider)/2, freedWide: 13}
	c.where = c.who + c.whoWide + 2
	c.freed = c.where + c.whereWide + 1
	c.evicted = c.freed + c.freedWide + 2
	return c
}

func (w *Writer) heading(c columns) {
	l := w.line().put(dim, "TIME").to(c.stall).right(dim, "STALL", 6).to(c.why).put(dim, "WHY")
	l.to(c.who).put(dim, "PROCESS").to(c.where).put(dim, "CONTAINER/CGROUP")
	l.to(c.freed).right(dim, "FREED/SCANNED", c.freedWide).to(c.evicted).put(dim, "PUSHED OUT").end()
}

func (w *Writer) stall(s stall) {
	c := w.columns()
	if w.stalls%headingEvery == 0 {
		w.heading(c)
	}
	w.stalls++
	if s.inferred {
		w.note("~ worked out from counters: this kernel does not say why it reclaims")
	}
	if s.parent {
		w.note("^ the limit is that of a parent cgroup, not of the one shown")
	}
	var most *event.Evicted
	for i := range s.evicted {
		if most == nil || s.evicted[i].Pages > most.Pages {
			most = &s.evicted[i]
		}
	}
	if most != nil && most.Reparented > 0 {
		w.note("* page cache that a removed cgroup left to its parent, in part or all of it")
	}

	l := w.at(s.head.Time)
	urgency := plain
	if s.duration >= verySlow {
		urgency = alarm
	} else if s.duration >= slow {
		urgency = warn
	}
	l.right(urgency, duration(s.duration), 6)
	why := s.why
	if s.parent {
		why += "^"
	}
	if s.inferred {
		l.skip(1).put(plain, "~"+why)
	} else {
		l.skip(2).put(plain, why)
	}
	who := s.who
	if s.process != nil {
		who = process(s.process, c.whoWide)
	}
	l.to(c.who).put(plain, who)
	l.to(c.where).put(plain, term.Elide(s.where, c.whereWide))
	l.to(c.freed).right(plain, s.freed, c.freedWide)
	if l.to(c.evicted); most != nil {
		l.put(dim, w.pushedOut(most, s.where, l.room()))
	}
	l.end()
	if len(s.stack) > 0 {
		w.line().to(c.why).put(dim, stack(s.stack)).end()
	}
}

// pushedOut names the file of which most was pushed out, and whose it was when it
// was not the sufferer's own.
func (w *Writer) pushedOut(most *event.Evicted, own term.Text, room int) term.Text {
	amount := w.pages(most.Pages)
	if most.Reparented > 0 {
		amount += "*"
	}
	room -= term.Width(amount) + 1
	var name term.Text
	if most.File != nil {
		name = base(most.File)
	}
	if owner := place(most.Container, most.Cgroup); owner != "" && owner != own {
		if name == "" || room < 16 {
			name = owner // where one name has room, the neighbour's tells more
		} else {
			// The file keeps what the owner's name leaves, and at least half.
			name = term.Elide(name, max(room-term.Width(owner)-1, room/2))
			name = term.Elide(owner, room-term.Width(name)-1) + ":" + name
		}
	}
	if name == "" || room < 1 {
		return amount
	}
	return term.Elide(name, room) + " " + amount
}

// freed writes what came of an episode: pages freed of pages scanned.
func (w *Writer) freed(reclaimed, scanned *uint64) term.Text {
	switch {
	case reclaimed == nil:
		return ""
	case scanned == nil:
		return w.pages(*reclaimed)
	case w.page == 0:
		return term.Text(unit.Count(*reclaimed)+"/"+unit.Count(*scanned)) + " pages"
	}
	return term.Text(unit.Pair(w.bytes(*reclaimed), w.bytes(*scanned)))
}

func stack(frames []string) term.Text { return term.Clean("at " + strings.Join(frames, " < ")) }

func (w *Writer) reclaim(e *event.Reclaim) {
	s := stall{
		head: &e.Meta, duration: e.DurationNS, why: kind(e.Kind), inferred: e.KindSource == event.SourceInferred,
		process: &e.Process, freed: w.freed(&e.Reclaimed, e.Scanned), evicted: e.Evicted, stack: e.Stack,
	}
	s.where, s.parent = sufferer(e.Container, e.Cgroup, e.Domain)
	w.stall(s)
}

func (w *Writer) throttle(e *event.Throttle) {
	s := stall{head: &e.Meta, duration: e.DurationNS, why: "throttle", process: &e.Process}
	s.where, s.parent = sufferer(e.Container, e.Cgroup, e.Domain)
	w.stall(s)
}

func (w *Writer) kswapd(e *event.Kswapd) {
	w.stall(stall{
		head: &e.Meta, duration: e.DurationNS, why: "kswapd", who: "kswapd" + number(e.Node),
		where: "node " + number(e.Node), freed: w.freed(e.Reclaimed, e.Scanned), evicted: e.Evicted,
	})
}

func kind(k string) term.Text {
	switch k {
	case event.ReclaimMemcgLimit:
		return "limit"
	case event.ReclaimMemcgHigh:
		return "high"
	case event.ReclaimMemcgProactive:
		return "proactive"
	case event.ReclaimMemcgSoft:
		return "soft"
	case event.ReclaimDirectThrottled:
		return "throttled"
	}
	return term.Elide(term.Clean(k), 9) // direct, node
}

// sufferer names the cgroup that a stall concerns, and tells whether the limit
// behind it is a parent's. That is the task's own cgroup, unless the task works
// on another's behalf: who writes to memory.reclaim does not shrink its own.
func sufferer(c *event.Container, g *event.Cgroup, d *event.Domain) (where term.Text, parent bool) {
	switch {
	case d == nil || g != nil && d.ID == g.ID:
		return place(c, g), false
	case g != nil && (g.Path == "" || d.Path == "" || event.Below(g.Path, d.Path)):
		return place(c, g), event.Below(g.Path, d.Path)
	}
	return place(d.Container, &d.Cgroup), false
}
