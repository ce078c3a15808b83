package kernlog

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// fromJSON reads an entry of journalctl -o json, or of dmesg --json.
func (r *record) fromJSON(line string, o *Options) {
	var entry map[string]json.RawMessage
	r.whole, r.foreign = true, true
	if json.Unmarshal([]byte(line), &entry) != nil {
		return
	}
	x := &exported{fields: map[string]string{}}
	for _, name := range fieldNames {
		x.fields[name] = jsonText(entry[name])
	}
	x.fill(r, o)
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
		return string(raw) // a number
	}
	b := make([]byte, len(list))
	for i, n := range list {
		b[i] = byte(n)
	}
	return string(b)
}

// exported is an entry that has a line for each field: of journalctl -o export,
// verbose and json-pretty, of dmesg --json.
type exported struct {
	fields map[string]string
	lines  int
	date   string // before the fields
}

var fieldNames = []string{
	"MESSAGE", "__REALTIME_TIMESTAMP", "_SOURCE_MONOTONIC_TIMESTAMP", "_TRANSPORT", "SYSLOG_IDENTIFIER", "_HOSTNAME",
	"msg", "time", "pri", "fac", "caller",
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

// fieldOf takes a line that is a field of an entry apart.
func fieldOf(line string) (name, value string, ok bool) {
	indented := strings.TrimLeft(line, " \t")
	if isField([]byte(line)) || strings.HasPrefix(line, "    ") && isField([]byte(indented)) {
		return strings.Cut(indented, "=")
	}
	quoted, value, ok := strings.Cut(indented, ":")
	quoted, value = strings.TrimSpace(quoted), strings.TrimSuffix(strings.TrimSpace(value), ",")
	if !ok || indented == line || len(quoted) < 3 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' || !json.Valid([]byte(value)) {
		return "", "", false
	}
	return quoted[1 : len(quoted)-1], jsonText(json.RawMessage(value)), true
}

// entryStart finds where the entry begins that a line of text, at start, is a
// field of. The fields before it say when it was.
func entryStart(text []byte, start int) int {
	line, _, _ := bytes.Cut(text[start:], []byte("\n"))
	if _, _, ok := fieldOf(string(line)); !ok {
		return start
	}
	if isField(line) {
		return bytes.LastIndex(text[:start], []byte("\n\n")) + 1
	}
	for start > 0 {
		start = bytes.LastIndexByte(text[:start-1], '\n') + 1
		if line = text[start:]; line[0] != ' ' && line[0] != '\t' || bytes.HasSuffix(bytes.TrimRight(line[:bytes.IndexByte(line, '\n')], "\r"), []byte("{")) {
			break
		}
	}
	return start
}

// field takes the lines of such entries.
func (s *scanner) field(line string) bool {
	name, value, ok := fieldOf(line)
	if !ok || s.export != nil && s.export.lines > maxFields {
		had := s.export != nil
		s.endEntry()
		if date, _, ok := strings.Cut(line, " [s="); ok && strings.HasSuffix(line, "]") && clockIn(date) {
			s.flush()
			s.export = &exported{fields: map[string]string{}, date: date}
			return true
		}
		return had && line == ""
	}
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
		x.fill(r, &s.opt)
		s.flush()
		s.pending = r
		s.flush()
	}
}

// fill makes a record of an entry. Entries that are not from the kernel are
// foreign.
func (x *exported) fill(r *record, o *Options) {
	f := x.fields
	if f["msg"] != "" && f["MESSAGE"] == "" {
		x.fillDmesg(r, o)
		return
	}
	if f["_TRANSPORT"] != "kernel" && (f["_TRANSPORT"] != "" || f["SYSLOG_IDENTIFIER"] != "kernel") {
		return
	}
	r.foreign, r.prefixed = false, true
	r.text, r.host = oneLine(f["MESSAGE"]), f["_HOSTNAME"]
	if us, err := strconv.ParseInt(f["__REALTIME_TIMESTAMP"], 10, 64); err == nil && us > 0 {
		r.wall = time.UnixMicro(us).UTC()
	} else if x.date != "" {
		r.wall = parseDate(x.date, o)
	}
	// The entry's own monotonic time is when the journal had read it.
	if us, err := strconv.ParseInt(f["_SOURCE_MONOTONIC_TIMESTAMP"], 10, 64); err == nil && us >= 0 && us < int64(maxUptime/time.Microsecond) {
		r.uptime, r.hasUptime = time.Duration(us)*time.Microsecond, true
	}
}

// fillDmesg is fill for an entry of dmesg --json.
func (x *exported) fillDmesg(r *record, o *Options) {
	f := x.fields
	priority, err := strconv.ParseUint(f["pri"], 10, 16)
	if f["fac"] != "kern" && (f["fac"] != "" || err != nil || priority>>3 != 0) {
		return
	}
	when := record{text: "[" + f["time"] + "]"}
	if f["time"] != "" && when.bracket(when.text, o) {
		r.stamp = when.stamp
	} else {
		r.wall = parseDate(f["time"], o)
	}
	r.foreign, r.prefixed = false, true
	r.text, r.caller = oneLine(f["msg"]), f["caller"]
}
