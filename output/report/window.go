package report

import (
	"iter"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Options say which incidents are told and how much around them.
type Options struct {
	From     string // FromCapture or FromLog
	Incident string // the one with this id; "" is the last
	All      bool   // every one
}

// What of a stream is kept. A story looks at this much time, and at no more than
// so many events of it.
const (
	before   = 120 * time.Second
	after    = 10 * time.Second
	patience = 35 * time.Second // an incident's end comes within 30 s
	maxKept  = 1 << 16
	maxOpen  = 64 // stories being told at a time
)

// Read gives the stories in a stream of events, in the order in which they are
// complete. Errors of the stream are passed on; after one that says that a piece
// could not be read the stream may go on. Memory does not grow with the stream.
func Read(events iter.Seq2[event.Event, error], o Options) iter.Seq2[*Story, error] {
	return func(yield func(*Story, error) bool) {
		r := reader{opt: o, stacks: make(map[string][]string)}
		for e, err := range events {
			if err != nil {
				r.unread++
				if !yield(nil, err) {
					return
				}
				continue
			}
			r.take(e)
			for _, s := range r.ready {
				if !yield(s, nil) {
					return
				}
			}
			r.ready = r.ready[:0]
		}
		for _, b := range r.open {
			if !yield(b.finish(r.unread), nil) {
				return
			}
		}
	}
}

// reader follows a stream: it keeps the last events, and opens a story at each
// kill that is asked for.
type reader struct {
	opt    Options
	header *event.Header
	stalls kept
	others kept
	stacks map[string][]string // each once
	open   []*builder
	ready  []*Story
	unread int
}

func (r *reader) take(e event.Event) {
	now := endOf(e)
	switch e := e.(type) {
	case *event.Header:
		if r.header != nil && (r.header.Host != e.Host || r.header.BootID != e.BootID) {
			r.closeAll() // the stream goes on with another machine's
			r.stalls, r.others = kept{}, kept{}
		}
		r.header = e
	case *event.Reclaim:
		e.Stack = r.share(e.Stack)
	case *event.OOMEnd:
		for _, b := range r.open {
			if b.s.Incident == e.Incident {
				b.end(e)
			}
		}
	}
	for _, b := range r.open {
		b.add(e)
	}
	r.close(now)
	if k, ok := e.(*event.OOMKill); ok {
		r.kill(k)
	}
	switch e.(type) {
	case *event.Reclaim, *event.Throttle, *event.Kswapd:
		r.stalls.push(e, now.Add(-before))
	case *event.Header, *event.OOMEnd, *event.Summary:
	default:
		r.others.push(e, now.Add(-before))
	}
}

// kill opens a story, with what has been kept.
func (r *reader) kill(k *event.OOMKill) {
	if r.opt.Incident != "" && k.Incident != r.opt.Incident {
		return
	}
	if !r.opt.All {
		r.open = r.open[:0] // the last is meant
	}
	if len(r.open) == maxOpen {
		r.ready = append(r.ready, r.open[0].finish(r.unread))
		r.open = append(r.open[:0], r.open[1:]...)
	}
	b := newBuilder(k, r.header, r.opt.From, r.oldest(k))
	b.thinned(r.stalls.dropped)
	for _, of := range []*kept{&r.others, &r.stalls} {
		for _, e := range of.all() {
			b.add(e)
		}
	}
	r.open = append(r.open, b)
}

// oldest is the first moment that the window of a kill has something of.
func (r *reader) oldest(k *event.OOMKill) time.Time {
	from := k.Time
	for _, of := range []*kept{&r.others, &r.stalls} {
		for _, e := range of.all() {
			if at := e.Head().Time; at.Before(from) {
				from = at
			}
		}
	}
	if earliest := k.Time.Add(-before); from.Before(earliest) {
		return earliest
	}
	return from
}

// close gives out the stories to which nothing can come any more.
func (r *reader) close(now time.Time) {
	if !r.opt.All {
		return // a later kill may take its place
	}
	open := r.open[:0]
	for _, b := range r.open {
		if b.over(now) {
			r.ready = append(r.ready, b.finish(r.unread))
		} else {
			open = append(open, b)
		}
	}
	r.open = open
}

func (r *reader) closeAll() {
	if !r.opt.All {
		return
	}
	for _, b := range r.open {
		r.ready = append(r.ready, b.finish(r.unread))
	}
	r.open = r.open[:0]
}

// share keeps one copy of each stack: thousands of stalls have the same.
func (r *reader) share(stack []string) []string {
	if len(stack) == 0 {
		return nil
	}
	key := strings.Join(stack, "\n")
	if one, ok := r.stacks[key]; ok {
		return one
	}
	if len(r.stacks) == 4096 {
		clear(r.stacks)
	}
	r.stacks[key] = stack
	return stack
}

// kept are the last events of a stream, oldest first.
type kept struct {
	events  []event.Event
	head    int
	dropped time.Time // of the newest that had to go before its time
}

func (k *kept) all() []event.Event { return k.events[k.head:] }

func (k *kept) push(e event.Event, since time.Time) {
	for k.head < len(k.events) && endOf(k.events[k.head]).Before(since) {
		k.events[k.head] = nil
		k.head++
	}
	if len(k.events)-k.head == maxKept {
		k.dropped = k.events[k.head].Head().Time
		k.events[k.head] = nil
		k.head++
	}
	if k.head > 1024 && k.head > len(k.events)/2 {
		k.events = append(k.events[:0], k.events[k.head:]...)
		k.head = 0
	}
	k.events = append(k.events, e)
}

// endOf is when an event was over.
func endOf(e event.Event) time.Time {
	at := e.Head().Time
	switch e := e.(type) {
	case *event.Reclaim:
		return at.Add(time.Duration(e.DurationNS))
	case *event.Throttle:
		return at.Add(time.Duration(e.DurationNS))
	case *event.Kswapd:
		return at.Add(time.Duration(e.DurationNS))
	case *event.Cache:
		return at.Add(time.Duration(e.IntervalNS))
	}
	return at
}
