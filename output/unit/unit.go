// Package unit writes figures the way people read them: three significant
// digits, binary units, no trailing noise.
package unit

import (
	"math"
	"strconv"
	"time"
)

var binary = [...]string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// Bytes writes a size in binary units: "512 B", "4.00 KiB", "64.0 MiB". The
// result is at most eight columns wide.
func Bytes(n uint64) string {
	scale := binaryScale(n)
	return digits(scaled(n, scale), scale) + " " + binary[scale]
}

// Pair writes a part and its whole in the unit of the larger: "0.12/3.40 MiB".
// The result is at most thirteen columns wide.
func Pair(part, whole uint64) string {
	scale := binaryScale(max(part, whole))
	return digits(scaled(part, scale), scale) + "/" + digits(scaled(whole, scale), scale) + " " + binary[scale]
}

func binaryScale(n uint64) int {
	scale := 0
	for scaled(n, scale) >= 1023.5 && scale < len(binary)-1 {
		scale++
	}
	return scale
}

func scaled(n uint64, scale int) float64 { return math.Ldexp(float64(n), -10*scale) }

func digits(v float64, scale int) string {
	switch {
	case scale == 0 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v < 0.005:
		return "<.01"
	}
	return significant(v)
}

// significant writes three significant digits, but never more than two decimals.
func significant(v float64) string {
	decimals := 2
	switch {
	case v >= 99.95:
		decimals = 0
	case v >= 9.995:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// Duration writes a duration: "850µs", "12.4ms", "1.32s", "2m03s", "5h07m",
// "3d04h". Up to a hundred days it is at most six columns wide.
func Duration(d time.Duration) string {
	if d < 0 {
		// The smallest duration has no positive twin; one nanosecond less has.
		return "-" + Duration(-max(d, -math.MaxInt64))
	}
	switch ns := float64(d); {
	case d < 1000:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case ns < 999.5e3:
		return significant(ns/1e3) + "µs"
	case ns < 999.5e6:
		return significant(ns/1e6) + "ms"
	case ns < 59.95e9:
		return significant(ns/1e9) + "s"
	}
	// The smaller unit is rounded, so that 119.7 s is two minutes and not 1m60s.
	if s := int64(d.Round(time.Second) / time.Second); s < 3600 {
		return two(s, 60, "m", "s")
	}
	if m := int64(d.Round(time.Minute) / time.Minute); m < 24*60 {
		return two(m, 60, "h", "m")
	}
	return two(int64(d.Round(time.Hour)/time.Hour), 24, "d", "h")
}

func two(v, base int64, large, small string) string {
	low := strconv.FormatInt(v%base, 10)
	if len(low) < 2 {
		low = "0" + low
	}
	return strconv.FormatInt(v/base, 10) + large + low + small
}

// Count writes a number with thousands separators: "1,234,567".
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Percent writes a share of a whole: "91%", "<1%" for what would round to
// nothing, "" when there is no whole.
func Percent(part, whole uint64) string {
	if whole == 0 {
		return ""
	}
	p := 100 * float64(part) / float64(whole)
	if part > 0 && p < 0.5 {
		return "<1%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}
