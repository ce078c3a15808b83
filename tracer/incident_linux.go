package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
	"github.com/oomtrace/oomtrace/tracer/procfs"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

const (
	// settle is how long an incident stays open after its last record, so that
	// the victim's companions, which are signalled right after it, are in it.
	settle = 2 * time.Millisecond
	// settleMany is the same where more are known to follow: processes that share
	// the victim's memory.
	settleMany = 20 * time.Millisecond
	// giveUp is when an incident is closed whose end never came.
	giveUp = time.Second
	// namesCome is how long a kill waits for the name that decides whether it is
	// traced: as long as names are looked for.
	namesCome = 2 * time.Second
	// lookEvery is how often it is looked whether victims are gone.
	lookEvery = time.Second
	// waitForEnd is how long victims may take to be gone.
	waitForEnd = 30 * time.Second
	// before is the window of reclaim_before.
	before = 10 * time.Second
)

// unknown and unlimited figures of the wire.
const unknown = ^uint64(0)

// incident collects the records of one invocation of the OOM killer.
type incident struct {
	id      uint64
	trigger bpf.CoreRecTask
	first   *bpf.CoreRecOomMark // nil until a victim was marked
	stack   []string
	group   bool
	// groupRoot is the cgroup that is killed as a whole, once that was asked for.
	groupRoot string
	shared    bool // more processes are killed with a victim, for its memory is theirs

	killed     []event.Killed
	tgids      map[uint32]bool // killed, each once
	waiting    map[uint32]event.Process
	candidates []bpf.CoreRecOomCandidate
	walked     uint32
	truncated  bool // the walk stopped before the last process
	done       bool
	more       bool   // a done record is to come
	touched    uint64 // CLOCK_MONOTONIC of the latest record
	gap        uint64 // the longest time between two records
	looked     uint64 // when it was looked for victims that are gone

	logged   *logFacts // nil: the kernel's log says nothing of it
	written  bool
	foreign  bool // of cgroups that are not traced
	memory   *event.Figures
	around   surroundings
	late     []event.Killed // killed after the incident was written
	timeline event.Timeline
	freed    *uint64
	usage    uint64 // of the domain when the victim was marked, bytes
	holding  int    // address spaces of victims that are not torn down yet
	polled   uint64 // the usage at the last look, where that cannot be seen
	deadline uint64
}

func (t *Tracer) incident(id uint64) *incident {
	in := t.incidents[id]
	if in == nil {
		in = &incident{id: id, tgids: make(map[uint32]bool), waiting: make(map[uint32]event.Process)}
		t.incidents[id] = in
	}
	return in
}

// cgroups are those that it is traced for, if one of them is.
func (in *incident) cgroups() []uint64 {
	ids := []uint64{in.first.Domain, in.first.Victim.Cgroup, in.first.Trigger.Cgroup}
	for _, k := range in.killed {
		if k.Cgroup != nil {
			ids = append(ids, k.Cgroup.ID)
		}
	}
	return ids
}

// touch notes that a record has come.
func (in *incident) touch(at uint64) {
	if in.touched != 0 && at > in.touched {
		in.gap = max(in.gap, at-in.touched)
	}
	in.touched = at
}

