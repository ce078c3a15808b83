package tracer

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
	"github.com/oomtrace/oomtrace/tracer/oom/kernlog"
)

const (
	// logSettles is how long a kill waits for the log, where hooks do not tell all.
	// The kernel writes the report before it kills, so it is mostly there; but it
	// limits how many it writes.
	logSettles = time.Millisecond
	// logDecides is the same where no cgroup was found at its limit: whether the
	// machine ran out, or the nodes of a cpuset or of a policy, only the log says.
	logDecides = 50 * time.Millisecond
	// logAlone is when a report that no hook has told of becomes an event itself.
	logAlone = time.Second
	// logKept is how long reports are kept for lines that follow.
	logKept = 5 * time.Second
)

// logFacts is what a report says.
type logFacts struct {
	kill *event.OOMKill
}

// killed tells whether a report is about a process.
func (f *logFacts) killed(tgid, tid uint32) bool {
	for _, pid := range []int32{f.kill.Victim.PID, f.kill.Victim.TID} {
		if pid != 0 && (uint32(pid) == tgid || uint32(pid) == tid) {
			return true
		}
	}
	return slices.ContainsFunc(f.kill.Killed, func(k event.Killed) bool { return uint32(k.PID) == tgid })
}

// openLog follows the kernel's log, where that is allowed.
func (t *Tracer) openLog() {
	if !t.opts.wants(FamilyOOM) && !t.opts.wants(FamilyKmsg) {
		return
	}
	log, err := followLog(kernelLog, func() { _ = t.reader.Flush() })
	if err == nil {
		t.log = log
	}
}

// reports gives the reports of the log that wait, read as far as they go.
func (t *Tracer) reports() []*logReport {
	if t.log == nil {
		return nil
	}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	for _, r := range t.log.reports {
		r.at, r.done = r.read, r.over
		if !r.fresh {
			continue
		}
		r.fresh = false
		var text strings.Builder
		for _, line := range r.lines {
			text.WriteString(line.raw)
			text.WriteByte('\n')
		}
		o := kernlog.Options{PageBytes: int(t.page), Boot: t.clock.wall(0), InOrder: true, Badness: badness}
		for kill := range kernlog.Read(strings.NewReader(text.String()), o) {
			r.known = &logFacts{kill}
			break
		}
	}
	return slices.Clone(t.log.reports)
}

func badness(w kernlog.Weight) int64 {
	f := oom.Figures{Anon: w.Pages, PageTableBytes: w.PageTableBytes, PageBytes: w.PageBytes, ScoreAdj: w.ScoreAdj}
	return oom.Badness(f, w.TotalPages)
}

// logged finds what the log says of an incident; nil when it does not.
func (t *Tracer) logged(in *incident) *logFacts {
	for _, r := range t.reports() {
		if r.known != nil && r.incident == "" && r.known.killed(in.first.Victim.Tgid, in.first.Victim.Tid) {
			r.incident, r.of = in.name(), in
			return r.known
		}
	}
	return nil
}

// awaitsLog tells whether an incident that is complete should wait for what the
// log has to say of it.
func (t *Tracer) awaitsLog(in *incident) bool {
	if t.log == nil || in.first.Victim.Tgid == 0 || bpf.CoreOomFlags(in.first.Flags)&bpf.CoreOomFlagsOOM_CONTROL != 0 && !confined(constraint(in.first)) {
		return false
	}
	if in.logged == nil {
		in.logged = t.logged(in)
	}
	return in.logged == nil
}

// confined tells whether some memory nodes ran out: only the log says which.
func confined(constraint string) bool {
	return constraint == event.ConstraintCpuset || constraint == event.ConstraintMempolicy
}

// behind tells whether the log has more than was read so far: who writes the log
// does so before the kill, who reads it may have waited for a CPU.
func (l *logReader) behind() bool {
	c, err := l.file.SyscallConn()
	if err != nil {
		return false
	}
	more := false
	err = c.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		more = err == nil && n > 0
	})
	return err == nil && more
}

// logWait is how long an incident waits for the log.
func (in *incident) logWait() time.Duration {
	if in.first.Domain == 0 {
		return logDecides
	}
	return logSettles
}

// joinLog fills in what only the log tells: the log has the kernel's own words
// where the hooks had to infer.
func (t *Tracer) joinLog(e *event.OOMKill, facts *logFacts) {
	if facts == nil {
		return
	}
	k := facts.kill
	from := func(field string) { e.FromKmsg = append(e.FromKmsg, field) }
	if k.Trigger.GFPFlags != "" {
		e.Trigger.GFPFlags = k.Trigger.GFPFlags
		from("trigger.gfp_flags")
	}
	if o := k.Trigger.Order; o != nil {
		if *o == -1 {
			e.Trigger.InvokedBy, e.Trigger.InvokedBySource = event.InvokedBySysrq, event.SourceKmsg
		} else {
			e.Trigger.Order = o
			from("trigger.order")
		}
	}
	if e.Domain.Source != event.SourceInferred || k.Domain.Source != event.SourceKmsg {
		return
	}
	e.Domain.Source = event.SourceKmsg
	from("domain.constraint")
	d := &e.Domain
	if k.Domain.Constraint == event.ConstraintMemcg {
		d.Constraint = event.ConstraintMemcg
		if k.Domain.Cgroup != nil && (d.Cgroup == nil || d.Cgroup.Path != k.Domain.Cgroup.Path) {
			d.Cgroup, d.Container = t.byPath(k.Domain.Cgroup.Path)
			d.Memory = k.Domain.Memory
			from("domain.cgroup")
			t.unscaled(e)
		}
		return
	}
	if d.Constraint != event.ConstraintGlobal || k.Domain.Constraint != event.ConstraintGlobal {
		t.unscaled(e)
	}
	d.Constraint, d.Cgroup, d.Container, d.Memory, e.ReclaimBefore = k.Domain.Constraint, nil, nil, nil, nil
	t.joinNodes(e, facts)
}

