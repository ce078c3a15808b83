// Package recorder is a flight recorder: it keeps the event stream in a ring of
// captures on disk, within a budget of bytes, and puts the time before and after
// each incident into a file of its own.
//
// Events are taken without waiting for the disk: frames go through a bounded
// queue to one goroutine, and what does not fit is counted and told.
package recorder

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// Options say what to keep.
type Options struct {
	Dir string
	// Keep bounds the bytes of the ring, KeepIncidentBytes those of incidents and
	// KeepIncidents their number. Files count as whole blocks of 4 KiB.
	Keep, KeepIncidentBytes int64
	KeepIncidents           int
	// Before and After are what an incident's file holds around its moment.
	Before, After time.Duration
	Triggers      []Trigger
	// Say is told what a person should know, one line each. It is called from
	// several goroutines.
	Say func(format string, args ...any)
}

const (
	// MinKeep is the smallest budget, of the ring and of incidents.
	MinKeep = 1 << 20
	// queued is how many frames may wait for the disk.
	queued = 16
	// mostPlaces bounds how many cgroups are remembered by name.
	mostPlaces = 1 << 15
)

// Recorder is a sink of events that keeps them on disk.
type Recorder struct {
	opts   Options
	disk   *disk
	frames chan *frame
	wake   chan struct{} // a pin was asked for
	done   chan struct{}

	mu     sync.Mutex
	json   *jsonl.Writer
	lines  bytes.Buffer
	open   frame // what is known of the lines in hand
	age    *time.Timer
	header []byte
	places *capture.Places
	names  map[uint64]*place
	pins   []*pin    // asked for, not begun
	pinned time.Time // when a trigger closed a frame last
	lost   losses
	closed bool
}

// place is a cgroup as it was named last.
type place struct {
	cgroup    event.Cgroup
	container *event.Container
}

// frame is some lines on their way to the disk.
type frame struct {
	header []byte // of the stream that they belong to
	lines  []byte
	span
	places map[uint64]*place
}

// span is what is known of a frame without reading it.
type span struct {
	from, to time.Time // ends of events
	events   uint64
}

func (s *span) add(end time.Time) {
	if s.events == 0 || end.Before(s.from) {
		s.from = end
	}
	if s.events == 0 || end.After(s.to) {
		s.to = end
	}
	s.events++
}

// losses are events that did not reach the disk.
type losses struct {
	count uint64
	since time.Time
	why   string
}

func (l *losses) add(n uint64, why string) {
	if l.count == 0 {
		l.since, l.why = time.Now().UTC(), why
	}
	l.count += n
}

// event is what the stream says of them.
func (l *losses) event() *event.Lost {
	return &event.Lost{
		Meta: event.Meta{Type: event.TypeLost, Time: time.Now().UTC()}, Family: "recorder", Count: l.count, Since: l.since, Reason: l.why,
	}
}

// Open locks the directory, makes it if need be, and mends what an earlier
// recorder left unfinished. The error is a *LockedError when another recorder is
// at work there.
func Open(o Options) (*Recorder, error) {
	d, err := openDisk(&o)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		opts: o, disk: d, frames: make(chan *frame, queued), wake: make(chan struct{}, 1), done: make(chan struct{}),
		places: capture.NewPlaces(), names: make(map[uint64]*place),
	}
	r.json = jsonl.New(&r.lines)
	r.age = time.AfterFunc(time.Hour, r.old)
	r.age.Stop()
	go r.work()
	return r, nil
}

// Write takes an event; the first is the header. Its error is that of encoding:
// what becomes of the disk never stops the stream.
func (r *Recorder) Write(e event.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Head().Type == event.TypeHeader {
		r.flush()
		defer r.lines.Reset()
		if err := r.json.Write(e); err != nil {
			return err
		}
		r.header = bytes.Clone(r.lines.Bytes())
		return nil
	}
	return r.add(e)
}

func (r *Recorder) add(e event.Event) error {
	before := r.lines.Len()
	if err := r.json.Write(e); err != nil {
		return err
	}
	if before == 0 {
		r.age.Reset(capture.FrameAge)
		r.open.places = make(map[uint64]*place)
	}
	end, duration, err := lasted(e, r.lines.Bytes()[before:])
	if err != nil {
		return err
	}
	r.open.add(end)
	r.places.Of(e, r.note)
	for i := range r.opts.Triggers {
		if r.opts.Triggers[i].fires(e, duration) {
			// What led to it should be on disk whatever comes now. Long stalls come in
			// numbers: a frame for each would be too many.
			if r.opts.Triggers[i].Kind != Stall || time.Since(r.pinned) > 100*time.Millisecond {
				r.flush()
				r.pinned = time.Now()
			}
			r.pin(newPin(r.opts.Triggers[i].Kind, e, end))
			return nil
		}
	}
	if r.lines.Len() >= capture.FrameBytes {
		r.flush()
	}
	return nil
}

