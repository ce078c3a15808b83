package latency

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

//go:embed page.html
var pageText string

// WriteHTML renders a report as one page that needs nothing else: styles and
// plots are in it, and it loads nothing. Whatever comes from outside is cleaned
// of control and bidi characters, and escaped by html/template.
func WriteHTML(w io.Writer, r *Report) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"span": func(ns int64) string { return unit.Duration(time.Duration(ns)) }, "count": unit.Count,
		"share": func(v float64) string { return string(share(v)) }, "words": words, "clean": clean,
		"nothing": func() string { return nothing }, "on": (*Report).on, "lost": (*Report).lost, "cached": cached,
		"pages": func(n uint64) string { return memory(r, n) }, "bytes": func(n *uint64) string { return unit.Bytes(*n) },
		"file":      func(f *File) string { return clean(label.File(&f.File)) },
		"came":      func(c *Cache) string { return came(r, c) },
		"histogram": histogram, "heatmap": heatmap, "matrix": matrixOf,
		"bar":  func(v float64) string { return fmt.Sprintf("%.1f", 100*math.Min(v, 1)) },
		"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"same": func(a *Place, b Place) bool { return a != nil && a.key() == b.key() },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

func clean(s string) string { return string(term.Clean(s)) }

// cached tells whether there is anything to say about page cache.
func cached(r *Report) bool {
	return slices.ContainsFunc(r.Containers, func(c *Container) bool { return c.Cache != nil || c.Thrash != nil })
}

func memory(r *Report, n uint64) string {
	if size := uint64(max(r.PageBytes, 0)); size > 0 && n <= math.MaxUint64/size {
		return unit.Bytes(n * size)
	}
	return unit.Count(n) + " pages"
}

func came(r *Report, c *Cache) string {
	if c.Refaulted == nil {
		return "?"
	}
	return memory(r, *c.Refaulted) + " (" + unit.Percent(min(*c.Refaulted, c.Added), max(c.Added, 1)) + ")"
}

// A plot is drawn in units of a view box.
const (
	plotWide = 720
	plotHigh = 120
)

type box struct {
	X, Y, W, H float64
	Level      int // of a heat map
	Title      string
}

type tick struct {
	At   float64
	Text string
}

type plot struct {
	Wide, High float64
	Boxes      []box
	X, Y       []tick
	Most       string
}

// The range of durations that a histogram shows, as powers of two.
func logRange(buckets []event.Bucket) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	begin := uint64(0)
	for _, b := range buckets {
		if b.Count > 0 {
			low = min(low, math.Floor(math.Log2(float64(max(begin, 512)))))
			high = max(high, math.Ceil(math.Log2(float64(max(b.UpTo, 1024)))))
		}
		begin = b.UpTo
	}
	return low, max(high, low+1) // the largest figures are rounded to one
}

// histogram draws bars whose area has no meaning but whose height is the count:
// durations are logarithmic.
func histogram(buckets []event.Bucket) *plot {
	low, high := logRange(buckets)
	if math.IsInf(low, 0) {
		return nil
	}
	most := slices.MaxFunc(buckets, func(a, b event.Bucket) int {
		if a.Count < b.Count {
			return -1
		}
		return 1
	}).Count
	p := &plot{Wide: plotWide, High: plotHigh, Most: unit.Count(most)}
	at := func(ns uint64) float64 {
		return plotWide * min(max((math.Log2(float64(max(ns, 512)))-low)/(high-low), 0), 1)
	}
	begin := uint64(0)
	for _, b := range buckets {
		if b.Count > 0 {
			h := max(plotHigh*float64(b.Count)/float64(most), 1)
			p.Boxes = append(p.Boxes, box{X: at(begin), Y: plotHigh - h, W: max(at(b.UpTo)-at(begin)-0.5, 1), H: h,
				Title: fmt.Sprintf("%s to %s: %s", unit.Duration(nanos(begin)), unit.Duration(nanos(b.UpTo)), unit.Count(b.Count))})
		}
		begin = b.UpTo
	}
	every := math.Ceil((high - low) / 8)
	for e := low; e <= high; e += every {
		p.X = append(p.X, tick{plotWide * (e - low) / (high - low), unit.Duration(nanos(uint64(math.Exp2(min(e, 62)))))})
	}
	return p
}

