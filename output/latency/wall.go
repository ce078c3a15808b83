package latency

import (
	"maps"
	"slices"
	"time"
)

// stream is one capture, or the trace at hand.
type stream struct {
	host        string
	head        time.Time // its header's
	began, last time.Time
	lost        map[string]uint64
}

// period is a time that was traced.
type period struct{ began, ended time.Time }

// quietStart is how long a stream may have nothing to tell in the beginning. When
// its first event comes later, what was before has been dropped, as a recorder
// does.
const quietStart = time.Minute

// From says of which stream and host the events are that follow. Events of one
// stream come in its order.
func (c *Collector) From(n int, host string) {
	if c.streams[n] == nil {
		c.streams[n] = &stream{lost: make(map[string]uint64)}
	}
	c.at = c.streams[n]
	if host != "" && host != c.at.host {
		c.endSpan(c.at)
		c.at.host = host
	}
}

// Empty tells whether nothing was taken in that could be reported.
func (c *Collector) Empty() bool {
	for _, s := range c.streams {
		if !s.began.IsZero() {
			return false
		}
	}
	return len(c.spans) == 0
}

// span widens the time that the stream at hand covers.
func (c *Collector) span(at time.Time, ns int64) {
	if at.IsZero() {
		return
	}
	s := c.at
	if s.began.IsZero() && !s.head.IsZero() && at.After(s.head) && at.Sub(s.head) < quietStart {
		s.began = s.head
	}
	if s.began.IsZero() || at.Before(s.began) {
		s.began = at
	}
	if end := at.Add(time.Duration(max(ns, 0))); end.After(s.last) {
		s.last = end
	}
}

func (c *Collector) endSpan(s *stream) {
	for family, n := range s.lost {
		if c.report.Lost == nil {
			c.report.Lost = make(map[string]uint64)
		}
		c.report.Lost[family] += n
	}
	clear(s.lost)
	if !s.began.IsZero() {
		c.spans[s.host] = append(c.spans[s.host], period{s.began, s.last})
	}
	s.began, s.last, s.head = time.Time{}, time.Time{}, time.Time{}
}

// wall is how long was traced in all; what several captures cover counts once.
func wall(spans []period) time.Duration {
	slices.SortFunc(spans, func(a, b period) int { return a.began.Compare(b.began) })
	var sum time.Duration
	var until time.Time
	for _, s := range spans {
		if s.began.Before(until) {
			s.began = until
		}
		if s.ended.After(s.began) {
			sum += s.ended.Sub(s.began)
			until = s.ended
		}
	}
	return sum
}

// walls gives how long each host was traced, and says so in the report.
func (c *Collector) walls() map[string]int64 {
	r := &c.report
	for _, n := range slices.Sorted(maps.Keys(c.streams)) {
		c.endSpan(c.streams[n])
	}
	walls := make(map[string]int64)
	for host, spans := range c.spans {
		walls[host] = int64(wall(spans))
		r.WallNS = max(r.WallNS, walls[host])
		if r.Began.IsZero() || spans[0].began.Before(r.Began) {
			r.Began = spans[0].began
		}
	}
	r.PageBytes = max(c.pages, 0)
	switch hosts := slices.Sorted(maps.Keys(walls)); {
	case len(hosts) == 1:
		r.Host = hosts[0]
	case len(hosts) > 1:
		// A stream without a header does not say of which it is.
		r.Hosts, r.Kernel = slices.DeleteFunc(hosts, func(h string) bool { return h == "" }), ""
	}
	return walls
}
