package tally

import (
	"math/bits"
	"reflect"
	"testing"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// bucketOf is what the programs compute, in Go's words.
func bucketOf(v uint64) int {
	if v < steps {
		return int(v)
	}
	e := bits.Len64(v) - 1
	return (e-2)*steps + int(v>>(e-3)&7)
}

// Buckets touch each other, and each holds what the programs put into it.
func TestBounds(t *testing.T) {
	var end uint64
	for i := range 256 {
		lower, upper := bounds(i)
		if lower != end || upper <= lower {
			t.Fatalf("bucket %d is %d to %d, the one before ends at %d", i, lower, upper, end)
		}
		if bucketOf(lower) != i || bucketOf(upper-1) != i {
			t.Fatalf("bucket %d is %d to %d; they fall into %d and %d", i, lower, upper, bucketOf(lower), bucketOf(upper-1))
		}
		end = upper
	}
	if end != 1<<34 {
		t.Errorf("the last ends at %d", end)
	}
}

func TestBars(t *testing.T) {
	h := make(Histogram, 64)
	h[0], h[1], h[9], h[20] = 3, 1, 2, 4 // 9 is 9 to 10, 20 is 24 to 26
	want := []event.Bucket{{UpTo: 10, Count: 3}, {UpTo: 20, Count: 1}, {UpTo: 90}, {UpTo: 100, Count: 2}, {UpTo: 240}, {UpTo: 260, Count: 4}}
	if got := h.Bars(10); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, c := range []struct {
		q    float64
		want uint64
	}{{0, 1}, {0.3, 1}, {0.31, 2}, {0.4, 2}, {0.5, 10}, {0.6, 10}, {0.61, 26}, {1, 26}} {
		if got := h.Quantile(c.q); got != c.want {
			t.Errorf("quantile %v is %d, want %d", c.q, got, c.want)
		}
	}
	if h.Count() != 10 || h.Below(10) != 6 || h.Below(9) != 4 {
		t.Errorf("count %d, below 10: %d, below 9: %d", h.Count(), h.Below(10), h.Below(9))
	}
	if none := (Histogram{}); none.Quantile(0.5) != 0 || none.Bars(1) != nil {
		t.Error("something of nothing")
	}
}

func TestHistogramSince(t *testing.T) {
	last := Histogram{5, ^uint32(0), 7}
	if got, want := (Histogram{6, 1, 7}).since(last), (Histogram{1, 2, 0}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v: counters wrap", got, want)
	}
	if got := (Histogram{6, 1, 7}).since(last); got != nil {
		t.Errorf("%v came of nothing", got)
	}
}

func TestStallSince(t *testing.T) {
	key := StallKey{Cgroup: alice, Domain: bob, Kind: 1}
	var now, last bpf.CoreStallCounts
	if _, ok := stallSince(key, &now, &last, 0); ok {
		t.Error("a stall of nothing")
	}
	long := uint64(40 * TimeUnit)
	now.Buckets[bucketOf(2)], now.Buckets[bucketOf(40)] = 2, 1
	now.Total, now.Reclaimed = 45*TimeUnit, 64
	now.Longest[1][3] = 7<<48 | long
	now.Longest[1][4] = 5<<48 | 1<<40 // of an earlier interval
	now.Longest[0][3] = 6<<48 | 1<<40 // likewise
	got, ok := stallSince(key, &now, &last, 7)
	if !ok || got.Durations.Count() != 3 || got.Total != 45*TimeUnit || got.Longest != long || got.Reclaimed != 64 || got.Scanned != nil {
		t.Errorf("%+v", got)
	}
	// What was told with the next interval's word is not told again; what is
	// hidden by it is at least as long as its bucket begins.
	now.Buckets[bucketOf(40)]++
	now.Longest[0][3], now.Longest[1][4] = 8<<48|42*TimeUnit, 7<<48|1
	got, ok = stallSince(key, &now, &last, 7)
	if !ok || got.Longest != 42*TimeUnit {
		t.Errorf("%+v", got)
	}
	now.Buckets[bucketOf(10)]++
	now.Scans, now.Scanned = 1, 0
	got, ok = stallSince(key, &now, &last, 8)
	if !ok || got.Longest != 10*TimeUnit || got.Scanned == nil || *got.Scanned != 0 {
		t.Errorf("%+v", got)
	}
	now.Buckets[bucketOf(40)]++
	now.Longest[1][3] = 9<<48 | 43*TimeUnit
	if got, ok = stallSince(key, &now, &last, 9); !ok || got.Longest != 43*TimeUnit {
		t.Errorf("%+v", got)
	}
}
