package tracer

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/symbol"
)

// houseKeeping is how often clocks and losses are looked at.
const houseKeeping = time.Second

// counters are what the summary says.
type counters struct {
	events   map[string]uint64
	received []uint64 // by family of the programs
	sent     []uint64
	lost     []uint64
	full     []uint64
	skipped  map[string]uint64 // by program
	told     time.Time         // when losses were told last
}

func (c *counters) init() {
	c.events = make(map[string]uint64)
	c.received = make([]uint64, bpf.CoreFamilyFAMILY_COUNT)
	c.sent = make([]uint64, bpf.CoreFamilyFAMILY_COUNT)
	c.lost = make([]uint64, bpf.CoreFamilyFAMILY_COUNT)
	c.full = make([]uint64, bpf.CoreFamilyFAMILY_COUNT)
	c.skipped = make(map[string]uint64)
	c.told = time.Now()
}

func familyName(i int) string {
	switch bpf.CoreFamily(i) {
	case bpf.CoreFamilyFAMILY_OOM:
		return FamilyOOM
	case bpf.CoreFamilyFAMILY_RECLAIM:
		return FamilyReclaim
	case bpf.CoreFamilyFAMILY_KSWAPD:
		return FamilyKswapd
	case bpf.CoreFamilyFAMILY_THROTTLE:
		return FamilyThrottle
	case bpf.CoreFamilyFAMILY_CACHE:
		return FamilyCache
	case bpf.CoreFamilyFAMILY_PROFILE:
		return FamilyProfile
	}
	return FamilyCgroup
}

// emit hands an event to the sink and counts it.
func (t *Tracer) emit(e event.Event) error {
	if err := t.sink(e); err != nil {
		return err
	}
	t.counters.events[e.Head().Type]++
	return nil
}

// Run hands events to the sink, the header first, until ctx ends; then it
// detaches, delivers what the kernel side has sent by then, and ends with the
// summary. It returns nil then, or the error of the sink.
func (t *Tracer) Run(ctx context.Context, sink Sink) error {
	t.running.Lock()
	defer t.running.Unlock()
	t.sink = sink
	if err := t.emit(t.header); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = t.reader.Flush() })
	defer stop()

	if t.window != nil {
		polled := make(chan struct{})
		defer close(polled)
		go t.window.run(polled)
	}
	t.drained = t.clock.now()
	t.lastCache, t.lastSample = t.drained, t.drained
	t.beginPauses()
	defer t.endPauses()
	keep := time.Now().Add(houseKeeping)
	interval := time.Now().Add(t.opts.Interval)
	memory := time.Now().Add(t.opts.MemoryInterval)
	var rec ringbuf.Record
	for ctx.Err() == nil {
		now := t.drained
		wake := min(time.Until(keep), time.Until(interval))
		if t.dense() {
			wake = min(wake, time.Until(memory))
		}
		next, err := t.settleIncidents(now, false)
		if err != nil {
			return err
		}
		paused, err := t.settlePauses(now)
		if err != nil {
			return err
		}
		logged, err := t.settleLog(t.clock.now(), false)
		if err != nil {
			return err
		}
		departed, err := t.settleDepartures(now, false)
		if err != nil {
			return err
		}
		for _, at := range []uint64{next, paused, logged, departed} {
			if at != 0 {
				wake = min(wake, time.Duration(int64(at)-int64(t.clock.now())))
			}
		}
		t.poll(time.Since(t.lastRecord) < busyFor)
		if t.polls {
			wake = min(wake, pollEvery)
		}
		t.reader.SetDeadline(time.Now().Add(waitShort(wake)))
		if err := t.drain(ctx, &rec); err != nil {
			return err
		}
		if err := t.identified(); err != nil {
			return err
		}
		if time.Now().After(keep) {
			keep = time.Now().Add(houseKeeping)
			t.clock.measure()
			t.sweep()
			if err := t.tellLosses(); err != nil {
				return err
			}
		}
		if time.Now().After(interval) {
			interval = time.Now().Add(t.opts.Interval)
			if err := t.tellIntervals(); err != nil {
				return err
			}
		}
		if t.dense() && time.Now().After(memory) {
			if err := t.tellFilling(); err != nil {
				return err
			}
			memory = time.Now().Add(t.opts.MemoryInterval)
		}
	}
	return t.finish()
}

