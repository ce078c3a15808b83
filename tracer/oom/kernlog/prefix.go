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
	return r.priority(p) || r.bracket(p, o) || r.facility(p) || r.wall.IsZero() && r.date(p, o) || r.tag(p)
}

// priority is <4>, with the version of RFC 5424 behind it.
func (r *record) priority(p string) bool {
	if p[0] != '<' {
		return false
	}
	n, rest, ok := strings.Cut(p[1:], ">")
	if _, err := strconv.ParseUint(n, 10, 16); !ok || err != nil {
		return false
	}
	r.text = strings.TrimPrefix(rest, "1 ")
	return true
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
	case clockIn(in):
		if r.wall.IsZero() {
			r.wall = parseDate(in, o)
		}
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
	for _, tag := range []string{"kernel: ", "kernel:", "kernel - - - ", "kernel - - "} {
		i := strings.Index(window, tag)
		if i < 0 || i > 0 && p[i-1] != ' ' || !innocent(p[:i]) {
			continue
		}
		if f := strings.Fields(p[:i]); len(f) > 0 {
			r.host = f[len(f)-1]
		}
		r.text = oneLine(p[i+len(tag):])
		return true
	}
	return false
}

// innocent reports whether text may be a date and a host, not somebody's
// sentence that quotes the kernel.
func innocent(p string) bool {
	return len(p) <= 120 && !strings.ContainsAny(p, "\"'=(){}") && !strings.Contains(p, ": ") && !strings.HasSuffix(p, ":")
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
		rest = strings.TrimLeft(rest, " ")
		_, rest, _ = strings.Cut(rest, " ")
	}
	r.wall = parseDate(strings.TrimSpace(p[:len(p)-len(rest)]), o)
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

// zoneWord counts a zone at f[i] as a word of the date.
func zoneWord(f []string, i int) int {
	if i < len(f) && (f[i] == "UTC" || f[i] == "CET" || f[i] == "CEST" || f[i] == "GMT" || len(f[i]) == 5 && strings.ContainsAny(f[i][:1], "+-") && digits(f[i][1:])) {
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
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z0700"} {
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
