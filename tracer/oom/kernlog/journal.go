package kernlog

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// fromJSON reads an entry of journalctl -o json.
func (r *record) fromJSON(line string) {
	var entry map[string]json.RawMessage
	r.whole, r.foreign = true, true
	if json.Unmarshal([]byte(line), &entry) != nil {
		return
	}
	x := &exported{fields: map[string]string{}}
	for _, name := range fieldNames {
		x.fields[name] = jsonText(entry[name])
	}
	x.fill(r)
}

// jsonText is a string, or the array of bytes that stands for one which is no
// UTF-8.
func jsonText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var list []int
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	b := make([]byte, len(list))
	for i, n := range list {
		b[i] = byte(n)
	}
	return string(b)
}

// exported is an entry of journalctl -o export.
type exported struct {
	fields map[string]string
	lines  int
}

var fieldNames = []string{
	"MESSAGE", "__REALTIME_TIMESTAMP", "_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP", "_TRANSPORT",
	"SYSLOG_IDENTIFIER", "_HOSTNAME",
}

const maxFields = 200

// isField tells a line KEY=value of the export format.
func isField(line []byte) bool {
	i := bytes.IndexByte(line[:min(len(line), 65)], '=')
	if i <= 0 || line[0] >= '0' && line[0] <= '9' {
		return false
	}
	for _, c := range line[:i] {
		if (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// field takes the lines of the export format.
func (s *scanner) field(line string) bool {
	if line == "" || !isField([]byte(line)) || s.export != nil && s.export.lines > maxFields {
		had := s.export != nil
		s.endEntry()
		return had && line == ""
	}
	name, value, _ := strings.Cut(line, "=")
	if s.export == nil {
		s.flush()
		s.export = &exported{fields: map[string]string{}}
	}
	s.export.lines++
	for _, known := range fieldNames {
		if name == known {
			s.export.fields[name] = value
		}
	}
	return true
}

// endEntry handles an entry of the export format that is complete.
func (s *scanner) endEntry() {
	if x := s.export; x != nil {
		s.export = nil
		r := &record{whole: true, foreign: true}
		x.fill(r)
		s.flush()
		s.pending = r
		s.flush()
	}
}

// fill makes a record of an entry. Entries that are not from the kernel are
// foreign.
func (x *exported) fill(r *record) {
	f := x.fields
	if f["_TRANSPORT"] != "kernel" && (f["_TRANSPORT"] != "" || f["SYSLOG_IDENTIFIER"] != "kernel") {
		return
	}
	r.foreign, r.prefixed = false, true
	r.text, r.host = oneLine(f["MESSAGE"]), f["_HOSTNAME"]
	if us, err := strconv.ParseInt(f["__REALTIME_TIMESTAMP"], 10, 64); err == nil && us > 0 {
		r.wall = time.UnixMicro(us).UTC()
	}
	// The entry's own monotonic time is when the journal had read it.
	if us, err := strconv.ParseInt(f["_SOURCE_MONOTONIC_TIMESTAMP"], 10, 64); err == nil && us >= 0 && us < int64(maxUptime/time.Microsecond) {
		r.uptime, r.hasUptime = time.Duration(us)*time.Microsecond, true
	}
}
