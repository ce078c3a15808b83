package latency

import (
	"maps"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	unitShift = 10 // histograms count in 1,024 ns
	steps     = 8  // buckets in each power of two
)

// bucketEnd gives where the bucket of a duration ends, as stalls events have
// them.
func bucketEnd(ns uint64) uint64 {
	v := ns >> unitShift
	if v < steps {
		return (v + 1) << unitShift
	}
	shift := bits.Len64(v) - 4
	return (v>>shift + 1) << (shift + unitShift)
}

func addBuckets(to map[uint64]uint64, buckets []event.Bucket) {
	for _, b := range buckets {
		if b.Count == 0 {
			continue
		}
		// Ours are 256; a stream may hold what it likes.
		if _, ok := to[b.UpTo]; !ok && len(to) >= 1024 {
			continue
		}
		to[b.UpTo] += b.Count
	}
}

func (s *Stats) add(count uint64, total, longest int64, buckets []event.Bucket) {
	if s.buckets == nil {
		s.buckets = make(map[uint64]uint64)
	}
	s.Count += count
	s.StalledNS += max(total, 0)
	s.MaxNS = max(s.MaxNS, longest)
	addBuckets(s.buckets, buckets)
}

// list gives buckets in order, each with the end of the one before it where that
// is empty.
func list(buckets map[uint64]uint64) []event.Bucket {
	var out []event.Bucket
	told := uint64(0)
	for _, end := range slices.Sorted(maps.Keys(buckets)) {
		if lower := bucketBegin(end); lower > told {
			out = append(out, event.Bucket{UpTo: lower})
		}
		out = append(out, event.Bucket{UpTo: end, Count: buckets[end]})
		told = end
	}
	return out
}

// bucketBegin gives where the bucket begins that ends there.
func bucketBegin(end uint64) uint64 {
	v := end >> unitShift
	if v <= steps || end&(1<<unitShift-1) != 0 {
		return end - min(end, 1<<unitShift)
	}
	shift := bits.Len64(v-1) - 4
	return end - 1<<(max(shift, 0)+unitShift)
}

// settle works out what rests on sums.
func (s *Stats) settle(wall int64) {
	if wall > 0 {
		s.Share = float64(s.StalledNS) / float64(wall)
	}
	buckets := list(s.buckets)
	quantile := func(q float64) int64 {
		// A bucket's end is above the longest that fell into it.
		return min(int64(min(event.Quantile(buckets, q), math.MaxInt64)), s.MaxNS)
	}
	s.P50NS, s.P90NS, s.P99NS = quantile(0.5), quantile(0.9), quantile(0.99)
}

// Bands of a heat map: a power of four each, from 4 µs.
const bands = 12

func bandEnd(i int) int64 { return 1 << (12 + 2*i) }

func bandOf(end uint64) int {
	for i := range bands - 1 {
		if end <= uint64(bandEnd(i)) {
			return i
		}
	}
	return bands - 1
}

// A heat map has at most so many columns; when there are more, two become one.
const (
	maxColumns = 240
	firstStep  = time.Second
)

type column struct {
	counts  [bands]uint64
	stalled int64
}

type heat struct {
	step    int64             // ns
	columns map[int64]*column // by time since the epoch, in steps
}

func newHeat() *heat { return &heat{step: int64(firstStep), columns: make(map[int64]*column)} }

func (h *heat) add(at time.Time, buckets []event.Bucket, total int64) {
	if at.IsZero() || at.Year() < 1970 || at.Year() > 2200 { // as far as nanoseconds go
		return
	}
	i := at.UnixNano() / h.step
	for h.columns[i] == nil {
		if len(h.columns) < maxColumns {
			h.columns[i] = &column{}
			break
		}
		h.halve()
		i = at.UnixNano() / h.step
	}
	for _, b := range buckets {
		h.columns[i].counts[bandOf(b.UpTo)] += b.Count
	}
	h.columns[i].stalled += max(total, 0)
}

func (h *heat) halve() {
	h.step *= 2
	old := h.columns
	h.columns = make(map[int64]*column, len(old)/2)
	for i, c := range old {
		to := h.columns[i/2]
		if to == nil {
			h.columns[i/2] = c
			continue
		}
		for band, n := range c.counts {
			to.counts[band] += n
		}
		to.stalled += c.stalled
	}
}

// show gives the map from the first to the last column, in at most so many.
func (h *heat) show(columns int) *Heat {
	if len(h.columns) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(h.columns))
	for keys[len(keys)-1]-keys[0] >= int64(columns) {
		h.halve()
		keys = slices.Sorted(maps.Keys(h.columns))
	}
	out := &Heat{Began: time.Unix(0, keys[0]*h.step).UTC(), StepNS: h.step}
	for i := range bands {
		out.UpToNS = append(out.UpToNS, bandEnd(i))
	}
	for i := keys[0]; i <= keys[len(keys)-1]; i++ {
		c := h.columns[i]
		if c == nil {
			c = &column{}
		}
		out.Counts = append(out.Counts, c.counts[:])
		out.StalledNS = append(out.StalledNS, c.stalled)
	}
	return out
}
