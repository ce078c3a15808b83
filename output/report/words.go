package report

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// Text is a sentence for any medium. Its parts know whether they came from
// outside, so that each renderer can escape those as its medium needs.
type Text []Part

// Part is a piece of a Text, fit for a terminal.
type Part struct {
	Text string
	// Kind is plain or strong for words of this program, name for what the kernel,
	// a user or another program called something, quote for whole sentences of
	// others.
	Kind partKind
}

type partKind uint8

const (
	plain partKind = iota
	strong
	name
	quote
)

// String is the sentence without marks.
func (t Text) String() string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.Text)
	}
	return b.String()
}

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// Of templates.
func (p Part) Strong() bool { return p.Kind == strong }

// Name reports whether the part is to stand out as a name.
func (p Part) Name() bool { return p.Kind == name }

// say makes a sentence: strings are words of this program.
func say(parts ...any) Text {
	var t Text
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			t = append(t, Part{p, plain})
		case Part:
			t = append(t, p)
		case Text:
			t = append(t, p...)
		}
	}
	return t
}

// called marks a name that came from outside.
func called(s string) Part { return Part{string(term.Clean(s)), name} }

// quoted marks a sentence that came from outside.
func quoted(s string) Part { return Part{string(term.Clean(s)), quote} }

func bold(s string) Part { return Part{s, strong} }

func size(n uint64) string { return unit.Bytes(n) }

func lasting(ns int64) string { return unit.Duration(time.Duration(ns)) }

// counted writes "1 stall" or "1,234 stalls".
func counted[N int | uint64](n N, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "s"):
		what += "es"
	default:
		what += "s"
	}
	return unit.Count(uint64(n)) + " " + what
}

// score writes a badness, which can be below nothing.
func score(n int64) string {
	if n < 0 {
		return "−" + unit.Count(uint64(-n))
	}
	return unit.Count(uint64(n))
}

// process names a process by its comm and pid.
func process(p *event.Process) Text {
	comm := p.Comm
	if comm == "" {
		comm = "?"
	}
	if p.PID == 0 {
		return say(called(comm))
	}
	return say(called(comm + "[" + strconv.Itoa(int(p.PID)) + "]"))
}

// within adds where a process lives, when that is known.
func actor(a *event.Actor) Text {
	t := process(&a.Process)
	if where := label.Place(a.Container, a.Cgroup); where != "" {
		t = say(t, " in ", called(where))
	}
	return t
}

// clock writes the moment of a kill: the date, else the uptime, else "".
func clock(k *event.OOMKill) string {
	switch {
	case !k.Time.IsZero():
		return k.Time.UTC().Format("15:04:05.000 UTC on 2 January 2006")
	case k.UptimeNS != nil:
		return strconv.FormatFloat(float64(*k.UptimeNS)/1e9, 'f', 3, 64) + " s after boot"
	}
	return ""
}

// offset writes a moment relative to the kill: "-1.20s", "+5.59ms".
func offset(ns int64) string {
	switch {
	case ns == 0:
		return "0"
	case ns < 0:
		return "−" + lasting(-max(ns, -1<<62))
	}
	return "+" + lasting(ns)
}
