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
	from    string
	records iter.Seq2[*report.Record, error]
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
	case bytes.Contains(head, zstdMagic), len(head) > 0 && head[0] == '{' && holdsEvents(head):
		return &storyInput{report.FromCapture, records(in)}, nil
	case holdsEvents(head): // behind a line that is torn
		return &storyInput{report.FromCapture, whole(jsonl.Read(in))}, nil
	}
	o := kernlog.Options{
		PageBytes: pageBytes, Now: time.Now(), Location: time.Local,
		Container: container.FromPath, Badness: badness,
	}
	return &storyInput{report.FromLog, kills(in, o)}, nil
}

// records gives the events of a capture.
func records(r io.Reader) iter.Seq2[*report.Record, error] {
	return func(yield func(*report.Record, error) bool) {
		for rec, err := range capture.Read(r, capture.Options{}) {
			var out *report.Record
			if err == nil {
				// Lines of a frame share its memory: one that is kept must not keep
				// all the others.
				line := bytes.Clone(rec.Line)
				out = &report.Record{Type: rec.Type, Time: rec.Time, End: rec.End(), Event: func() (event.Event, error) { return jsonl.Unmarshal(line) }}
			}
			if !yield(out, err) {
				return
			}
		}
	}
}

// whole makes records of events.
func whole(events iter.Seq2[event.Event, error]) iter.Seq2[*report.Record, error] {
	return func(yield func(*report.Record, error) bool) {
		for e, err := range events {
			var out *report.Record
			if err == nil {
				out = report.Whole(e)
			}
			if !yield(out, err) {
				return
			}
		}
	}
}

// kills makes events of a log's kills, each with its lines.
func kills(r io.Reader, o kernlog.Options) iter.Seq2[*report.Record, error] {
	return func(yield func(*report.Record, error) bool) {
		lines := make(map[*event.OOMKill][]string)
		o.Lines = func(k *event.OOMKill, of []string) { lines[k] = of }
		for k, err := range kernlog.Read(r, o) {
			if err != nil {
				yield(nil, err)
				return
			}
			k.Verdict = oom.Judge(&oom.Case{Kill: k, PageBytes: uint64(o.PageBytes)})
			if !yield(report.Whole(k), nil) {
				return
			}
			for i, text := range lines[k] {
				line := &event.Kmsg{Meta: event.Meta{Type: event.TypeKmsg}, Text: text, Sequence: uint64(i), Incident: k.Incident}
				if !yield(report.Whole(line), nil) {
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
