package report

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/text"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// view is what the page shows of a story, in the order of the page. All strings
// from outside are cleaned here of what could steer a reader's eye (control and
// bidi characters); the template escapes them.
type view struct {
	ID         string
	Over       []string // above the title: where, when, which incident
	Title      Text
	Lines      []Text
	Tiles      []tile
	Verdict    *verdictView
	Advice     []Text
	Memory     *memoryPlot
	Held       *heldView
	Growth     []growthRow
	GrowthLeft int
	Heat       *heatMap
	Kinds      []row
	Sufferers  []row
	Matrix     *matrix
	Files      []row
	Traffic    string
	Killed     []string // when there were more than one
	KilledMore string
	Weighed    *weighedView
	Timeline   []momentView
	Stacks     []stackView
	Log        []string
	Sources    []sourceRow
}

type tile struct{ Name, Value, Note string }

type verdictView struct {
	Cause                        string // in words
	Name, Underlying, Confidence string
	Evidence                     []string
}

const maxKilled = 200 // named

// row is a row of a small table.
type row struct {
	Name  string
	Cells []string
}

type heldView struct {
	Bars  []bar
	Limit string
	Rows  []heldRow
	Notes []string
	Desc  string
}

type bar struct{ Key, X, Wide, Title string }

type heldRow struct{ Key, Name, Bytes, Share string }

type growthRow struct {
	Name, Role, First, Last, Change string
	Spark                           *spark
}

type weighedView struct {
	Columns []string
	Rows    []weighedRow
	Notes   []string
}

type weighedRow struct {
	Killed bool
	Name   string
	Where  string
	Cells  []string
}

type momentView struct {
	At   string
	Text Text
	Mark bool
}

type stackView struct {
	Title  string
	Frames []string
}

type sourceRow struct{ Name, Text string }

func clean(s string) string { return string(term.Clean(s)) }

func cleanPlace(c *event.Container, g *event.Cgroup) string { return clean(place(c, g)) }

func newView(s *Story, nth int) *view {
	v := &view{ID: "r" + strconv.Itoa(nth), Title: s.Title, Lines: s.Lines, Advice: s.Advice}
	if h := s.Header; h != nil && h.Host != "" {
		v.Over = append(v.Over, clean(h.Host))
	}
	if at := clock(s.Kill); at != "" {
		v.Over = append(v.Over, at)
	}
	v.Over = append(v.Over, "incident "+clean(s.Incident))
	v.Tiles = s.tiles()
	if d := s.Kill.Verdict; d != nil {
		cause, _ := text.Cause(d)
		v.Verdict = &verdictView{Cause: capital(string(cause)), Name: clean(d.Cause), Underlying: clean(d.Underlying), Confidence: clean(d.Confidence)}
		for _, e := range d.Evidence {
			if !strings.HasPrefix(e, toDo) {
				v.Verdict.Evidence = append(v.Verdict.Evidence, clean(e))
			}
		}
	}
	v.Memory, v.Held = s.memoryPlot(), s.heldView()
	v.Growth, v.GrowthLeft = s.growthRows(), s.CgroupsLeft
	v.Heat = s.heatMap()
	if st := s.Stalls; st != nil {
		for _, k := range st.Kinds {
			v.Kinds = append(v.Kinds, row{reason(k.Kind).String(), []string{unit.Count(k.Episodes), lasting(k.StalledNS)}})
		}
		for _, w := range st.Sufferers {
			v.Sufferers = append(v.Sufferers, row{cmp.Or(cleanPlace(w.Container, w.Cgroup), "not known"), []string{unit.Count(w.Episodes), lasting(w.StalledNS)}})
		}
	}
	if c := s.Cache; c != nil {
		v.Matrix = s.matrix()
		v.Traffic = s.trafficNote()
		for _, f := range c.Files {
			v.Files = append(v.Files, row{clean(label.File(&f.File)), []string{s.pages(f.Evicted)}})
		}
	}
	v.Weighed = s.weighedView()
	if len(s.Kill.Killed) > 1 {
		for i := range s.Kill.Killed[:min(len(s.Kill.Killed), maxKilled)] {
			v.Killed = append(v.Killed, process(&s.Kill.Killed[i].Process).String())
		}
		if more := len(s.Kill.Killed) - maxKilled; more > 0 {
			v.KilledMore = counted(more, "other")
		}
	}
	moments := s.Timeline
	if len(moments) == 1 {
		moments = nil // the kill alone is no timeline
	}
	for _, m := range moments {
		v.Timeline = append(v.Timeline, momentView{offset(m.OffsetNS), m.Text, m.mark})
	}
	for _, st := range s.Stacks {
		title := "where the kernel was when it invoked the OOM killer"
		switch st.Of {
		case "stalls":
			title = counted(st.Episodes, "stall") + ", " + lasting(st.StalledNS) + " in all"
		case "faults":
			title = "about " + size(st.Bytes) + " faulted in here by " + clean(st.Comm) + " (sampled)"
		}
		var frames []string
		for _, f := range st.Frames {
			frames = append(frames, clean(f))
		}
		v.Stacks = append(v.Stacks, stackView{title, frames})
	}
	for _, l := range s.Log {
		v.Log = append(v.Log, l.text())
	}
	if s.LogLeft > 0 {
		v.Log = append(v.Log, "… and "+counted(s.LogLeft, "more line"))
	}
	v.Sources = s.sources()
	return v
}

func (l LogLine) text() string {
	if l.Time != nil {
		return l.Time.UTC().Format("15:04:05.000000") + "  " + clean(l.Text)
	}
	return clean(l.Text)
}

