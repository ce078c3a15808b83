/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A victim being marked: the moment of a kill that every kernel shows.
 */
#ifndef OOMTRACE_MARK_H
#define OOMTRACE_MARK_H

#include "domain.h"
#include "thread.h"

const volatile bool mark_has_task = true; /* mark_victim(task) instead of mark_victim(pid) */

/* Whether this mark belongs to the incident at hand. Without fentry: it does
 * when a group is being killed and the task has not reclaimed since. */
static __always_inline bool same_incident(struct incident *in)
{
	struct last_reclaim *last;

	if (in->active || !in->marked)
		return in->active;
	if (!(in->flags & OOM_GROUP))
		return false;
	last = last_reclaim_of(bpf_get_current_pid_tgid());
	return !last || last->time < in->marked;
}

static __always_inline void begin_incident(struct incident *in, u64 now)
{
	struct last_reclaim *last = last_reclaim_of(bpf_get_current_pid_tgid());

	in->id = now;
	in->marked = 0;
	in->candidates = 0;
	in->flags = 0;
	in->domain = in->domain_memcg = in->totalpages = 0;
	in->constraint = 0;
	if (last) {
		in->gfp = last->gfp;
		in->order = last->order;
		in->flags |= OOM_GFP;
	}
}

/* What the victim's side of the domain has, before any of it is given back: the
 * kernel may kill others below the same limit within milliseconds. */
static __always_inline void fill_branch(struct rec_oom_mark *r, struct mem_cgroup *m, u64 domain)
{
	struct mem_cgroup *below = NULL;
	int i;

	r->branch = r->branch_usage = r->branch_max = 0;
	for (i = 0; i < DEPTH && m && (u64)m != domain; i++) {
		below = m;
		m = memcg_parent(m);
	}
	if (!below || !m || (u64)m != domain)
		return;
	r->branch = memcg_id(below);
	r->branch_usage = BPF_CORE_READ(below, memory.usage.counter);
	r->branch_max = BPF_CORE_READ(below, memory.max);
}

/* Sends the mark; returns 1 when the candidates are still to be walked. */
static __always_inline int marked(void *ctx, u64 argument)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct incident *in = current_incident();
	struct task_struct *task = NULL;
	struct victim victim = {};
	u64 now = bpf_ktime_get_ns(), mm;
	struct rec_oom_mark *r;
	u32 tgid, flags;
	bool walk = false;

	/* mark_victim also fires for tasks that were on their way out anyhow; a
	 * kill was signalled just before. */
	if (!in)
		return 0;
	if (mark_has_task) {
		task = (void *)argument;
		tgid = BPF_CORE_READ(task, tgid);
		if (tgid != in->signalled_tgid)
			return 0;
		in->victim_mm = (u64)BPF_CORE_READ(task, mm);
		in->victim_memcg = (u64)task_memcg(task);
		fill_task(&in->victim, task);
		weigh_mm(&in->mm, task, BPF_CORE_READ(task, mm));
	} else {
		tgid = in->signalled_tgid;
		if ((u32)argument != in->victim.tid && (u32)argument != tgid)
			return 0;
	}
	in->signalled_tgid = 0;
	if (!same_incident(in)) {
		begin_incident(in, now);
		/* a write to memory.max comes from outside; a kernel thread serves SysRq-f */
		if (!search_domain(in, task_memcg(current)) && task && !(BPF_CORE_READ(current, flags) & PF_KTHREAD))
			search_domain(in, task_memcg(task));
		in->flags |= BPF_CORE_READ(current, active_memcg) ? OOM_REMOTE : 0;
		walk = true;
	}
	flags = in->flags;
	if (!in->marked)
		flags |= OOM_FIRST;
	if (in->active || walk)
		flags |= OOM_MORE;
	if (in_group((void *)in->victim_memcg, in->domain_memcg))
		in->flags |= OOM_GROUP;
	if (!in->marked && in->domain_memcg) {
		__builtin_memset(&in->lru, 0, sizeof(in->lru));
		gather_lru(in);
	}
	flags |= in->flags | (in->shared ? OOM_SHARED : 0);
	in->marked = now;

	victim.incident = in->id;
	victim.domain = in->domain;
	bpf_map_update_elem(&victims, &tgid, &victim, BPF_ANY);
	mm = in->victim_mm;
	if (mm && bpf_map_update_elem(&victim_memory, &mm, &victim, BPF_NOEXIST))
		flags |= OOM_SAME_MEMORY;
	if (want_stacks)
		r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_MARK, now);
	else
		r = reserve(FAMILY_OOM, __builtin_offsetof(struct rec_oom_mark, stack), REC_OOM_MARK, now);
	if (!r)
		return walk;
	r->incident = in->id;
	r->invoked = in->invoked;
	r->selected = in->selected;
	r->signalled = in->signalled;
	fill_task(&r->trigger, current);
	r->victim = in->victim;
	r->mm = in->mm;
	fill_counters(&r->memory, (void *)in->domain_memcg);
	r->lru = in->lru;
	r->domain = in->domain;
	fill_branch(r, (void *)in->victim_memcg, in->domain_memcg);
	r->totalpages = in->totalpages;
	r->points = in->points;
	r->gfp = in->gfp;
	r->order = in->order;
	r->constraint = in->constraint;
	r->flags = flags;
	r->repeats = 0;
	if (want_stacks) {
		__builtin_memset(r->stack, 0, sizeof(r->stack));
		bpf_get_stack(ctx, r->stack, sizeof(r->stack), 0);
	}
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return walk;
}

#endif
