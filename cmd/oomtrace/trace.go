package main

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/oomtrace/oomtrace/output/text"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// view says where the events of a trace go and when it is over.
type view struct {
	common
	hide      time.Duration // stalls shorter than this are not shown on stdout
	thin      bool          // and the more of them there are, the longer they must be
	mute      bool          // stdout is for what the command makes of the events
	capture   string
	duration  time.Duration
	count     int64
	readyFile string
	// render, when set, takes what goes to stdout; whoever set it closes it.
	render func(event.Event) error
	// saw, when set, is told of every event before it is written; the header
	// means that every hook is attached.
	saw func(event.Event)
}

// trace runs one trace from attaching to the summary. opened is called when it
// is attached, and may be nil.
func (e *env) trace(ctx context.Context, o tracer.Options, v view, opened func()) (err error) {
	o.Warn = func(msg string) { e.say("%s", msg) }
	src, err := e.open(o)
	if err != nil {
		return err
	}
	defer func() {
		if closing := src.Close(); err == nil && closing != nil {
			err = closing
		}
	}()
	if v.verbose {
		e.sayHooks(src)
	}
	if opened != nil {
		opened()
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &running{env: e, view: v, stop: cancel, stdout: e.outlet(v)}
	if v.readyFile != "" {
		if t.ready, err = newReadyFile(v.readyFile); err != nil {
			return err
		}
		defer t.ready.abort()
	}
	if v.capture != "" {
		c, err := newCapture(v.capture, t.captureFailed)
		if err != nil {
			return err
		}
		t.capture = c
		t.captured = &outlet{write: c.write}
	}
	stopWatching := watchReader(e.stdout, t.readerGone)
	err = src.Run(ctx, t.sink)
	stopWatching()
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.capture != nil {
		if closing := t.capture.close(); closing != nil {
			t.captureFailed(closing)
		}
	}
	switch {
	case err != nil:
		return err
	case t.lame.Load():
		return errReported
	case t.gone.Load():
		return errReaderGone
	}
	return nil
}

// running is a trace that goes on.
type running struct {
	*env
	view
	stop     context.CancelFunc
	stdout   *outlet
	capture  *captureFile
	captured *outlet
	ready    *readyFile
	timer    *time.Timer
	shown    int64
	gone     atomic.Bool // whoever read stdout
	lame     atomic.Bool // the capture failed
}

// sink takes the events of the tracer.
func (t *running) sink(ev event.Event) error {
	kind := ev.Head().Type
	counts := kind != event.TypeHeader && kind != event.TypeLost && kind != event.TypeSummary
	if counts && t.count > 0 && t.shown >= t.count {
		return nil // there were enough of them; the tracer is about to end
	}
	if t.saw != nil {
		t.saw(ev)
	}
	if t.captured != nil && !t.lame.Load() {
		if _, err := t.captured.put(ev); err != nil {
			t.captureFailed(err)
		}
	}
	var shown bool
	if !t.gone.Load() {
		var err error
		shown, err = t.stdout.put(ev)
		switch {
		case errors.Is(err, syscall.EPIPE):
			t.readerGone()
		case err != nil:
			return writeError(err)
		}
	}
	if kind == event.TypeHeader {
		return t.begun()
	}
	if counts && shown {
		if t.shown++; t.shown == t.count {
			t.stop()
		}
	}
	return nil
}

// begun follows the header: every hook is attached.
func (t *running) begun() error {
	if t.capture != nil {
		if err := t.capture.publish(); err != nil {
			return err
		}
	}
	if t.duration > 0 {
		t.timer = time.AfterFunc(t.duration, t.stop)
	}
	if t.ready != nil {
		return t.ready.publish()
	}
	return nil
}

// readerGone ends the trace in the regular way, so that a capture is whole; only
// nobody reads stdout any more.
func (t *running) readerGone() {
	t.gone.Store(true)
	t.stop()
}

// captureFailed lets the view go on without the capture.
func (t *running) captureFailed(err error) {
	if t.lame.CompareAndSwap(false, true) {
		t.say("%v", err)
		t.say("the capture ends here, what it holds so far can be read; the trace goes on without it")
	}
}

// outlet is one place that events are written to.
type outlet struct {
	write  func(event.Event) error
	hide   time.Duration
	thin   bool
	stalls int // written
	counts map[string]uint64
}

// thinAfter is the number of stalls after which a thinned outlet hides twice as
// long ones.
const thinAfter = 8

// outlet gives the one on stdout.
func (e *env) outlet(v view) *outlet {
	if v.mute {
		return muted()
	}
	if v.render != nil {
		return &outlet{write: v.render}
	}
	if v.output == outputJSON {
		return &outlet{write: jsonl.New(e.stdout).Write, hide: v.hide}
	}
	columns, terminal := terminalWidth(e.stdout)
	color := terminal && e.colors(v.noColor)
	return &outlet{write: text.New(e.stdout, text.Options{Color: color, Width: columns}).Write, hide: v.hide, thin: v.thin}
}

// put writes an event, unless it is one that is hidden. The summary's counts
// become those of what was written here.
func (o *outlet) put(ev event.Event) (bool, error) {
	if stalled, ok := stall(ev); ok {
		if stalled < o.hide {
			return false, nil
		}
		if o.stalls++; o.thin && o.stalls%thinAfter == 0 {
			o.hide *= 2
		}
	}
	if s, ok := ev.(*event.Summary); ok {
		own := *s
		own.Events = o.counts
		ev = &own
	}
	if err := o.write(ev); err != nil {
		return false, err
	}
	if o.counts == nil {
		o.counts = make(map[string]uint64)
	}
	o.counts[ev.Head().Type]++
	return true, nil
}

func stall(ev event.Event) (time.Duration, bool) {
	switch ev := ev.(type) {
	case *event.Reclaim:
		return time.Duration(ev.DurationNS), true
	case *event.Throttle:
		return time.Duration(ev.DurationNS), true
	}
	return 0, false
}
