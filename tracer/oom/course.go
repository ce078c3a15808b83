package oom

import (
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	// enough readings to speak of steady growth; few suffice for what was level, of
	// which the first and the last are kept. long is the time over which memory
	// that has not grown is level.
	enough, few, long = 4, 3, 10 * time.Second
	// loading is longer than programs mostly take to read what they work on.
	loading = 10 * time.Minute
	// storming is how young a process is that counts as new.
	storming = 10 * time.Second
)

// course is how a domain's need went until the kill.
type course struct {
	at    []time.Duration // negative
	usage []uint64
	need  []uint64 // bytes that reclaim could not have taken back
	sum   event.Window
	level uint64 // need before it grew
	grew  time.Duration
}

func (p *Point) need() uint64 { return p.Usage - min(p.Cache, p.Usage) + p.Swap }

// courseOf makes one of the readings and the composition at the kill; nil when
// there are none before it.
func courseOf(c *Case) *course {
	if len(c.Window) == 0 {
		return nil
	}
	w := &course{}
	points := c.Window
	for i := range points {
		if points[i].At >= 0 {
			continue
		}
		w.at = append(w.at, points[i].At)
		w.usage = append(w.usage, points[i].Usage)
		w.need = append(w.need, points[i].need())
	}
	if len(w.at) == 0 {
		return nil
	}
	limit := uint64(0)
	if m := c.Kill.Domain.Memory; m != nil {
		limit = get(m.Limit)
		if m.Usage != nil && (m.LRUFile != nil || m.ActiveFile != nil && m.InactiveFile != nil) {
			cache := get(m.LRUFile)
			if m.LRUFile == nil {
				cache = *m.ActiveFile + *m.InactiveFile
			}
			w.at = append(w.at, 0)
			w.usage = append(w.usage, *m.Usage)
			w.need = append(w.need, *m.Usage-min(cache, *m.Usage)+get(m.SwapUsage))
		}
	}
	n := len(w.at)
	w.sum = event.Window{SpanNS: -int64(w.at[0]), Samples: n, NeedFirst: w.need[0], NeedLast: w.need[n-1]}
	w.sum.Refaulted = refaulted(points)
	w.shape(limit)
	return w
}

// refaulted is how many pages were read again between the first reading that
// tells and the last.
func refaulted(points []Point) *uint64 {
	var first, last *Point
	for i := range points {
		if p := &points[i]; p.HasRefaults {
			if last = p; first == nil {
				first = p
			}
		}
	}
	if first == last || last.RefaultedPages < first.RefaultedPages {
		return nil
	}
	pages := last.RefaultedPages - first.RefaultedPages
	return &pages
}

// Summary gives the window of an event; nil without readings.
func Summary(c *Case) *event.Window {
	if w := courseOf(c); w != nil {
		return &w.sum
	}
	return nil
}

// shape finds the growth that led to the kill. What was before the last fall by a
// quarter of the most (a restart, an earlier kill) is another story, and so is
// the time in which there was next to nothing in the cgroup.
func (w *course) shape(limit uint64) {
	whole := limit
	for _, n := range w.need {
		whole = max(whole, n)
	}
	from := 0
	for i := 1; i < len(w.need); i++ {
		if w.need[i]+whole/4 < w.need[i-1] {
			from = i
		}
	}
	for from < len(w.need)-1 && w.usage[from] < whole/16 {
		from++
	}
	at, need := w.at[from:], w.need[from:]
	n := len(at)
	first, last := need[0], need[n-1]
	total := at[n-1] - at[0]
	if n < few || total <= 0 {
		return
	}
	if last < first+whole/8 {
		if total < long {
			return
		}
		w.sum.Shape = event.ShapeLevel
		w.level = first
		return
	}
	grown := last - first
	begin := 0
	for i := range need {
		if need[i] <= first+grown/10 {
			begin = i
		}
	}
	if at[begin]-at[0] < (at[n-1]-at[begin])/4 {
		begin = 0 // it grew from the first
	}
	w.level, w.grew = need[begin], at[n-1]-at[begin]
	w.sum.GrowthNS = int64(w.grew)
	if slope, ok := slopeOf(at[begin:], need[begin:]); ok {
		v := int64(slope)
		w.sum.Slope = &v
	}
	before := at[begin] - at[0] // how long it was level
	switch {
	case before >= 2*w.grew && before >= time.Second && w.grew < 30*time.Second:
		w.sum.Shape = event.ShapeBurst
	case n-begin >= enough && steady(at[begin:], need[begin:]):
		w.sum.Shape = event.ShapeSteady
	}
}

// steady tells whether growth was spread over the whole time: each quarter has a
// part in it, and none the most.
func steady(at []time.Duration, need []uint64) bool {
	n := len(at)
	first, total := need[0], float64(need[n-1]-need[0])
	before := float64(0)
	for q := 1; q <= 4; q++ {
		grown := valueAt(at, need, at[0]+(at[n-1]-at[0])*time.Duration(q)/4) - float64(first)
		if part := (grown - before) / total; part < 0.08 || part > 0.55 {
			return false
		}
		before = grown
	}
	return true
}

// valueAt reads a course between its readings.
func valueAt(at []time.Duration, need []uint64, when time.Duration) float64 {
	for i := 1; i < len(at); i++ {
		if when > at[i] && i < len(at)-1 {
			continue
		}
		a, b := float64(need[i-1]), float64(need[i])
		if at[i] == at[i-1] {
			return b
		}
		part := float64(when-at[i-1]) / float64(at[i]-at[i-1])
		return a + (b-a)*min(max(part, 0), 1)
	}
	return float64(need[len(need)-1])
}

// slopeOf is that of the line of least squares, in bytes a second.
func slopeOf(at []time.Duration, need []uint64) (float64, bool) {
	n := float64(len(at))
	var t, v, tt, tv float64
	for i := range at {
		x, y := at[i].Seconds(), float64(need[i])
		t, v, tt, tv = t+x, v+y, tt+x*x, tv+x*y
	}
	d := n*tt - t*t
	if n < 2 || d <= 0 {
		return 0, false
	}
	return (n*tv - t*v) / d, true
}

// anonymousGrew tells whether what grew is anonymous memory, though something
// else that was there all along may be more.
func anonymousGrew(c *Case, k *kinds) bool {
	return len(c.Window) > 0 && k.outgrew(&c.Window[0], k.shmem, c.Window[0].Shmem)
}

// anonymousOutgrew tells the same against the kernel's memory and page cache.
func anonymousOutgrew(c *Case, k *kinds) bool {
	if len(c.Window) == 0 {
		return false
	}
	first := &c.Window[0]
	return k.outgrew(first, k.kernel+k.cache, first.Usage-min(first.Anon+first.Shmem, first.Usage))
}

// outgrew tells whether anonymous memory has grown by much since the first
// reading, and another kind, from before to now, by next to nothing.
func (k *kinds) outgrew(first *Point, now, before uint64) bool {
	anon, other := k.anon-min(first.Anon, k.anon), now-min(before, now)
	return k.whole && anon > k.usage/4 && other < anon/4
}
