package kernlog

import (
	"strconv"
	"strings"
	"time"
)

// stamp is when a line was logged, as far as it says.
type stamp struct {
	wall      time.Time
	uptime    time.Duration
	hasUptime bool
}

func (s stamp) known() bool { return s.hasUptime || !s.wall.IsZero() }

// precedes reports whether a moment is clearly before another.
func (s stamp) precedes(t stamp) bool {
	if s.hasUptime && t.hasUptime {
		return t.uptime-s.uptime >= time.Second
	}
	return !s.wall.IsZero() && !t.wall.IsZero() && t.wall.Sub(s.wall) >= time.Second
}

// record is one line of the kernel's log without what precedes the kernel's own
// text.
type record struct {
	stamp
	text     string
	line     string // as it stood
	alt      string // text, were the lines joined the other way; "" where there is but one
	cut      string // all lines joined as if they had been cut
	soft     string // and as if they had been broken
	host     string
	caller   string // T1234 or C1, where the kernel tells it
	prefixed bool   // it was clear where the text begins
	dated    bool   // a date is before it, as in syslog
	rfc5424  bool   // what follows the date is in the order of RFC 5424
	tagged   bool   // the kernel's tag is before it
	whole    bool   // it came from a source that does not wrap
	foreign  bool   // somebody else's than the kernel's
	number   uint64 // of /dev/kmsg and netconsole
	numbered bool
	fragment bool // a piece of a record, and not the first
	width    int  // of the line as it stood
	joint    int  // width of the last line joined to it
}

// join adds a line without a prefix: the rest of this one. Lines are cut at a
// width, or broken at a blank, which is lost then; broken is what is believed so
// far.
func (r *record) join(rest *record, broken bool) {
	if r.cut == "" {
		r.cut, r.soft = r.text, r.text
	}
	r.cut, r.soft = r.cut+rest.line, r.soft+" "+rest.text
	r.text, r.alt = r.cut, r.soft
	if broken {
		r.text, r.alt = r.soft, r.cut
	}
	r.joint = rest.width
}

// unquote takes off what mails, terminals and Windows put around a line.
func unquote(line string) string {
	line = strings.TrimPrefix(strings.TrimRight(line, "\r"), "\ufeff")
	for strings.HasPrefix(line, ">") {
		line = strings.TrimPrefix(line[1:], " ")
	}
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(line, "\x1e"), "data: "); ok || rest != line {
		line = rest // journalctl -o json-sse, json-seq
	}
	if strings.IndexByte(line, 0x1b) >= 0 {
		line = uncolor(line)
	}
	return line
}

// uncolor removes ANSI sequences, as of dmesg --color.
func uncolor(line string) string {
	var b strings.Builder
	for {
		i := strings.Index(line, "\x1b[")
		if i < 0 {
			b.WriteString(line)
			return b.String()
		}
		b.WriteString(line[:i])
		line = strings.TrimLeft(line[i+2:], "0123456789;?")
		if line != "" {
			line = line[1:]
		}
	}
}

// parse splits a line into what precedes the kernel's text and the text.
func parse(line string, o *Options) *record {
	r := &record{line: line, width: len(line), joint: len(line)}
	switch {
	case strings.HasPrefix(line, "{"):
		r.fromJSON(line, o)
	case r.fromKmsg(line):
	default:
		r.text = line
		for r.strip(o) {
			r.prefixed = true
		}
		r.foreign = r.foreign || r.dated && !r.tagged && !r.hasUptime && foreignTag(r.text)
	}
	if !o.Boot.IsZero() && r.hasUptime && r.wall.IsZero() {
		r.wall = o.Boot.Add(r.uptime)
	}
	return r
}

// fromKmsg reads a record of /dev/kmsg or netconsole:
// [release,]priority,sequence,microseconds,flags[,key=value];text
func (r *record) fromKmsg(line string) bool {
	if line == "" || line[0] < '0' || line[0] > '9' {
		return false
	}
	head, text, ok := strings.Cut(line, ";")
	f := strings.Split(head, ",")
	if len(f) > 4 && strings.Contains(f[0], ".") {
		f = f[1:]
	}
	if !ok || len(f) < 4 {
		return false
	}
	priority, err1 := strconv.ParseUint(f[0], 10, 16)
	number, err2 := strconv.ParseUint(f[1], 10, 64)
	us, err3 := strconv.ParseInt(f[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || us > int64(maxUptime/time.Microsecond) {
		return false
	}
	for _, extra := range f[4:] {
		if caller, ok := strings.CutPrefix(extra, "caller="); ok {
			r.caller = caller
		}
		if strings.HasPrefix(extra, "ncfrag=") {
			r.fragment = !strings.HasPrefix(extra, "ncfrag=0/")
		}
	}
	if before, _, ok := strings.Cut(head, ",ncfrag="); ok {
		// Packets have no newline between them.
		pieces := strings.Split(text, before+",ncfrag=")
		text = pieces[0]
		for _, piece := range pieces[1:] {
			_, piece, _ = strings.Cut(piece, ";")
			text += piece
		}
	}
	r.uptime, r.hasUptime = time.Duration(us)*time.Microsecond, true
	r.number, r.numbered = number, true
	r.foreign = priority>>3 != 0
	r.prefixed, r.whole = true, true
	r.text = oneLine(unescape(text))
	return true
}

// maxUptime is more than any machine's, and far from overflow.
const maxUptime = 100 * 365 * 24 * time.Hour

// unescape undoes the \xNN of /dev/kmsg.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, `\x`)
		if i < 0 || len(s) < i+4 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		if c, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
			b.WriteByte(byte(c))
		} else {
			b.WriteString(s[i : i+4])
		}
		s = s[i+4:]
	}
}

// oneLine makes one line of a record that holds several.
func oneLine(s string) string {
	s = strings.ReplaceAll(s, "#012", "\n") // as rsyslog escapes them
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", " ")
}
