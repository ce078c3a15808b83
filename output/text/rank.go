package text

import (
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// whole names a cgroup with what it is known as; the node is none.
func whole(c *event.Container, g *event.Cgroup) term.Text {
	if g == nil {
		return "the node"
	}
	path := term.Clean(g.Path)
	if name := place(c, nil); name != "" {
		return name + " (" + path + ")"
	}
	return path
}

// rank tells whom the kernel would kill, and why.
func (w *Writer) rank(e *event.Rank) {
	w.blank()
	w.at(e.Time).put(bold, "RANK").to(body+10).put(bold, whole(e.Container, e.Cgroup)).end()
	w.label("limit").wrap(plain, w.first(e), body, 3)
	for i := range e.Limits {
		if b := &e.Limits[i]; !b.Tightest {
			w.line().to(body).wrap(dim, "beside it "+spare(b), body, 2)
		}
	}
	if e.Forecast != nil {
		s := plain
		if e.Forecast.Trend == event.TrendGrowing {
			s = warn
		}
		w.label("forecast").wrap(s, foresee(e.Forecast, e.Domain.Constraint), body, 2)
	}
	w.next(e)
	w.ranking(e)
	w.blank()
}

// first says which limit would be reached first.
func (w *Writer) first(e *event.Rank) term.Text {
	d := &e.Domain
	t := term.Text("the node's memory")
	switch {
	case d.Cgroup != nil && e.Cgroup != nil && d.Cgroup.Path == e.Cgroup.Path:
		t = "its own limit"
	case d.Cgroup != nil:
		t = "the limit of " + whole(d.Container, d.Cgroup)
	}
	if d.Limit.Limit != nil {
		t += " of " + glue(size(*d.Limit.Limit))
	}
	t += " would be reached first"
	if d.Headroom != nil {
		t += ": " + glue(size(*d.Headroom)+" left")
	}
	var parts []term.Text
	if d.Usage != nil {
		parts = append(parts, glue(size(*d.Usage)+" in use"))
	}
	if d.Reclaimable != nil {
		parts = append(parts, glue(size(*d.Reclaimable)+" of it reclaimable"))
	}
	if d.SwapLeft != nil && *d.SwapLeft > 0 {
		parts = append(parts, glue(size(*d.SwapLeft)+" of swap left"))
	}
	if len(parts) > 0 {
		t += " (" + join(parts, ", ") + ")"
	}
	if d.High != nil && (d.Limit.Limit == nil || *d.High < *d.Limit.Limit) {
		t += "; above " + glue(size(*d.High)) + " (memory.high) its tasks are slowed down"
	}
	return t
}

// spare says what a limit that is not the tightest has left.
func spare(b *event.Limit) term.Text {
	t := whole(b.Container, b.Cgroup)
	switch {
	case b.Headroom != nil && b.Limit != nil:
		return t + ": " + glue(size(*b.Headroom)+" left of "+size(*b.Limit))
	case b.Headroom != nil:
		return t + ": " + glue(size(*b.Headroom)+" left")
	}
	return t + ": no limit"
}

func foresee(f *event.Forecast, constraint string) term.Text {
	over := " in the last " + duration(f.WindowNS)
	switch f.Trend {
	case event.TrendGrowing:
		t := term.Text("what cannot be reclaimed grows")
		if f.Growth != nil {
			t += " by " + glue(size(*f.Growth)+" a second")
		}
		t += " (" + glue("measured over "+duration(f.WindowNS)) + "): "
		what := term.Text("the limit is reached ")
		if constraint != event.ConstraintMemcg {
			what = "memory is used up "
		}
		if f.ReachedInNS == nil {
			return t + what + "in a very long time"
		}
		return t + what + glue("in "+duration(*f.ReachedInNS)) + " at this pace"
	case event.TrendFalling:
		return "none: memory in use has fallen" + over
	case event.TrendNoise:
		return "none: memory in use went up and down" + over
	}
	return "none: no growth above " + glue(size(f.Noise)) + over
}

// next says who would be killed.
func (w *Writer) next(e *event.Rank) {
	switch n := e.Next; {
	case e.OOMKillDisabled:
		w.label("next").wrap(alarm, "nobody would be killed: the OOM killer is off (memory.oom_control), tasks would wait", body, 2)
	case n == nil:
		w.label("next").wrap(alarm, "there is no process that may be killed", body, 2)
	default:
		t := actor(&n.Actor)
		if n.Badness != nil {
			t += ", " + glue("badness "+signed(*n.Badness)) + " of " + glue(term.Text(unit.Count(e.Domain.TotalPages))+" pages")
		}
		w.label("next").wrap(bold, t, body, 2)
	}
	if e.Group != nil {
		t := "and with it all of " + term.Clean(e.Group.Path) + " (memory.oom.group): " + processes(e.GroupProcesses)
		w.line().to(body).wrap(plain, t, body, 2)
	}
	if len(e.Close) > 0 {
		var names []term.Text
		for i := range e.Close[:min(len(e.Close), 4)] {
			names = append(names, process(&e.Close[i], 24))
		}
		if more := len(e.Close) - len(names); more > 0 {
			names = append(names, number(more)+" more")
		}
		w.line().to(body).wrap(dim, "or "+join(names, ", ")+": that close, the kernel's inexact counters decide", body, 2)
	}
}

func signed(n int64) term.Text {
	if n < 0 {
		return "-" + term.Text(unit.Count(uint64(-n)))
	}
	return term.Text(unit.Count(uint64(n)))
}

func processes(n int) term.Text {
	if n == 1 {
		return "1 process"
	}
	return number(n) + " processes"
}

// ranking is the table of processes.
func (w *Writer) ranking(e *event.Rank) {
	if len(e.Processes) == 0 {
		w.line().to(body).put(dim, "no process here has memory of its own").end()
		return
	}
	// What is the same for all, and nothing, has no column.
	swapped, tabled := false, false
	for i := range e.Processes {
		p := &e.Processes[i]
		swapped = swapped || value(p.Swap) > 0
		tabled = tabled || value(p.PageTables) > value(p.RSS())/16
	}
	const whoWide = 21
	l := w.label("ranked").right(dim, "BADNESS", 9).skip(1).right(dim, "RESIDENT", 8)
	if swapped {
		l.right(dim, "SWAP", 9)
	}
	if tabled {
		l.right(dim, "TABLES", 9)
	}
	who := l.right(dim, "ADJ", 6).right(dim, "SCORE", 6).skip(2).used + l.gap
	l.put(dim, "PROCESS").to(who+whoWide+1).put(dim, "CONTAINER/CGROUP").end()
	mismatch := false
	for i := range e.Processes {
		p := &e.Processes[i]
		s, l := plain, w.line()
		switch {
		case e.Next != nil && p.PID == e.Next.PID:
			s = bold
			l.to(4).put(alarm, "next >")
		case p.Unkillable != "":
			s = dim
		case p.Position > 0:
			l.right(dim, number(p.Position), 10)
		}
		l.to(body).right(s, points(p), 9).skip(1).right(s, amount(p.RSS()), 8)
		if swapped {
			l.right(s, amount(p.Swap), 9)
		}
		if tabled {
			l.right(s, amount(p.PageTables), 9)
		}
		l.right(s, figure(p.OOMScoreAdj), 6)
		score := figure(p.OOMScore)
		if a, b := p.OOMScore, p.OOMScoreComputed; a != nil && b != nil && (*a-*b > 1 || *b-*a > 1) {
			score += "!"
			mismatch = true
		}
		l.right(s, score, 6).to(who).put(s, process(&p.Process, whoWide))
		t := place(p.Container, p.Cgroup)
		if p.Unkillable != "" {
			t = term.Clean(p.Unkillable)
		}
		l.to(who+whoWide+1).put(s, term.Elide(t, l.room())).end()
	}
	if more := e.Total - len(e.Processes); more > 0 {
		w.line().to(body).put(dim, "…and "+number(more)+" more").end()
	}
	if mismatch {
		w.line().to(body).put(dim, "! the kernel's own score is another than these figures give: they changed meanwhile").end()
	}
}

func points(p *event.Ranked) term.Text {
	switch {
	case p.Badness != nil:
		return number(*p.Badness)
	case p.Unkillable != "":
		return "exempt"
	}
	return ""
}

func figure(n *int) term.Text {
	if n == nil {
		return ""
	}
	return number(*n)
}

func amount(n *uint64) term.Text {
	if n == nil {
		return ""
	}
	return size(*n)
}
