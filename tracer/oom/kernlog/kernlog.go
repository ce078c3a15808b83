// Package kernlog reads what the kernel itself says about its OOM kills, out of
// any text that holds its log: dmesg, journalctl, syslog files, /dev/kmsg, serial
// consoles, mails that quote them.
//
// Only what the log says is told. What it does not say is absent, and so is what
// could be read in more than one way.
package kernlog

import (
	"bytes"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Options say what the log itself may not. The zero value is useful.
type Options struct {
	// PageBytes is the size of a page; 0 means that it is told by the log or
	// remains unknown, and with it all that the log counts in pages.
	PageBytes int
	// Boot is when the kernel was started whose log it is. Where it is zero, lines
	// that are dated only by uptime give events without a time.
	Boot time.Time
	// Now bounds dates without a year: the last such date before it is meant.
	// Where it is zero, they give events without a time.
	Now time.Time
	// Location is the zone of dates without one; nil leaves them unknown.
	Location *time.Location
	// InOrder says that lines are in the order in which they were logged, whatever
	// their times: clocks of CPUs may differ.
	InOrder bool
	// Container says what lives in the cgroup at a path; may be nil.
	Container func(path string) *event.Container
	// Badness is the kernel's score; nil leaves scores out.
	Badness func(Weight) int64
	// Lines is told the lines that a kill's event was made of, without what logs
	// put before them, just before the event is given; may be nil.
	Lines func(kill *event.OOMKill, lines []string)
}

// Weight is what the OOM killer goes by.
type Weight struct {
	Pages          uint64 // resident and swapped out
	PageTableBytes uint64
	PageBytes      uint64
	ScoreAdj       int
	TotalPages     uint64
}

// Read gives the OOM kills that r tells of, in the order in which their reports
// end. It holds no more of r in memory than the reports that are open. An error
// of r comes last, after what was read before it.
func Read(r io.Reader, o Options) iter.Seq2[*event.OOMKill, error] {
	return func(yield func(*event.OOMKill, error) bool) {
		s := &scanner{opt: o, seen: make(map[string]bool)}
		buf := make([]byte, bufBytes)
		held := 0
		for {
			n, err := r.Read(buf[held:])
			held += n
			end := bytes.LastIndexByte(buf[:held], '\n') + 1
			if end == 0 && held == len(buf) || err != nil {
				end = held
			}
			s.feed(buf[:end])
			held = copy(buf, buf[end:held])
			if err != nil {
				s.finish()
			}
			for _, e := range s.ready {
				if !yield(e, nil) {
					return
				}
			}
			s.ready = s.ready[:0]
			switch {
			case err == io.EOF:
				return
			case err != nil:
				yield(nil, err)
				return
			}
		}
	}
}

const (
	// bufBytes is the longest line that is looked at as one.
	bufBytes = 256 << 10
	// maxLine is how much of a line can belong to a report.
	maxLine = 16 << 10
	// maxStreams bounds reports that are open at the same time: those of other
	// hosts or callers in one log.
	maxStreams = 32
	// maxSeen bounds the incidents remembered so that a repeated report is one.
	maxSeen = 4096
	// maxLines bounds the lines of a report that are remembered.
	maxLines = 1000
	// patience is how many lines of other things a report may be interrupted by.
	patience = 2000
	// maxHeld is by how many lines one may come late.
	maxHeld = 8
	// afterKill is the same once its victim is killed.
	afterKill = 64
)

// needles are in every report, in lines from which it can be read. Text without
// them is passed over at the speed of memory. The last is an entry of a journal
// whose text, for a name in it that is no UTF-8, is a list of numbers.
var needles = [...][]byte{
	[]byte("Kill"), []byte("oom-kill"), []byte("failcnt"), []byte("total_vm"), []byte("a result of limit"),
	[]byte(`"MESSAGE":[`),
}

// scanner turns lines into reports and reports into events.
type scanner struct {
	opt     Options
	streams []*report // open, oldest first
	pending *record   // may go on in the next line
	export  *exported // a journal entry of which the end is to come
	last    *record   // that was complete
	held    []*record // the last, as one that is older may come yet
	widest  int       // of the lines of the open reports
	broken  bool      // long lines are broken at blanks
	ready   []*event.OOMKill
	seen    map[string]bool
	nth     int
}

func (s *scanner) active() bool {
	return len(s.streams) > 0 || s.pending != nil || s.export != nil || len(s.held) > 0
}

// feed takes whole lines.
func (s *scanner) feed(text []byte) {
	var next [len(needles)]int
	for i := range next {
		next[i] = -1
	}
	for at := 0; at < len(text); {
		if !s.active() {
			hit := len(text)
			for i, needle := range needles {
				if next[i] < at {
					next[i] = len(text)
					if n := bytes.Index(text[at:], needle); n >= 0 {
						next[i] = at + n
					}
				}
				hit = min(hit, next[i])
			}
			if hit == len(text) {
				return
			}
			start := at + bytes.LastIndexByte(text[at:hit], '\n') + 1
			at += entryStart(text[at:], start-at)
		}
		end := bytes.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text) - at
		}
		s.line(text[at : at+end])
		at += end + 1
	}
}

