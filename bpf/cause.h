/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which limit an episode of reclaim is for.
 */
#ifndef OOMTRACE_CAUSE_H
#define OOMTRACE_CAUSE_H

#include "episode.h"
#include "limits.h"

/* Which limit made the current task reclaim, judged by its own ancestors. An
 * event counted just now is proof; with several tasks at one limit another may
 * have looked first, then being at the limit is what there is to go by. */
static __always_inline void find_domain(struct episode *e)
{
	struct mem_cgroup *m = task_memcg((void *)bpf_get_current_task());
	u64 near = 0;
	u32 near_kind = RECLAIM_NONE;
	int i;

	for (i = 0; i < DEPTH && m; i++) {
		u64 id = memcg_id(m);
		u32 kind = limit_event(m, id);

		if (kind && e->kind == RECLAIM_NONE) {
			e->kind = kind;
			e->domain = id;
			e->certainty = SURE;
		}
		if (!near_kind) {
			near_kind = limit_reached(m);
			near = id;
		}
		m = memcg_parent(m);
	}
	if (e->kind != RECLAIM_NONE)
		return;
	e->certainty = INFERRED;
	if (near_kind) {
		e->kind = near_kind;
		e->domain = near;
	} else {
		e->kind = RECLAIM_PROACTIVE; /* memory.reclaim, or a limit being lowered */
	}
}

/* The same when the kernel has said which cgroup is being shrunk. */
static __always_inline void judge_domain(struct episode *e, struct mem_cgroup *m)
{
	e->domain = memcg_id(m);
	e->certainty = SURE;
	e->kind = limit_event(m, e->domain);
	if (e->kind == RECLAIM_NONE) {
		e->certainty = INFERRED;
		e->kind = limit_reached(m);
	}
	if (e->kind == RECLAIM_NONE)
		e->kind = RECLAIM_PROACTIVE;
}

/* Tells the tracer that a cgroup at its limit has nothing left to reclaim, so
 * that it can look at what the memory is before a kill changes it. At most
 * every 50 ms for one cgroup. */
static __always_inline void send_pressure(u64 domain, u64 now)
{
	struct mem_cgroup *m = task_memcg((void *)bpf_get_current_task());
	struct seen *seen = bpf_map_lookup_elem(&seen_events, &domain);
	u64 ooms = 0, killer_off = 0;
	struct rec_pressure *r;
	int i;

	if (!seen || now - seen->pressed < 50000000)
		return;
	seen->pressed = now;
	for (i = 0; i < DEPTH && m; i++) {
		u64 id = memcg_id(m);

		if (id == domain)
			ooms = memory_event(m, EVENT_OOM);
		if (!killer_off && bpf_core_field_exists(m->oom_kill_disable) && BPF_CORE_READ(m, oom_kill_disable))
			killer_off = id;
		m = memcg_parent(m);
	}
	r = reserve(FAMILY_RECLAIM, sizeof(*r), REC_PRESSURE, now);
	if (!r)
		return;
	r->domain = domain;
	r->ooms = ooms;
	r->killer_off = killer_off;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

#endif
