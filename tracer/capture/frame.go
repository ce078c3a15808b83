package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// FrameBytes is how many bytes of lines close a frame; the last line may go
	// beyond.
	FrameBytes = 1 << 20
	// maxPacked is the largest frame, compressed, that is kept in memory whole.
	// Larger ones, which others make of a long stream, are read as they come.
	maxPacked = 16 << 20
	// maxLines bounds likewise what a frame may hold uncompressed.
	maxLines = 96 << 20
	// maxBlock is the format's bound of a block.
	maxBlock = 128 << 10
)

var (
	frameMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

	errCut      = errors.New("cut off")
	errNoFrame  = errors.New("no frame begins here")
	errTooLarge = errors.New("too large to be kept in memory")
)

// Damage is a part of a capture that cannot be read. Reading goes on behind it.
type Damage struct {
	// From and To are the bytes that are lost, as offsets in the input: To is the
	// first that is not.
	From, To int64
	Err      error
}

// Error implements error.
func (d *Damage) Error() string {
	return fmt.Sprintf("damaged at byte %d, %d bytes long: %v", d.From, d.To-d.From, d.Err)
}

// Unwrap gives the cause.
func (d *Damage) Unwrap() error { return d.Err }

// Packer makes frames.
type Packer struct{ enc *zstd.Encoder }

// NewPacker makes a Packer.
func NewPacker() (*Packer, error) {
	// One core, and the fastest level, which makes captures 5 % larger: a trace must
	// not take more from the host than it has to.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(FrameBytes), zstd.WithEncoderCRC(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	return &Packer{enc}, nil
}

// Pack appends to dst the frame of some lines.
func (p *Packer) Pack(dst, lines []byte) []byte { return p.enc.EncodeAll(lines, dst) }

func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxLines), zstd.WithDecoderLowmem(true))
}

// window is a view of the input that moves forward.
type window struct {
	in   io.Reader
	buf  []byte
	from int   // buf[from:] has not been dropped
	pos  int64 // of buf[from] in the input
	err  error // of the last read; io.EOF at the end
}

func (w *window) bytes() []byte { return w.buf[w.from:] }

// need reads until n bytes are in view, and tells whether there are so many.
func (w *window) need(n int) bool {
	for len(w.buf)-w.from < n && w.err == nil {
		if w.from > 0 && cap(w.buf)-w.from < max(n, 64<<10) {
			w.buf = w.buf[:copy(w.buf, w.buf[w.from:])]
			w.from = 0
		}
		if room := w.from + n + 64<<10; cap(w.buf) < room {
			w.buf = append(make([]byte, 0, max(room, 2*len(w.buf))), w.buf...)
		}
		var got int
		got, w.err = w.in.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+got]
	}
	return len(w.buf)-w.from >= n
}

func (w *window) drop(n int) {
	w.from += n
	w.pos += int64(n)
}

// skip drops n bytes that need not be in view, and tells whether there were so
// many.
func (w *window) skip(n int64) bool {
	for n > 0 {
		if !w.need(1) {
			return false
		}
		step := int(min(n, int64(len(w.bytes()))))
		w.drop(step)
		n -= int64(step)
	}
	return true
}

// frame measures the frame that begins at the window, by walking from block to
// block. What is in the blocks is not looked at.
func (w *window) frame() (zstd.Header, int, error) {
	var h zstd.Header
	w.need(zstd.HeaderMaxSize)
	switch err := h.Decode(w.bytes()); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return h, 0, errCut
	case err != nil:
		return h, 0, errNoFrame
	case h.Skippable:
		return h, h.HeaderSize, nil
	}
	n, step, last := h.HeaderSize, 0, false
	for ; !last; n += step {
		if n > maxPacked {
			return h, n, errTooLarge
		}
		if !w.need(n + 3) {
			return h, n, errCut
		}
		if step, last = block(w.bytes()[n:]); step < 0 {
			return h, n, errors.New("a block that cannot be")
		}
	}
	if h.HasCheckSum {
		n += 4
	}
	if !w.need(n) {
		return h, n, errCut
	}
	return h, n, nil
}

// block gives the size of a block, its header of 3 bytes included, and whether
// it is the last of its frame; less than nothing for one that cannot be.
func block(b []byte) (size int, last bool) {
	head := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
	size = head >> 3
	switch kind := head >> 1 & 3; {
	case kind == 3 || size > maxBlock:
		return -1, false
	case kind == 1: // one byte, repeated
		size = 1
	}
	return 3 + size, head&1 == 1
}

// boundary tells whether a frame, or the end, is n bytes ahead.
func (w *window) boundary(n int) bool {
	if !w.need(n + 4) {
		return len(w.bytes()) == n
	}
	next := w.bytes()[n : n+4]
	return bytes.Equal(next, frameMagic) || binary.LittleEndian.Uint32(next)&^0xf == 0x184d2a50
}

// search moves to the next place where a frame may begin; false at the end.
func (w *window) search() bool {
	for w.need(4) {
		if i := bytes.Index(w.bytes(), frameMagic); i >= 0 {
			w.drop(i)
			return true
		}
		w.drop(len(w.bytes()) - 3) // the magic may have begun
	}
	w.drop(len(w.bytes()))
	return false
}