// line takes one line of the text.
func (s *scanner) line(raw []byte) {
	raw = bytes.Trim(raw, "\x00") // of a file system that lost what was there
	if len(raw) > maxLine {
		raw = raw[:maxLine]
	}
	line := unquote(string(raw))
	if s.field(line) {
		return
	}
	r := parse(line, &s.opt)
	if s.pending != nil && r.fragment && s.pending.number == r.number {
		s.pending.text += r.text
		return
	}
	if s.pending != nil && !r.prefixed && s.pending.prefixed && !s.pending.whole && len(s.pending.text) < maxLine && r.text != "" {
		// Lines that are cut are all as wide as the widest.
		s.broken = s.broken || s.pending.joint < s.widest
		s.pending.join(r, s.broken)
		s.widest = max(s.widest, r.width)
		return
	}
	s.flush()
	s.widest = max(s.widest, r.width)
	if s.active() || hasNeedle(raw) {
		s.pending = r
	} else {
		s.widest, s.broken = 0, false
	}
}

func hasNeedle(line []byte) bool {
	for _, needle := range needles {
		if bytes.Contains(line, needle) {
			return true
		}
	}
	return false
}

// flush handles the line that is complete now. Lines that have numbers, or times
// behind a host that may have sent them by UDP, are put in order, as far as they
// are but a few apart. Times of the kernel's own log are no order: clocks of CPUs
// may differ.
func (s *scanner) flush() {
	r := s.pending
	if r == nil {
		return
	}
	s.pending = nil
	if last := s.last; last != nil && r.text != "" && r.stamp == last.stamp && r.number == last.number && r.text == last.text && r.host == last.host && r.caller == last.caller {
		return // two rules of syslog write to the same file
	}
	s.last = r
	if r.foreign || !r.hasUptime || !r.numbered && r.host == "" || s.opt.InOrder {
		s.release(0)
		s.take(r)
		return
	}
	i := len(s.held)
	for i > 0 && r.late(s.held[i-1]) {
		i--
	}
	s.held = slices.Insert(s.held, i, r)
	s.release(maxHeld)
}

// late reports whether a record is older than one that came before it, but not of
// an earlier boot.
func (r *record) late(before *record) bool {
	if r.numbered && before.numbered {
		return r.number < before.number && before.number-r.number <= maxHeld
	}
	return r.uptime < before.uptime && before.uptime-r.uptime < time.Second && r.host == before.host && r.caller == before.caller
}

// release takes all but the last so many records that are held.
func (s *scanner) release(but int) {
	for len(s.held) > but {
		r := s.held[0]
		s.held = slices.Delete(s.held, 0, 1)
		s.take(r)
	}
}

// take reads a record.
func (s *scanner) take(r *record) {
	if open := s.stream(r); open != nil && !r.foreign && r.stamp.precedes(open.at) {
		s.close(open) // of another boot, or of a log with the newest first
	}
	if !r.foreign {
		s.message(r)
		s.keep(r)
	}
	s.age()
}

// keep remembers a line that has just been taken into a report.
func (s *scanner) keep(rec *record) {
	if s.opt.Lines == nil {
		return
	}
	if r := s.stream(rec); r != nil && r.idle == 0 && len(r.lines) < maxLines {
		r.lines = append(r.lines, rec.text)
	}
}

// age closes reports that have not gone on for long.
func (s *scanner) age() {
	for i := 0; i < len(s.streams); {
		r := s.streams[i]
		r.idle++
		if r.idle > patience || r.idle > afterKill && len(r.kills) > 0 {
			s.close(r)
			continue
		}
		i++
	}
}

// finish is the end of the text.
func (s *scanner) finish() {
	s.endEntry()
	s.flush()
	s.release(0)
	for len(s.streams) > 0 {
		s.close(s.streams[0])
	}
}

// stream finds the open report that a line of this origin belongs to.
func (s *scanner) stream(rec *record) *report {
	for _, r := range s.streams {
		if r.host == rec.host && r.caller == rec.caller {
			return r
		}
	}
	return nil
}

// open begins a report; the one before it of this origin is over.
func (s *scanner) open(rec *record) *report {
	if r := s.stream(rec); r != nil {
		s.close(r)
	}
	if len(s.streams) == maxStreams {
		s.close(s.streams[0])
	}
	r := &report{host: rec.host, caller: rec.caller, at: rec.stamp}
	s.streams = append(s.streams, r)
	return r
}

// close makes an event of a report.
func (s *scanner) close(r *report) {
	for i := range s.streams {
		if s.streams[i] == r {
			s.streams = append(s.streams[:i], s.streams[i+1:]...)
			break
		}
	}
	if !r.telling() {
		return
	}
	key := r.key()
	if s.seen[key] {
		return
	}
	if len(s.seen) == maxSeen {
		clear(s.seen)
	}
	s.seen[key] = true
	s.nth++
	e := r.event(&s.opt, s.nth)
	if s.opt.Lines != nil {
		s.opt.Lines(e, r.lines)
	}
	s.ready = append(s.ready, e)
}
