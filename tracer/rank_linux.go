package tracer

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

// windows is over how many calls of Rank readings are kept for the forecast.
const windows = 10

// Rank tells whom the kernel would kill if memory ran out now, for the cgroup at
// a path, or the node ("" or "/"). It first watches usage for so long, for the
// forecast; 0 leaves that out. Calls that follow each other use the readings of
// the last ten. Everyone may ask: all it reads is world-readable. The error is
// fs.ErrNotExist when the cgroup is not there (any more), and that of the context
// when it ends.
func (l *Look) Rank(ctx context.Context, path string, watch time.Duration) (*event.Rank, error) {
	path, err := l.accounted(path)
	if err != nil {
		return nil, err
	}
	limits, err := l.observe(ctx, path, watch)
	if err != nil {
		return nil, err
	}
	e := &event.Rank{Meta: event.Meta{Type: event.TypeRank, Time: time.Now().UTC()}, Limits: limits, Processes: []event.Ranked{}}
	e.Cgroup, e.Container = l.named(path)
	bound := limits[slices.IndexFunc(limits, func(b event.Limit) bool { return b.Tightest })]
	domain := ""
	if bound.Cgroup != nil {
		domain = bound.Cgroup.Path
	}
	ram, swap := memoryTotals(string(l.proc))
	node := (ram + swap) / l.page
	e.Domain = event.RankDomain{Constraint: event.ConstraintGlobal, Limit: bound, TotalPages: node}
	if domain != "" {
		e.Domain.Constraint = event.ConstraintMemcg
		if e.Domain.TotalPages, e.OOMKillDisabled, err = l.scale(domain, swap); err != nil {
			return nil, err
		}
	}
	if watch > 0 {
		// Readings, and so slopes, are as coarse as what a CPU may have charged in
		// advance, or not yet counted: 64 pages.
		e.Forecast = forecast(l.history[domain], *bound.Headroom, 64*l.page*l.cpus)
	}
	tasks, err := l.tasks(domain)
	if err != nil {
		return nil, err
	}
	ranked := l.weighAll(tasks, e.Domain.TotalPages, node)
	e.DomainTotal = len(ranked)
	l.choose(e, ranked, domain)
	for _, r := range ranked {
		if path == "" || r.Cgroup != nil && event.Within(r.Cgroup.Path, path) {
			e.Processes = append(e.Processes, r)
		}
	}
	e.Total = len(e.Processes)
	return e, nil
}