func (t *Tracer) marked(r *decode.Mark) {
	in := t.incident(r.Incident)
	in.touch(r.Head.Time)
	flags := bpf.CoreOomFlags(r.Flags)
	in.group = in.group || flags&bpf.CoreOomFlagsOOM_GROUP != 0
	in.shared = in.shared || flags&bpf.CoreOomFlagsOOM_SHARED != 0
	reason := "chosen"
	if flags&bpf.CoreOomFlagsOOM_NO_VICTIM != 0 {
		in.spared(t, r.CoreRecOomMark)
		return
	}
	if in.first == nil {
		mark := *r.CoreRecOomMark
		in.first = &mark
		in.trigger = r.Trigger
		in.more = flags&bpf.CoreOomFlagsOOM_MORE != 0
		in.deadline = r.Head.Time + uint64(waitForEnd)
		if r.Stack != nil {
			in.stack = t.symbols().Stack(r.Stack)
		}
		in.usage = unknown
		if r.Memory.Usage != unknown {
			in.usage = r.Memory.Usage * t.page
		}
		in.memory = t.composition(in.first)
		t.names.await(r.Trigger.Cgroup)
		t.names.await(r.Domain)
		in.around = t.lookAround(in.first, in.memory)
	} else {
		reason = "group"
	}
	t.names.await(r.Victim.Cgroup)
	in.kill(t, &r.Victim, reason)
	in.waiting[r.Victim.Tgid] = process(&r.Victim)
	if r.Mm.Known != 0 && flags&bpf.CoreOomFlagsOOM_SAME_MEMORY == 0 && t.sees(FamilyOOM, "memory freed") {
		in.holding++
	}
}

// kill adds a process to the killed, once.
func (in *incident) kill(t *Tracer, task *bpf.CoreRecTask, reason string) {
	if in.tgids[task.Tgid] {
		return
	}
	in.tgids[task.Tgid] = true
	k := event.Killed{Actor: t.names.actor(task), Reason: reason}
	if in.written {
		in.late = append(in.late, k)
	} else {
		in.killed = append(in.killed, k)
	}
}

// exited notes that a victim is gone.
func (t *Tracer) exited(r *bpf.CoreRecOomExit) {
	in := t.incidents[r.Incident]
	if in == nil || in.first == nil {
		return
	}
	delete(in.waiting, r.Tgid)
	if r.Tgid != 0 && len(in.waiting) == 0 && in.timeline.ExitedNS == nil {
		in.timeline.ExitedNS = since(in, r.Head.Time)
	}
	if r.Tgid == 0 {
		in.holding--
	}
	if r.Usage != unknown {
		in.fell(r.Usage*t.page, r.Head.Time)
	}
}

// fell takes a reading of the domain's usage after the kill.
func (in *incident) fell(usage, at uint64) {
	if in.usage == unknown || usage >= in.usage {
		return
	}
	freed := in.usage - usage
	if in.freed == nil {
		in.timeline.FreedNS = since(in, at)
	}
	if in.freed == nil || freed > *in.freed {
		in.freed = &freed
	}
}

func since(in *incident, at uint64) *int64 {
	d := int64(at) - int64(in.first.Head.Time)
	return &d
}

