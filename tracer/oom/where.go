package oom

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// requested: somebody asked for a kill by SysRq. Nothing ran out.
func requested(c *Case) *finding {
	tr := &c.Kill.Trigger
	if tr.InvokedBy != event.InvokedBySysrq && (tr.Order == nil || *tr.Order >= 0) {
		return nil
	}
	f := &finding{cause: event.CauseUnknown, confidence: event.ConfidenceHigh}
	f.say("A person or program asked for this kill (SysRq-f).")
	return f
}

// policy: the nodes of a cpuset or of a memory policy ran out. The kernel says so.
func policy(c *Case) *finding {
	d := &c.Kill.Domain
	what := ""
	switch d.Constraint {
	case event.ConstraintCpuset:
		what = "cpuset (cpuset.mems)"
	case event.ConstraintMempolicy:
		what = "memory policy (mbind, set_mempolicy, numactl --membind)"
	default:
		return nil
	}
	f := &finding{cause: event.CauseCpusetOrPolicy, confidence: event.ConfidenceHigh}
	nodes := ""
	if d.Nodes != "" {
		nodes = " (" + d.Nodes + ")"
	}
	f.say("The allocation was confined to the memory nodes" + nodes + " of a " + what + ", and these ran out; other nodes may have had memory free.")
	f.remedy = "To do: allow the task more memory nodes, or move what else lives on these away."
	return f
}

// node: the machine itself ran out, and no limit of a cgroup was reached.
func node(c *Case) *finding {
	e := c.Kill
	if e.Domain.Constraint != event.ConstraintGlobal {
		return nil
	}
	f := &finding{cause: event.CauseNodePressure, confidence: event.ConfidenceHigh}
	what := "The machine ran out of memory; no limit of a cgroup was reached."
	if n := c.Node; n != nil && n.Total > 0 {
		what = "The machine ran out of its " + size(n.Total) + " of RAM; no limit of a cgroup was reached. "
		if n.SwapTotal == 0 {
			what += "It has no swap."
		} else {
			what += "Of " + size(n.SwapTotal) + " of swap " + size(n.SwapFree) + " were free."
		}
	}
	f.say(what)
	if e.Domain.Source == event.SourceInferred {
		f.confidence = event.ConfidenceMedium
		f.say("A cpuset or memory policy that ran out would look the same from here.")
	}
	if e.Trigger.Order != nil && *e.Trigger.Order > 0 {
		f.confidence = event.ConfidenceMedium
		f.say(fmt.Sprintf("%d pages in one piece were asked for (order %d): there may have been as many, but scattered.", 1<<min(*e.Trigger.Order, 20), *e.Trigger.Order))
	}
	if s := heaviest(c); s != "" {
		f.say(s)
	}
	if n := c.Node; n != nil {
		var s []string
		for _, p := range []part{{"anonymous memory", n.Anon}, {"tmpfs and shared memory", n.Shmem}, {"slab that cannot shrink", n.Unreclaimable},
			{partPageTables, n.PageTables}, {partStacks, n.KernelStack}} {
			if p.bytes > 0 && p.bytes >= n.Total/50 {
				s = append(s, p.name+" "+size(p.bytes))
			}
		}
		if len(s) > 0 {
			f.say("Right after the kill the machine had " + strings.Join(s, ", ") + ".")
		}
	}
	f.remedy = "To do: give what grows a limit of its own, so that it cannot take the machine's last memory; or more RAM."
	return f
}

