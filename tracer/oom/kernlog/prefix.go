package kernlog

import (
	"strconv"
	"strings"
	"time"
)

// strip takes one element of a prefix off the text; false when there is none.
func (r *record) strip(o *Options) bool {
	p := strings.TrimLeft(r.text, " \t")
	r.text = p
	if p == "" {
		return false
	}
	return r.priority(p) || r.bracket(p, o) || r.facility(p) || r.wall.IsZero() && r.date(p, o) || r.fields5424(p) || r.grepped(p) || r.tag(p) || r.before(p)
}

// priority is <4>, with the version of RFC 5424 behind it.
func (r *record) priority(p string) bool {
	if p[0] != '<' {
		return false
	}
	n, rest, ok := strings.Cut(p[1:], ">")
	priority, err := strconv.ParseUint(n, 10, 16)
	if !ok || err != nil {
		return false
	}
	r.foreign = r.foreign || priority>>3 != 0
	r.text, r.rfc5424 = strings.CutPrefix(rest, "1 ")
	return true
}

// fields5424 is what RFC 5424 has between the date and the text: host, name,
// process, kind of message, structured data.
func (r *record) fields5424(p string) bool {
	f := strings.SplitN(p, " ", 5)
	if len(f) < 5 || !r.dated || r.tagged || !r.rfc5424 && (f[1] != "kernel" || f[2] != "-" && !digits(f[2])) {
		return false
	}
	text, ok := structured(f[4])
	if !ok {
		return false
	}
	r.host, r.tagged, r.foreign = f[0], true, r.foreign || f[1] != "kernel"
	r.text = oneLine(strings.TrimPrefix(strings.TrimPrefix(text, " "), "\ufeff"))
	return true
}

// structured gives what follows structured data: "-", or elements in brackets.
func structured(s string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, "-"); ok {
		return rest, rest == "" || rest[0] == ' '
	}
	for strings.HasPrefix(s, "[") {
		end := 1
		for ; end < len(s) && s[end] != ']'; end++ {
			if s[end] == '\\' {
				end++
			}
		}
		if end >= len(s) {
			return "", false
		}
		s, ok = s[end+1:], true
	}
	return s, ok
}

// grepped is the name of a file and the number of a line, as grep puts them
// before a line, or the length of it.
func (r *record) grepped(p string) bool {
	if r.prefixed {
		return false
	}
	for i := 1; i < min(len(p), 120) && p[i-1] != '\t'; i++ {
		if p[i-1] == ' ' {
			if p[i] != '<' || !digits(p[:i-1]) {
				return false
			}
		} else if p[i-1] != ':' && p[i-1] != '-' || !uptimeIn(p[i:]) && !datedLine(p[i:]) {
			continue
		}
		r.text = p[i:]
		return true
	}
	return false
}

// before is what consoles and collectors put before a line that says itself where
// the kernel's begins: a prompt, the name of a stream.
func (r *record) before(p string) bool {
	if r.prefixed && !r.dated || r.tagged {
		return false
	}
	for i := 1; i < min(len(p), 120); i++ {
		if p[i] == '[' && uptimeIn(p[i:]) && (innocent(p[:i]) || strings.HasSuffix(p[:i], " login: ")) {
			r.text = p[i:]
			return true
		}
	}
	return false
}

// uptimeIn tells "[  123.456789]", with whatever else dmesg has in the brackets.
func uptimeIn(p string) bool {
	var r record
	return p[0] == '[' && r.bracket(p, &Options{}) && r.hasUptime
}

// datedLine tells a line that begins with a date.
func datedLine(p string) bool {
	var r record
	return p[0] != ' ' && r.date(p, &Options{})
}

// foreignTag reports whether text is "HOST TAG: " or "HOST TAG[PID]: ", as syslog
// has it behind a date: then it is another program's.
func foreignTag(p string) bool {
	host, rest, ok := strings.Cut(p, " ")
	tag, _, colon := strings.Cut(rest, ": ")
	return ok && colon && tag != "" && !strings.ContainsAny(host, ":[") && !strings.ContainsAny(tag, " :") || programTag(p)
}

