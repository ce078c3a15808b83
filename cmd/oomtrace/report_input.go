package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"iter"
	"time"

	"github.com/oomtrace/oomtrace/output/report"
	"github.com/oomtrace/oomtrace/tracer/capture"
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
}

// sniffed is how much of the input is looked at to tell what it is.
const sniffed = 256 << 10

// zstdMagic begins every frame of a capture.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// openStory tells a capture (compressed or not) from a kernel log.
func openStory(r io.Reader, pageBytes int) (*storyInput, error) {
	in := bufio.NewReaderSize(r, sniffed)
	head, err := in.Peek(sniffed)
	if len(head) == 0 && err != io.EOF {
		return nil, err
	}
	// A capture that lost its beginning still has frames.
	switch {
	case bytes.Contains(head, zstdMagic):
		return &storyInput{report.FromCapture, records(in)}, nil
	case holdsEvents(head):
		return &storyInput{report.FromCapture, jsonl.Read(in)}, nil
	}
	o := kernlog.Options{
		PageBytes: pageBytes, Now: time.Now(), Location: time.Local,
		Container: container.FromPath, Badness: badness,
	}
	return &storyInput{report.FromLog, kills(in, o)}, nil
}

// records gives the events of a capture.
func records(r io.Reader) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for rec, err := range capture.Read(r, capture.Options{Decode: true}) {
			var e event.Event
			if err == nil {
				e, err = rec.Event()
			}
			if !yield(e, err) {
				return
			}
		}
	}
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
			if !yield(k, nil) {
				return
			}
			for i, text := range lines[k] {
				line := &event.Kmsg{Meta: event.Meta{Type: event.TypeKmsg}, Text: text, Sequence: uint64(i), Incident: k.Incident}
				if !yield(line, nil) {
					return
				}
			}
			delete(lines, k)
		}
	}
}

// holdsEvents reports whether one of the first lines is an event. A journal's
// entries are JSON too, but have no type and time. The first line may be torn.
func holdsEvents(head []byte) bool {
	for n := 0; n < 64 && len(head) > 0; n++ {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		var e event.Meta
		if json.Unmarshal(line, &e) == nil && e.Type != "" && !e.Time.IsZero() {
			return true
		}
		if len(head) == 0 && bytes.HasPrefix(line, []byte(`{"type":"`)) {
			return true // a line longer than what is looked at
		}
	}
	return false
}
