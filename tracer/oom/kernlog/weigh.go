package kernlog

import "github.com/oomtrace/oomtrace/tracer/event"

// since59 is the first kernel whose score is the plain sum that Badness is: before
// it there was a floor, and before 4.17 a bonus for root.
const since59 = 5009

// total is the number of pages by which the kernel scales oom_score_adj; 0 where
// the log does not settle it.
func (r *report) total(page uint64) uint64 {
	if page == 0 || r.spared {
		return 0
	}
	if r.memcg {
		// With swap allowed it depends on how much of it the node has, and on the
		// cgroup's swappiness.
		if !r.memory.limited {
			return 0
		}
		noSwap := r.swap.known && r.swap.limited && r.swap.limit == 0 ||
			r.memsw.known && r.memsw.limited && r.memsw.limit <= r.memory.limit
		if !noSwap {
			return 0
		}
		return max(r.memory.limit/page, 1)
	}
	if r.constraint != "CONSTRAINT_NONE" || !r.hasRAM || !r.hasReserved || !r.hasSwap || r.ram <= r.reserved {
		return 0
	}
	return r.ram - r.reserved + r.totalSwap<<10/page
}

// weighed reports whether the kernel that wrote this scores as Badness does.
func (r *report) weighed(t *row) bool { return r.kernel >= since59 || r.kernel == 0 && t.anon != nil }

func (r *report) candidate(t *row, page, total uint64, o *Options) (c event.Candidate) {
	c.Actor = r.actor(t.pid, t.comm, t.uid)
	if len(r.kills) > 0 && (r.kills[0].pid == t.pid || r.kills[0].pid == t.tgid) {
		c.Cgroup, c.Container = r.victimCgroup(o)
	}
	bytes := func(pages *uint64) *uint64 {
		if pages == nil || page == 0 || *pages > 1<<46 {
			return nil
		}
		n := *pages * page
		return &n
	}
	c.TotalVM, c.AnonRSS, c.FileRSS, c.ShmemRSS = bytes(t.total), bytes(t.anon), bytes(t.file), bytes(t.shmem)
	if c.AnonRSS == nil && c.FileRSS == nil && c.ShmemRSS == nil {
		c.ResidentSum = bytes(t.rss) // older tables have no more
	}
	c.Swap, c.OOMScoreAdj = bytes(t.swap), t.adj
	switch {
	case t.tables != nil:
		c.PageTables = t.tables
	case t.tablePages != nil && t.pmds != nil:
		n := *t.tablePages + *t.pmds
		c.PageTables = bytes(&n)
	case t.tablePages != nil:
		c.PageTables = bytes(t.tablePages)
	}
	switch {
	case t.tgid == 1:
		c.Unkillable = "init"
		return c
	case t.adj != nil && *t.adj == -1000:
		c.Unkillable = "oom_score_adj"
		return c
	}
	if o.Badness == nil || page == 0 || t.rss == nil || t.swap == nil || t.tables == nil || t.adj == nil ||
		*t.adj != 0 && total == 0 || !r.weighed(t) || *t.rss > 1<<46 || *t.swap > 1<<46 {
		return c
	}
	n := o.Badness(Weight{
		Pages: *t.rss + *t.swap, PageTableBytes: *t.tables, PageBytes: page, ScoreAdj: *t.adj, TotalPages: total,
	})
	c.Badness = &n
	return c
}

// inKiB reports whether the line of a kill has the size of page tables in KiB, as
// it says. 5.4 wrote bytes there, which are always a multiple of a page.
func (r *report) inKiB(tables *uint64) bool {
	return tables != nil && (r.kernel > 5004 || *tables%4096 != 0)
}

// fillVictim tells of the process that was chosen: first what the line of its
// kill says, then the table.
func (r *report) fillVictim(e *event.OOMKill, page, total uint64, o *Options) {
	k := r.victim
	if len(r.kills) > 0 {
		k = r.kills[0]
		if k.uid == nil && k.pid == r.victim.pid {
			k.uid = r.victim.uid
		}
	}
	if k.pid == 0 {
		return
	}
	v := &e.Victim
	if t := r.find(k.pid); t != nil {
		*v = r.candidate(t, page, total, o)
		v.Unkillable = ""
	}
	v.Actor = r.actor(k.pid, k.comm, k.uid)
	v.Cgroup, v.Container = r.victimCgroup(o)
	set := func(to **uint64, kb *uint64) {
		if kb != nil {
			n := *kb << 10
			*to = &n
		}
	}
	set(&v.TotalVM, k.total)
	set(&v.AnonRSS, k.anon)
	set(&v.FileRSS, k.file)
	set(&v.ShmemRSS, k.shmem)
	if v.AnonRSS != nil || v.FileRSS != nil || v.ShmemRSS != nil {
		v.ResidentSum = nil
	}
	if v.PageTables == nil && r.inKiB(k.tables) {
		set(&v.PageTables, k.tables)
	}
	if k.adj != nil {
		v.OOMScoreAdj = k.adj
	}
}
