package kernlog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// report is what the log has said of one invocation of the OOM killer so far.
type report struct {
	host, caller string
	lines        []string // where they are asked for
	at, late     stamp    // of its first line, of the line that names the victim
	idle         int      // lines of other things since its last

	headed bool
	comm   string
	tid    int32
	uid    *int64
	gfp    string
	order  *int
	kernel int // 5010 is 5.10; 0 unknown
	x86    bool
	stack  []string

	inStack, inStats, memInfo bool

	memcg                     bool // a memory cgroup's
	plainOOM                  bool // "Out of memory": not a memory cgroup's
	constraint                string
	nodes                     string
	summed                    bool // oom-kill: was there
	domain, victimIn          string
	memory, memsw, swap, kmem counter
	figures                   map[string]uint64
	ram, reserved, totalSwap  uint64
	hasRAM, hasReserved       bool
	hasSwap                   bool
	columns                   []string
	rows                      []row
	dropped                   uint64
	index                     map[int32]int // of rows, by pid
	indexed                   int           // how many of them are in index
	victim                    kill          // as oom-kill: has it
	prior                     int32         // the victim of the report before, where this has no head
	kills                     []kill
	chosen                    int32 // by an older kernel, which may kill a child instead
	spared                    bool
	group                     bool
}

// telling reports whether this is known to be a report. Pieces from the middle
// of one do not suffice.
func (r *report) telling() bool {
	return r.headed || r.summed && r.victim.pid != r.prior || len(r.kills) > 0
}

// when is the moment of the kill, else the best that is known.
func (r *report) when() stamp {
	if len(r.kills) > 0 && r.kills[0].known() {
		return r.kills[0].stamp
	}
	if r.late.known() {
		return r.late
	}
	return r.at
}

// key is the same for the same report read twice, also out of another log that
// has the same uptimes.
func (r *report) key() string {
	w, host := r.when(), r.host
	if w.hasUptime {
		w.wall, host = time.Time{}, ""
	}
	k := r.victim
	if len(r.kills) > 0 {
		k = r.kills[0]
	}
	figure := func(v *uint64) uint64 {
		if v == nil {
			return 0
		}
		return *v
	}
	return fmt.Sprintf("%s %d %d %d %q %d %d %d %d %q", host, w.wall.UnixMicro(), w.uptime, k.pid, k.comm,
		figure(k.total), figure(k.anon), figure(k.file), r.tid, r.comm)
}

// incident is a name that is the same whenever this report is read.
func (r *report) incident(nth int) string {
	w := r.when()
	pid := r.victim.pid
	if len(r.kills) > 0 {
		pid = r.kills[0].pid
	}
	if pid == 0 {
		pid = r.tid
	}
	switch {
	case w.hasUptime:
		return fmt.Sprintf("kmsg-%d-%d", w.uptime.Microseconds(), pid)
	case !w.wall.IsZero():
		return fmt.Sprintf("kmsg-%d-%d", w.wall.Unix(), pid)
	}
	return fmt.Sprintf("kmsg-n%d-%d", nth, pid)
}

