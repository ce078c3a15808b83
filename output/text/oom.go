package text

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	maxCandidates = 5
	maxKills      = 64 // remembered, to be named when they end
)

// kill is what is remembered of an incident.
type kill struct {
	incident string
	victim   term.Text
}

// label begins a line of the block. Labels end where the body begins.
func (w *Writer) label(t term.Text) *line { return w.line().skip(2).put(dim, t).to(body) }

func (w *Writer) oomKill(e *event.OOMKill) {
	if len(w.kills) == maxKills {
		w.kills = slices.Delete(w.kills, 0, 1)
	}
	w.kills = append(w.kills, kill{e.Incident, process(&e.Victim.Process, 24)})

	w.blank()
	if e.Killed != nil && len(e.Killed) == 0 {
		w.spared(e)
	} else {
		w.headline(e)
	}

	if why := w.why(e); why != "" {
		w.label("why").wrap(bold, why, body, 3)
	}
	w.container(e.Victim.Container)
	if e.Verdict != nil {
		w.verdict(e.Verdict)
	}
	if e.Trigger.PID != 0 || e.Trigger.Comm != "" || e.Trigger.GFPFlags != "" || e.Trigger.Order != nil {
		w.label("trigger").wrap(plain, w.trigger(e), body, 2)
	}
	if len(e.Trigger.Stack) > 0 {
		w.line().to(body).wrap(dim, stack(e.Trigger.Stack), body, 2)
	}
	if e.Domain.Memory != nil {
		w.composition(e.Domain.Memory)
	}
	if e.Victim.PID != 0 {
		w.victim(&e.Victim)
	}
	w.candidates(e)
	if len(e.Killed) > 1 {
		w.label("killed").wrap(plain, killed(e), body, 2)
	}
	if r := e.ReclaimBefore; r != nil {
		t := counted(r.Episodes, "stall") + " in the last " + duration(r.WindowNS) + ": " +
			duration(r.StalledNS) + " lost, " + w.pages(r.Reclaimed) + " freed"
		w.label("before").put(plain, t).end()
	}
	if t := timeline(&e.Timeline); t != "" {
		w.label("timeline").put(plain, t).end()
	}
	l := w.label("incident").put(plain, term.Clean(e.Incident))
	if from := source(e.Source); from != "" {
		l.skip(1).put(dim, "("+from+")")
	}
	l.end()
	w.blank()
}

// why says in words what ran out.
func (w *Writer) why(e *event.OOMKill) term.Text {
	if e.Trigger.InvokedBy == event.InvokedBySysrq || e.Trigger.Order != nil && *e.Trigger.Order < 0 {
		return "somebody asked for it, through SysRq-f"
	}
	d := &e.Domain
	var t term.Text
	switch d.Constraint {
	case event.ConstraintMemcg:
		t = "the memory limit"
		if m := d.Memory; m != nil && m.Limit != nil {
			t += " of " + size(*m.Limit)
		}
		if of := domain(d); of != "" {
			t += " of " + of
		}
		if e.Trigger.InvokedBy == event.InvokedByLimitWrite {
			t += " was set below what it used"
		} else {
			t += " was reached"
		}
		if v := e.Victim.Cgroup; v != nil && d.Cgroup != nil && event.Below(v.Path, d.Cgroup.Path) {
			// Its name; or of its path what the domain's does not say.
			below := event.Cgroup{Path: strings.TrimPrefix(strings.TrimPrefix(v.Path, d.Cgroup.Path), "/")}
			t += "; the victim lived below it, in " + place(e.Victim.Container, &below)
		}
	case event.ConstraintGlobal:
		t = "the node ran out of memory"
		if d.TotalPages != nil {
			t += " (" + w.pages(*d.TotalPages) + " of RAM and swap)"
		}
	case event.ConstraintCpuset:
		t = "the memory nodes" + nodes(d) + " of a cpuset ran out; other nodes may have memory free"
	case event.ConstraintMempolicy:
		t = "the memory nodes" + nodes(d) + " of a memory policy ran out; other nodes may have memory free"
	default:
		t = term.Clean(d.Constraint)
	}
	if d.Source == event.SourceInferred {
		t += " (inferred)"
	}
	return t
}

// nodes are those that ran out, where it is known which.
func nodes(d *event.OOMDomain) term.Text {
	if d.Nodes == "" {
		return ""
	}
	return " (" + term.Clean(d.Nodes) + ")"
}

// domain names the cgroup at its limit, with its path where the name is another.
func domain(d *event.OOMDomain) term.Text {
	name := place(d.Container, d.Cgroup)
	if d.Cgroup == nil || d.Cgroup.Path == "" {
		return name
	}
	path := place(nil, d.Cgroup)
	if name == path {
		return name
	}
	return name + " (" + path + ")"
}