// observe reads the limits that hold for a path again and again, and gives the
// last reading.
func (l *Look) observe(ctx context.Context, path string, watch time.Duration) ([]event.Limit, error) {
	end := time.Now().Add(watch)
	every := time.NewTicker(max(watch/20, 10*time.Millisecond))
	defer every.Stop()
	for {
		limits, err := l.limits(path)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		if !slices.ContainsFunc(limits, func(b event.Limit) bool { return b.Tightest }) {
			return nil, errors.New("neither a limit nor the node's memory can be read")
		}
		for _, b := range limits {
			l.remember(b, now, watch*windows)
		}
		if !now.Before(end) {
			return limits, nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// demandBase keeps demand above zero where swap leaves more room than the limit.
const demandBase = 1 << 60

// remember keeps a reading for the forecast. What makes the headroom shrink below
// a limit is what cannot be reclaimed, in memory and in swap; that the limit was
// moved does not count.
func (l *Look) remember(b event.Limit, now time.Time, keep time.Duration) {
	if b.Headroom == nil || keep == 0 {
		return
	}
	at := ""
	if b.Cgroup != nil {
		at = b.Cgroup.Path
	}
	old := l.history[at]
	kept := slices.IndexFunc(old, func(r reading) bool { return now.Sub(r.at) <= keep })
	if kept < 0 {
		kept = len(old)
	}
	l.history[at] = append(slices.Clip(old[kept:]), reading{now, demandBase + value(b.Limit) - *b.Headroom})
}

// scale gives what oom_score_adj is scaled by in a cgroup, and whether its OOM
// killer is off.
func (l *Look) scale(path string, swap uint64) (pages uint64, off bool, err error) {
	f, err := l.mount.Read(path)
	if err != nil {
		return 0, false, err
	}
	s, err := l.mount.Settings(path)
	if err != nil {
		return 0, false, err
	}
	limits := oom.Limits{Version: l.mount.Version, TotalSwap: swap / l.page, Swappiness: l.swappiness(&s)}
	in := func(bytes *uint64) *uint64 {
		if bytes == nil {
			return nil
		}
		return fresh(*bytes / l.page)
	}
	limits.Memory, limits.Swap = in(f.Limit), in(f.SwapLimit)
	if f.Limit != nil && f.SwapLimit != nil {
		limits.MemorySwap = fresh((*f.Limit + *f.SwapLimit) / l.page)
	}
	return oom.TotalPages(limits), s.OOMKillDisable != nil && *s.OOMKillDisable, nil
}

// weighAll scores processes, worst first, and the exempt by what they hold. Of
// equals the kernel takes the one it comes to last: the youngest, in one cgroup.
func (l *Look) weighAll(tasks []held, total, node uint64) []event.Ranked {
	var out []event.Ranked
	for i := range tasks {
		r, err := l.weigh(&tasks[i], total, node)
		if !errors.Is(err, fs.ErrNotExist) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b event.Ranked) int {
		order := cmp.Compare(score(b.Badness), score(a.Badness))
		if a.Badness == nil && b.Badness == nil {
			order = cmp.Compare(value(b.RSS()), value(a.RSS()))
		}
		return cmp.Or(order, cmp.Compare(b.StartTimeNS, a.StartTimeNS), cmp.Compare(b.PID, a.PID))
	})
	for i := range out {
		if out[i].Badness != nil {
			out[i].Position = i + 1
		}
	}
	return out
}

func (l *Look) weigh(tk *held, total, node uint64) (event.Ranked, error) {
	r := event.Ranked{Candidate: event.Candidate{Actor: l.actor(tk), TaskMemory: tk.memory()}}
	adj, err := l.proc.OOMScoreAdj(tk.pid)
	if err != nil {
		return r, err
	}
	r.OOMScoreAdj = &adj
	// Before 6.2 each thread keeps up to 64 pages of each counter to itself, since
	// then each CPU does.
	r.Inexact = max(64*uint64(max(tk.stat.Threads, 1)), max(32, 2*l.cpus)*l.cpus)
	f, ok := l.figures(tk, adj)
	if !ok {
		r.Unkillable = "" // what it holds is not known, so neither is its badness
		return r, nil
	}
	computed := oom.Score(oom.Badness(f, node), node)
	if own, err := l.proc.OOMScore(tk.pid); err == nil {
		r.OOMScore = &own
	}
	switch {
	case adj == -1000:
		r.Unkillable = "oom_score_adj"
		computed = 0
	case r.OOMScore == nil && tk.pid == 1:
		r.Unkillable = "init"
	case r.OOMScore != nil && *r.OOMScore == 0 && computed > 1:
		// So says the kernel itself; why can be seen from outside.
		r.Unkillable = l.reason(tk)
		computed = 0
	default:
		r.Badness = fresh(oom.Badness(f, total))
	}
	if r.OOMScore != nil {
		r.OOMScoreComputed = &computed
	}
	return r, nil
}

// figures are what the kernel weighs, in pages.
func (l *Look) figures(tk *held, adj int) (oom.Figures, bool) {
	s := &tk.status
	if s.Anon == nil || s.File == nil || s.Shmem == nil {
		return oom.Figures{}, false
	}
	return oom.Figures{
		Anon: *s.Anon / l.page, File: *s.File / l.page, Shmem: *s.Shmem / l.page, Swap: value(s.Swap) / l.page,
		PageTableBytes: value(s.PageTables), PageBytes: l.page, ScoreAdj: adj,
	}, true
}

// reason tells why the kernel would not kill a process that holds memory and may
// be killed by its oom_score_adj: it is the first of all, it runs in its parent's
// memory until it has executed a program, or what it had was reaped already, which
// leaves the address space but little in it.
func (l *Look) reason(tk *held) string {
	if tk.pid == 1 {
		return "init"
	}
	parent, err := l.proc.Status(tk.stat.PPID)
	if err == nil && value(parent.Size) == value(tk.status.Size) && value(parent.RSS())/2 <= value(tk.status.RSS()) {
		return "vfork"
	}
	return "reaped"
}

// choose says who would be killed, and who goes along.
func (l *Look) choose(e *event.Rank, ranked []event.Ranked, domain string) {
	if len(ranked) == 0 || ranked[0].Badness == nil || e.OOMKillDisabled {
		return
	}
	next := &ranked[0]
	e.Next = next
	for i := range ranked[1:] {
		r := &ranked[1+i]
		if r.Badness != nil && *next.Badness-*r.Badness <= int64(next.Inexact+r.Inexact) {
			e.Close = append(e.Close, r.Process)
		}
	}
	if next.Cgroup == nil || l.mount.Version != 2 {
		return
	}
	group := ""
	for _, at := range l.mount.Above(next.Cgroup.Path) {
		if s, err := l.mount.Settings(at); err == nil && s.OOMGroup != nil && *s.OOMGroup {
			group = at
		}
		if at == domain {
			break
		}
	}
	if group == "" {
		return
	}
	e.Group, _ = l.named(group)
	for _, r := range ranked {
		if r.Cgroup != nil && event.Within(r.Cgroup.Path, group) && r.OOMScoreAdj != nil && *r.OOMScoreAdj != -1000 && r.Unkillable != "init" {
			e.GroupProcesses++
		}
	}
}
