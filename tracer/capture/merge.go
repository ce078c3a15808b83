package capture

import (
	"hash/maphash"
	"iter"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Stream is a sequence of records, ahead by one.
type Stream struct {
	next func() (*Record, error, bool)
	stop func()

	record *Record
	err    error
	more   bool
	at     time.Time // never goes back, unlike the ends of events
}

// NewStream begins to read a sequence. It has to be closed.
func NewStream(seq iter.Seq2[*Record, error]) *Stream {
	s := new(Stream)
	s.next, s.stop = iter.Pull2(seq)
	s.advance()
	return s
}

// Close ends reading.
func (s *Stream) Close() { s.stop() }

func (s *Stream) advance() {
	s.record, s.err, s.more = s.next()
	if s.record != nil && s.record.End().After(s.at) && s.record.Type != event.TypeHeader {
		s.at = s.record.End()
	}
}

// Head is what comes next: a record, or an error; neither at the end.
func (s *Stream) Head() (*Record, error) { return s.record, s.err }

// remembered is how many lines Merge knows again.
const remembered = 1 << 16

// Merge puts streams together in the order in which their events ended, each
// stream's own order being kept: it gives each time the stream whose Head is
// next, and its index. An event that came from another stream already is left
// out: the file of an incident holds what the ring holds too.
func Merge(streams []*Stream) iter.Seq2[int, *Stream] {
	return func(yield func(int, *Stream) bool) {
		seed := maphash.MakeSeed()
		seen := make(map[uint64]int)
		var order []uint64 // a ring
		for n := 0; ; {
			first := -1
			for i, s := range streams {
				// An error has no time: it is told where it stands.
				if s.more && (first < 0 || s.err != nil || streams[first].err == nil && s.at.Before(streams[first].at)) {
					first = i
				}
			}
			if first < 0 {
				return
			}
			s := streams[first]
			again := false
			if len(streams) > 1 && s.record != nil && s.record.Type != event.TypeHeader {
				sum := maphash.Bytes(seed, s.record.Line)
				from, known := seen[sum]
				again = known && from != first
				switch {
				case known:
				case len(order) < remembered:
					order = append(order, sum)
					seen[sum] = first
				default:
					delete(seen, order[n%remembered])
					order[n%remembered] = sum
					seen[sum] = first
					n++
				}
			}
			if !again && !yield(first, s) {
				return
			}
			s.advance()
		}
	}
}
