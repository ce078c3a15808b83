package oom

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// size writes bytes in three digits: 4.00 KiB, 47.9 MiB, 512 MiB.
func size(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, at := float64(n), -1
	for v >= 999.5 && at < 4 || at < 0 {
		v /= 1024
		at++
	}
	digits := 2
	switch {
	case v >= 99.95:
		digits = 0
	case v >= 9.995:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + []string{"KiB", "MiB", "GiB", "TiB", "PiB"}[at]
}

// percent writes a part of a whole.
func percent(part, whole uint64) string {
	if whole == 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(100*float64(part)/float64(whole)), 'f', 0, 64) + "%"
}

// span writes a duration as a person would say it.
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 100*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 100*time.Minute:
		return strconv.FormatInt(int64(d.Round(time.Minute)/time.Minute), 10) + " min"
	}
	return strconv.FormatFloat(d.Hours(), 'f', 1, 64) + " h"
}

// rate writes bytes a second.
func rate(bytesPerSecond float64) string { return size(uint64(max(bytesPerSecond, 0))) + " a second" }

// who names a process.
func who(p *event.Process) string {
	if p.Comm == "" {
		return fmt.Sprintf("process %d", p.PID)
	}
	return fmt.Sprintf("%s[%d]", p.Comm, p.PID)
}

func get(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}