// trigger says whose allocation could not be served.
func (w *Writer) trigger(e *event.OOMKill) term.Text {
	tr := &e.Trigger
	var t term.Text
	switch {
	case tr.PID == 0 && tr.Comm == "":
		t = "not told" // a log that was cut, or by hand
	case tr.PID != 0 && tr.PID == e.Victim.PID:
		t = "the victim itself"
	default:
		t = actor(&tr.Actor)
	}
	switch tr.InvokedBy {
	case event.InvokedByLimitWrite:
		return t + ", by writing memory.max" + sure(tr.InvokedBySource)
	case event.InvokedBySysrq:
		return t + ", on request (SysRq-f)" + sure(tr.InvokedBySource)
	}
	var flags term.Text
	if tr.GFPFlags != "" {
		flags = ", " + term.Clean(strings.ReplaceAll(tr.GFPFlags, "|", " | "))
	}
	switch o := tr.Order; {
	case o == nil && flags != "":
		t += " (" + flags[2:] + ")"
	case o == nil:
	case *o < 0:
		t += ", on request (SysRq-f)"
	case *o < 32 && w.page > 0:
		t += ", allocating " + w.pages(1<<*o) + " (" + glue("order "+number(*o)) + flags + ")"
	default:
		t += " (order " + number(*o) + flags + ")"
	}
	return t
}

func sure(source string) term.Text {
	if source == event.SourceInferred {
		return " (inferred)"
	}
	return ""
}

// victim lists what the process held.
func (w *Writer) victim(v *event.Candidate) {
	var parts []term.Text
	figure := func(name term.Text, n *uint64) {
		if n != nil {
			parts = append(parts, name+" "+size(*n))
		}
	}
	figure("anon", v.AnonRSS)
	figure("file", v.FileRSS)
	figure("shmem", v.ShmemRSS)
	if rss := v.RSS(); rss != nil {
		t := size(*rss) + " resident"
		if len(parts) > 0 {
			t += " (" + join(parts, ", ") + ")"
		}
		parts = []term.Text{t}
	}
	figure("swap", v.Swap)
	figure("page tables", v.PageTables)
	if v.TotalVM != nil {
		parts = append(parts, "virtual "+size(*v.TotalVM)+virtual(&v.TaskMemory))
	}
	if v.LockedVM != nil && *v.LockedVM > 0 {
		figure("locked", v.LockedVM)
	}
	if v.OOMScoreAdj != nil {
		parts = append(parts, "oom_score_adj "+number(*v.OOMScoreAdj))
	}
	if v.Badness != nil {
		parts = append(parts, "badness "+number(*v.Badness))
	}
	if v.UID != nil {
		parts = append(parts, "uid "+number(*v.UID))
	}
	if v.ContainerPID != 0 && v.ContainerPID != v.PID {
		parts = append(parts, "pid "+number(v.ContainerPID)+" in its container")
	}
	if len(parts) > 0 {
		for i, p := range parts {
			if !strings.Contains(string(p), "(") {
				parts[i] = glue(p)
			}
		}
		w.label("victim").wrap(plain, join(parts, ", "), body, 3)
	}
	w.kinds(v.Kinds)
}

// virtual says what the address space is made of.
func virtual(m *event.TaskMemory) term.Text {
	if m.DataVM == nil || m.ExecVM == nil || m.StackVM == nil {
		return ""
	}
	return " (data " + size(*m.DataVM) + ", code " + size(*m.ExecVM) + ", stack " + size(*m.StackVM) + ")"
}

func join(parts []term.Text, by string) term.Text {
	var t term.Text
	for i, p := range parts {
		if i > 0 {
			t += term.Text(by)
		}
		t += p
	}
	return t
}

// candidates is the table of those whom the kernel weighed, worst first.
func (w *Writer) candidates(e *event.OOMKill) {
	all := slices.Clone(e.Candidates)
	if len(all) == 0 || len(all) == 1 && all[0].PID == e.Victim.PID && e.CandidatesMissing == 0 {
		return // nothing that the victim's line does not say
	}
	slices.SortStableFunc(all, func(a, b event.Candidate) int {
		switch {
		case a.Badness != nil && b.Badness != nil:
			return cmp.Compare(*b.Badness, *a.Badness)
		case a.Badness != nil:
			return -1
		case b.Badness != nil:
			return 1
		}
		return 0
	})
	const badness, rss, swap, adj, who, where = body, body + 10, body + 20, body + 30, body + 37, body + 60
	const whoWide = where - who - 2
	l := w.label("weighed").right(dim, "BADNESS", 8).to(rss).right(dim, "RESIDENT", 8).to(swap).right(dim, "SWAP", 8)
	l.to(adj).right(dim, "ADJ", 5).to(who).put(dim, "PROCESS").to(where).put(dim, "CONTAINER/CGROUP").end()
	for i := range all[:min(len(all), maxCandidates)] {
		c := &all[i]
		l, s := w.line(), plain
		if c.PID == e.Victim.PID {
			s = bold
			l.skip(2).put(alarm, "killed >")
		}
		l.to(badness)
		if c.Badness != nil {
			l.right(s, number(*c.Badness), 8)
		}
		if n := c.RSS(); n != nil {
			l.to(rss).right(s, size(*n), 8)
		}
		if c.Swap != nil {
			l.to(swap).right(s, size(*c.Swap), 8)
		}
		if c.OOMScoreAdj != nil {
			l.to(adj).right(s, number(*c.OOMScoreAdj), 5)
		}
		l.to(who).put(s, process(&c.Process, whoWide))
		l.to(where).put(s, term.Elide(place(c.Container, c.Cgroup), l.room())).end()
	}
	if t := leftOut(all, e.CandidatesMissing); t != "" {
		w.line().to(body).put(dim, t).end()
	}
}

