package recorder

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// ring is the segments on disk: captures of which the oldest makes room.
type ring struct {
	dir     string
	keep    int64
	before  time.Duration // for which frames can be found again
	current *os.File
	// segments are in the order of their numbers; the last is the current one
	// while that is open.
	segments []*segment
	total    int64 // in blocks
	next     uint64
	index    []ref
	short    bool // the file system has less space than the budget
}

type segment struct {
	name   string
	size   int64
	header []byte // line
}

// ref is where a frame is.
type ref struct {
	*segment
	pos, length int64
	span
	places map[uint64]*place
}

// segmentParts is how many segments fill the budget: so much of the past goes at
// once.
const segmentParts = 32

func (r *ring) segmentBytes() int64 { return min(max(r.keep/segmentParts, 64<<10), 16<<20) }

// present tells whether the current segment still has a name.
func (r *ring) present() bool {
	if r.current == nil {
		_, err := os.Stat(r.dir)
		return err == nil || !os.IsNotExist(err)
	}
	st, err := r.current.Stat()
	return err != nil || linked(st)
}

// append writes a frame, in a new segment when the current one is full.
func (r *ring) append(pack *capture.Packer, f *frame, packed []byte) error {
	size := int64(len(packed))
	if r.current != nil {
		s := r.segments[len(r.segments)-1]
		if s.size+size > r.segmentBytes() || !bytes.Equal(s.header, f.header) {
			if err := r.closeSegment(); err != nil {
				return err
			}
		}
	}
	head := []byte(nil)
	if r.current == nil {
		head = pack.Pack(nil, f.header)
	}
	if err := r.room(int64(len(head)) + size); err != nil {
		return err
	}
	if r.current == nil {
		if err := r.openSegment(head, f.header); err != nil {
			return err
		}
	}
	s := r.segments[len(r.segments)-1]
	if err := r.put(s, packed); err != nil {
		return err
	}
	r.index = append(r.index, ref{s, s.size - size, size, f.span, f.places})
	r.forget(f.to)
	return nil
}

// room drops the oldest segments until so many bytes more are within the budget.
func (r *ring) room(size int64) error {
	for {
		grown := r.total + blocks(size)
		if r.current != nil {
			s := r.segments[len(r.segments)-1]
			grown = r.total - blocks(s.size) + blocks(s.size+size)
		}
		if grown <= r.keep {
			return nil
		}
		if len(r.segments) == 0 || len(r.segments) == 1 && r.current != nil {
			return fmt.Errorf("a frame of %d bytes is more than the ring may keep", size)
		}
		if !r.dropOldest(false) {
			return fmt.Errorf("%s cannot be removed", r.segments[0].name)
		}
	}
}

func (r *ring) openSegment(head, header []byte) error {
	name := filepath.Join(r.dir, fmt.Sprintf("%010d-%s%s", r.next, time.Now().UTC().Format(stamp), suffix))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	r.next++
	s := &segment{name: name, header: header}
	r.current = f
	r.segments = append(r.segments, s)
	if err := r.put(s, head); err != nil {
		// Nothing is in it.
		r.current = nil
		r.segments = r.segments[:len(r.segments)-1]
		f.Close()
		_ = os.Remove(name)
		return err
	}
	return nil
}

// put adds to the current segment. Of what does not fit nothing stays.
func (r *ring) put(s *segment, b []byte) error {
	if _, err := r.current.Write(b); err != nil {
		_ = r.current.Truncate(s.size)
		_, _ = r.current.Seek(s.size, io.SeekStart)
		return err
	}
	r.total -= blocks(s.size)
	s.size += int64(len(b))
	r.total += blocks(s.size)
	return nil
}

// closeSegment ends the current segment, and has it on the medium.
func (r *ring) closeSegment() error {
	if r.current == nil {
		return nil
	}
	f := r.current
	r.current = nil
	err := f.Sync()
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// dropOldest removes the oldest segment; also the current one, when there is no
// other and all must go.
func (r *ring) dropOldest(all bool) bool {
	if len(r.segments) == 0 {
		return false
	}
	if len(r.segments) == 1 && r.current != nil {
		if !all {
			return false
		}
		_ = r.closeSegment()
	}
	s := r.segments[0]
	if err := os.Remove(s.name); err != nil && !os.IsNotExist(err) {
		return false
	}
	r.segments = r.segments[1:]
	r.total -= blocks(s.size)
	n := 0
	for n < len(r.index) && r.index[n].segment == s {
		n++
	}
	r.index = slices.Delete(r.index, 0, n)
	return true
}

// forget drops from the index what is too old for an incident of now.
func (r *ring) forget(now time.Time) {
	n := 0
	for n < len(r.index) && r.index[n].to.Before(now.Add(-r.before-time.Minute)) {
		n++
	}
	if n > 64 || n == len(r.index) { // not for each frame
		r.index = slices.Delete(r.index, 0, n)
	}
}

// scanRing takes over the segments that are there.
func (d *disk) scanRing() error {
	d.ring = ring{dir: filepath.Join(d.Dir, ringDir), keep: d.Keep, before: d.Before}
	r := &d.ring
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return fmt.Errorf("recorder: %w", err)
	}
	var modified []time.Time
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), "-")
		n, err := strconv.ParseUint(number, 10, 64)
		st, statErr := e.Info()
		if !ok || err != nil || statErr != nil || !st.Mode().IsRegular() || !strings.HasSuffix(e.Name(), suffix) {
			continue // not ours
		}
		r.next = max(r.next, n+1)
		s := &segment{name: filepath.Join(r.dir, e.Name()), size: st.Size()}
		r.segments = append(r.segments, s)
		modified = append(modified, st.ModTime())
		r.total += blocks(s.size)
	}
	if n := len(r.segments); n > 0 {
		s := r.segments[n-1]
		before, after, err := mend(s.name)
		if err != nil {
			return fmt.Errorf("recorder: %w", err)
		}
		if after < before {
			d.Say("%s: its last frame was torn when the recorder ended; %d of %d bytes are kept", s.name, after, before)
			r.total += blocks(after) - blocks(before)
			s.size = after
		}
		if after == 0 {
			_ = os.Remove(s.name)
			r.segments = r.segments[:n-1]
		}
	}
	// Of what an incident of now could want, it has to be known where it is.
	since := time.Now().Add(-d.Before - capture.FrameAge)
	for i, s := range r.segments {
		if !modified[i].Before(since) {
			r.read(s)
		}
	}
	r.forget(time.Now())
	return r.room(0)
}

// read puts the frames of a segment into the index.
func (r *ring) read(s *segment) {
	f, err := os.Open(s.name)
	if err != nil {
		return
	}
	defer f.Close()
	in := capture.NewPlaces()
	for frame, err := range capture.Frames(f) {
		if err != nil {
			continue
		}
		at := ref{segment: s, pos: frame.Pos, length: int64(frame.Size), places: make(map[uint64]*place)}
		for text := range bytes.Lines(frame.Lines) {
			rec, err := capture.Parse(text)
			if err != nil {
				continue
			}
			if rec.Type == event.TypeHeader {
				s.header = bytes.Clone(text)
				continue
			}
			at.add(rec.End())
			if e, err := rec.Event(); err == nil {
				in.Of(e, func(cg *event.Cgroup, c *event.Container) {
					if cg != nil && cg.ID != 0 && cg.Path != "" {
						at.places[cg.ID] = &place{*cg, c}
					}
				})
			}
		}
		if at.events > 0 {
			r.index = append(r.index, at)
		}
	}
}
