package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// Record is one event of a capture: its line as it was written, with the fields
// that sorting and filtering need. The rest is read when it is asked for, so
// that what this version does not know passes through untouched.
type Record struct {
	Line []byte // one JSON object, without newline
	Type string
	Time time.Time
	// Duration is that of a stall, or the interval that is counted; 0 for what
	// has none.
	Duration time.Duration

	event  event.Event
	err    error // why Line is no event
	offset int64 // of the frame, or of the line where there are no frames
	number int   // of the line in the frame, from 1; 0 where there are no frames
}

// End is when it was over: lines are in that order, to within a few
// milliseconds.
func (r *Record) End() time.Time { return r.Time.Add(r.Duration) }

// Event reads all of the line: a pointer to a type of package event, or
// *jsonl.Unknown. It is the same one each time.
func (r *Record) Event() (event.Event, error) {
	if r.event == nil && r.err == nil {
		r.event, r.err = jsonl.Unmarshal(r.Line)
	}
	return r.event, r.err
}

// Parse looks at the head of a line. The Record keeps the line.
func Parse(line []byte) (*Record, error) {
	r := newRecord(bytes.TrimSpace(line))
	return &r, r.err
}

// newRecord looks at the head of a line. One that is no event has an error.
func newRecord(line []byte) Record {
	r := Record{Line: line}
	r.err = r.peek()
	return r
}

var errSyntax = errors.New("it is no JSON")

// peek reads the fields of r.Line that stand at its top level, and checks the
// syntax of all of it.
func (r *Record) peek() error {
	line := r.Line
	if len(line) == 0 || line[0] != '{' {
		if i := skip(line, 0, 0); i < 0 || i != len(line) {
			return errSyntax
		}
		return errors.New("it is no event")
	}
	var at []byte
	i := space(line, 1)
	for more := i < len(line) && line[i] != '}'; more; {
		key := i
		if i = member(line, i); i < 0 {
			return errSyntax
		}
		name, from := line[key:i], space(line, space(line, i)+1) // behind the colon
		if i = skip(line, from, 1); i < 0 {
			return errSyntax
		}
		switch string(name) {
		case `"type"`:
			r.Type = text(line[from:i])
		case `"time"`:
			at = line[from:i]
		case `"duration_ns"`, `"interval_ns"`:
			if n, err := strconv.ParseInt(string(line[from:i]), 10, 64); err == nil && n > 0 {
				r.Duration = time.Duration(n)
			}
		}
		i = space(line, i)
		if more = i < len(line) && line[i] == ','; more {
			i = space(line, i+1)
		}
	}
	if i != len(line)-1 || line[i] != '}' {
		return errSyntax
	}
	if r.Type == "" {
		return errors.New("it is no event: it has no type")
	}
	var err error
	if at != nil {
		r.Time, err = parseTime(at)
	}
	return err
}

// text reads a JSON string. The types that there are need no memory.
func text(quoted []byte) string {
	if len(quoted) > 2 && quoted[0] == '"' {
		if s := known(quoted[1 : len(quoted)-1]); s != "" {
			return s
		}
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

func known(name []byte) string {
	switch string(name) {
	case event.TypeReclaim:
		return event.TypeReclaim
	case event.TypeCache:
		return event.TypeCache
	case event.TypeMemory:
		return event.TypeMemory
	case event.TypeThrottle:
		return event.TypeThrottle
	case event.TypeCgroup:
		return event.TypeCgroup
	case event.TypeKswapd:
		return event.TypeKswapd
	}
	return ""
}

// parseTime reads a JSON string in RFC 3339. The form that is written,
// 2026-03-01T11:00:00.123456789Z, is read here, all others by package time.
func parseTime(quoted []byte) (time.Time, error) {
	b := bytes.Trim(quoted, `"`)
	n := len(b)
	if n < 20 || b[n-1] != 'Z' || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || n == 21 || n > 30 || n > 20 && b[19] != '.' {
		return slowTime(quoted)
	}
	year, month, day := digits(b[:4]), digits(b[5:7]), digits(b[8:10])
	hour, minute, second := digits(b[11:13]), digits(b[14:16]), digits(b[17:19])
	nanos := 0
	if n > 20 {
		nanos = digits(b[20 : n-1])
		for range 30 - n {
			nanos *= 10
		}
	}
	// 28: days that not every month has are left to package time.
	if min(year, month-1, day-1, hour, minute, second, nanos) < 0 || month > 12 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return slowTime(quoted)
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), nil
}

// digits reads a number without sign; less than nothing when it is none.
func digits(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1 << 40
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func slowTime(quoted []byte) (time.Time, error) {
	var t time.Time
	err := json.Unmarshal(quoted, &t)
	return t.UTC(), err
}