// settleIncidents writes the incidents that are complete and ends those that are
// over. It returns when it wants to be called again, 0 for no particular time.
func (t *Tracer) settleIncidents(now uint64, final bool) (uint64, error) {
	var next uint64
	held := false
	soon := func(at uint64) {
		if next == 0 || at < next {
			next = at
		}
	}
	for _, id := range sortedKeys(t.incidents) {
		in := t.incidents[id]
		if in.first == nil {
			// Invoked, and nobody was marked: it was given up, or a victim of
			// before is still exiting.
			if in.done || now > in.touched+uint64(giveUp) || final {
				delete(t.incidents, id)
			} else {
				soon(in.touched + uint64(giveUp))
			}
			continue
		}
		if !in.written {
			wait := settle
			switch {
			case in.done && bpf.CoreOomFlags(in.first.Flags)&bpf.CoreOomFlagsOOM_CONTROL != 0:
				wait = 0 // the kernel has left the OOM killer
			case in.more && !in.done:
				wait = giveUp
			case in.group:
				wait = t.groupSettles(in)
			case in.shared:
				wait = settleMany
			}
			if at := in.touched + uint64(wait); now < at && !final {
				soon(at)
				continue
			}
			if at := in.touched + uint64(wait+in.logWait()); t.awaitsLog(in) && !final && (now < at || now < at+uint64(giveUp) && t.log.behind()) {
				soon(max(at, now+uint64(logSettles)))
				held = true
			}
			if held { // those that follow wait as well: kills are told in their order
				continue
			}
			if now < in.touched+uint64(namesCome) && !final && t.undecided(in) {
				soon(now + uint64(await))
				continue
			}
			in.written = true
			if err := t.emitKill(in); err != nil {
				return 0, err
			}
		}
		if len(in.waiting) > 0 && in.written && now >= max(in.looked, in.touched)+uint64(lookEvery) {
			in.looked = now
			t.lookForExited(in)
		}
		over := len(in.waiting) == 0 && in.holding <= 0 && (in.usage == unknown || in.freed != nil && t.sees(FamilyOOM, "memory freed"))
		if !over && len(in.waiting) == 0 && in.holding <= 0 {
			// The last victim is gone; see whether memory has come back since.
			gone := !t.names.tree.Alive(in.first.Domain)
			if cg, ok := t.names.tree.Lookup(in.first.Domain); ok && !gone {
				if usage, err := t.mount.Usage(cg.Path); err == nil {
					in.fell(usage, now)
					over = in.freed != nil && usage >= in.polled // it has stopped falling
					in.polled = usage
				}
			}
			over = over || gone // removed: nobody can tell any more
		}
		switch {
		case over || in.foreign || in.first.Victim.Tgid == 0 || now >= in.deadline || final:
			delete(t.incidents, id)
			if err := t.emitEnd(in); err != nil {
				return 0, err
			}
		case len(in.waiting) == 0 && in.holding <= 0:
			soon(now + uint64(50*time.Millisecond))
		default:
			soon(min(in.deadline, now+uint64(lookEvery)))
		}
	}
	return next, nil
}

// lookForExited finds out which victims are gone whose exit was not told: from
// 7.0 on the kernel passes a program over that was preempted on the same CPU. When
// exactly they went is then not known.
func (t *Tracer) lookForExited(in *incident) {
	for tgid, p := range in.waiting {
		st, err := procfs.Root(t.procRoot).Stat(int(tgid))
		if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Dead() && st.Threads <= 1 || !sameStart(st.StartNS, p.StartTimeNS)) {
			delete(in.waiting, tgid)
		}
	}
	if len(in.waiting) == 0 {
		in.holding = 0 // nor was the end of their memory
	}
}

func (in *incident) name() string { return fmt.Sprintf("%x", in.id) }

