package tally

import (
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Buckets of the programs (bpf/histogram.h) are logarithmic with eight linear
// steps in each power of two; below eight each value has its own.
const steps = 8

// bounds are the values of a bucket: from lower to below upper.
func bounds(i int) (lower, upper uint64) {
	if i < steps {
		return uint64(i), uint64(i) + 1
	}
	shift := i/steps - 1
	lower = uint64(steps+i%steps) << shift
	return lower, lower + 1<<shift
}

// Histogram is how often values fell into each bucket, in units of the
// programs.
type Histogram []uint32

// since gives what came on top of an earlier reading, nil when nothing did.
// Counters wrap, differences do not mind.
func (h Histogram) since(last Histogram) Histogram {
	var out Histogram
	for i := range h {
		if d := h[i] - last[i]; d != 0 {
			if out == nil {
				out = make(Histogram, len(h))
			}
			out[i] = d
			last[i] = h[i]
		}
	}
	return out
}

// Count is how many values there are.
func (h Histogram) Count() uint64 {
	var n uint64
	for _, c := range h {
		n += uint64(c)
	}
	return n
}

// Add adds another of the same shape, and gives the sum.
func (h Histogram) Add(other Histogram) Histogram {
	if h == nil {
		h = make(Histogram, len(other))
	}
	for i, c := range other {
		h[i] += c
	}
	return h
}

// Below counts the values in buckets that end at or below a limit.
func (h Histogram) Below(limit uint64) uint64 {
	var n uint64
	for i, c := range h {
		if _, upper := bounds(i); upper <= limit {
			n += uint64(c)
		}
	}
	return n
}

// Quantile is what package event calls so of the bars.
func (h Histogram) Quantile(q float64) uint64 { return event.Quantile(h.Bars(1), q) }

// Bars gives the buckets that are not empty, each with the end of the one before
// it, which says where it begins. A unit of the histogram is so many of the
// bars'.
func (h Histogram) Bars(unit uint64) []event.Bucket {
	var out []event.Bucket
	told := 0 // buckets below this one are told
	for i, c := range h {
		if c == 0 {
			continue
		}
		if lower, _ := bounds(i); i > told {
			out = append(out, event.Bucket{UpTo: lower * unit})
		}
		_, upper := bounds(i)
		out = append(out, event.Bucket{UpTo: upper * unit, Count: uint64(c)})
		told = i + 1
	}
	return out
}