// heaviest says who held most of a machine, by cgroup where these are known.
func heaviest(c *Case) string {
	held, whole := make(map[string]uint64), uint64(0) // by path
	of := make(map[string]*event.Container)
	for i := range c.Kill.Candidates {
		t := &c.Kill.Candidates[i]
		rss := t.RSS()
		if rss == nil {
			continue
		}
		whole += *rss
		if t.Cgroup != nil && t.Cgroup.Path != "" {
			held[t.Cgroup.Path] += *rss
			of[t.Cgroup.Path] = t.Container
		}
	}
	if whole == 0 {
		return ""
	}
	v := &c.Kill.Victim
	own := ""
	if rss := v.RSS(); rss != nil {
		own = "The victim held " + size(*rss)
		if v.OOMScoreAdj != nil && *v.OOMScoreAdj != 0 {
			own += fmt.Sprintf(" and has oom_score_adj %d", *v.OOMScoreAdj)
		}
		own += "; "
	}
	top := ""
	for path, n := range held {
		if top == "" || cmp.Or(cmp.Compare(n, held[top]), cmp.Compare(top, path)) > 0 {
			top = path
		}
	}
	if top == "" {
		return own + "all processes together held " + size(whole) + "."
	}
	return own + "most was held by the processes in " + label.Called(of[top], &event.Cgroup{Path: top}) + ": " + size(held[top]) + " of the " + size(whole) + " of all (pages that are shared count for each)."
}

// whoseLimit says that the limit which fired is that of a cgroup above the
// victim's; "" where it is the victim's own, or no cgroup's.
func whoseLimit(c *Case) string {
	e := c.Kill
	d, v := e.Domain.Cgroup, e.Victim.Cgroup
	if e.Domain.Constraint != event.ConstraintMemcg || d == nil || v == nil || !event.Below(v.Path, d.Path) {
		return ""
	}
	of := ""
	if e.Domain.Memory != nil && get(e.Domain.Memory.Limit) > 0 {
		of = ", " + size(*e.Domain.Memory.Limit) + ","
	}
	return fmt.Sprintf("The limit that was reached%s is that of %s, above the victim's own cgroup.", of, label.Called(e.Domain.Container, d))
}

// ancestorLimit: the limit that fired is that of a cgroup above the victim's, and
// it is not the victim's alone: others share it, or the victim was promised
// more by its own limit.
func ancestorLimit(c *Case, _ *finding) *finding {
	whose := whoseLimit(c)
	if whose == "" {
		return nil
	}
	f := &finding{cause: event.CauseAncestorLimit, confidence: event.ConfidenceHigh}
	f.say(whose)
	if c.Branch == nil {
		return ancestorFromTable(c, f)
	}
	limit, usage := uint64(0), uint64(0)
	if m := c.Kill.Domain.Memory; m != nil {
		limit, usage = get(m.Limit), get(m.Usage)
	}
	domain, branch := label.Called(c.Kill.Domain.Container, c.Kill.Domain.Cgroup), c.Branch
	others := usage - min(usage, branch.Usage)
	switch {
	case usage > 0 && others >= usage/4:
		own := "without a limit of its own"
		if branch.Limit != nil {
			own = "of its own limit of " + size(*branch.Limit)
		}
		f.say(fmt.Sprintf("%s, where the victim was, used %s %s; %s were used by others%s.", branch.called(), size(branch.Usage), own, size(others), mostly(c.Others, others)))
		if sum, all := promises(c); all && sum > limit {
			f.say("The limits right below it add up to " + size(sum) + ".")
		}
		f.remedy = "To do: raise the limit of " + domain + ", or give the cgroups below it limits that add up to less than it."
	case branch.Limit != nil && limit > 0 && *branch.Limit > limit:
		f.say(fmt.Sprintf("%s may use %s by its own limit, more than the cgroup above it has.", branch.called(), size(*branch.Limit)))
		f.remedy = fmt.Sprintf("To do: raise the limit of %s to at least %s, or lower that of %s.", domain, size(*branch.Limit), branch.called())
	default:
		return nil
	}
	return f
}

// mostly names the cgroup that had most of what others used. They are read after
// the kill, when the kernel may have killed in them too: then none is named.
func mostly(others []Child, used uint64) string {
	var largest *Child
	for i := range others {
		if largest == nil || others[i].Usage > largest.Usage {
			largest = &others[i]
		}
	}
	if largest == nil || largest.Usage < used/2 {
		return ""
	}
	return ", most of it by " + largest.called()
}

