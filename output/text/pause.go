package text

import (
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// oomPause is a line when tasks begin to wait, and one when none does any more.
func (w *Writer) oomPause(e *event.OOMPause) {
	who := place(e.Container, &e.Cgroup)
	if e.State != event.PauseEnd {
		t := who + " is full"
		if e.Limit != nil {
			t += " at " + size(*e.Limit)
		}
		t += " and its OOM killer off (memory.oom_control); waiting: " + waiters(e.Processes)
		w.at(e.Time).put(alarm, "PAUSE").to(body+10).wrap(plain, t, body+10, 3)
		return
	}
	at, t := e.Time, who
	if e.DurationNS != nil {
		at = e.Time.Add(time.Duration(*e.DurationNS))
		t += " after " + duration(*e.DurationNS)
	}
	if how := w.paused(e); how != "" {
		t += ": " + how
	}
	t += "; waited: " + waiters(e.Processes)
	w.at(at).put(bold, "PAUSE END").to(body+10).wrap(plain, t, body+10, 3)
}

// paused says how a pause ended.
func (w *Writer) paused(e *event.OOMPause) term.Text {
	switch e.Ended {
	case event.PauseKillerEnabled:
		t := term.Text("the OOM killer was switched on")
		if e.Incident != "" {
			t += " (incident " + term.Clean(e.Incident) + ")"
		}
		return t
	case event.PauseLimitRaised:
		if e.Limit == nil {
			return "the limit was taken away"
		}
		return "the limit was raised to " + size(*e.Limit)
	case event.PauseKilled:
		for i := range e.Processes {
			if p := &e.Processes[i]; p.KilledBy != nil {
				return process(&p.Process, 24) + " was killed by " + actor(p.KilledBy)
			}
		}
		return "killed"
	case event.PauseMemoryFreed:
		return "memory was freed"
	}
	return term.Clean(e.Ended)
}

func waiters(all []event.Waiter) term.Text {
	names := make([]term.Text, 0, maxCandidates)
	for i := range all[:min(len(all), maxCandidates)] {
		names = append(names, process(&all[i].Process, 24))
	}
	t := join(names, ", ")
	if more := len(all) - len(names); more > 0 {
		t += " and " + number(more) + " more"
	}
	return t
}

// kmsg is a line of the kernel's log, quoted.
func (w *Writer) kmsg(e *event.Kmsg) {
	w.at(e.Time).put(dim, "kmsg").to(body+8).put(dim, term.Clean(e.Text)).end()
}
