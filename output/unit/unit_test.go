package unit

import (
	"math"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.00 KiB", 4096: "4.00 KiB",
		10239: "10.0 KiB", 64 << 20: "64.0 MiB", 999 << 20: "999 MiB", 1023 << 20: "1023 MiB",
		1<<30 - 1: "1.00 GiB", 15 << 59: "7.50 EiB", math.MaxUint64: "16.0 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestPair(t *testing.T) {
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{
		{0, 0, "0/0 B"},
		{128 << 10, 512 << 10, "128/512 KiB"},
		{123 << 10, 3482 << 10, "0.12/3.40 MiB"},
		{4096, 1023 << 20, "<.01/1023 MiB"},
		{0, 1 << 20, "0/1.00 MiB"},
		{2 << 20, 1 << 20, "2.00/1.00 MiB"},
	} {
		if got := Pair(c.part, c.whole); got != c.want {
			t.Errorf("Pair(%d, %d) = %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ns", 999: "999ns", 1000: "1.00µs", 850 * time.Microsecond: "850µs",
		999600: "1.00ms", 12400 * time.Microsecond: "12.4ms", 9996 * time.Microsecond: "10.0ms",
		999700 * time.Microsecond: "1.00s", 1320 * time.Millisecond: "1.32s",
		59960 * time.Millisecond: "1m00s", 119700 * time.Millisecond: "2m00s", 123 * time.Second: "2m03s",
		59*time.Minute + 59700*time.Millisecond: "1h00m", 5*time.Hour + 7*time.Minute: "5h07m",
		76 * time.Hour: "3d04h", -1200 * time.Microsecond: "-1.20ms",
		math.MinInt64: "-106751d23h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestCountAndPercent(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{{1, 0, ""}, {0, 5, "0%"}, {1, 1000, "<1%"}, {91, 100, "91%"}, {3, 2, "150%"}} {
		if got := Percent(c.part, c.whole); got != c.want {
			t.Errorf("Percent(%d, %d) = %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

func FuzzWidths(f *testing.F) {
	f.Add(uint64(0), uint64(1))
	f.Add(uint64(1023<<20), uint64(1<<40))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		if s := Bytes(a); len(s) > 8 {
			t.Errorf("Bytes(%d) = %q", a, s)
		}
		if s := Pair(a, b); len(s) > 13 {
			t.Errorf("Pair(%d, %d) = %q", a, b, s)
		}
		if d := time.Duration(a % uint64(99*24*time.Hour)); utf8.RuneCountInString(Duration(d)) > 6 {
			t.Errorf("Duration(%d) = %q", d, Duration(d))
		}
	})
}
