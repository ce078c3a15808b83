package tracer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

// spared takes the record of an invocation that found nobody to kill.
func (in *incident) spared(t *Tracer, r *bpf.CoreRecOomMark) {
	mark := *r
	in.first, in.trigger, in.more = &mark, r.Trigger, true
	in.usage = unknown
	in.memory = t.composition(in.first)
}

// Flags of a task_struct.
const kernelThread = 0x00200000 // PF_KTHREAD

// invokedBy tells what the trigger was doing, and where that is from when the
// kernel did not say.
func (t *Tracer) invokedBy(m *bpf.CoreRecOomMark) (by, source string) {
	flags := bpf.CoreOomFlags(m.Flags)
	told := flags&bpf.CoreOomFlagsOOM_CONTROL != 0
	switch {
	case told && m.Order == -1:
		return event.InvokedBySysrq, ""
	case flags&bpf.CoreOomFlagsOOM_LIMIT_WRITE != 0:
		return event.InvokedByLimitWrite, ""
	case told && (t.sees(FamilyOOM, "limit written") || t.mount.Version == 1):
		return event.InvokedByAllocation, ""
	}
	switch outside := m.Domain != 0 && !t.names.tree.Descends(m.Trigger.Cgroup, m.Domain); {
	case m.Domain == 0 && m.Trigger.Flags&kernelThread != 0 && flags&bpf.CoreOomFlagsOOM_GFP == 0:
		// It has never reclaimed, so it is not short of memory: a worker that
		// serves a request.
		return event.InvokedBySysrq, event.SourceInferred
	case outside && t.mount.Version == 2 && flags&bpf.CoreOomFlagsOOM_REMOTE == 0:
		// v1 does not kill at a write.
		return event.InvokedByLimitWrite, event.SourceInferred
	}
	return event.InvokedByAllocation, event.SourceInferred
}

// barren is a domain whose OOM events are watched where nothing but their count
// tells of an invocation that found nobody to kill.
type barren struct {
	ooms  uint64 // at the last look
	since uint64 // when that was
	told  time.Time
	gap   time.Duration
	more  uint64 // since it was told
}

const (
	tellFirst = time.Second // between two events of one domain, doubled each time
	tellLast  = 64 * time.Second
	tellAnew  = 10 * time.Second // without any, it begins anew
)

// countOOMs looks at a domain's count of OOM events with each fruitless reclaim.
// When it grows, nobody is killed, and there is nobody whom the killer may kill,
// that is told.
func (t *Tracer) countOOMs(r *bpf.CoreRecPressure) error {
	if t.sees(FamilyOOM, "decision") || r.Ooms == 0 {
		return nil
	}
	b := t.barrenDomain(r.Domain)
	if b.since == 0 {
		b.ooms, b.since = r.Ooms, r.Head.Time
		return nil
	}
	grown := r.Ooms - b.ooms
	since := b.since
	b.ooms, b.since = r.Ooms, r.Head.Time
	if grown == 0 || r.KillerOff != 0 || t.killedSince(r.Domain, since) != "" || t.underWay(r.Domain) || !t.unkillable(r.Domain) {
		return nil
	}
	b.more += grown
	if !t.tellable(r.Domain) {
		return nil
	}
	e := &event.OOMKill{
		Meta:     event.Meta{Type: event.TypeOOMKill, Time: t.clock.wall(r.Head.Time)},
		Incident: (&incident{id: r.Head.Time}).name(), Killed: []event.Killed{}, Repeated: b.more - 1, Source: event.SourceInferred,
		Domain: event.OOMDomain{Constraint: event.ConstraintMemcg, Source: event.SourceBPF},
	}
	e.Domain.Cgroup, e.Domain.Container = t.names.cgroup(r.Domain)
	if f, ok := t.look(r.Domain); ok {
		e.Domain.Memory = &f
	}
	b.more = 0
	if !t.selected(r.Domain) {
		return nil
	}
	c := oom.Case{Kill: e, PageBytes: t.page, Window: t.window.before(r.Domain, r.Head.Time)}
	e.Window, e.Verdict = oom.Summary(&c), oom.Judge(&c)
	return t.emit(e)
}

func (t *Tracer) barrenDomain(id uint64) *barren {
	b := t.barren[id]
	if b == nil {
		if t.barren == nil || len(t.barren) >= 4096 {
			t.barren = make(map[uint64]*barren)
		}
		b = &barren{gap: tellFirst}
		t.barren[id] = b
	}
	return b
}

// tellable tells whether it was long enough ago that a domain was told of, and
// takes it for told now.
func (t *Tracer) tellable(domain uint64) bool {
	b := t.barrenDomain(domain)
	switch ago := time.Since(b.told); {
	case ago < b.gap:
		return false
	case b.told.IsZero() || ago > tellAnew+b.gap:
		b.gap = tellFirst
	default:
		b.gap = min(2*b.gap, tellLast)
	}
	b.told = time.Now()
	return true
}

// underWay tells whether a kill for a domain's limit is being told of.
func (t *Tracer) underWay(domain uint64) bool {
	for _, in := range t.incidents {
		if in.first == nil || in.first.Domain == domain {
			return true
		}
	}
	return false
}

// unkillable tells whether every process of a cgroup and of those below it is
// exempt from the OOM killer by its oom_score_adj.
func (t *Tracer) unkillable(domain uint64) bool {
	top, ok := t.names.tree.Lookup(domain)
	if !ok {
		return false
	}
	paths := []string{top.Path}
	for _, path := range t.names.tree.Subtree(domain) {
		paths = append(paths, path)
	}
	found := false
	for _, path := range paths {
		procs, err := os.ReadFile(filepath.Join(t.mount.Dir(path), "cgroup.procs"))
		if err != nil {
			continue // removed
		}
		for pid := range strings.FieldsSeq(string(procs)) {
			adj, err := os.ReadFile(filepath.Join(t.procRoot, pid, "oom_score_adj"))
			if err != nil {
				continue // gone
			}
			if n, err := strconv.Atoi(strings.TrimSpace(string(adj))); err != nil || n != -1000 {
				return false
			}
			found = true
		}
	}
	return found
}
