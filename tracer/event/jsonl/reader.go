package jsonl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// MaxLine is the longest line that is read, in bytes.
const MaxLine = 64 << 20

// Unknown is an event of a type that this version does not know. Written again,
// it is the line that it was read from.
type Unknown struct {
	event.Meta
	Raw json.RawMessage // the whole object
}

// MarshalJSON implements json.Marshaler.
func (u *Unknown) MarshalJSON() ([]byte, error) { return u.Raw, nil }

// LineError says which line could not be read as an event. Reading goes on
// behind it.
type LineError struct {
	Line int64 // counted from 1
	Err  error
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap gives the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ErrTooLong is the cause of a LineError for a line above MaxLine.
var ErrTooLong = fmt.Errorf("longer than %d MiB", MaxLine>>20)

// Read reads a stream of lines back to the events they were written from: each
// is a pointer to its type in package event, or *Unknown. A line that holds no
// event gives a *LineError and reading goes on; any other error comes from r and
// is the last. Empty lines are passed over, and the last line may lack its
// newline.
func Read(r io.Reader) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		lines := lineReader{in: bufio.NewReaderSize(r, 64<<10)}
		for n := int64(1); ; n++ {
			line, err := lines.next()
			switch {
			case errors.Is(err, ErrTooLong):
				if !yield(nil, &LineError{n, err}) {
					return
				}
				continue
			case err == io.EOF && len(line) == 0:
				return
			case err != nil && err != io.EOF:
				yield(nil, fmt.Errorf("line %d: %w", n, err))
				return
			}
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			e, err := Unmarshal(line)
			if err != nil {
				err = &LineError{n, err}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Unmarshal reads one line. It keeps no reference to it.
func Unmarshal(line []byte) (event.Event, error) {
	if e := readQuick(line); e != nil {
		return e, nil
	}
	return unmarshal(line)
}

func unmarshal(line []byte) (event.Event, error) {
	typ, err := typeOf(line)
	if err != nil {
		return nil, err
	}
	e := blank(typ)
	if e == nil {
		u := &Unknown{Raw: bytes.Clone(line)}
		if err := json.Unmarshal(line, &u.Meta); err != nil {
			return nil, err
		}
		return u, nil
	}
	if err := json.Unmarshal(line, e); err != nil {
		return nil, err
	}
	if got := e.Head().Type; got != typ {
		return nil, fmt.Errorf("two types: %q and %q", typ, got)
	}
	return e, nil
}

// typeOf finds an event's type. The Writer puts it first, which saves reading
// the line twice.
func typeOf(line []byte) (string, error) {
	if rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`)); ok {
		if name, _, ok := bytes.Cut(rest, []byte(`"`)); ok && blank(string(name)) != nil {
			return string(name), nil
		}
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return "", err
	}
	if head.Type == "" {
		return "", errors.New("no event: it has no type")
	}
	return head.Type, nil
}

func blank(typ string) event.Event {
	switch typ {
	case event.TypeHeader:
		return new(event.Header)
	case event.TypeOOMKill:
		return new(event.OOMKill)
	case event.TypeOOMEnd:
		return new(event.OOMEnd)
	case event.TypeOOMPause:
		return new(event.OOMPause)
	case event.TypeKmsg:
		return new(event.Kmsg)
	case event.TypeReclaim:
		return new(event.Reclaim)
	case event.TypeKswapd:
		return new(event.Kswapd)
	case event.TypeThrottle:
		return new(event.Throttle)
	case event.TypeCache:
		return new(event.Cache)
	case event.TypeMemory:
		return new(event.MemorySample)
	case event.TypeCgroup:
		return new(event.CgroupChange)
	case event.TypeStalls:
		return new(event.Stalls)
	case event.TypeThrash:
		return new(event.Thrash)
	case event.TypeRank:
		return new(event.Rank)
	case event.TypeInspect:
		return new(event.Inspect)
	case event.TypeProfile:
		return new(event.Profile)
	case event.TypeLost:
		return new(event.Lost)
	case event.TypeSummary:
		return new(event.Summary)
	}
	return nil
}

// lineReader reads lines of any length, and keeps at most MaxLine of one.
type lineReader struct {
	in   *bufio.Reader
	long []byte
}

// next gives the next line, valid until the call after. The last line comes with
// io.EOF; one that is too long is passed over as a whole.
func (l *lineReader) next() ([]byte, error) {
	part, err := l.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return part, err
	}
	// What one long line took is not kept for the rest of the stream.
	if cap(l.long) > 1<<20 {
		l.long = nil
	}
	l.long = append(l.long[:0], part...)
	tooLong := false
	for err == bufio.ErrBufferFull {
		part, err = l.in.ReadSlice('\n')
		if tooLong = tooLong || len(l.long)+len(part) > MaxLine; !tooLong {
			l.long = append(l.long, part...)
		}
	}
	if tooLong && (err == nil || err == io.EOF) {
		// At the end of the input the next call says so.
		return nil, ErrTooLong
	}
	return l.long, err
}
