package tracer

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock turns the kernel's CLOCK_MONOTONIC stamps into wall-clock time. The
// offset is measured again and again, so that it follows when the wall clock is
// stepped.
type clock struct{ offset int64 }

// measure takes the offset between the clocks: the tightest of a few readings,
// so that being preempted between the two does not count.
func (c *clock) measure() {
	best := int64(-1)
	for range 5 {
		before, real, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_REALTIME), read(unix.CLOCK_MONOTONIC)
		if gap := after - before; best < 0 || gap < best {
			best = gap
			c.offset = real - before - gap/2
		}
	}
}

func (c *clock) wall(mono uint64) time.Time {
	return time.Unix(0, int64(mono)+c.offset).UTC()
}

func (c *clock) now() uint64 { return uint64(read(unix.CLOCK_MONOTONIC)) }

func read(id int32) int64 {
	var ts unix.Timespec
	if unix.ClockGettime(id, &ts) != nil {
		return 0 // cannot fail for the clocks asked for here
	}
	return ts.Nano()
}