// joinNodes fills in which memory nodes ran out, where it is known that some did.
func (t *Tracer) joinNodes(e *event.OOMKill, facts *logFacts) {
	if facts == nil || facts.kill.Domain.Nodes == "" || facts.kill.Domain.Constraint != e.Domain.Constraint {
		return
	}
	e.Domain.Nodes = facts.kill.Domain.Nodes
	e.FromKmsg = append(e.FromKmsg, "domain.nodes")
}

// unscaled takes back what was computed from the wrong domain's size.
func (t *Tracer) unscaled(e *event.OOMKill) {
	e.Domain.TotalPages = nil
	take := func(c *event.Candidate) {
		if c.BadnessSource == event.SourceInferred && c.OOMScoreAdj != nil && *c.OOMScoreAdj != 0 {
			c.Badness, c.BadnessSource = nil, ""
		}
	}
	take(&e.Victim)
	for i := range e.Candidates {
		take(&e.Candidates[i])
	}
}

// byPath names a cgroup that the log knows by its path alone.
func (t *Tracer) byPath(path string) (*event.Cgroup, *event.Container) {
	if id, ok := t.names.tree.ByPath(path); ok {
		return t.names.cgroup(id)
	}
	return &event.Cgroup{Path: path, Version: t.mount.Version}, nil
}

// settleLog tells of reports whose kill no hook has told of, and of the lines of
// all. It returns when it wants to be called again, 0 for no particular time.
func (t *Tracer) settleLog(now uint64, final bool) (uint64, error) {
	var next uint64
	for _, r := range t.reports() {
		if r.known != nil && r.incident == "" {
			for tgid, v := range t.victims {
				if r.known.killed(tgid, 0) {
					r.incident, r.foreign = v.incident, v.foreign
				}
			}
		}
		if r.of != nil && !r.of.written && !final { // whether it is wanted is found out then
			next = now + uint64(logSettles)
			continue
		}
		if r.of != nil {
			r.foreign = r.of.foreign
		}
		if r.incident == "" && now < r.at+uint64(logAlone) && !final {
			next = r.at + uint64(logAlone)
			continue
		}
		if r.incident == "" && r.known != nil && r.done {
			r.incident = r.known.kill.Incident
			if err := t.emitLogged(r); err != nil {
				return 0, err
			}
		}
		if err := t.emitLines(r); err != nil {
			return 0, err
		}
	}
	if t.log == nil {
		return next, nil
	}
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	t.log.reports = slices.DeleteFunc(t.log.reports, func(r *logReport) bool { return now >= r.read+uint64(logKept) })
	return next, nil
}

// emitLogged tells of a kill that only the log knows of.
func (t *Tracer) emitLogged(r *logReport) error {
	k := r.known.kill
	wanted := len(t.opts.Cgroups) == 0
	name := func(cg **event.Cgroup, c **event.Container) {
		if *cg != nil {
			*cg, *c = t.byPath((*cg).Path)
			wanted = wanted || t.selected((*cg).ID)
		}
	}
	name(&k.Domain.Cgroup, &k.Domain.Container)
	name(&k.Victim.Cgroup, &k.Victim.Container)
	for i := range k.Killed {
		name(&k.Killed[i].Cgroup, &k.Killed[i].Container)
	}
	if r.foreign = !wanted; !wanted || !t.opts.wants(FamilyOOM) {
		return nil
	}
	if len(k.Killed) == 0 {
		// Where hooks see that nobody could be killed they have told.
		if k.Domain.Cgroup == nil || t.sees(FamilyOOM, "decision") {
			return nil
		}
		b := t.barrenDomain(k.Domain.Cgroup.ID)
		if b.told.After(k.Time.Add(-b.gap)) || !t.tellable(k.Domain.Cgroup.ID) {
			return nil // the count of OOM events has told it
		}
		if b.more > 0 {
			k.Repeated, b.more = b.more-1, 0
		}
	}
	k.Verdict = oom.Judge(&oom.Case{Kill: k})
	return t.emit(k)
}

// emitLines tells of the lines of a report, where they are asked for.
func (t *Tracer) emitLines(r *logReport) error {
	if !t.opts.wants(FamilyKmsg) || r.foreign {
		return nil
	}
	t.log.mu.Lock()
	lines := r.lines[r.told:]
	r.told = len(r.lines)
	t.log.mu.Unlock()
	for _, line := range lines {
		e := &event.Kmsg{
			Meta:  event.Meta{Type: event.TypeKmsg, Time: t.clock.wall(line.uptime)},
			Level: levels[line.priority&7], Text: line.text, Sequence: line.sequence, Incident: r.incident,
		}
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}

var levels = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
