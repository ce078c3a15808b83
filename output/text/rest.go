package text

import (
	"cmp"
	"maps"
	"slices"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

const (
	placeWide = 22 // columns of a cgroup's name in lines that are about it
	maxFiles  = 3  // of a cgroup and interval
)

// header says quietly what is traced, and how.
func (w *Writer) header(e *event.Header) {
	if e.PageBytes > 0 {
		w.page = uint64(e.PageBytes)
	}
	t := "oomtrace " + term.Clean(e.Version)
	if e.Host != "" {
		t += " on " + term.Clean(e.Host)
	}
	if e.Kernel != "" {
		t += ", Linux " + term.Clean(e.Kernel)
	}
	if e.Arch != "" {
		t += " " + term.Clean(e.Arch)
	}
	if e.CgroupVersion != 0 {
		t += ", cgroup v" + number(e.CgroupVersion)
	}
	w.line().put(dim, t).end()
	if len(e.Hooks) > 0 {
		w.line().skip(2).put(dim, "sees").to(body).wrap(dim, sees(e.Hooks), body, 2)
	}
	for i, m := range e.Missing {
		name := term.Text("lacks")
		if i > 0 {
			name = ""
		}
		w.line().skip(2).put(warn, name).to(body).wrap(dim, lacks(m), body, 2)
		if more := len(e.Missing) - 8; i == 7 && more > 0 {
			w.line().to(body).put(dim, "…and "+number(more)+" more").end()
			break
		}
	}
}

// sees lists the families with the kinds of hook that each rests on.
func sees(hooks []event.Hook) term.Text {
	var families []string
	kinds := map[string][]string{}
	for _, h := range hooks {
		if kinds[h.Family] == nil {
			families = append(families, h.Family)
		}
		if !slices.Contains(kinds[h.Family], h.Kind) {
			kinds[h.Family] = append(kinds[h.Family], h.Kind)
		}
	}
	parts := make([]term.Text, len(families))
	for i, f := range families {
		parts[i] = term.Clean(f) + " by"
		for j, k := range kinds[f] {
			if j > 0 {
				parts[i] += "+"
			} else {
				parts[i] += " "
			}
			parts[i] += term.Clean(k)
		}
	}
	return join(parts, ", ")
}

func lacks(m event.Missing) term.Text {
	t := term.Clean(m.Family)
	if m.What != "" {
		t += " " + term.Clean(m.What)
	}
	return t + ": " + term.Clean(m.Reason)
}

// cache is one line for a cgroup and interval, with the busiest files below.
func (w *Writer) cache(e *event.Cache) {
	owner := place(e.Container, e.Cgroup)
	if e.Cgroup == nil && owner == "" {
		owner = "(no cgroup)"
	}
	const in = body + 8
	l := w.at(e.Time).put(plain, "cache").to(in).put(plain, term.Elide(owner, placeWide)).to(in + placeWide + 2)
	l.put(plain, w.traffic(e.Added, e.Evicted, e.Removed)).skip(2).whole(dim, "in "+duration(e.IntervalNS)).end()

	if e.Reparented > 0 {
		t := w.pages(e.Reparented) + " of what was evicted had been that of cgroups below, now removed"
		w.line().to(in).wrap(dim, t, in, 2)
	}
	if n := e.Refaulted; n != nil && *n > 0 {
		t := w.pages(*n) + " of it read again after it was evicted"
		if e.RefaultedOf == event.SourceInferred {
			t = "~" + t
		}
		if half := nanos(event.Quantile(e.RefaultAfterNS, 0.5)); half != 0 {
			t += ", half of that within " + duration(half)
		}
		w.line().to(in).put(warn, t).end()
	}
	if len(e.EvictedBy) > 0 {
		parts := make([]term.Text, len(e.EvictedBy))
		for i, by := range e.EvictedBy {
			name := place(by.Container, by.Cgroup)
			switch {
			case by.Kswapd:
				name = "kswapd"
			case by.Kind == event.EvictDAMON:
				name = "DAMON"
			case name == "":
				name = "others"
			case name == owner:
				name = "itself"
			}
			parts[i] = term.Elide(name, placeWide) + " " + w.pages(by.Pages)
		}
		w.line().to(in).put(dim, "evicted by ").put(plain, join(parts, ", ")).end()
	}
	files := slices.Clone(e.Files)
	slices.SortStableFunc(files, func(a, b event.CacheFile) int {
		return cmp.Compare(b.Added+b.Evicted+b.Removed, a.Added+a.Evicted+a.Removed)
	})
	for _, f := range files[:min(len(files), maxFiles)] {
		name := term.Elide(term.Clean(label.File(&f.File)), max(w.opt.Width-in-52, placeWide))
		w.line().to(in).put(dim, name).to(max(w.opt.Width-51, in+placeWide+2)).put(dim, w.traffic(f.Added, f.Evicted, f.Removed)).end()
	}
	if more := len(files) - maxFiles; more > 0 {
		w.line().to(in).put(dim, "…and "+counted(uint64(more), "more file")).end()
	}
}

// traffic says what came and went; what did not is left out.
func (w *Writer) traffic(added, evicted, removed uint64) term.Text {
	var parts []term.Text
	for _, p := range []struct {
		name  term.Text
		pages uint64
	}{{"added", added}, {"evicted", evicted}, {"removed", removed}} {
		if p.pages > 0 {
			parts = append(parts, p.name+" "+w.pages(p.pages))
		}
	}
	if len(parts) == 0 {
		return "no traffic"
	}
	return join(parts, ", ")
}

func (w *Writer) cgroup(e *event.CgroupChange) {
	name := place(e.Container, &e.Cgroup)
	l := w.at(e.Time).put(plain, "cgroup").to(body+8).put(plain, term.Elide(name, placeWide)).to(body + 8 + placeWide + 2)
	l.put(plain, term.Clean(e.State))
	// The path in full, unless it has just been said.
	if path := term.Clean(e.Cgroup.Path); path != "" && path != name {
		l.to(body+8+placeWide+2+12).put(dim, term.Elide(path, l.room()))
	}
	l.end()
}

func (w *Writer) lost(e *event.Lost) {
	t := term.Text(unit.Count(e.Count)) + " " + term.Clean(e.Family) + " records were lost"
	if !e.Since.IsZero() {
		t += " since " + term.Text(e.Since.In(w.opt.Location).Format(clock))
	}
	if e.Reason != "" {
		t += ": " + term.Clean(e.Reason)
	}
	w.at(e.Time).put(alarm, "LOST").to(body+8).wrap(warn, t, body+8, 2)
}

// summary is the last word: how much was seen, that nothing was lost (or what),
// and what tracing cost.
func (w *Writer) summary(e *event.Summary) {
	w.blank()
	total := uint64(0)
	names := slices.SortedFunc(maps.Keys(e.Events), func(a, b string) int {
		return cmp.Or(cmp.Compare(e.Events[b], e.Events[a]), cmp.Compare(a, b))
	})
	for _, n := range e.Events {
		total += n
	}
	t := counted(total, "event") + " in " + duration(e.WallNS)
	w.label("summary").wrap(plain, t+counts(names, e.Events), body, 3)

	lost := uint64(0)
	for _, n := range e.Lost {
		lost += n
	}
	records := "sent " + unit.Count(e.Sent) + " = received " + unit.Count(e.Received) + " + lost " + unit.Count(lost)
	if e.Sent != e.Received+lost {
		records = "sent " + unit.Count(e.Sent) + ", received " + unit.Count(e.Received) + ", lost " + unit.Count(lost) + ": these do not add up"
	}
	if lost == 0 && e.Sent == e.Received {
		w.label("lost").put(plain, "0").put(dim, term.Text(" ("+records+")")).end()
	} else {
		by := counts(slices.Sorted(maps.Keys(e.Lost)), e.Lost)
		w.label("LOST").wrap(alarm, term.Text(unit.Count(lost))+" ("+term.Text(records)+")"+by, body, 3)
	}

	var cost []term.Text
	if e.CPUNS > 0 {
		cpu := duration(e.CPUNS) + " of CPU time"
		if e.WallNS > 0 {
			cpu += " (" + term.Text(unit.Percent(uint64(e.CPUNS), uint64(e.WallNS))) + " of a core)"
		}
		cost = append(cost, cpu)
	}
	if e.PeakRSS > 0 {
		cost = append(cost, size(uint64(e.PeakRSS))+" of memory at most")
	}
	if len(cost) > 0 {
		w.label("oomtrace").put(plain, join(cost, ", ")).end()
	}
}

// counts writes ": 3 a, 2 b", or nothing.
func counts(names []string, by map[string]uint64) term.Text {
	parts := make([]term.Text, len(names))
	for i, name := range names {
		parts[i] = term.Text(unit.Count(by[name])) + " " + term.Clean(name)
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + join(parts, ", ")
}