// lasted tells when an event was over and how long it took, as capture.Parse reads
// it off the line; what there is much of is not read for it.
func lasted(e event.Event, line []byte) (end time.Time, duration time.Duration, err error) {
	switch e := e.(type) {
	case *event.Reclaim:
		duration = time.Duration(e.DurationNS)
	case *event.Throttle:
		duration = time.Duration(e.DurationNS)
	case *event.Cache:
		duration = time.Duration(e.IntervalNS)
	default:
		rec, err := capture.Parse(line)
		if err != nil {
			return end, 0, err
		}
		return rec.End(), rec.Duration, nil
	}
	duration = max(duration, 0)
	return e.Head().Time.UTC().Add(duration), duration, nil
}

func (r *Recorder) note(cg *event.Cgroup, c *event.Container) {
	if cg == nil || cg.ID == 0 || cg.Path == "" {
		return
	}
	p := r.names[cg.ID]
	if p == nil || p.cgroup != *cg || c != nil && p.container != c {
		if len(r.names) >= mostPlaces {
			clear(r.names)
		}
		p = &place{*cg, c}
		r.names[cg.ID] = p
	}
	r.open.places[cg.ID] = p
}

func (r *Recorder) old() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
}

// flush hands the lines over to the disk. It does not wait: when the disk is so
// far behind, they are lost.
func (r *Recorder) flush() {
	if r.lines.Len() == 0 || r.closed {
		return
	}
	r.age.Stop()
	f := r.open
	f.header, f.lines = r.header, bytes.Clone(r.lines.Bytes())
	r.open = frame{}
	r.lines.Reset()
	select {
	case r.frames <- &f:
	default:
		if r.lost.count == 0 {
			r.opts.Say("%s is too slow: events are lost until it has caught up; the trace goes on", r.opts.Dir)
		}
		r.lost.add(f.events, "the disk was too slow")
		return
	}
	if r.lost.count > 0 {
		lost := r.lost.event()
		r.lost = losses{}
		r.opts.Say("%d events were lost: %s", lost.Count, lost.Reason)
		_ = r.add(lost)
	}
}

// Pin keeps the time around now, for a reason that becomes part of the file's
// name.
func (r *Recorder) Pin(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
	r.pin(&pin{moment: time.Now().UTC(), trigger: reason})
}

func (r *Recorder) pin(p *pin) {
	r.pins = append(r.pins, p)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Recorder) takePins() []*pin {
	r.mu.Lock()
	defer r.mu.Unlock()
	pins := r.pins
	r.pins = nil
	return pins
}

// Close writes what is left, ends incidents that are still open, and unlocks.
func (r *Recorder) Close() error {
	r.mu.Lock()
	r.flush()
	r.age.Stop()
	r.closed = true
	close(r.frames)
	lost := r.lost
	r.mu.Unlock()
	<-r.done
	err := r.disk.close()
	if lost.count > 0 {
		r.opts.Say("%d events were lost: %s", lost.count, lost.why)
	}
	return err
}

// work owns the disk.
func (r *Recorder) work() {
	defer close(r.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case f, more := <-r.frames:
			if !more {
				r.disk.begin(r.takePins())
				r.disk.end(time.Now().Add(r.opts.After + time.Hour)) // all of them
				return
			}
			r.disk.take(f)
			// The frames before a pin were queued before it.
			for n := len(r.frames); n > 0; n-- {
				if f, more := <-r.frames; more {
					r.disk.take(f)
				}
			}
		case <-r.wake:
			for n := len(r.frames); n > 0; n-- {
				if f, more := <-r.frames; more {
					r.disk.take(f)
				}
			}
		case <-tick.C:
		}
		r.disk.begin(r.takePins())
		r.disk.end(time.Now())
	}
}

// Trigger is what makes an incident.
type Trigger struct {
	Kind string        // Kill, Pause, Thrash or Stall
	Over time.Duration // of Stall: longer ones
}

// Kinds of triggers.
const (
	Kill   = "kill"
	Pause  = "pause"
	Thrash = "thrash"
	Stall  = "stall"
)

func (t *Trigger) fires(e event.Event, duration time.Duration) bool {
	switch e := e.(type) {
	case *event.OOMKill:
		return t.Kind == Kill
	case *event.OOMPause:
		return t.Kind == Pause && e.State == event.PauseBegin
	case *event.Thrash:
		return t.Kind == Thrash && e.State == event.StateBegin
	case *event.Reclaim, *event.Throttle:
		return t.Kind == Stall && duration > t.Over
	}
	return false
}

// LockedError means that another recorder is at work in a directory.
type LockedError struct{ Dir, By string }

// Error implements error.
func (e *LockedError) Error() string {
	by := ""
	if e.By != "" {
		by = ", process " + e.By
	}
	return fmt.Sprintf("%s is in use by another recorder%s: name another directory", e.Dir, by)
}
