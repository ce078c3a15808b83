package text

import (
	"cmp"
	"slices"

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

// kinds says what the victim's memory was for, largest first, with its age.
func (w *Writer) kinds(k *event.Kinds) {
	if k == nil {
		return
	}
	type kind struct {
		name  term.Text
		bytes uint64
	}
	all := []kind{
		{"anonymous mappings", k.Anonymous}, {"heap", k.Heap}, {"libraries and code", k.Libraries}, {"mapped files", k.MappedFiles},
		{"shared memory", k.Shared}, {"stack", k.Stack}, {"other", k.Other},
	}
	slices.SortStableFunc(all, func(a, b kind) int { return cmp.Compare(b.bytes, a.bytes) })
	var parts []term.Text
	for _, p := range all {
		if p.bytes > 0 {
			parts = append(parts, glue(p.name+" "+size(p.bytes)))
		}
	}
	if len(parts) == 0 {
		return
	}
	t := "of it " + join(parts, ", ") + "; read " + glue(duration(-k.ReadNS)+" before")
	if k.ReadNS > 0 {
		t = "of it " + join(parts, ", ") + "; read " + glue(duration(k.ReadNS)+" after")
	}
	w.line().to(body).wrap(dim, t, body, 2)
}
