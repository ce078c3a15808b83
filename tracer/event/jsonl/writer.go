// Package jsonl writes the event stream as JSON lines and reads it back: one
// event a line, in the words of docs/events.md. They are what `-o json` prints
// and what a capture is made of, so they belong to the model, not to an output.
package jsonl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Writer writes events as lines. It is not safe for concurrent use.
type Writer struct {
	out  io.Writer
	line bytes.Buffer
	enc  *json.Encoder
	safe []byte
}

// New returns a Writer on w.
func New(w io.Writer) *Writer {
	jw := &Writer{out: w}
	jw.enc = json.NewEncoder(&jw.line)
	jw.enc.SetEscapeHTML(false)
	return jw
}

// Write writes one event as one line, with one call of the underlying Write, so
// that a reader never waits for the rest of a line. Times come out in UTC; e is
// not changed.
func (w *Writer) Write(e event.Event) error {
	w.line.Reset()
	if err := w.enc.Encode(utc(e)); err != nil {
		return fmt.Errorf("encode %s event: %w", e.Head().Type, err)
	}
	return w.put(w.line.Bytes())
}

// WriteLine writes an event that is a line already, without its newline, as it
// is. Only what a terminal would act on is escaped.
func (w *Writer) WriteLine(line []byte) error {
	w.line.Reset()
	w.line.Write(line)
	w.line.WriteByte('\n')
	return w.put(w.line.Bytes())
}

func (w *Writer) put(line []byte) error {
	if !printable(line[:len(line)-1]) {
		w.safe = AppendPrintable(w.safe[:0], line)
		line = w.safe
	}
	_, err := w.out.Write(line)
	return err
}

// utc gives e with its times in UTC. An event may be on its way to other sinks
// too, so one that needs changing is copied.
func utc(e event.Event) event.Event {
	lost, isLost := e.(*event.Lost)
	if e.Head().Time.Location() == time.UTC && (!isLost || lost.Since.Location() == time.UTC) {
		return e
	}
	twin := reflect.New(reflect.TypeOf(e).Elem())
	twin.Elem().Set(reflect.ValueOf(e).Elem())
	e = twin.Interface().(event.Event)
	e.Head().Time = e.Head().Time.UTC()
	if isLost {
		e.(*event.Lost).Since = lost.Since.UTC()
	}
	return e
}

// AppendPrintable appends a line of JSON, with escapes for what encoding/json lets
// through but a terminal would act on: DEL, the C1 controls, bidi and other format characters. Outside
// strings JSON has ASCII alone, so every such character stands in a string.
func AppendPrintable(dst, line []byte) []byte {
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		switch {
		case r == utf8.RuneError || r == '\n' || unicode.IsPrint(r):
			dst = utf8.AppendRune(dst, r)
		case r > 0xffff:
			r -= 0x10000
			dst = appendEscape(appendEscape(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			dst = appendEscape(dst, r)
		}
		i += size
	}
	return dst
}

func appendEscape(dst []byte, unit rune) []byte { return fmt.Appendf(dst, `\u%04x`, unit) }
