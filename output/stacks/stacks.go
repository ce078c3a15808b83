// Package stacks adds up events that have stacks: where threads stalled, and
// which code brought memory in. Renderers of profiles share it.
package stacks

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// Kind of what is added up.
type Kind int

const (
	// Stalls of reclaim and throttle events: Count is stalls, Value nanoseconds.
	Stalls Kind = iota
	// Faults of profile events: Count is page faults, Value the bytes that they are
	// estimated to have brought in.
	Faults
	kinds
)

// maxSamples bounds how many different stacks are told apart; what comes after
// is added up without its stacks.
const maxSamples = 1 << 16

// Sample is what happened at one pair of stacks, in one place.
type Sample struct {
	Host      string // as the Collector was told
	Place     string // as package label has it; "" when nothing is known
	Container *event.Container
	Cgroup    *event.Cgroup
	Comm      string
	What      string        // kind of reclaim, throttle, or of fault
	Kernel    []string      // function+offset, innermost first
	User      []event.Frame // innermost first
	Count     uint64
	Value     uint64
}

// Collector adds events up. The zero value is ready for use.
type Collector struct {
	samples [kinds]map[string]*Sample
	key     []byte

	// Host goes into the samples of what is added next; "" when all is of one.
	Host string
	// Begin and End are the time that the events cover.
	Begin, End time.Time
	// Period of the last profile event; 0 without any.
	Period uint64
	// Samples of profile events: faults that were looked at.
	Sampled uint64
	// Lost is what lost events told of.
	Lost uint64
}

// Add takes an event into account; those without a stall or fault say when it
// was, and what was lost.
func (c *Collector) Add(e event.Event) {
	at := e.Head().Time
	if c.Begin.IsZero() || !at.IsZero() && at.Before(c.Begin) {
		c.Begin = at
	}
	switch e := e.(type) {
	case *event.Reclaim:
		at = at.Add(time.Duration(e.DurationNS))
		c.add(Stalls, &Sample{
			Container: e.Container, Cgroup: e.Cgroup, Comm: e.Process.Comm, What: e.Kind, Kernel: e.Stack, User: e.UserStack,
			Count: 1, Value: uint64(max(e.DurationNS, 0)),
		})
	case *event.Throttle:
		at = at.Add(time.Duration(e.DurationNS))
		c.add(Stalls, &Sample{
			Container: e.Container, Cgroup: e.Cgroup, Comm: e.Process.Comm, What: e.Type,
			Count: 1, Value: uint64(max(e.DurationNS, 0)),
		})
	case *event.Profile:
		at = at.Add(time.Duration(e.IntervalNS))
		c.Period, c.Sampled = e.Period, c.Sampled+e.Samples
		c.add(Faults, &Sample{
			Container: e.Container, Cgroup: e.Cgroup, Comm: e.Process.Comm, What: e.Fault, Kernel: e.Stack, User: e.UserStack,
			Count: e.Samples * e.Period, Value: e.Bytes,
		})
	case *event.Lost:
		c.Lost += e.Count
	}
	if at.After(c.End) {
		c.End = at
	}
}

func (c *Collector) add(k Kind, s *Sample) {
	s.Host, s.Place = c.Host, label.Place(s.Container, s.Cgroup)
	if c.samples[k] == nil {
		c.samples[k] = make(map[string]*Sample)
	}
	known := c.samples[k][string(c.keyOf(s))]
	if known == nil && len(c.samples[k]) >= maxSamples {
		s.Kernel, s.User = nil, nil
		known = c.samples[k][string(c.keyOf(s))]
	}
	if known == nil {
		c.samples[k][string(c.key)] = s
		return
	}
	known.Count += s.Count
	known.Value += s.Value
}

// keyOf tells samples apart; parts are separated by what none of them needs.
func (c *Collector) keyOf(s *Sample) []byte {
	b := c.key[:0]
	put := func(part string) { b = append(append(b, part...), 0) }
	put(s.Host)
	put(s.Place)
	put(s.Comm)
	put(s.What)
	for _, f := range s.Kernel {
		put(f)
	}
	b = append(b, 1)
	for i := range s.User {
		put(s.User[i].Function)
		put(s.User[i].Module)
		put(s.User[i].BuildID)
		b = strconv.AppendUint(b, s.User[i].Offset, 16)
		b = append(b, 0)
	}
	c.key = b
	return b
}

// Has tells whether there is anything of a kind.
func (c *Collector) Has(k Kind) bool { return len(c.samples[k]) > 0 }

// Main is what a profile of one kind is of: faults where there are any.
func (c *Collector) Main() Kind {
	if c.Has(Faults) {
		return Faults
	}
	return Stalls
}

// Samples gives what was added up, the largest value first.
func (c *Collector) Samples(k Kind) []*Sample {
	out := make([]*Sample, 0, len(c.samples[k]))
	keys := make(map[*Sample]string, len(c.samples[k]))
	for key, s := range c.samples[k] {
		out = append(out, s)
		keys[s] = key
	}
	slices.SortFunc(out, func(a, b *Sample) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(keys[a], keys[b]))
	})
	return out
}

// KernelFunction gives the function of a frame of a kernel stack, without the
// offset that it is written with.
func KernelFunction(frame string) string {
	if i := strings.LastIndex(frame, "+0x"); i > 0 {
		return frame[:i]
	}
	return frame
}

// UserFunction names a frame of a user stack: by its function, or else by the
// module and the offset in it.
func UserFunction(f *event.Frame) string {
	switch {
	case f.Function != "":
		return f.Function
	case f.Module != "":
		return f.Module[strings.LastIndexByte(f.Module, '/')+1:] + "+0x" + strconv.FormatUint(f.Offset, 16)
	}
	return "0x" + strconv.FormatUint(f.Offset, 16)
}
