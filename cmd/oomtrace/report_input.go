package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/output/report"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
	"github.com/oomtrace/oomtrace/tracer/oom"
	"github.com/oomtrace/oomtrace/tracer/oom/kernlog"
)

// storyInput is a capture or a kernel log as a stream of events.
type storyInput struct {
	from   string
	events iter.Seq2[event.Event, error]
	close  func()
}

// sniffed is how much of the input is looked at to tell what it is.
const sniffed = 256 << 10

// openStory tells a capture (compressed or not) from a kernel log.
func openStory(r io.Reader, pageBytes int) (*storyInput, error) {
	in := bufio.NewReaderSize(r, sniffed)
	done := func() {}
	head, err := in.Peek(4)
	if len(head) == 0 && err != nil && err != io.EOF {
		return nil, err
	}
	if isZstd(head) {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return nil, err
		}
		in, done = bufio.NewReaderSize(z, sniffed), z.Close
	}
	head, _ = in.Peek(sniffed) // an error comes again
	if holdsEvents(head) {
		return &storyInput{report.FromCapture, jsonl.Read(in), done}, nil
	}
	o := kernlog.Options{
		PageBytes: pageBytes, Now: time.Now(), Location: time.Local,
		Container: container.FromPath, Badness: badness,
	}
	return &storyInput{report.FromLog, kills(in, o), done}, nil
}

// kills makes events of a log's kills, each with its lines.
func kills(r io.Reader, o kernlog.Options) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		lines := make(map[*event.OOMKill][]string)
		o.Lines = func(k *event.OOMKill, of []string) { lines[k] = of }
		for k, err := range kernlog.Read(r, o) {
			if err != nil {
				yield(nil, err)
				return
			}
			k.Verdict = oom.Judge(&oom.Case{Kill: k})
			text := &report.LogLines{Incident: k.Incident, Lines: lines[k]}
			delete(lines, k)
			if !yield(k, nil) || !yield(text, nil) {
				return
			}
		}
	}
}

// isZstd knows a frame, also one that readers skip.
func isZstd(head []byte) bool {
	return len(head) == 4 && (bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18}))
}

// holdsEvents reports whether one of the first lines is an event. A journal's
// entries are JSON too, but have no type and time. The first line may be torn.
func holdsEvents(head []byte) bool {
	for n := 0; n < 64 && len(head) > 0; n++ {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		var e event.Meta
		err := json.Unmarshal(line, &e)
		var cut *json.SyntaxError
		if e.Type != "" && err == nil && !e.Time.IsZero() {
			return true
		}
		if len(head) == 0 && errors.As(err, &cut) && bytes.HasPrefix(line, []byte(`{"type":"`)) {
			return true // a line longer than what is looked at
		}
	}
	return false
}