// programTag reports whether text is "TAG[PID]: ", as programs begin what they
// write into the kernel's log.
func programTag(p string) bool {
	tag, pid, ok := strings.Cut(p, "[")
	pid, _, closed := strings.Cut(pid, "]: ")
	return ok && closed && tag != "" && digits(pid) && !strings.ContainsAny(tag, " :")
}

// bracket is an uptime, a caller or a date in brackets. What else stands in
// brackets, as the rows of the table of tasks do, is the kernel's text.
func (r *record) bracket(p string, o *Options) bool {
	if p[0] != '[' {
		return false
	}
	in, rest, ok := strings.Cut(p[1:], "]")
	in = strings.TrimSpace(in)
	if !ok || in == "" || len(in) > 64 {
		return false
	}
	first, _, _ := strings.Cut(in, " ")
	switch seconds, micros, isUptime := strings.Cut(first, "."); {
	case isUptime && digits(seconds) && digits(micros) && len(seconds) < 10:
		if r.hasUptime {
			break
		}
		s, _ := strconv.ParseInt(seconds, 10, 64)
		us, _ := strconv.ParseInt((micros + "000000")[:6], 10, 64)
		r.uptime, r.hasUptime = time.Duration(s)*time.Second+time.Duration(us)*time.Microsecond, true
	case (in[0] == 'T' || in[0] == 'C') && digits(in[1:]):
		r.caller = in
	case in[0] == '+' && isUptime && digits(seconds[1:]) && digits(micros), in[0] == '<' && in[len(in)-1] == '>' && strings.Trim(in[1:len(in)-1], " .0123456789") == "":
		// dmesg -e, --time-format delta: the time since the line before
	case clockIn(in):
		if r.wall.IsZero() {
			date, _, _ := strings.Cut(in, " <") // dmesg -d: likewise
			r.wall = parseDate(date, o)
		}
	case len(in) > 5 && in[len(in)-6] == ' ' && clockIn(in[len(in)-5:]+":00"):
		// dmesg -e: a date to the minute
	default:
		return false
	}
	r.text = rest
	return true
}

// facility is what dmesg -x writes: "kern  :warn  : ".
func (r *record) facility(p string) bool {
	name, rest, ok := strings.Cut(p, ":")
	name = strings.TrimRight(name, " ")
	if !ok || name != "kern" && name != "user" && name != "daemon" && name != "syslog" {
		return false
	}
	level, rest, ok := strings.Cut(rest, ":")
	switch strings.TrimSpace(level) {
	case "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug":
	default:
		return false
	}
	if !ok {
		return false
	}
	r.foreign = r.foreign || name != "kern"
	r.text = rest
	return true
}

// tag is "host kernel: ", with whatever else of a date is before it.
func (r *record) tag(p string) bool {
	window := p[:min(len(p), 160)]
	for _, tag := range []string{"kernel: ", "kernel:", "kernel[0]: ", "kernel - - - ", "kernel - - "} {
		i := strings.Index(window, tag)
		if i < 0 || i > 0 && p[i-1] != ' ' && p[i-1] != '\t' || !innocent(p[:i]) {
			continue
		}
		if f := strings.Fields(p[:i]); len(f) > 0 {
			r.host = f[len(f)-1]
		}
		r.tagged = true
		r.text = oneLine(p[i+len(tag):])
		return true
	}
	return false
}

// innocent reports whether text may be a date and a host, not somebody's
// sentence that quotes the kernel.
func innocent(p string) bool {
	return len(p) <= 120 && !strings.ContainsAny(p, "\"'=(){}]") && !strings.Contains(p, ": ") && !strings.HasSuffix(p, ":")
}

