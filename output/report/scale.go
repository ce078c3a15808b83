package report

import "time"

// rowBounds are the least durations of the rows of the map of stalls.
var rowBounds = [...]int64{0, 10e3, 30e3, 100e3, 300e3, 1e6, 3e6, 10e6, 30e6, 100e6, 300e6, 1e9, 3e9, 10e9}

func rowOf(ns int64) int {
	row := 0
	for row+1 < len(rowBounds) && ns >= rowBounds[row+1] {
		row++
	}
	return row
}

// columnWidth divides the time before a kill into some 60 columns of a round
// width.
func columnWidth(span time.Duration) int64 {
	return int64(max(nice(float64(span)/60), 1e6))
}

// nice is the least of 1, 2, 5, 10, 20 … that is not below v.
func nice(v float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, by := range [...]float64{1, 2, 5} {
			if by*step >= v {
				return by * step
			}
		}
	}
}

// floorDiv rounds towards minus infinity: what is before the kill stays there.
func floorDiv(a, by int64) int {
	q := a / by
	if a%by < 0 {
		q--
	}
	return int(q)
}
