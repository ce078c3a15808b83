package tracer

import (
	"math"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// reading is what could not be reclaimed at one moment.
type reading struct {
	at     time.Time
	demand uint64 // bytes, those in swap included
}

// minReadings is the least from which a line can be told from noise.
const minReadings = 5

// forecast draws a line through readings and says when it uses up the headroom.
// Nothing is claimed of a change below noise, nor of a slope that is less than
// four times its standard error. Without enough readings it is nil.
func forecast(readings []reading, headroom, noise uint64) *event.Forecast {
	if len(readings) < minReadings {
		return nil
	}
	first, last := readings[0], readings[len(readings)-1]
	window := last.at.Sub(first.at)
	if window <= 0 {
		return nil
	}
	f := &event.Forecast{WindowNS: int64(window), Samples: len(readings), Noise: noise, Trend: event.TrendFlat}
	slope, spread := line(readings)
	switch change := slope * window.Seconds(); {
	case math.Abs(change) < float64(noise):
		// A sawtooth may end where it began.
		if low, high := extent(readings); high-low >= 4*noise {
			f.Trend = event.TrendNoise
		}
		return f
	case math.Abs(slope) < 4*spread:
		f.Trend = event.TrendNoise
		return f
	case slope < 0:
		f.Trend = event.TrendFalling
		return f
	}
	f.Trend = event.TrendGrowing
	f.Growth = fresh(uint64(slope))
	if left := float64(headroom) / slope * float64(time.Second); left < math.MaxInt64/2 {
		f.ReachedInNS = fresh(int64(left))
	}
	return f
}

// line fits by least squares: bytes a second, and the standard error of that.
func line(readings []reading) (slope, spread float64) {
	n := float64(len(readings))
	var t, y float64
	at := func(r reading) float64 { return r.at.Sub(readings[0].at).Seconds() }
	for _, r := range readings {
		t += at(r) / n
		y += float64(r.demand) / n
	}
	var tt, ty float64
	for _, r := range readings {
		dt := at(r) - t
		tt += dt * dt
		ty += dt * (float64(r.demand) - y)
	}
	if tt == 0 {
		return 0, math.Inf(1)
	}
	slope = ty / tt
	var rest float64
	for _, r := range readings {
		off := float64(r.demand) - y - slope*(at(r)-t)
		rest += off * off
	}
	return slope, math.Sqrt(rest / (n - 2) / tt)
}

func extent(readings []reading) (low, high uint64) {
	low = math.MaxUint64
	for _, r := range readings {
		low, high = min(low, r.demand), max(high, r.demand)
	}
	return low, high
}
