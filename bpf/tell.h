/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How an episode is told when it is over: counted, and sent by itself.
 */
#ifndef OOMTRACE_TELL_H
#define OOMTRACE_TELL_H

#include "episode.h"
#include "stall.h"

const volatile bool want_reclaim = true;

static __always_inline void send(void *ctx, struct episode *e, u32 family, u32 type, u64 end)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 now = bpf_ktime_get_ns();
	struct rec_reclaim *r;
	s64 cpu;

	if (want_stacks)
		r = reserve(family, sizeof(*r), type, end);
	else
		r = reserve(family, __builtin_offsetof(struct rec_reclaim, stack), type, end);
	if (!r)
		return;
	fill_task(&r->task, task);
	r->domain = e->domain;
	r->duration = end - e->start;
	cpu = cpu_clock(task, now) - e->cpu_start;
	if (e->cpu != bpf_get_smp_processor_id() || cpu <= 0)
		r->cpu_ns = UNKNOWN;
	else
		r->cpu_ns = cpu > (s64)r->duration ? r->duration : cpu;
	r->scanned = e->scanned;
	r->reclaimed = e->reclaimed;
	r->gfp = e->gfp;
	r->order = e->order;
	r->kind = e->kind;
	r->certainty = e->certainty;
	r->priority = e->priority;
	r->node = e->node;
	r->evicted_count = e->evicted_count;
	r->evicted_other = e->evicted_other;
	__builtin_memcpy(r->evicted, e->evicted, sizeof(r->evicted));
	if (want_stacks) {
		__builtin_memset(r->stack, 0, sizeof(r->stack));
		bpf_get_stack(ctx, r->stack, sizeof(r->stack), 0);
		r->image = (u64)BPF_CORE_READ(task, mm);
		__builtin_memset(r->user_stack, 0, sizeof(r->user_stack));
		bpf_get_stack(ctx, r->user_stack, sizeof(r->user_stack), BPF_F_USER_STACK);
	}
	submit(r);
}

/* Gives whether anybody wants to know. */
static __always_inline bool tell(void *ctx, struct episode *e, u64 now)
{
	if (!is_watched(e->task_cgroup) && !is_watched(e->domain))
		return false;
	if (want_stalls)
		count_stall(e->task_cgroup, e->domain, e->kind, now - e->start, e->scanned, e->reclaimed);
	if (want_reclaim && now - e->start >= min_stall)
		send(ctx, e, FAMILY_RECLAIM, REC_RECLAIM, now);
	return true;
}

#endif
