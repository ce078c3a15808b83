package report

import (
	"encoding/json"
	"io"

	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// JSON writes the facts of each story as one object a line.
type JSON struct{ out io.Writer }

// NewJSON returns a JSON on w.
func NewJSON(w io.Writer) *JSON { return &JSON{w} }

// Write renders one story.
func (j *JSON) Write(s *Story) error { return writeJSON(j.out, s) }

// writeJSON writes v as a line that no terminal acts on.
func writeJSON(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(jsonl.AppendPrintable(nil, append(line, '\n')))
	return err
}

// Close has nothing to do.
func (j *JSON) Close() error { return nil }
