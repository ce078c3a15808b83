package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// part is a piece of the input, in order: a frame yet to be unpacked, lines, or
// damage.
type part struct {
	pos    int64
	size   int    // of the frame, compressed; 0 when it is not of one piece
	packed []byte // a frame that looks whole
	lines  []byte
	plain  bool // pos is that of the lines
	damage *Damage
}

// scanner cuts the input into parts. It is done when give says no.
type scanner struct {
	w    *window
	dec  *zstd.Decoder
	give func(part) bool
	// sure has every frame unpacked here; else those that look whole are given
	// as they are, for others to open.
	sure bool
}

// errStop ends a scan because nobody takes more.
var errStop = errors.New("stopped")

// run reads the input to its end: zstd frames, or lines as they are. It returns
// an error of the input only.
func (s *scanner) run() error {
	err := s.frames
	if s.plain() {
		err = s.text
	}
	switch err := err(); {
	case err == errStop, s.w.err == io.EOF && err == nil:
		return nil
	case err != nil:
		return err
	}
	return s.w.err
}

var bom = []byte("\ufeff")

// plain tells whether the input is lines that are not compressed.
func (s *scanner) plain() bool {
	s.w.need(512)
	b := bytes.TrimLeft(bytes.TrimPrefix(s.w.bytes(), bom), " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	b = bytes.TrimLeft(b[1:], " \t\r\n")
	return len(b) == 0 || b[0] == '"' || b[0] == '}'
}

func (s *scanner) put(p part) error {
	if !s.give(p) {
		return errStop
	}
	return nil
}

func (s *scanner) frames() error {
	w := s.w
	for w.need(1) {
		h, n, err := w.frame()
		pos := w.pos
		switch {
		case err == nil && h.Skippable:
			if !w.skip(int64(n) + int64(h.SkippableSize)) {
				return s.put(part{damage: &Damage{pos, w.pos, errCut}})
			}
			continue
		case err == errTooLarge:
			err = s.stream()
		case err == nil && !s.sure && w.boundary(n):
			err = s.put(part{pos: pos, size: n, packed: bytes.Clone(w.bytes()[:n])})
			w.drop(n)
		case err == nil:
			// What follows is no frame, so this may be a frame whose length is
			// damaged: it has to be looked into now.
			var lines []byte
			if lines, err = s.unpack(w.bytes()[:n]); err != nil {
				err = s.resync(err)
				break
			}
			err = s.put(part{pos: pos, size: n, lines: lines})
			w.drop(n)
		default:
			err = s.resync(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) unpack(packed []byte) ([]byte, error) {
	lines, err := s.dec.DecodeAll(packed, nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, errTooLarge
	case errors.Is(err, zstd.ErrCRCMismatch):
		return nil, errors.New("its checksum is another")
	case err != nil:
		return nil, fmt.Errorf("the frame cannot be unpacked: %w", err)
	}
	return lines, nil
}

// open unpacks a frame that looked whole. Inside one that was not, others that
// are may lie.
func (s *scanner) open(p part) error {
	lines, err := s.unpack(p.packed)
	if err == nil {
		return s.put(part{pos: p.pos, size: p.size, lines: lines})
	}
	inner := &scanner{w: &window{in: bytes.NewReader(p.packed), pos: p.pos}, dec: s.dec, give: s.give, sure: true}
	if err == errTooLarge {
		return inner.stream()
	}
	if err := inner.resync(err); err != nil {
		return err
	}
	return inner.frames()
}

// resync looks for the next frame that is intact, behind one that is not, and
// tells what lies between.
func (s *scanner) resync(why error) error {
	w, from := s.w, s.w.pos
	wasted := 0
	w.need(1)
	for w.drop(1); w.search(); w.drop(1) {
		_, n, err := w.frame()
		if err != nil {
			continue
		}
		lines, err := s.unpack(w.bytes()[:n])
		if err != nil {
			// Damage does not make frames; so many of them, within each other, are
			// there to take our time.
			if wasted += n; wasted > 4*maxPacked {
				w.drop(n - 1)
			}
			continue
		}
		if err := s.put(part{damage: &Damage{from, w.pos, why}}); err != nil {
			return err
		}
		pos := w.pos
		w.drop(n)
		return s.put(part{pos: pos, size: n, lines: lines})
	}
	return s.put(part{damage: &Damage{from, w.pos, why}})
}

// stream reads a frame that is too large to be kept, as it comes. Behind damage
// it goes on with the next frame.
func (s *scanner) stream() error {
	w, pos := s.w, s.w.pos
	body := &frameBody{w: w}
	dec, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return err
	}
	defer dec.Close()
	lines := &window{in: dec}
	from := pos // nothing of it has been given yet
	for err == nil && lines.need(1) {
		err = s.cutLines(lines, part{pos: pos})
		from = w.pos
	}
	if err != nil || lines.err == io.EOF && body.whole {
		return err
	}
	why := fmt.Errorf("the frame that begins at byte %d cannot be unpacked further: %w", pos, lines.err)
	if lines.err == io.EOF || errors.Is(lines.err, io.ErrUnexpectedEOF) {
		why = fmt.Errorf("the frame that begins at byte %d is %w", pos, errCut)
	}
	w.search()
	return s.put(part{damage: &Damage{from, w.pos, why}})
}

// text takes lines as they are.
func (s *scanner) text() error {
	if bytes.HasPrefix(s.w.bytes(), bom) {
		s.w.drop(len(bom))
	}
	for s.w.need(1) {
		if err := s.cutLines(s.w, part{pos: s.w.pos, plain: true}); err != nil {
			return err
		}
	}
	return nil
}

// cutLines takes some whole lines off a window and gives them as p. The last may
// lack its newline.
func (s *scanner) cutLines(w *window, p part) error {
	const some = 256 << 10
	w.need(some)
	end := bytes.LastIndexByte(w.bytes(), '\n') + 1
	for n := some; end == 0; n *= 2 {
		more := w.need(n)
		end = bytes.IndexByte(w.bytes(), '\n') + 1
		switch {
		case end > 0:
		case !more:
			end = len(w.bytes())
		case n > jsonl.MaxLine:
			from := w.pos
			for w.drop(len(w.bytes())); w.need(1); w.drop(len(w.bytes())) {
				if end = bytes.IndexByte(w.bytes(), '\n') + 1; end > 0 {
					w.drop(end)
					break
				}
			}
			if p.plain {
				return s.put(part{damage: &Damage{from, w.pos, jsonl.ErrTooLong}})
			}
			return s.put(part{damage: &Damage{p.pos, p.pos, jsonl.ErrTooLong}}) // somewhere in that frame
		}
	}
	p.lines = bytes.Clone(w.bytes()[:end])
	w.drop(end)
	return s.put(p)
}

// frameBody gives the bytes of one frame, and takes no more off the window.
type frameBody struct {
	w     *window
	left  int // of the header, or of a block
	tail  int // of the checksum, once the last block was met
	begun bool
	last  bool
	whole bool // all of it has been read
}

func (f *frameBody) Read(p []byte) (int, error) {
	for f.left == 0 {
		var h zstd.Header
		switch {
		case f.last && f.tail == 0:
			f.whole = true
			return 0, io.EOF
		case f.last:
			f.left, f.tail = f.tail, 0
		case !f.begun:
			f.w.need(zstd.HeaderMaxSize)
			if err := h.Decode(f.w.bytes()); err != nil {
				return 0, err
			}
			f.begun, f.left = true, h.HeaderSize
			if h.HasCheckSum {
				f.tail = 4
			}
		default:
			if !f.w.need(3) {
				return 0, io.ErrUnexpectedEOF
			}
			size, last := block(f.w.bytes())
			if size < 0 {
				return 0, errors.New("a block that cannot be")
			}
			f.left, f.last = size, last
		}
	}
	if !f.w.need(1) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p[:min(len(p), f.left)], f.w.bytes())
	f.w.drop(n)
	f.left -= n
	return n, nil
}
