package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// A frame of a capture is closed when it has grown so large or so old.
const (
	frameBytes = 1 << 20
	frameAge   = 2 * time.Second
)

// capture is the event stream in a file: zstd frames of JSON lines, each frame
// complete in itself with a checksum, so that whatever happens costs no more
// than the last one.
type capture struct {
	name   string
	failed func(error) // told of failures that no call of ours returns

	mu    sync.Mutex
	file  *os.File
	temp  string // its name until the header is written; "" for devices and pipes
	enc   *zstd.Encoder
	json  *jsonl.Writer
	lines bytes.Buffer // of the open frame
	frame []byte
	age   *time.Timer
	size  int64 // of the whole frames
	err   error
}

// newCapture makes the file, under another name until it holds a header: a trace
// that does not begin leaves an earlier capture alone. Only the owner can read
// it.
func newCapture(name string, failed func(error)) (*capture, error) {
	c := &capture{name: name, failed: failed}
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		target = name
	}
	st, err := os.Stat(target)
	switch {
	case err == nil && st.IsDir():
		return nil, usagef("-w, --write: %s is a directory", name)
	case err == nil && !st.Mode().IsRegular():
		c.file, err = os.OpenFile(target, os.O_WRONLY, 0)
	default:
		c.name = target
		c.file, err = os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".")
		if err == nil {
			c.temp = c.file.Name()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", name, err)
	}
	// One core: the trace must not take more from the host than it has to.
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(frameBytes))
	if err != nil {
		return nil, err
	}
	c.json = jsonl.New(&c.lines)
	c.age = time.AfterFunc(time.Hour, c.old)
	c.age.Stop()
	return c, nil
}

// write adds an event. It is a sink like any other; after an error the capture
// takes nothing more.
func (c *capture) write(ev event.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.lines.Len() == 0 {
		c.age.Reset(frameAge)
	}
	if err := c.json.Write(ev); err != nil {
		return err
	}
	if c.lines.Len() >= frameBytes {
		return c.flush()
	}
	return nil
}

// publish closes the first frame and gives the file its name.
func (c *capture) publish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.flush(); err != nil || c.temp == "" {
		return nil // write or close tell of it
	}
	if err := os.Rename(c.temp, c.name); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	c.temp = ""
	return nil
}

func (c *capture) old() {
	c.mu.Lock()
	err := c.flush()
	c.mu.Unlock()
	if err != nil {
		c.failed(err)
	}
}

// flush writes the open frame. When it does not fit any more the part that was
// written is taken back, so that what stands in the file is whole.
func (c *capture) flush() error {
	if c.err != nil || c.lines.Len() == 0 {
		return c.err
	}
	c.age.Stop()
	c.frame = c.enc.EncodeAll(c.lines.Bytes(), c.frame[:0])
	c.lines.Reset()
	if _, err := c.file.Write(c.frame); err != nil {
		_ = c.file.Truncate(c.size)
		c.err = fmt.Errorf("capture %s: %w", c.name, cause(err))
		return c.err
	}
	c.size += int64(len(c.frame))
	return nil
}

// close writes what is left. A capture that never began leaves nothing behind.
func (c *capture) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	c.age.Stop()
	if c.temp != "" {
		_ = os.Remove(c.temp)
	} else if c.size > 0 {
		_ = c.file.Sync()
	}
	if closing := c.file.Close(); err == nil && closing != nil {
		err = fmt.Errorf("capture %s: %w", c.name, cause(closing))
	}
	return err
}
