package report

import (
	"cmp"
	"io"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// List writes one line for each incident.
type List struct {
	out  io.Writer
	json bool
}

// NewList returns a List on w, of text or of JSON lines.
func NewList(w io.Writer, json bool) *List { return &List{w, json} }

// Close has nothing to do.
func (l *List) Close() error { return nil }

// Write lists one incident.
func (l *List) Write(s *Story) error {
	k := s.Kill
	if l.json {
		entry := struct {
			Incident string        `json:"incident"`
			Time     *time.Time    `json:"time,omitempty"`
			Uptime   *int64        `json:"uptime_ns,omitempty"`
			Victim   event.Actor   `json:"victim"`
			Domain   *event.Cgroup `json:"domain,omitempty"`
			Title    Text          `json:"title"`
		}{Incident: k.Incident, Uptime: k.UptimeNS, Victim: k.Victim.Actor, Domain: k.Domain.Cgroup, Title: s.Title}
		if !k.Time.IsZero() {
			entry.Time = &k.Time
		}
		return writeJSON(l.out, entry)
	}
	at := cmp.Or(clock(k), "time not known")
	if !k.Time.IsZero() {
		at = k.Time.UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	line := term.Left(term.Clean(k.Incident), 16) + "  " + term.Left(term.Text(at), 27) + "  " + term.Text(s.Title.String())
	_, err := io.WriteString(l.out, string(line)+"\n")
	return err
}
