package report

import (
	"iter"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Options say which incidents are told and how much around them.
type Options struct {
	From     string // FromCapture or FromLog
	Incident string // the one with this id; "" is the last
	All      bool   // every one
	// At picks, in place of the last, the kill of that millisecond, if there is one.
	At time.Time
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

// Record is an event of a stream that has not been read in full yet: most of a
// long capture is about other times than that of a kill.
type Record struct {
	Type      string
	Time, End time.Time // End is when it was over
	// Event reads it. It may be called several times.
	Event func() (event.Event, error)
}

// Whole makes a Record of an event at hand.
func Whole(e event.Event) *Record {
	return &Record{e.Head().Type, e.Head().Time, endOf(e), func() (event.Event, error) { return e, nil }}
}

// Read gives the stories in a stream of events, in the order in which they are
// complete. Errors of the stream are passed on; after one that says that a piece
// could not be read the stream may go on. Memory does not grow with the stream.
func Read(records iter.Seq2[*Record, error], o Options) iter.Seq2[*Story, error] {
	return func(yield func(*Story, error) bool) {
		r := reader{opt: o}
		for rec, err := range records {
			if err == nil {
				err = r.take(rec)
			}
			if err != nil {
				r.unread++
				if !yield(nil, err) {
					return
				}
			}
			if !r.give(yield) {
				return
			}
		}
		r.ready = append(r.ready, r.open...)
		r.give(yield)
	}
}

// reader follows a stream: it keeps what came last, and opens a story at each
// kill that is asked for.
type reader struct {
	opt    Options
	header *event.Header
	stalls kept
	others kept
	open   []*pending
	ready  []*pending
	unread int
	found  bool // the kill that is asked for by its time
}

// pending is a story while what belongs to it still comes.
type pending struct {
	kill    *event.OOMKill
	header  *event.Header
	end     *event.OOMEnd
	records []*Record
	dropped time.Time // the newest stall that is not among them
	later   int       // how many of the records came after the kill
}

// give builds the stories that are ready.
func (r *reader) give(yield func(*Story, error) bool) bool {
	for _, p := range r.ready {
		b := newBuilder(p, r.opt.From)
		for _, rec := range p.records {
			e, err := rec.Event()
			if err != nil {
				r.unread++
				if !yield(nil, err) {
					return false
				}
				continue
			}
			b.add(e)
		}
		if !yield(b.finish(r.unread), nil) {
			return false
		}
	}
	r.ready = r.ready[:0]
	return true
}

func (r *reader) take(rec *Record) error {
	switch rec.Type {
	case event.TypeHeader, event.TypeOOMKill, event.TypeOOMEnd:
		e, err := rec.Event()
		if err != nil {
			return err
		}
		switch e := e.(type) {
		case *event.Header:
			r.heading(e)
			return nil
		case *event.OOMEnd:
			for _, p := range r.open {
				if p.kill.Incident == e.Incident {
					p.end = e
				}
			}
			return nil
		case *event.OOMKill:
			defer r.kill(e)
		}
	case event.TypeSummary:
		return nil
	}
	for _, p := range r.open {
		if p.later < maxKept && (rec.Time.Sub(p.kill.Time) <= after || rec.Type == event.TypeKmsg) {
			p.records = append(p.records, rec)
			p.later++
		}
	}
	r.close(rec.End)
	since := rec.End.Add(-before)
	switch rec.Type {
	case event.TypeReclaim, event.TypeThrottle, event.TypeKswapd:
		r.stalls.push(rec, since)
	default:
		r.others.push(rec, since)
	}
	return nil
}

// heading is a new header: of the next segment, or of another machine.
func (r *reader) heading(h *event.Header) {
	if r.header != nil && (r.header.Host != h.Host || r.header.BootID != h.BootID) {
		if r.opt.All {
			r.ready = append(r.ready, r.open...)
			r.open = nil
		}
		r.stalls, r.others = kept{}, kept{}
	}
	r.header = h
}

// kill opens a story, with what has been kept.
func (r *reader) kill(k *event.OOMKill) {
	if r.opt.Incident != "" && k.Incident != r.opt.Incident {
		return
	}
	if !r.opt.All {
		if r.found {
			return
		}
		r.open = r.open[:0] // the last is meant
		r.found = !r.opt.At.IsZero() && k.Time.Truncate(time.Millisecond).Equal(r.opt.At)
	}
	if len(r.open) == maxOpen {
		r.ready = append(r.ready, r.open[0])
		r.open = append(r.open[:0], r.open[1:]...)
	}
	p := &pending{kill: k, header: r.header, dropped: r.stalls.dropped}
	p.records = append(append(p.records, r.others.all()...), r.stalls.all()...)
	r.open = append(r.open, p)
}

// close takes out the stories to which nothing can come any more.
func (r *reader) close(now time.Time) {
	if !r.opt.All {
		return // a later kill may take its place
	}
	open := r.open[:0]
	for _, p := range r.open {
		if since := now.Sub(p.kill.Time); since > patience || since > after && p.end != nil {
			r.ready = append(r.ready, p)
		} else {
			open = append(open, p)
		}
	}
	r.open = open
}

// begin is the first moment that the window has something of.
func (p *pending) begin() time.Time {
	from := p.kill.Time
	for _, rec := range p.records {
		if rec.Time.Before(from) && !rec.Time.IsZero() && rec.Type != event.TypeKmsg {
			from = rec.Time
		}
	}
	if earliest := p.kill.Time.Add(-before); from.Before(earliest) {
		return earliest
	}
	return from
}

// kept are the last records of a stream, oldest first.
type kept struct {
	records []*Record
	head    int
	dropped time.Time // of the newest that had to go before its time
}

func (k *kept) all() []*Record { return k.records[k.head:] }

func (k *kept) push(rec *Record, since time.Time) {
	for k.head < len(k.records) && k.records[k.head].End.Before(since) {
		k.records[k.head] = nil
		k.head++
	}
	if len(k.records)-k.head == maxKept {
		k.dropped = k.records[k.head].Time
		k.records[k.head] = nil
		k.head++
	}
	if k.head > 1024 && k.head > len(k.records)/2 {
		k.records = append(k.records[:0], k.records[k.head:]...)
		k.head = 0
	}
	k.records = append(k.records, rec)
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
