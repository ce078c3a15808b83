package capture

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// FrameAge is how long after its first line a frame is closed.
const FrameAge = 2 * time.Second

// Writer writes a capture: one segment, whose first event should be the header.
// It is safe for concurrent use.
type Writer struct {
	out    io.Writer
	failed func(error)

	mu    sync.Mutex
	pack  *Packer
	json  *jsonl.Writer
	lines bytes.Buffer // of the open frame
	frame []byte
	age   *time.Timer
	size  int64 // of the whole frames
	err   error
}

// NewWriter writes to out, each frame with one call of its Write. Should that
// fail, and out be able to Truncate like a file, what was written of the frame is
// taken back. failed is told of errors that no call returns: of frames that are
// closed because they are FrameAge old.
func NewWriter(out io.Writer, failed func(error)) (*Writer, error) {
	pack, err := NewPacker()
	if err != nil {
		return nil, err
	}
	w := &Writer{out: out, failed: failed, pack: pack}
	w.json = jsonl.New(&w.lines)
	w.age = time.AfterFunc(time.Hour, w.old)
	w.age.Stop()
	return w, nil
}

// Write adds an event. After an error of the underlying Write it takes nothing
// more.
func (w *Writer) Write(e event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.lines.Len() == 0 {
		w.age.Reset(FrameAge)
	}
	if err := w.json.Write(e); err != nil {
		return err
	}
	if w.lines.Len() >= FrameBytes {
		return w.flush()
	}
	return nil
}

func (w *Writer) old() {
	if err := w.Flush(); err != nil {
		w.failed(err)
	}
}

// Flush closes the open frame and writes it.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) flush() error {
	if w.err != nil || w.lines.Len() == 0 {
		return w.err
	}
	w.age.Stop()
	w.frame = w.pack.Pack(w.frame[:0], w.lines.Bytes())
	w.lines.Reset()
	if _, err := w.out.Write(w.frame); err != nil {
		if f, ok := w.out.(interface{ Truncate(int64) error }); ok {
			_ = f.Truncate(w.size)
		}
		w.err = err
		return err
	}
	w.size += int64(len(w.frame))
	return nil
}

// Close writes what is left. It does not close the underlying writer.
func (w *Writer) Close() error {
	err := w.Flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.age.Stop()
	return err
}

// Size is how many bytes have been written.
func (w *Writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}