const (
	// busyFor is how long after a record the reader keeps looking by itself,
	// every pollEvery, instead of being woken for the next.
	busyFor   = 100 * time.Millisecond
	pollEvery = 3 * time.Millisecond
)

// poll tells the kernel side whether the reader looks by itself. Records that
// were sent before it heard are seen by the read that follows.
func (t *Tracer) poll(on bool) {
	if on == t.polls {
		return
	}
	value := uint32(0)
	if on {
		value = 1
	}
	if t.session.Maps["reader_polls"].Put(uint32(0), value) == nil {
		t.polls = on
	}
}

// batch is how many records are read before other duties get their turn.
const batch = 4096

// waitShort waits where less than a millisecond is left, and gives what then is: the
// reader's own waits are whole milliseconds, so that it would return at once, again
// and again. Nor are those of Go's timers any finer while nothing else runs.
func waitShort(wake time.Duration) time.Duration {
	if wake >= time.Millisecond {
		return wake
	}
	if wake > 0 {
		left := unix.NsecToTimespec(int64(wake))
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &left, nil) // woken by a signal: a little early
	}
	return 0
}

// drain reads what is in the ring buffer, and waits for something until the
// reader's deadline when it is empty.
func (t *Tracer) drain(ctx context.Context, rec *ringbuf.Record) error {
	for range batch {
		err := t.reader.ReadInto(rec)
		read := t.clock.now()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
			t.drained = read
			return nil
		case err != nil:
			return err
		}
		if err := t.handle(rec.RawSample); err != nil {
			return err
		}
		t.lastRecord = time.Now()
		if rec.Remaining == 0 {
			t.drained = read
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// catchUp reads all that is in the ring buffer now, without waiting.
func (t *Tracer) catchUp() error {
	var rec ringbuf.Record
	t.reader.SetDeadline(time.Now().Add(-time.Second))
	for {
		err := t.reader.ReadInto(&rec)
		switch {
		case errors.Is(err, ringbuf.ErrFlushed):
		case err != nil:
			return nil
		default:
			if err := t.handle(rec.RawSample); err != nil {
				return err
			}
		}
	}
}

// finish detaches and delivers the rest.
func (t *Tracer) finish() error {
	if err := t.tellLosses(); err != nil { // while the programs can still be asked
		return err
	}
	t.session.Detach()
	if err := t.catchUp(); err != nil {
		return err
	}
	if _, err := t.settleIncidents(t.clock.now(), true); err != nil {
		return err
	}
	if _, err := t.settleLog(t.clock.now(), true); err != nil {
		return err
	}
	if err := t.identified(); err != nil {
		return err
	}
	if _, err := t.settleDepartures(t.clock.now(), true); err != nil {
		return err
	}
	if err := t.tellIntervals(); err != nil {
		return err
	}
	if err := t.endThrash(); err != nil {
		return err
	}
	if err := t.tellLosses(); err != nil {
		return err
	}
	return t.sink(t.summary())
}

func (t *Tracer) summary() *event.Summary {
	now := time.Now()
	s := &event.Summary{
		Meta: event.Meta{Type: event.TypeSummary, Time: now.UTC()}, Events: t.counters.events,
		Lost: make(map[string]uint64), WallNS: int64(now.Sub(t.began)),
	}
	for i := range t.counters.received {
		s.Received += t.counters.received[i]
		s.Sent += t.counters.sent[i]
		if n := t.counters.lost[i]; n > 0 {
			s.Lost[familyName(i)] += n
		}
		if n := t.counters.full[i]; n > 0 {
			if s.Uncounted == nil {
				s.Uncounted = make(map[string]uint64)
			}
			s.Uncounted[familyName(i)] += n
		}
	}
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		s.CPUNS = use.Utime.Nano() + use.Stime.Nano()
		s.PeakRSS = use.Maxrss << 10
	}
	return s
}

// handle takes one record.
func (t *Tracer) handle(b []byte) error {
	r, err := decode.Decode(b)
	if err != nil {
		t.opts.Warn(err.Error())
		if len(b) >= 4 { // it was sent, and it came
			t.counters.received[decode.Family(binary.NativeEndian.Uint32(b))]++
		}
		return nil
	}
	count := func(head *bpf.CoreRecHead) { t.counters.received[decode.Family(head.Type)]++ }
	switch r := r.(type) {
	case *decode.Reclaim:
		count((*bpf.CoreRecHead)(&r.Head))
		if r.Head.Type == uint32(bpf.CoreRecTypeREC_KSWAPD) {
			return t.kswapd(r)
		}
		return t.reclaim(r)
	case *bpf.CoreRecThrottle:
		count((*bpf.CoreRecHead)(&r.Head))
		return t.throttle(r)
	case *bpf.CoreRecPressure:
		count((*bpf.CoreRecHead)(&r.Head))
		t.pressed(r)
		t.listen(r.KillerOff)
		return t.countOOMs(r)
	case *decode.Mark:
		count((*bpf.CoreRecHead)(&r.Head))
		t.marked(r)
	case *bpf.CoreRecOomCandidate:
		count((*bpf.CoreRecHead)(&r.Head))
		in := t.incident(r.Incident)
		in.touch(r.Head.Time)
		in.candidates = append(in.candidates, *r)
	case *bpf.CoreRecOomKilled:
		count((*bpf.CoreRecHead)(&r.Head))
		in := t.incident(r.Incident)
		in.touch(r.Head.Time)
		in.kill(t, &r.Task, "shared_mm")
	case *bpf.CoreRecOomDone:
		count((*bpf.CoreRecHead)(&r.Head))
		in := t.incident(r.Incident)
		in.touch(r.Head.Time)
		in.done, in.walked, in.truncated = true, r.Candidates, r.Truncated != 0
	case *bpf.CoreRecPause:
		count((*bpf.CoreRecHead)(&r.Head))
		t.waited(r)
	case *bpf.CoreRecOomExit:
		count((*bpf.CoreRecHead)(&r.Head))
		t.exited(r)
	case *decode.Cgroup:
		count((*bpf.CoreRecHead)(&r.Head))
		return t.cgroupChanged(r)
	case *decode.File:
		count((*bpf.CoreRecHead)(&r.Head))
		t.names.named(r)
	case *bpf.CoreRecImage:
		count((*bpf.CoreRecHead)(&r.Head))
		t.users.Learn(symbol.Image{PID: int32(r.Tgid), MM: r.Image})
	}
	return nil
}

// cgroupChanged keeps the tree and the filter right, and tells when asked.
func (t *Tracer) cgroupChanged(r *decode.Cgroup) error {
	tree := t.names.tree
	switch bpf.CoreCgroupChange(r.Change) {
	case bpf.CoreCgroupChangeCGROUP_MKDIR:
		if len(r.Path) >= bpfPathLen-1 { // cut off, so it may look like another's
			cg, ok := tree.Resolve(r.Id)
			if !ok {
				return nil // gone, and never known by name
			}
			r.Path = cg.Path
		}
		tree.Add(r.Id, r.Path)
		t.names.identities.appeared(r.Id, r.Path, t.clock.wall(r.Head.Time))
		t.window.add(r.Id, r.Path)
		if len(t.opts.Cgroups) > 0 {
			t.follow(r.Id, r.Path, t.names.identities.of(r.Id, r.Path))
			t.inherit(r.Id)
		}
		return t.tellCgroup(r.Id, "appeared", r.Head.Time)
	case bpf.CoreCgroupChangeCGROUP_RENAME:
		tree.Rename(r.Id, r.Path)
		t.names.identities.forget(r.Id)
		t.window.add(r.Id, r.Path)
	case bpf.CoreCgroupChangeCGROUP_RMDIR:
		tree.Remove(r.Id)
		t.window.remove(r.Id)
		t.names.identities.departed(r.Id)
		if t.opts.wants(FamilyCgroup) {
			t.departures = append(t.departures, departure{r.Id, r.Head.Time})
		}
	case bpf.CoreCgroupChangeCGROUP_ATTACH:
		if cg, ok := tree.Resolve(r.Id); ok {
			t.names.identities.entered(r.Id, cg.Path, r.Args)
		}
		return t.tellCgroup(r.Id, "identified", r.Head.Time)
	}
	return nil
}
