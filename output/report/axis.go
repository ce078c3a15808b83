package report

import (
	"math"
	"strconv"

	"github.com/oomtrace/oomtrace/output/unit"
)

// Plots share their width, their margins and the axis of time, so that what lies
// above each other happened together. Units are those of the SVG's viewBox.
const (
	plotWide    = 880
	marginLeft  = 66
	marginRight = 14
)

// tick is a label at a place of an axis.
type tick struct {
	At    string
	Label string
}

// timeline is the horizontal axis: offsets from the kill.
type timeAxis struct{ from, to int64 }

func (a timeAxis) x(ns int64) float64 {
	span := float64(max(a.to-a.from, 1))
	return marginLeft + (plotWide-marginLeft-marginRight)*float64(ns-a.from)/span
}

func (a timeAxis) ticks() []tick {
	step := nice(float64(a.to-a.from) / 9)
	var out []tick
	for n := math.Ceil(float64(a.from) / step); n*step <= float64(a.to) && len(out) < 32; n++ {
		label := strconv.FormatFloat(math.Abs(n*step)/1e9, 'g', 6, 64) + " s"
		switch {
		case n == 0:
			label = "0"
		case n < 0:
			label = "−" + label
		default:
			label = "+" + label
		}
		out = append(out, tick{coord(a.x(int64(n * step))), label})
	}
	return out
}

// sizeAxis is a vertical axis of bytes.
type sizeAxis struct {
	most        uint64
	top, bottom float64
}

func (a sizeAxis) y(n uint64) float64 {
	return a.bottom - (a.bottom-a.top)*float64(min(n, a.most))/float64(max(a.most, 1))
}

func (a sizeAxis) ticks() []tick {
	step := uint64(1)
	for step < 1<<62 && a.most/step > 5 {
		step *= 2
	}
	var out []tick
	for n := uint64(0); n <= a.most && len(out) < 8; n += step {
		out = append(out, tick{coord(a.y(n)), unit.Bytes(n)})
	}
	return out
}

// coord writes a coordinate.
func coord(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}