// leftOut says who is not in the table.
func leftOut(all []event.Candidate, missing uint64) term.Text {
	var t term.Text
	if more := len(all) - maxCandidates; more > 0 {
		t = "…and " + number(more) + " more"
		exempt := 0
		for _, c := range all[maxCandidates:] {
			if c.Unkillable != "" {
				exempt++
			}
		}
		if exempt > 0 {
			t += ", " + number(exempt) + " of them exempt from being killed"
		}
	}
	if missing > 0 {
		if t != "" {
			t += "; "
		}
		t += term.Text(unit.Count(missing)) + " were weighed but not delivered"
	}
	return t
}

// killed lists all that were killed together.
func killed(e *event.OOMKill) term.Text {
	var names []term.Text
	shared := 0
	for i := range e.Killed {
		k := &e.Killed[i]
		names = append(names, process(&k.Process, 24))
		if k.Reason == "shared_mm" {
			shared++
		}
	}
	t := number(len(names)) + " processes"
	switch {
	case e.Group:
		t += ", the whole group (memory.oom.group)"
	case shared > 0:
		t += ", " + number(shared) + " for sharing the victim's memory"
	}
	return t + ": " + join(names, ", ")
}

// timeline tells the moments around the mark in their order.
func timeline(t *event.Timeline) term.Text {
	var parts []term.Text
	moment := func(what term.Text, at *int64) {
		if at == nil {
			return
		}
		sign := term.Text("+")
		if *at < 0 {
			sign = ""
		}
		parts = append(parts, what+" "+sign+duration(*at))
	}
	moment("killer invoked", t.InvokedNS)
	moment("victim selected", t.SelectedNS)
	if len(parts) > 0 {
		parts = append(parts, "marked 0")
	}
	moment("signalled", t.SignalledNS)
	moment("exited", t.ExitedNS)
	moment("memory back", t.FreedNS)
	return join(parts, " → ")
}

// source says where weaker figures come from.
func source(s string) term.Text {
	switch s {
	case "", event.SourceBPF:
		return ""
	case event.SourceKmsg:
		return "from the kernel log"
	case event.SourceProcfs:
		return "from /proc after the kill"
	case event.SourceCgroupfs:
		return "read after the kill"
	}
	return term.Clean(s)
}

// oomEnd is dated at the last thing that it reports.
func (w *Writer) oomEnd(e *event.OOMEnd) {
	at := e.Time
	for _, ns := range []*int64{e.Timeline.ExitedNS, e.Timeline.FreedNS} {
		if ns != nil {
			if end := e.Time.Add(time.Duration(*ns)); end.After(at) {
				at = end
			}
		}
	}
	who := "incident " + term.Clean(e.Incident)
	if i := slices.IndexFunc(w.kills, func(k kill) bool { return k.incident == e.Incident }); i >= 0 {
		who = w.kills[i].victim
		w.kills = slices.Delete(w.kills, i, i+1)
	}

	var parts []term.Text
	if n := e.Timeline.ExitedNS; n != nil {
		parts = append(parts, "exited after "+duration(*n))
	} else {
		parts = append(parts, "exit not seen")
	}
	freed := term.Text("memory")
	if e.Freed != nil {
		freed = size(*e.Freed)
	}
	if n := e.Timeline.FreedNS; n != nil {
		parts = append(parts, freed+" back after "+duration(*n))
	} else if e.Freed != nil {
		parts = append(parts, freed+" back")
	}
	if n := len(e.Killed); n > 0 {
		parts = append(parts, number(n)+" more killed with it")
	}
	l := w.at(at).put(bold, "OOM END").to(body+10).put(plain, who+" "+join(parts, ", "))
	if len(e.Survivors) > 0 {
		names := make([]term.Text, len(e.Survivors))
		for i := range e.Survivors {
			names[i] = process(&e.Survivors[i], 24)
		}
		l.put(alarm, "; STILL ALIVE: "+join(names, ", "))
	}
	l.end()
}