// tiles are the figures to see first.
func (s *Story) tiles() []tile {
	k := s.Kill
	var out []tile
	add := func(name, value, note string) {
		if value != "" {
			out = append(out, tile{name, value, note})
		}
	}
	if s.named() {
		note := "pid " + strconv.Itoa(int(k.Victim.PID))
		if rss := k.Victim.RSS(); rss != nil {
			note += ", " + size(*rss) + " resident"
		}
		if n := len(k.Killed) - 1; n > 0 {
			note += ", and " + counted(n, "other")
		}
		add("killed", cmp.Or(clean(k.Victim.Comm), "?"), note)
	}
	add("limit", s.limit(), cleanPlace(k.Domain.Container, k.Domain.Cgroup))
	if m := k.Domain.Memory; m != nil && m.Usage != nil {
		if n, ok := unreclaimable(m); ok {
			add("cannot be dropped", unit.Percent(n, *m.Usage), size(n)+" anonymous and shmem of "+size(*m.Usage)+" in use")
		}
	}
	if r := k.ReclaimBefore; r != nil {
		add("stalled before", lasting(r.StalledNS), counted(r.Episodes, "stall")+" in the last "+lasting(r.WindowNS))
	}
	if e := s.End; e != nil && e.Timeline.FreedNS != nil {
		note := ""
		if e.Freed != nil {
			note = size(*e.Freed) + " came back"
		}
		add("relief after", lasting(*e.Timeline.FreedNS), note)
	}
	return out
}

// heldView is what the memory was at the kill: a bar, and its figures.
func (s *Story) heldView() *heldView {
	m := s.Kill.Domain.Memory
	if m == nil {
		return nil
	}
	parts := split(m)
	var sum uint64
	for _, p := range parts {
		sum += p.bytes
	}
	whole := sum
	if m.Usage != nil {
		whole = max(*m.Usage, sum)
	}
	if m.Limit != nil && *m.Limit/3 < max(whole, 1) {
		whole = max(whole, *m.Limit)
	}
	if whole == 0 || len(parts) == 0 {
		return nil
	}
	h := &heldView{}
	percent := func(n uint64) string { return coord(100*float64(n)/float64(whole)) + "%" }
	var at uint64
	var desc []string
	for _, p := range parts {
		of := whole
		if m.Usage != nil {
			of = *m.Usage
		}
		share := unit.Percent(p.bytes, of)
		if p.bytes > 0 {
			h.Bars = append(h.Bars, bar{p.key, percent(at), percent(p.bytes), p.name + ": " + size(p.bytes) + ", " + share})
		}
		at += p.bytes
		h.Rows = append(h.Rows, heldRow{p.key, p.name, size(p.bytes), share})
		desc = append(desc, p.name+" "+size(p.bytes))
	}
	if n := m.SwapUsage; n != nil && (*n > 0 || m.SwapLimit != nil && *m.SwapLimit > 0) {
		of := ""
		if m.SwapLimit != nil {
			of = "of " + size(*m.SwapLimit)
		}
		h.Rows = append(h.Rows, heldRow{"swap", "swap, beside it", size(*n), of})
	}
	h.Desc = strings.Join(desc, ", ")
	for _, d := range []struct {
		name string
		n    *uint64
	}{{"dirty", m.FileDirty}, {"under writeback", m.FileWriteback}, {"mapped", m.FileMapped}, {"unevictable", m.Unevictable},
		{"page tables", m.PageTables}, {"kernel stacks", m.KernelStack}, {"slab that can be reclaimed", m.SlabReclaimable},
		{"slab that cannot", m.SlabUnreclaimable}, {"socket buffers", m.Sock}} {
		if d.n != nil && *d.n > 0 {
			h.Notes = append(h.Notes, d.name+" "+size(*d.n))
		}
	}
	return h
}

// growthRows are the cgroups of the story with their course.
func (s *Story) growthRows() []growthRow {
	if s.Window == nil {
		return nil
	}
	var most uint64
	for _, c := range s.Memory {
		for i := range c.Samples {
			if u := c.Samples[i].Memory.Usage; u != nil {
				most = max(most, *u)
			}
		}
	}
	var out []growthRow
	for _, c := range s.Memory {
		first, last := c.span()
		if first == nil {
			continue
		}
		a, _ := unreclaimable(&first.Memory)
		b, _ := unreclaimable(&last.Memory)
		r := growthRow{Name: cleanPlace(c.Container, &c.Cgroup), Role: roleName(c.Role), First: size(a), Last: size(b), Spark: sparkline(c, s.axis(), most)}
		switch {
		case first == last:
		case b >= a:
			r.Change = "+" + size(b-a)
		default:
			r.Change = "−" + size(a-b)
		}
		out = append(out, r)
	}
	return out
}

func roleName(role string) string {
	switch role {
	case RoleDomain:
		return "whose limit it was"
	case RoleVictim:
		return "where the victim lived"
	}
	return ""
}

func (s *Story) trafficNote() string {
	c := s.Cache
	inherited := ""
	if c.Reparented > 0 {
		inherited = " " + s.pages(c.Reparented) + " of that had been the cache of cgroups that were removed, and is shown as their parents'."
	}
	if c.Source != event.TypeCache {
		return "Only what the stalls above pushed out is known, " + s.pages(c.Evicted) + "." + inherited
	}
	t := fmt.Sprintf("%s came in and %s was pushed out", s.pages(c.Added), s.pages(c.Evicted))
	if c.Refaulted != nil {
		t += "; " + s.pages(*c.Refaulted) + " had to be read again after that"
	}
	return t + "." + inherited
}
