package report

import (
	"math"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// memoryPlot is the composition of the domain's memory over time.
type memoryPlot struct {
	Wide, High                 int
	Left, Right, Top, Bottom   string
	Layers                     []layer
	Usage, Swap, Limit         string // polylines
	LimitAt, LimitName         string
	KillX, KillAnchor, KillTop string
	KillName                   string
	XTicks, YTicks             []tick
	Title, Desc                string
}

type layer struct{ Key, Name, Path string }

const (
	memoryHigh   = 300
	memoryTop    = 30
	memoryBottom = memoryHigh - 28
)

// composed reports whether a sample tells all of what is in use.
func composed(f *event.Figures) bool { return f.Usage != nil && f.Anon != nil && f.File != nil }

// plotted are the samples of a course that can be drawn, and what is known of
// the kill's own moment. Some may tell usage alone.
func (s *Story) plotted() []Sample {
	c := s.main()
	if c == nil {
		return nil
	}
	all := slices.Clone(c.Samples)
	if m := s.Kill.Domain.Memory; m != nil && m.Usage != nil {
		at, _ := slices.BinarySearchFunc(all, int64(0), func(x Sample, to int64) int { return int(max(min(x.OffsetNS-to, 1), -1)) })
		all = slices.Insert(all, at, Sample{Memory: *m})
	}
	return slices.DeleteFunc(all, func(x Sample) bool { return x.Memory.Usage == nil })
}

func (s *Story) memoryPlot() *memoryPlot {
	samples := s.plotted()
	if len(samples) < 3 || s.Window == nil {
		return nil
	}
	x := s.axis()
	var most, limit uint64
	swap := false
	for _, p := range samples {
		most = max(most, *p.Memory.Usage)
		if l := p.Memory.Limit; l != nil {
			limit = max(limit, *l)
		}
		if n := p.Memory.SwapUsage; n != nil && *n > 0 {
			swap = true
			most = max(most, *n)
		}
	}
	if limit/3 < most { // else it would press all else flat
		most = max(most, limit)
	}
	y := sizeAxis{most: most + most/16, top: memoryTop, bottom: memoryBottom}
	p := &memoryPlot{
		Wide: plotWide, High: memoryHigh, Left: coord(marginLeft), Right: coord(plotWide - marginRight),
		Top: coord(memoryTop), Bottom: coord(memoryBottom), XTicks: x.ticks(), YTicks: y.ticks(),
		Layers: layers(samples, x, y), KillX: coord(x.x(0)), KillAnchor: killAnchor(x), KillTop: coord(memoryTop - 8), KillName: s.killName(),
	}
	p.Usage = line(samples, x, y, func(f *event.Figures) *uint64 { return f.Usage })
	if swap {
		p.Swap = line(samples, x, y, func(f *event.Figures) *uint64 { return f.SwapUsage })
	}
	if limit > 0 && limit <= y.most {
		p.Limit = line(samples, x, y, func(f *event.Figures) *uint64 { return f.Limit })
		p.LimitAt, p.LimitName = coord(y.y(limit)-6), "limit "+size(limit)
	}
	first, last := samples[0], samples[len(samples)-1]
	p.Title = "Memory in use by kind over time"
	p.Desc = counted(len(samples), "sample") + " from " + offset(first.OffsetNS) + " to " + offset(last.OffsetNS) +
		" around the kill. In use at first " + size(*first.Memory.Usage) + ", at most " + size(most) + ", at last " + size(*last.Memory.Usage) + "."
	return p
}

func (s *Story) axis() timeAxis {
	w := s.Window
	to := w.ToNS
	if least := (w.ToNS - w.FromNS) / 50; to < least {
		to = least
	}
	return timeAxis{w.FromNS, max(to, w.FromNS+1)}
}

func (s *Story) killName() string {
	if s.named() {
		return "killed"
	}
	return "out of memory"
}

// killAnchor keeps the label of the kill inside the plot.
func killAnchor(x timeAxis) string {
	switch at := x.x(0); {
	case at > plotWide-marginRight-40:
		return "end"
	case at < marginLeft+40:
		return "start"
	}
	return "middle"
}

// layers stacks the kinds of memory. Where a sample does not tell them they have
// a gap.
func layers(samples []Sample, x timeAxis, y sizeAxis) []layer {
	order := []string{"kernel", "anon", "shmem", "file", "other"}
	names := make(map[string]string)
	floor := make([]uint64, len(samples))
	var out []layer
	for _, key := range order {
		ceiling := slices.Clone(floor)
		var biggest uint64
		for i := range samples {
			for _, p := range split(&samples[i].Memory) {
				if p.key == key {
					ceiling[i] += min(p.bytes, math.MaxUint64-ceiling[i])
					names[key] = p.name
					biggest = max(biggest, p.bytes)
				}
			}
		}
		if biggest == 0 || key == "other" && biggest < y.most/30 {
			continue // what is other is then the counters' own inaccuracy
		}
		var b strings.Builder
		for from := 0; from < len(samples); from++ {
			to := from
			for to < len(samples) && composed(&samples[to].Memory) {
				to++
			}
			if to-from > 1 {
				for i := from; i < to; i++ {
					join(&b, i == from, x.x(samples[i].OffsetNS), y.y(ceiling[i]))
				}
				for i := to - 1; i >= from; i-- {
					join(&b, false, x.x(samples[i].OffsetNS), y.y(floor[i]))
				}
				b.WriteByte('Z')
			}
			from = to
		}
		out = append(out, layer{key, names[key], b.String()})
		floor = ceiling
	}
	slices.Reverse(out) // as they lie, for the legend; they do not overlap
	return out
}

func join(b *strings.Builder, first bool, x, y float64) {
	if first {
		b.WriteByte('M')
	} else {
		b.WriteByte('L')
	}
	b.WriteString(coord(x) + " " + coord(y))
}

// line draws one figure; where it is not known the line is broken.
func line(samples []Sample, x timeAxis, y sizeAxis, of func(*event.Figures) *uint64) string {
	var b strings.Builder
	begin := true
	for i := range samples {
		n := of(&samples[i].Memory)
		if n == nil {
			begin = true
			continue
		}
		join(&b, begin, x.x(samples[i].OffsetNS), y.y(*n))
		begin = false
	}
	return b.String()
}

// heatMap is how many stalls began when, by how long they lasted, and above it
// how much time was lost.
type heatMap struct {
	Wide, High                 int
	Left, Right, Bottom        string
	Cells                      []box
	Bars                       []box
	BarsLabel                  string
	Rows                       []tick
	XTicks                     []tick
	KillX, KillAnchor, KillTop string
	KillName                   string
	Title, Desc                string
	Column, Told               string
}

type box struct{ X, Y, W, H, Heat, Title string }

const (
	heatTop  = 26
	barsHigh = 40
	rowHigh  = 22
)

func (s *Story) heatMap() *heatMap {
	st := s.Stalls
	if st == nil || len(st.Cells) == 0 || s.Window == nil {
		return nil
	}
	x := s.axis()
	low, high := len(rowBounds), 0
	var most uint64
	lost := make(map[int]int64)
	var mostLost int64
	for _, c := range st.Cells {
		low, high, most = min(low, c.row), max(high, c.row), max(most, c.Episodes)
		lost[c.col] += c.StalledNS
		mostLost = max(mostLost, lost[c.col])
	}
	if high == low && high+1 < len(rowBounds) {
		high++
	}
	top := float64(heatTop + barsHigh + 10)
	bottom := top + float64((high-low+1)*rowHigh)
	h := &heatMap{
		Wide: plotWide, High: int(bottom) + 28, Left: coord(marginLeft), Right: coord(plotWide - marginRight), Bottom: coord(bottom),
		XTicks: x.ticks(), KillX: coord(x.x(0)), KillAnchor: killAnchor(x), KillTop: coord(heatTop - 8), KillName: s.killName(), Column: lasting(st.WidthNS),
	}
	for row := low; row <= high; row++ {
		label := "≥ " + lasting(rowBounds[row])
		if row == 0 {
			label = "< " + lasting(rowBounds[1])
		}
		h.Rows = append(h.Rows, tick{coord(bottom - float64(row-low)*rowHigh - rowHigh/2 + 4), label})
	}
	place := func(col int) (left, wide float64) {
		from := max(int64(col)*st.WidthNS, x.from)
		to := min(int64(col+1)*st.WidthNS, x.to)
		left = x.x(from)
		return left, max(x.x(to)-left-1, 1)
	}
	for _, c := range st.Cells {
		left, wide := place(c.col)
		heat := 0.14 + 0.86*math.Log1p(float64(c.Episodes))/math.Log1p(float64(most))
		h.Cells = append(h.Cells, box{
			coord(left), coord(bottom - float64(c.row-low+1)*rowHigh), coord(wide), coord(rowHigh - 1), coord(math.Round(heat*20) / 20),
			counted(c.Episodes, "stall") + " of " + between(c.row) + ", " + lasting(c.StalledNS) + " in all, in the " + h.Column + " from " + offset(c.OffsetNS),
		})
		if n, ok := lost[c.col]; ok && mostLost > 0 {
			delete(lost, c.col)
			high := barsHigh * float64(n) / float64(mostLost)
			h.Bars = append(h.Bars, box{coord(left), coord(heatTop + barsHigh - high), coord(wide), coord(high), "1",
				lasting(n) + " lost in the " + h.Column + " from " + offset(c.OffsetNS)})
		}
	}
	h.BarsLabel = lasting(mostLost)
	h.Told = st.told()
	h.Title = "Stalls over time by how long they lasted"
	h.Desc = counted(st.Episodes, "stall") + ", " + lasting(st.StalledNS) + " in all. Columns of " + h.Column +
		"; the stronger the colour of a cell, the more stalls began in it, at most " + unit.Count(most) + "."
	return h
}

// between says which durations a row has.
func between(row int) string {
	switch {
	case row == 0:
		return "less than " + lasting(rowBounds[1])
	case row+1 == len(rowBounds):
		return lasting(rowBounds[row]) + " and more"
	}
	return lasting(rowBounds[row]) + " to " + lasting(rowBounds[row+1])
}

// spark is a small picture of one cgroup's memory, on the scale of all.
type spark struct{ All, Fixed string }

const (
	sparkWide = 140
	sparkHigh = 30
)

func sparkline(c *Course, x timeAxis, most uint64) *spark {
	if len(c.Samples) < 2 {
		return nil
	}
	area := func(of func(*event.Figures) (uint64, bool)) string {
		var b strings.Builder
		first, last := 0.0, 0.0
		for i := range c.Samples {
			n, ok := of(&c.Samples[i].Memory)
			if !ok {
				return ""
			}
			at := sparkWide * float64(c.Samples[i].OffsetNS-x.from) / float64(max(x.to-x.from, 1))
			if i == 0 {
				first = at
			}
			last = at
			join(&b, i == 0, at, sparkHigh-(sparkHigh-2)*float64(n)/float64(max(most, 1)))
		}
		join(&b, false, last, sparkHigh)
		join(&b, false, first, sparkHigh)
		return b.String() + "Z"
	}
	return &spark{
		All: area(func(f *event.Figures) (uint64, bool) {
			if f.Usage == nil {
				return 0, false
			}
			return *f.Usage, true
		}),
		Fixed: area(unreclaimable),
	}
}
