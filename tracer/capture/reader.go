// Package capture stores the event stream and reads it back: zstd frames of the
// JSON lines of package jsonl, each frame complete in itself with a checksum.
// Whatever happens to a capture costs no more than the frames it happens to.
//
// docs/capture.md describes the format and what it promises.
package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// Frame is a frame of a capture, unpacked.
type Frame struct {
	Pos   int64 // in the input
	Size  int   // compressed
	Lines []byte
}

// Frames reads a capture frame by frame. Damage is told as a *Damage, and
// reading goes on behind it with the next intact frame; any other error comes
// from r and is the last. Of frames larger than 16 MiB, and of lines that are not
// compressed, the parts have no Size.
func Frames(r io.Reader) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		dec, err := newDecoder()
		if err != nil {
			yield(Frame{}, err)
			return
		}
		defer dec.Close()
		s := &scanner{w: &window{in: r}, dec: dec}
		s.give = func(p part) bool {
			switch {
			case p.packed != nil:
				return s.open(p) == nil
			case p.damage != nil:
				return yield(Frame{}, p.damage)
			}
			return yield(Frame{p.pos, p.size, p.lines}, nil)
		}
		if err := s.run(); err != nil {
			yield(Frame{}, err)
		}
	}
}

// Options say how to read.
type Options struct {
	// Want picks the records that are given, by what a Record holds; nil means
	// all. It is called from several goroutines.
	Want func(*Record) bool
	// Decode has the events of those records read ahead.
	Decode bool
	// Workers is how many goroutines unpack; 0 means one for each CPU, at most 4.
	Workers int
}

// Read reads the records of a capture, or of plain JSON lines, in their order.
// Damage is told as a *Damage, a line that is no event too, and reading goes on
// behind it; any other error comes from r and is the last. A Record belongs to
// the caller.
//
// It reads ahead: when the caller stops early, r may be in use until the read
// that is under way returns.
func Read(r io.Reader, o Options) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if o.Workers <= 0 {
			o.Workers = min(runtime.GOMAXPROCS(0), 4)
		}
		p := &pipeline{Options: o, work: make(chan *job), order: make(chan *job, 2*o.Workers), stop: make(chan struct{})}
		decoders := make([]*zstd.Decoder, o.Workers+1)
		for i := range decoders {
			var err error
			if decoders[i], err = newDecoder(); err != nil {
				yield(nil, err)
				return
			}
		}
		defer close(p.stop)
		for _, dec := range decoders[1:] {
			go p.unpack(dec)
		}
		go p.scan(r, decoders[0])
		p.deliver(yield)
	}
}

// job is a part of the input on its way through a worker.
type job struct {
	part
	done   chan struct{}
	pieces []piece // of what it held
	err    error   // of the input, in the last job
}

// piece is lines, or damage. Writers other than ours may cut lines anywhere, so
// the first and the last may be parts of longer ones.
type piece struct {
	damage  *Damage
	head    *fragment // the first line
	records []Record  // those between
	tail    *fragment // what follows the last newline
}

type fragment struct {
	text   []byte
	whole  bool // it ends with a newline
	offset int64
	number int
}

type pipeline struct {
	Options
	work  chan *job
	order chan *job // the same ones
	stop  chan struct{}
}

func (p *pipeline) scan(r io.Reader, dec *zstd.Decoder) {
	defer close(p.order)
	defer close(p.work)
	defer dec.Close()
	s := &scanner{w: &window{in: r}, dec: dec, give: func(part part) bool {
		j := &job{part: part, done: make(chan struct{})}
		return p.send(p.order, j) && p.send(p.work, j)
	}}
	if err := s.run(); err != nil {
		j := &job{err: err, done: make(chan struct{})}
		close(j.done)
		p.send(p.order, j)
	}
}

func (p *pipeline) send(to chan *job, j *job) bool {
	select {
	case to <- j:
		return true
	case <-p.stop:
		return false
	}
}

func (p *pipeline) unpack(dec *zstd.Decoder) {
	defer dec.Close()
	for j := range p.work {
		s := &scanner{dec: dec, give: func(part part) bool {
			j.pieces = append(j.pieces, p.piece(part))
			return true
		}}
		if j.packed != nil {
			j.err = s.open(j.part)
			j.packed = nil
		} else {
			s.give(j.part)
		}
		close(j.done)
	}
}

// piece reads the heads of lines.
func (p *pipeline) piece(part part) piece {
	out := piece{damage: part.damage}
	rest, number := part.lines, 0
	for len(rest) > 0 {
		number++
		f := fragment{offset: part.pos, number: number}
		if part.plain {
			f.offset, f.number = part.pos+int64(len(part.lines)-len(rest)), 0
		}
		f.text, rest, f.whole = bytes.Cut(rest, []byte{'\n'})
		switch {
		case number == 1:
			out.head = f.kept()
			out.records = make([]Record, 0, bytes.Count(rest, []byte{'\n'}))
		case !f.whole:
			out.tail = f.kept()
		default:
			out.records = append(out.records, Record{}) // read in its place
			if r := &out.records[len(out.records)-1]; !f.record(r) || r.err == nil && !p.wants(r) {
				out.records = out.records[:len(out.records)-1]
			}
		}
	}
	return out
}

func (f fragment) kept() *fragment { return &f }

// record reads the head of a line; false for an empty one.
func (f *fragment) record(r *Record) bool {
	line := bytes.TrimSpace(f.text)
	if len(line) == 0 {
		return false
	}
	*r = newRecord(line)
	r.offset, r.number = f.offset, f.number
	return true
}

func (p *pipeline) wants(r *Record) bool {
	if p.Want != nil && !p.Want(r) {
		return false
	}
	if p.Decode {
		_, _ = r.Event()
	}
	return true
}

// deliver gives the records in the order of the input.
func (p *pipeline) deliver(yield func(*Record, error) bool) {
	give := func(r *Record) bool {
		if r.err != nil {
			return yield(nil, r.damage())
		}
		return yield(r, nil)
	}
	var begun *fragment // a line that goes on in the next piece
	end := func() bool {
		if begun == nil {
			return true
		}
		r := new(Record)
		some := begun.record(r)
		begun = nil
		return !some || r.err == nil && !p.wants(r) || give(r)
	}
	add := func(f *fragment) bool {
		switch {
		case f == nil:
			return true
		case begun == nil:
			begun = f
		case len(begun.text) > jsonl.MaxLine:
			begun.whole = f.whole // it is no event any more
		default:
			begun.text, begun.whole = append(begun.text, f.text...), f.whole
		}
		return !begun.whole || end()
	}
	for j := range p.order {
		<-j.done
		for _, piece := range j.pieces {
			if !add(piece.head) {
				return
			}
			for i := range piece.records {
				if !give(&piece.records[i]) {
					return
				}
			}
			if !add(piece.tail) {
				return
			}
			if piece.damage != nil && !(end() && yield(nil, piece.damage)) {
				return
			}
		}
		if j.err != nil {
			yield(nil, j.err)
			return
		}
	}
	end()
}

// damage tells where a line is that is no event.
func (r *Record) damage() *Damage {
	err := r.err
	if r.number > 0 {
		err = fmt.Errorf("line %d of the frame: %w", r.number, err)
	}
	return &Damage{r.offset, r.offset + int64(len(r.Line)), err}
}

// IsDamage tells whether reading has gone on behind an error.
func IsDamage(err error) bool {
	var d *Damage
	return errors.As(err, &d)
}
