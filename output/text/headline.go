package text

import (
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// headline says who was killed.
func (w *Writer) headline(e *event.OOMKill) {
	t := process(&e.Victim.Process, 40)
	if others := len(e.Killed) - 1; others > 0 {
		t += " and " + number(others) + " more"
	}
	if p := place(e.Victim.Container, e.Victim.Cgroup); p != "" {
		t += " in " + p
	}
	w.atKill(e).put(alarm, "OOM KILL").to(body+10).put(bold, t).end()
}

// spared says that nobody was killed, or that who was is not known.
func (w *Writer) spared(e *event.OOMKill) {
	t := term.Text("nobody was killed: there is no process that may be")
	switch {
	case e.Source == event.SourceKmsg && e.Victim.PID == 0:
		t = "no victim in the log"
	case e.Victim.PID != 0:
		t = process(&e.Victim.Process, 40)
		if p := place(e.Victim.Container, e.Victim.Cgroup); p != "" {
			t += " in " + p
		}
	}
	w.atKill(e).put(alarm, "OOM").to(body+10).put(bold, t).end()
	if e.Repeated > 0 {
		w.line().to(body+10).put(dim, "and so "+counted(e.Repeated, "more time")+" since that was told last").end()
	}
}