func nanos(n uint64) time.Duration { return time.Duration(min(n, math.MaxInt64)) }

const cellHigh = 14

// heatmap draws time to the right, lengths upwards.
func heatmap(h *Heat) *plot {
	if h == nil {
		return nil
	}
	low, high, most := len(h.UpToNS), -1, uint64(0)
	for _, c := range h.Counts {
		for band, n := range c {
			if n > 0 {
				low, high, most = min(low, band), max(high, band), max(most, n)
			}
		}
	}
	if high < 0 {
		return nil
	}
	wide := float64(plotWide) / float64(len(h.Counts))
	p := &plot{Wide: plotWide, High: float64(cellHigh * (high - low + 1)), Most: unit.Count(most)}
	for band := low; band <= high; band++ {
		from := "0"
		if band > 0 {
			from = unit.Duration(time.Duration(h.UpToNS[band-1]))
		}
		y := float64(cellHigh * (high - band))
		p.Y = append(p.Y, tick{y + cellHigh - 3, from})
		for i, c := range h.Counts {
			if c[band] > 0 {
				at := h.Began.Add(time.Duration(i) * time.Duration(h.StepNS)).Format("15:04:05")
				p.Boxes = append(p.Boxes, box{X: float64(i) * wide, Y: y, W: max(wide-0.4, 0.6), H: cellHigh - 0.6,
					Level: shade(c[band], most, 9), Title: fmt.Sprintf("%s UTC, %s and more: %s", at, from, unit.Count(c[band]))})
			}
		}
	}
	for i := range 5 {
		at := h.Began.Add(time.Duration(float64(h.StepNS) * float64(len(h.Counts)) * float64(i) / 4))
		p.X = append(p.X, tick{plotWide * float64(i) / 4, at.Format("15:04:05")})
	}
	return p
}

// matrix is who evicted whose page cache: a row for each owner, a column for
// each evictor.
type matrix struct {
	Evictors []string
	Rows     []matrixRow
}

type matrixRow struct {
	Owner string
	Cells []matrixCell
}

type matrixCell struct {
	Pages, Reparented uint64
	Level             int
}

const matrixSide = 12

func matrixOf(r *Report) *matrix {
	m := &matrix{}
	owners, evictors := map[string]int{}, map[string]int{}
	var names []string
	sums, reparented := map[[2]int]uint64{}, map[[2]int]uint64{}
	most := uint64(0)
	index := func(all map[string]int, key, name string, list *[]string) int {
		i, ok := all[key]
		if !ok {
			if len(all) == matrixSide {
				return -1
			}
			i = len(all)
			all[key] = i
			*list = append(*list, name)
		}
		return i
	}
	for _, e := range r.Evictions {
		key, name := e.Kind, clean(words(e.Kind))
		if e.By != nil {
			key, name = "place "+e.By.key(), clean(e.By.Label)
		} else if e.Kind == "" {
			name = "?"
		}
		o, v := index(owners, e.Owner.key(), clean(e.Owner.Label), &names), index(evictors, key, name, &m.Evictors)
		if o < 0 || v < 0 {
			continue
		}
		sums[[2]int{o, v}] += e.Pages
		reparented[[2]int{o, v}] += e.Reparented
		most = max(most, sums[[2]int{o, v}])
	}
	for o, owner := range names {
		row := matrixRow{Owner: owner}
		for v := range m.Evictors {
			n := sums[[2]int{o, v}]
			row.Cells = append(row.Cells, matrixCell{n, reparented[[2]int{o, v}], shade(n, most, 9)})
		}
		m.Rows = append(m.Rows, row)
	}
	if len(m.Rows) == 0 {
		return nil
	}
	return m
}
