package report

import (
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// The map is of stalls with events of their own; every form says how many more
// there were, if that is known, and that there may be more, if not.
func TestStallsTold(t *testing.T) {
	count := func(offset time.Duration, kind string, n uint64) event.Event {
		return &event.Stalls{Meta: meta(event.TypeStalls, offset), IntervalNS: 1e9, Cgroup: &search, Domain: &event.Domain{Cgroup: shop}, Kind: kind, Count: n, TotalNS: int64(n) * 1000}
	}
	one := []event.Event{header(), stall(-5*time.Second, search, 20_000_000), stall(-4*time.Second, search, 20_000_000)}
	for _, c := range []struct {
		name   string
		events []event.Event
		want   string // "" none
	}{
		{"no counts", nil, "shorter ones than were recorded (--min-stall) are not in it"},
		{"all have events", []event.Event{count(-5*time.Second, event.ReclaimMemcgLimit, 2)}, ""},
		{"most have none", []event.Event{count(-5*time.Second, event.ReclaimMemcgLimit, 1500), count(-4*time.Second, event.StallThrottle, 500)},
			"Made of the 2 stalls that have events of their own (40.0ms in all); the kernel counted 2,000 (2.00ms)"},
		{"waits within stalls, and what is outside of the window", []event.Event{count(-5*time.Second, event.StallThrottled, 90), count(-5*time.Second, event.StallCompaction, 90),
			count(-200*time.Second, event.ReclaimMemcgLimit, 90), count(9500*time.Millisecond, event.ReclaimMemcgLimit, 90), count(-5*time.Second, event.ReclaimMemcgHigh, 1)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stories(t, Options{}, append(append(one[:3:3], c.events...), kill(0, "k"))...)[0]
			if got := s.Stalls.told(); c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if s.Stalls.Episodes != 2 {
				t.Errorf("%d stalls", s.Stalls.Episodes)
			}
			for _, format := range []string{"text", "markdown", "html"} {
				if got := strings.Contains(render(t, format, s), "Made of the"); got != (c.want != "") {
					t.Errorf("%s says so: %v", format, got)
				}
			}
		})
	}
}
