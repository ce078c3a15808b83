package tracer

import (
	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

// scores counts by which figures the kernel's own scores come out: by the sums
// of RSS counters (since 7.0), by their common parts alone (to 6.19), by both
// alike, or by none.
type scores struct{ sums, common, both, none int }

// compare holds a score of the kernel's against ours.
func (s *scores) compare(t *Tracer, m *bpf.CoreRecMm, points int64, total uint64) {
	if m.Known == 0 || m.Unkillable != 0 {
		return
	}
	common, sums := t.badnessOf(m, total, false) == points, t.badnessOf(m, total, true) == points
	switch {
	case common && sums:
		s.both++
	case common:
		s.common++
	case sums:
		s.sums++
	default:
		s.none++
	}
}

// badnessOf is the score of a process that may be killed, by the sums of its RSS
// counters where there are any, or by the common parts.
func (t *Tracer) badnessOf(m *bpf.CoreRecMm, total uint64, sums bool) int64 {
	f := oom.Figures{
		File: m.File, Anon: m.Anon, Shmem: m.Shmem, Swap: m.Swap,
		PageTableBytes: m.Pgtables, PageBytes: t.page, ScoreAdj: int(m.Adj), Origin: m.Origin != 0,
	}
	if sums && m.Summed != 0 {
		f.File, f.Anon, f.Swap, f.Shmem = m.Sums[0], m.Sums[1], m.Sums[2], m.Sums[3]
	}
	return oom.Badness(f, total)
}

// weigh fills in what a process held, and its badness where it may be killed.
func (t *Tracer) weigh(c *event.Candidate, m *bpf.CoreRecMm, total uint64) {
	adj := int(m.Adj)
	c.OOMScoreAdj = &adj
	c.Unkillable = unkillable(bpf.CoreUnkillable(m.Unkillable))
	if m.Known == 0 {
		return
	}
	bytes := func(pages uint64) *uint64 {
		v := pages * t.page
		return &v
	}
	file, anon, swap, shmem := m.File, m.Anon, m.Swap, m.Shmem
	if m.Summed != 0 {
		file, anon, swap, shmem = m.Sums[0], m.Sums[1], m.Sums[2], m.Sums[3]
	}
	tables := m.Pgtables
	c.TotalVM, c.AnonRSS, c.FileRSS, c.ShmemRSS = bytes(m.TotalVm), bytes(anon), bytes(file), bytes(shmem)
	c.Swap, c.PageTables = bytes(swap), &tables
	c.DataVM, c.ExecVM, c.StackVM, c.LockedVM = bytes(m.DataVm), bytes(m.ExecVm), bytes(m.StackVm), bytes(m.LockedVm)
	if c.Unkillable == "" && (total != 0 || adj == 0) {
		points := t.badnessOf(m, total, t.scores.sums > t.scores.common)
		c.Badness, c.BadnessSource = &points, event.SourceInferred
	}
}

// scored takes the kernel's own score.
func scored(c *event.Candidate, points int64) {
	c.Badness, c.BadnessSource = &points, event.SourceBPF
}

// learn finds out what this kernel's scores go by.
func (t *Tracer) learn(candidates []bpf.CoreRecOomCandidate, total uint64) {
	for i := range candidates {
		if c := &candidates[i]; c.Scored != 0 {
			t.scores.compare(t, (*bpf.CoreRecMm)(&c.Mm), c.Points, total)
		}
	}
}

func unkillable(u bpf.CoreUnkillable) string {
	switch u {
	case bpf.CoreUnkillableUNKILLABLE_ADJ:
		return "oom_score_adj"
	case bpf.CoreUnkillableUNKILLABLE_REAPED:
		return "reaped"
	case bpf.CoreUnkillableUNKILLABLE_VFORK:
		return "vfork"
	case bpf.CoreUnkillableUNKILLABLE_KTHREAD:
		return "kernel_thread"
	case bpf.CoreUnkillableUNKILLABLE_INIT:
		return "init"
	case bpf.CoreUnkillableUNKILLABLE_NO_MM:
		return "no_memory"
	}
	return ""
}
