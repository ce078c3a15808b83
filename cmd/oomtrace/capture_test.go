package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

func unpack(t *testing.T, name string) []byte {
	t.Helper()
	packed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	lines, err := dec.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func lastLine(t *testing.T, b []byte) string {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(lines[len(lines)-1])
}

// frames counts the zstd frames of a file and checks that each has a checksum.
func frames(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for len(b) > 0 {
		var h zstd.Header
		if err := h.Decode(b); err != nil {
			t.Fatal(err)
		}
		if !h.HasCheckSum {
			t.Errorf("frame %d has no checksum", n)
		}
		size := h.HeaderSize
		for last := false; !last; { // blocks: 3 bytes of header each
			block := int(b[size]) | int(b[size+1])<<8 | int(b[size+2])<<16
			last = block&1 == 1
			size += 3
			if kind := block >> 1 & 3; kind == 1 {
				size++ // one byte, repeated
			} else {
				size += block >> 3
			}
		}
		b = b[size+4:]
		n++
	}
	return n
}

// A capture is what stdout would have been.
func TestCapture(t *testing.T) {
	name := filepath.Join(t.TempDir(), "capture.zst")
	if err := os.WriteFile(name, []byte("an earlier one"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, stdout, stderr := fakeEnv()
	if code := run(context.Background(), []string{"-o", "json", "-d", "20ms", "-w", name}, e); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if got := unpack(t, name); !bytes.Equal(got, stdout.Bytes()) {
		t.Errorf("captured:\n%s\nshown:\n%s", got, stdout)
	}
	if n := frames(t, name); n != 2 {
		t.Errorf("%d frames, want 2: the header and the rest", n)
	}
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// A trace that never begins leaves an earlier capture alone.
func TestCaptureKept(t *testing.T) {
	name := filepath.Join(t.TempDir(), "capture.zst")
	if err := os.WriteFile(name, []byte("an earlier one"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newCapture(name, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "an earlier one" {
		t.Errorf("it is now %q", b)
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// Frames are closed when they are large, and when they are old.
func TestCaptureFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "capture.zst")
		c, err := newCapture(name, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		put := func(e event.Event) {
			if err := c.write(e); err != nil {
				t.Fatal(err)
			}
		}
		put(&event.Header{Meta: meta(event.TypeHeader, 0)})
		if err := c.publish(); err != nil {
			t.Fatal(err)
		}
		put(fakeStall(1, time.Second))
		time.Sleep(capture.FrameAge + time.Millisecond)
		synctest.Wait()
		if n := frames(t, name); n != 2 {
			t.Errorf("%d frames when one is old, want 2", n)
		}
		long := fakeStall(2, time.Second)
		long.Stack = []string{strings.Repeat("x", capture.FrameBytes)}
		put(long)
		if n := frames(t, name); n != 3 {
			t.Errorf("%d frames when one is large, want 3", n)
		}
		put(fakeStall(3, time.Second))
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range jsonl.Read(bytes.NewReader(unpack(t, name))) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		if n != 4 {
			t.Errorf("%d events came back, want 4", n)
		}
	})
}

// A torn frame costs itself only: what was written of it is taken back.
func TestCaptureFailure(t *testing.T) {
	name := filepath.Join(t.TempDir(), "capture.zst")
	c, err := newCapture(name, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.write(&event.Header{Meta: meta(event.TypeHeader, 0)}); err != nil {
		t.Fatal(err)
	}
	if err := c.publish(); err != nil {
		t.Fatal(err)
	}
	c.file.Close() // whatever comes now fails
	if err := c.write(fakeStall(1, time.Second)); err != nil {
		t.Fatal(err)
	}
	err = c.close()
	if err == nil || !strings.Contains(err.Error(), "capture "+name) {
		t.Errorf("error %v", err)
	}
	if err := c.write(fakeStall(2, time.Second)); err == nil {
		t.Error("it takes events after it failed")
	}
	if n := frames(t, name); n != 1 {
		t.Errorf("%d frames, want 1", n)
	}
}