// clockIn finds hh:mm:ss.
func clockIn(s string) bool {
	for i := 0; i+8 <= len(s); i++ {
		if s[i+2] == ':' && s[i+5] == ':' && digits(s[i:i+2]) && digits(s[i+3:i+5]) && digits(s[i+6:i+8]) {
			return true
		}
	}
	return false
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// date takes a date off that it understands or at least recognises.
func (r *record) date(p string, o *Options) bool {
	f := strings.Fields(p[:min(len(p), 80)])
	var words int
	switch {
	case len(f) == 0: // spaces of other scripts
		return false
	case len(f) > 1 && epoch(f[0]) && !strings.HasPrefix(p, "["):
		words = 1
	case len(f[0]) >= 19 && isoDay(f[0]) && clockIn(f[0]):
		words = 1
	case len(f) > 1 && isoDay(f[0]) && clockIn(f[1]):
		words = 2 + zoneWord(f, 2)
	case len(f) > 2 && isoDay(f[1]) && clockIn(f[2]):
		words = 3 + zoneWord(f, 3)
	case len(f) > 2 && month(f[0]) && digits(f[1]) && clockIn(f[2]):
		words = 3
	case len(f) > 3 && digits(f[0]) && month(f[1]) && clockIn(f[3]):
		words = 4
	default:
		return false
	}
	rest := p
	for range words {
		rest = strings.TrimLeft(rest, " \t")
		rest = rest[max(strings.IndexAny(rest+" ", " \t"), 0):]
	}
	date := strings.ReplaceAll(strings.TrimSpace(p[:len(p)-len(rest)]), "\t", " ")
	r.wall = parseDate(date, o)
	// dmesg --time-format iso has a comma, and neither host nor tag behind it.
	r.dated = !strings.Contains(date, ",")
	r.text = rest
	return true
}

func isoDay(s string) bool {
	return len(s) >= 10 && s[4] == '-' && s[7] == '-' && digits(s[:4]) && digits(s[5:7]) && digits(s[8:10])
}

func month(s string) bool {
	_, err := time.Parse("Jan", s)
	return err == nil
}

// epoch is journalctl's short-unix.
func epoch(s string) bool {
	a, b, ok := strings.Cut(s, ".")
	return ok && len(a) == 10 && len(b) == 6 && digits(a) && digits(b)
}

// zoneWord counts a zone at f[i] as a word of the date. What may be a host's name
// is a zone where one follows.
func zoneWord(f []string, i int) int {
	if i >= len(f) {
		return 0
	}
	z := f[i]
	switch {
	case z == "UTC" || z == "GMT" || z == "CET" || z == "CEST", (len(z) == 5 || len(z) == 3) && (z[0] == '+' || z[0] == '-') && digits(z[1:]):
		return 1
	case len(z) >= 3 && len(z) <= 5 && strings.Trim(z, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && i+2 < len(f) && strings.HasPrefix(f[i+2], "kernel"):
		return 1
	}
	return 0
}

// parseDate gives the zero time for what it cannot date to the second.
func parseDate(s string, o *Options) time.Time {
	if epoch(s) {
		sec, _ := strconv.ParseInt(s[:10], 10, 64)
		us, _ := strconv.ParseInt(s[11:], 10, 64)
		return time.Unix(sec, us*1000).UTC()
	}
	if i := strings.IndexByte(s, ' '); i > 0 && len(s) > i+10 && isoDay(s[i+1:]) {
		s = s[i+1:] // the day of the week, in whatever language
	}
	s = strings.Replace(s, ",", ".", 1)
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z0700", "2006-01-02 15:04:05 Z07"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	for _, name := range []string{" UTC", " GMT"} {
		if t, err := time.Parse("2006-01-02 15:04:05", strings.TrimSuffix(s, name)); err == nil && strings.HasSuffix(s, name) {
			return t.UTC()
		}
	}
	if o.Location == nil {
		return time.Time{}
	}
	if i := strings.LastIndexByte(s, ' '); i > 0 && i+1 < len(s) && s[i+1] >= 'A' {
		// A zone's name says which it is only where it is the local one.
		t, err := time.ParseInLocation("2006-01-02 15:04:05", s[:i], o.Location)
		if name, _ := t.Zone(); err == nil && name == s[i+1:] {
			return t.UTC()
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", time.ANSIC, "2 Jan 2006 15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, o.Location); err == nil {
			return t.UTC()
		}
	}
	if o.Now.IsZero() {
		return time.Time{}
	}
	year := o.Now.In(o.Location).Year()
	for ; year > o.Now.Year()-5; year-- { // 29 February is not in every year
		t, err := time.ParseInLocation("2006 Jan _2 15:04:05", strconv.Itoa(year)+" "+s, o.Location)
		if err == nil && !t.After(o.Now.Add(24*time.Hour)) {
			return t.UTC()
		}
	}
	return time.Time{}
}
