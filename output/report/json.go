package report

import (
	"encoding/json"
	"io"
)

// JSON writes the facts of each story as one object a line.
type JSON struct{ enc *json.Encoder }

// NewJSON returns a JSON on w.
func NewJSON(w io.Writer) *JSON {
	return &JSON{json.NewEncoder(w)}
}

// Write renders one story.
func (j *JSON) Write(s *Story) error { return j.enc.Encode(s) }

// Close has nothing to do.
func (j *JSON) Close() error { return nil }
