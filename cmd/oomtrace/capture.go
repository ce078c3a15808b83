package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// captureFile is a capture that -w asks for.
type captureFile struct {
	*capture.Writer
	name string
	file *os.File
	temp string // its name until the header is written; "" for devices and pipes
}

// newCapture makes the file, under another name until it holds a header: a trace
// that does not begin leaves an earlier capture alone. Only the owner can read
// it.
func newCapture(name string, failed func(error)) (*captureFile, error) {
	c := &captureFile{name: name}
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
	c.Writer, err = capture.NewWriter(c.file, func(err error) { failed(c.named(err)) })
	return c, err
}

func (c *captureFile) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("capture %s: %w", c.name, cause(err))
}

// write is a sink like any other.
func (c *captureFile) write(ev event.Event) error { return c.named(c.Write(ev)) }

// publish closes the first frame and gives the file its name.
func (c *captureFile) publish() error {
	if err := c.Flush(); err != nil || c.temp == "" {
		return nil // write or close tell of it
	}
	if err := os.Rename(c.temp, c.name); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	c.temp = ""
	return nil
}

// close writes what is left. A capture that never began leaves nothing behind.
func (c *captureFile) close() error {
	err := c.Close()
	if c.temp != "" {
		_ = os.Remove(c.temp)
	} else if c.Size() > 0 {
		_ = c.file.Sync()
	}
	if closing := c.file.Close(); err == nil {
		err = closing
	}
	return c.named(err)
}