// promises adds up the limits right below the domain, where each has one.
func promises(c *Case) (sum uint64, all bool) {
	for _, child := range append(slices.Clone(c.Others), *c.Branch) {
		if child.Limit == nil {
			return 0, false
		}
		sum += *child.Limit
	}
	return sum, true
}

// ancestorFromTable is what a kernel log allows: it has the cgroup of the victim
// alone, and of the others no more than that they were below the limit.
func ancestorFromTable(c *Case, f *finding) *finding {
	own := c.Kill.Victim.AnonRSS
	var others uint64
	for i := range c.Kill.Candidates {
		t := &c.Kill.Candidates[i]
		if t.PID == c.Kill.Victim.PID || t.Cgroup != nil && t.Cgroup.Path == c.Kill.Victim.Cgroup.Path {
			continue
		}
		others += get(t.AnonRSS) // files are mostly shared, and count for each
	}
	if own == nil || others < *own/3 {
		return nil
	}
	f.confidence = event.ConfidenceLow
	f.say(fmt.Sprintf("Other processes below it held %s of anonymous memory, the victim %s; which cgroups they were in is not told.", size(others), size(*own)))
	f.remedy = "To do: see what else lives below " + label.Called(c.Kill.Domain.Container, c.Kill.Domain.Cgroup) + ", and whether its limit is meant to hold all of it."
	return f
}

// groupPolicy: all processes of a cgroup were killed together, though the one
// that was chosen held most of what they had.
func groupPolicy(c *Case, _ *finding) *finding {
	e := c.Kill
	if !e.Group || len(e.Killed) < 2 {
		return nil
	}
	dead := make(map[int32]bool)
	for i := range e.Killed {
		dead[e.Killed[i].PID] = true
	}
	chosen, others, known := e.Victim.RSS(), uint64(0), 1
	for i := range e.Candidates {
		if t := &e.Candidates[i]; dead[t.PID] && t.PID != e.Victim.PID && t.RSS() != nil {
			others += *t.RSS() + get(t.Swap)
			known++
		}
	}
	f := &finding{cause: event.CauseGroupPolicy, confidence: event.ConfidenceHigh}
	what := fmt.Sprintf("memory.oom.group is set: all %d processes of the group were killed", len(e.Killed))
	switch {
	case chosen == nil, known < len(dead):
		f.confidence = event.ConfidenceMedium
	case others >= *chosen+get(e.Victim.Swap):
		return nil // no single one was the matter
	default:
		what += ", though " + who(&e.Victim.Process) + " alone held " + size(*chosen+get(e.Victim.Swap)) + " and all others " + size(others)
	}
	f.say(what + ".")
	f.remedy = "To do: cure what filled the memory; to lose only the largest process instead, set memory.oom.group to 0 (Kubernetes: singleProcessOOMKill)."
	return f
}

// swapFull: what is in swap stands at the limit of swap, so that nothing more
// could be moved out. It does not matter where what fills the memory never could.
func swapFull(c *Case, filled *finding) *finding {
	m := c.Kill.Domain.Memory
	if filled.cause == event.CauseKernelMemory || filled.cause == event.CausePageCachePinned {
		return nil
	}
	if m == nil || m.SwapUsage == nil || *m.SwapUsage < slack {
		return nil
	}
	used := *m.SwapUsage
	f := &finding{cause: event.CauseSwapFull, confidence: event.ConfidenceHigh}
	switch {
	case m.SwapLimit != nil && *m.SwapLimit > 0 && used+*m.SwapLimit/20 >= *m.SwapLimit:
		f.say(fmt.Sprintf("%s are in swap, of the %s that its limit allows: nothing more could be moved out.", size(used), size(*m.SwapLimit)))
	case m.SwapLimit != nil && *m.SwapLimit == 0: // it was not to swap any more
		return nil
	case c.Node != nil && c.Node.SwapTotal > 0 && c.Node.SwapFree < c.Node.SwapTotal/50:
		f.say(fmt.Sprintf("The machine's swap is full (%s, of which %s are this cgroup's): nothing more could be moved out.", size(c.Node.SwapTotal), size(used)))
	default:
		return nil
	}
	need := get(m.Usage) - min(cacheOf(m), get(m.Usage)) + used
	if m.Limit != nil && need > *m.Limit {
		f.remedy = fmt.Sprintf("To do: without swap, the limit would have to be at least %s to hold what is there now; more swap only helps when most of it is idle.", size(need))
	}
	return f
}