func (r *report) event(o *Options, nth int) *event.OOMKill {
	w := r.when()
	e := &event.OOMKill{
		Meta:     event.Meta{Type: event.TypeOOMKill, Time: w.wall},
		Incident: r.incident(nth), Source: event.SourceKmsg, Group: r.group, Killed: []event.Killed{},
		CandidatesMissing: r.dropped,
	}
	if w.hasUptime {
		ns := int64(w.uptime / time.Nanosecond)
		e.UptimeNS = &ns
	}
	page := r.pageBytes(o)
	e.Domain = r.where(o)
	total := r.total(page)
	if total > 0 {
		e.Domain.TotalPages = &total
	}
	for i := range r.rows {
		e.Candidates = append(e.Candidates, r.candidate(&r.rows[i], page, total, o))
	}
	slices.SortStableFunc(e.Candidates, func(a, b event.Candidate) int {
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
	e.Trigger = r.trigger()
	r.fillVictim(e, page, total, o)
	for i := range r.kills {
		k := &r.kills[i]
		killed := event.Killed{Actor: r.actor(k.pid, k.comm, k.uid), Reason: k.reason}
		if i == 0 {
			killed.Cgroup, killed.Container = e.Victim.Cgroup, e.Victim.Container
		}
		e.Killed = append(e.Killed, killed)
	}
	if len(r.kills) == 0 && r.victim.pid != 0 && !r.spared {
		// The line that names it is written when nothing can save it any more.
		e.Killed = append(e.Killed, event.Killed{Actor: e.Victim.Actor, Reason: reasonChosen})
	}
	return e
}

// actor is a process that the log calls by the id of one of its threads.
func (r *report) actor(pid int32, comm string, uid *int64) (a event.Actor) {
	a.PID, a.Comm, a.UID = pid, comm, uid
	if t := r.find(pid); t != nil {
		a.PID = t.tgid
		if a.UID == nil {
			a.UID = t.uid
		}
		if t.pid == pid && t.pid != t.tgid {
			a.TID = t.pid
		}
	}
	return a
}

// trigger is the task that invoked the OOM killer. The log has its thread's id;
// whose thread it is can be told where the table has it, or a single process of
// its name.
func (r *report) trigger() (t event.Trigger) {
	if !r.headed {
		return t
	}
	t.Comm, t.UID, t.GFPFlags, t.Order, t.Stack = r.comm, r.uid, r.gfp, r.order, r.stack
	switch {
	case r.order != nil && *r.order < 0:
		t.InvokedBy, t.InvokedBySource = event.InvokedBySysrq, event.SourceKmsg
	case slices.ContainsFunc(r.stack, func(frame string) bool { return strings.HasPrefix(frame, "memory_max_write+") }):
		t.InvokedBy, t.InvokedBySource = event.InvokedByLimitWrite, event.SourceKmsg
	}
	if r.tid == 0 {
		return t
	}
	t.PID, t.TID = r.tid, r.tid
	if t.InvokedBy != "" {
		return t // it need not be in the table
	}
	if row := r.find(r.tid); row != nil {
		t.PID = row.tgid
		return t
	}
	var only *row
	for i := range r.rows {
		if r.rows[i].comm == r.comm && r.rows[i].tgid < r.tid {
			if only != nil {
				return t
			}
			only = &r.rows[i]
		}
	}
	if only != nil && r.comm != "" {
		t.PID = only.tgid
	}
	return t
}

// where is the domain that ran out.
func (r *report) where(o *Options) (d event.OOMDomain) {
	d.Source = event.SourceKmsg
	switch {
	case r.constraint == "CONSTRAINT_MEMCG", r.memcg:
		d.Constraint = event.ConstraintMemcg
	case r.constraint == "CONSTRAINT_CPUSET":
		d.Constraint = event.ConstraintCpuset
	case r.constraint == "CONSTRAINT_MEMORY_POLICY":
		d.Constraint = event.ConstraintMempolicy
	case r.constraint == "CONSTRAINT_NONE":
		d.Constraint = event.ConstraintGlobal
	case r.plainOOM, r.memInfo:
		// Older kernels say no more; a cpuset or policy may have been the reason.
		d.Constraint, d.Source = event.ConstraintGlobal, event.SourceInferred
	default:
		d.Source = ""
	}
	d.Nodes = r.nodes
	if d.Constraint == event.ConstraintMemcg {
		d.Cgroup, d.Container = r.cgroup(r.domain, o)
		d.Memory = r.composition()
	}
	return d
}

// victimCgroup is where the victim lived. The log has it of the process that was
// chosen, not of a child that died for it.
func (r *report) victimCgroup(o *Options) (*event.Cgroup, *event.Container) {
	if r.chosen != 0 && len(r.kills) > 0 && r.kills[0].pid != r.chosen {
		return nil, nil
	}
	return r.cgroup(r.victimIn, o)
}

// cgroup names one by its path; nil when the log does not.
func (r *report) cgroup(path string, o *Options) (*event.Cgroup, *event.Container) {
	if path == "" {
		return nil, nil
	}
	g := &event.Cgroup{Path: path}
	switch {
	case r.swap.known:
		g.Version = 2
	// Until 5.2 version 2 has these lines too, and counts nothing there.
	case r.kmem.known && r.kmem.usage > 0, r.memsw.known && r.memsw.usage >= max(r.memory.usage, 1), r.kernel > 0 && r.kernel < 4005:
		g.Version = 1
	}
	if o.Container == nil {
		return g, nil
	}
	return g, o.Container(path)
}
