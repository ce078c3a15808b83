package tracer

import (
	"cmp"
	"slices"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/symbol"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

// tellProfile writes what was sampled since it was told last, the most frequent
// first.
func (t *Tracer) tellProfile() error {
	began, now := t.lastSample, t.clock.now()
	t.lastSample = now
	samples, err := t.profile.Read()
	if err != nil {
		t.opts.Warn(err.Error())
	}
	// The mappings of processes that were met for the first time were asked for
	// through the ring buffer.
	if err := t.catchUp(); err != nil {
		return err
	}
	slices.SortFunc(samples, func(a, b tally.Sample) int { return cmp.Compare(b.Count, a.Count) })
	for i := range samples {
		s := &samples[i]
		if !t.selected(s.Key.Cgroup) {
			continue // the filter in the kernel may be wider: by path and not yet by name
		}
		if err := t.emit(t.profileEvent(s, began, now)); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tracer) profileEvent(s *tally.Sample, began, now uint64) *event.Profile {
	task := s.Task
	task.Comm = s.Key.Comm
	e := &event.Profile{
		Meta:       event.Meta{Type: event.TypeProfile, Time: t.clock.wall(began)},
		IntervalNS: int64(now - began), Process: process(&task), Fault: event.FaultMinor,
		Samples: s.Count, Period: t.opts.Period, Bytes: s.Count * t.opts.Period * t.page,
	}
	if bpf.CoreFault(s.Key.Fault) == bpf.CoreFaultFAULT_MAJOR {
		e.Fault = event.FaultMajor
	}
	e.Cgroup, e.Container = t.names.cgroup(s.Key.Cgroup)
	e.Stack = t.symbols().Stack(decode.Addresses(s.Kernel[:]))
	if len(e.Stack) == 0 {
		e.Stack = nil
	}
	e.UserStack = t.users.Stack(symbol.Image{PID: int32(s.Key.Tgid), MM: s.Key.Image}, decode.Addresses(s.User[:]))
	return e
}