// cacheOf is what is on the lists of file memory.
func cacheOf(m *event.Figures) uint64 {
	if m.LRUFile != nil {
		return *m.LRUFile
	}
	return get(m.ActiveFile) + get(m.InactiveFile)
}

// storm is forkStorm for a domain that is a cgroup.
func storm(c *Case, k *kinds) *finding {
	f := forkStorm(c)
	if f == nil {
		return nil
	}
	if largest := slices.MaxFunc(c.Kill.Candidates, func(a, b event.Candidate) int { return cmp.Compare(get(a.RSS()), get(b.RSS())) }); get(largest.RSS()) > k.usage/3 {
		return nil
	}
	return f
}

// forkStorm: most processes are but seconds old, very many, and none holds much.
// It takes their ages, which a kernel log does not have.
func forkStorm(c *Case) *finding {
	if c.SinceBoot == 0 {
		return nil
	}
	var young, all int
	var youngHeld, held uint64
	names := make(map[string]int)
	for i := range c.Kill.Candidates {
		t := &c.Kill.Candidates[i]
		rss := t.RSS()
		if t.StartTimeNS == 0 || rss == nil {
			continue
		}
		all++
		n := *rss + get(t.Swap) + get(t.PageTables)
		held += n
		if int64(c.SinceBoot)-t.StartTimeNS < int64(storming) {
			young++
			youngHeld += n
			names[t.Comm]++
		}
	}
	const many = 24
	if young < many || young < all/4*3 || youngHeld < held/2 {
		return nil
	}
	top := ""
	for name, n := range names {
		if top == "" || n > names[top] || n == names[top] && name < top {
			top = name
		}
	}
	f := &finding{cause: event.CauseForkStorm, confidence: event.ConfidenceMedium}
	if young >= 2*many && young < all {
		f.confidence = event.ConfidenceHigh
	}
	f.say(fmt.Sprintf("%d of %d processes began within the last %s, %d of them called %s; they hold %s together (pages that are shared count for each), none much.",
		young, all, span(storming), names[top], top, size(youngHeld)))
	if young == all {
		f.say("There is no older one: a service that starts as many workers looks the same.")
	}
	f.remedy = fmt.Sprintf("To do: find what starts %s; pids.max keeps such a storm from taking all memory. If they are wanted, the limit must hold that many.", top)
	return f
}

// spared says that nobody could be killed, where that is so.
func spared(c *Case) string {
	e := c.Kill
	if len(e.Killed) > 0 {
		return ""
	}
	if e.Source != event.SourceKmsg && len(e.Candidates) == 0 {
		return "Nobody could be killed: each process is exempt (oom_score_adj -1000, or already dying)."
	}
	if len(e.Candidates) == 0 || e.CandidatesMissing > 0 || e.CandidatesTruncated {
		return "" // a log may have been cut before the victim
	}
	for i := range e.Candidates {
		if e.Candidates[i].Unkillable == "" {
			return ""
		}
	}
	return fmt.Sprintf("Nobody could be killed: of %d processes each is exempt (oom_score_adj -1000, or already dying).", len(e.Candidates))
}
