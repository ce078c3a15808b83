package tracer

import (
	"testing"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// nobody is the record of an invocation that found nobody to kill.
func nobody(repeats uint64) bpf.CoreRecOomMark {
	m := victim(0, 0, bpf.CoreOomFlagsOOM_FIRST|bpf.CoreOomFlagsOOM_MORE|bpf.CoreOomFlagsOOM_CONTROL|bpf.CoreOomFlagsOOM_NO_VICTIM)
	m.Victim, m.Mm, m.Repeats, m.Totalpages = bpf.CoreRecTask{}, bpf.CoreRecMm{}, repeats, 8192
	return m
}

func TestNobodyKilled(t *testing.T) {
	f := newFeed(t)
	f.send(bpf.CoreRecOomCandidate{
		Head: head(bpf.CoreRecTypeREC_OOM_CANDIDATE, -1), Incident: incidentID, Task: task(20),
		Mm: bpf.CoreRecMm{Known: 1, Anon: 5000, Adj: -1000, Unkillable: uint32(bpf.CoreUnkillableUNKILLABLE_ADJ)},
	})
	f.send(nobody(41))
	f.send(done(1))
	kills, ends := f.settleAt(t0)
	if len(kills) != 1 || len(ends) != 0 || len(f.incidents) != 0 {
		t.Fatalf("%d kills, %d ends, %d incidents are left", len(kills), len(ends), len(f.incidents))
	}
	k := kills[0]
	if k.Killed == nil || len(k.Killed) != 0 || k.Victim.PID != 0 || k.Repeated != 41 || k.Trigger.PID != 1 || k.Source != event.SourceBPF {
		t.Errorf("%s", show(k))
	}
	if k.Domain.Cgroup.Path != "/limited" || *k.Domain.TotalPages != 8192 || len(k.Candidates) != 1 || k.Candidates[0].Unkillable != "oom_score_adj" || k.Candidates[0].Badness != nil {
		t.Errorf("%s", show(k))
	}
	if k.Trigger.InvokedBy != event.InvokedByAllocation {
		t.Errorf("invoked by %s", k.Trigger.InvokedBy)
	}
}

// What the trigger was doing, by what the kernel says and by what must be
// inferred.
func TestInvokedBy(t *testing.T) {
	const control, write, remote, gfp = bpf.CoreOomFlagsOOM_CONTROL, bpf.CoreOomFlagsOOM_LIMIT_WRITE, bpf.CoreOomFlagsOOM_REMOTE, bpf.CoreOomFlagsOOM_GFP
	mark := func(flags bpf.CoreOomFlags, change func(*bpf.CoreRecOomMark)) bpf.CoreRecOomMark {
		m := victim(20, 0, flags)
		m.Trigger.Cgroup = 8 // below the domain
		if change != nil {
			change(&m)
		}
		return m
	}
	outside := func(m *bpf.CoreRecOomMark) { m.Trigger.Cgroup = 1 }
	worker := func(m *bpf.CoreRecOomMark) { m.Domain, m.Trigger.Cgroup, m.Trigger.Flags = 0, 1, kernelThread }
	for _, c := range []struct {
		name       string
		m          bpf.CoreRecOomMark
		version    int
		by, source string
	}{
		{"SysRq-f", mark(control, func(m *bpf.CoreRecOomMark) { m.Order = -1 }), 2, event.InvokedBySysrq, ""},
		{"a write that is hooked", mark(control|write, nil), 2, event.InvokedByLimitWrite, ""},
		{"the kernel's control, v1", mark(control, nil), 1, event.InvokedByAllocation, ""},
		{"from within", mark(gfp, nil), 2, event.InvokedByAllocation, event.SourceInferred},
		{"from without", mark(gfp, outside), 2, event.InvokedByLimitWrite, event.SourceInferred},
		{"from without, v1 kills at no write", mark(gfp, outside), 1, event.InvokedByAllocation, event.SourceInferred},
		{"from without, at its request", mark(gfp|remote, outside), 2, event.InvokedByAllocation, event.SourceInferred},
		{"a worker that never reclaimed", mark(0, worker), 2, event.InvokedBySysrq, event.SourceInferred},
		{"a worker that did", mark(gfp, worker), 2, event.InvokedByAllocation, event.SourceInferred},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(t)
			f.mount.Version = c.version
			if by, source := f.invokedBy(&c.m); by != c.by || source != c.source {
				t.Errorf("%s %s, want %s %s", by, source, c.by, c.source)
			}
		})
	}
}