func (t *Tracer) emitKill(in *incident) error {
	// A name that has just become known decides whether it is traced.
	if err := t.identified(); err != nil {
		return err
	}
	m := in.first
	flags := bpf.CoreOomFlags(m.Flags)
	told := flags&bpf.CoreOomFlagsOOM_CONTROL != 0
	e := &event.OOMKill{
		Meta:     event.Meta{Type: event.TypeOOMKill, Time: t.clock.wall(m.Head.Time)},
		Incident: in.name(), Killed: in.killed, Group: in.group, Source: event.SourceBPF,
	}
	e.Trigger.Actor = t.names.actor(&in.trigger)
	e.Trigger.Stack = in.stack
	e.Trigger.InvokedBy, e.Trigger.InvokedBySource = t.invokedBy(m)
	if flags&bpf.CoreOomFlagsOOM_GFP != 0 {
		e.Trigger.Order, e.Trigger.GFPFlags = nonNegative(m.Order), t.gfp.String(m.Gfp)
	}

	e.Domain = event.OOMDomain{Constraint: constraint(m), Source: event.SourceInferred, Memory: in.memory}
	if told || flags&bpf.CoreOomFlagsOOM_LOCKED != 0 {
		e.Domain.Source = event.SourceBPF
	}
	if m.Domain != 0 {
		e.Domain.Cgroup, e.Domain.Container = t.names.cgroup(m.Domain)
	}
	total := m.Totalpages
	if !told {
		total = t.totalPages(m)
	}
	if total != 0 {
		e.Domain.TotalPages = &total
	}

	t.learn(in.candidates, total)
	if flags&bpf.CoreOomFlagsOOM_NO_VICTIM != 0 {
		e.Killed, e.Repeated = []event.Killed{}, m.Repeats
	} else {
		e.Victim.Actor = t.names.actor(&m.Victim)
		t.weigh(&e.Victim, &m.Mm, total)
		e.Victim.Kinds = t.kindsOf(&e.Victim, m.Head.Time)
		if told {
			scored(&e.Victim, m.Points)
		}
	}
	for i := range in.candidates {
		c := &in.candidates[i]
		out := event.Candidate{Actor: t.names.actor(&c.Task)}
		t.weigh(&out, &c.Mm, total)
		if c.Scored != 0 {
			scored(&out, c.Points)
		}
		e.Candidates = append(e.Candidates, out)
	}
	slices.SortStableFunc(e.Candidates, func(a, b event.Candidate) int {
		return cmp.Compare(score(b.Badness), score(a.Badness))
	})
	if seen := uint64(in.walked); seen > uint64(len(in.candidates)) {
		e.CandidatesMissing = seen - uint64(len(in.candidates))
	}

	offset := func(at uint64) *int64 {
		if at == 0 {
			return nil
		}
		return since(in, at)
	}
	in.timeline.InvokedNS, in.timeline.SelectedNS, in.timeline.SignalledNS = offset(m.Invoked), offset(m.Selected), offset(m.Signalled)
	e.Timeline = in.timeline
	e.Timeline.ExitedNS, e.Timeline.FreedNS = nil, nil
	if histories := t.session.Maps["histories"]; histories != nil && m.Domain != 0 {
		if h, err := tally.ReadHistory(histories, m.Domain, m.Head.Time, before); err == nil {
			e.ReclaimBefore = &event.ReclaimBefore{WindowNS: int64(before), Episodes: h.Episodes, StalledNS: int64(h.Stalled), Reclaimed: h.Reclaimed}
		}
	}
	e.CandidatesTruncated = in.truncated
	in.candidates = nil
	in.foreign = !slices.ContainsFunc(in.cgroups(), t.selected)
	t.remember(m.Domain, in)
	if in.foreign {
		return nil
	}
	if told {
		t.joinNodes(e, in.logged)
	} else {
		t.joinLog(e, in.logged)
	}
	t.judge(in, e)
	return t.emit(e)
}

func score(badness *int64) int64 {
	if badness == nil {
		return -1 << 63
	}
	return *badness
}

func (t *Tracer) emitEnd(in *incident) error {
	if in.foreign || in.first.Victim.Tgid == 0 {
		return nil
	}
	e := &event.OOMEnd{
		Meta:     event.Meta{Type: event.TypeOOMEnd, Time: t.clock.wall(in.first.Head.Time)},
		Incident: in.name(), Timeline: in.timeline, Freed: in.freed, Killed: in.late,
	}
	for _, tgid := range sortedKeys(in.waiting) {
		e.Survivors = append(e.Survivors, in.waiting[tgid])
	}
	return t.emit(e)
}

func constraint(m *bpf.CoreRecOomMark) string {
	switch m.Constraint {
	case 1:
		return event.ConstraintCpuset
	case 2:
		return event.ConstraintMempolicy
	case 3:
		return event.ConstraintMemcg
	}
	return event.ConstraintGlobal
}

// totalPages computes what the kernel scaled by, where it could not be read.
func (t *Tracer) totalPages(m *bpf.CoreRecOomMark) uint64 {
	ram, swap := memoryTotals(t.procRoot)
	if m.Domain == 0 {
		return (ram + swap) / t.page
	}
	l := oom.Limits{Version: t.mount.Version, TotalSwap: swap / t.page, Swappiness: t.swappiness(m.Domain)}
	if m.Memory.Max != unknown {
		l.Memory = &m.Memory.Max
	}
	if m.Memory.SwapMax != unknown {
		l.Swap, l.MemorySwap = &m.Memory.SwapMax, &m.Memory.SwapMax
	}
	return oom.TotalPages(l)
}
