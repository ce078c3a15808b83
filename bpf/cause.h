/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which limit an episode of reclaim is for.
 */
#ifndef OOMTRACE_CAUSE_H
#define OOMTRACE_CAUSE_H

#include "episode.h"
#include "limits.h"

/* What moved at one cgroup since it was last looked at. The cgroup comes as a
 * number: pointers are not for global functions, which the verifier looks at once
 * and not with every cgroup on the way up. */
__noinline u32 limit_event(u64 memcg, u64 id)
{
	struct mem_cgroup *m = (void *)memcg;
	u64 max = memory_event(m, EVENT_MAX), high = memory_event(m, EVENT_HIGH);
	struct seen *seen = bpf_map_lookup_elem(&seen_events, &id);
	u32 kind = RECLAIM_NONE;

	if (!seen) {
		struct seen now = { .max = max, .high = high, .oom = memory_event(m, EVENT_OOM) };

		bpf_map_update_elem(&seen_events, &id, &now, BPF_ANY);
		return RECLAIM_NONE;
	}
	if (max != seen->max)
		kind = RECLAIM_LIMIT;
	else if (high != seen->high)
		kind = RECLAIM_HIGH;
	seen->max = max;
	seen->high = high;
	seen->oom = memory_event(m, EVENT_OOM);
	return kind;
}

/* A folio of the page cache is charged whole, up to 512 pages, and others free
 * meanwhile: a cgroup this close below its limit is at it. */
#define CLOSE 512

__noinline u32 limit_reached(u64 memcg)
{
	struct mem_cgroup *m = (void *)memcg;
	u64 usage = READ(m, memory.usage.counter);

	if (usage + CLOSE >= READ(m, memory.max))
		return RECLAIM_LIMIT;
	if (usage > READ(m, memory.high))
		return RECLAIM_HIGH;
	return RECLAIM_NONE;
}

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
		u32 kind = limit_event((u64)m, id);

		if (kind && e->kind == RECLAIM_NONE) {
			e->kind = kind;
			e->domain = id;
			e->certainty = SURE;
		}
		if (!near_kind) {
			near_kind = limit_reached((u64)m);
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
	u64 address;

	/* fentry's arguments are pointers to the verifier */
	bpf_probe_read_kernel(&address, sizeof(address), &m);
	e->domain = memcg_id(m);
	e->certainty = SURE;
	e->kind = limit_event(address, e->domain);
	if (e->kind == RECLAIM_NONE) {
		e->certainty = INFERRED;
		e->kind = limit_reached(address);
	}
	if (e->kind == RECLAIM_NONE)
		e->kind = RECLAIM_PROACTIVE;
}

/* Tells the tracer that a cgroup at its limit has nothing left to reclaim, so
 * that it can look at what the memory is before a kill changes it. At most
 * every 50 ms for one cgroup. Global, as limit_event() is. */
__noinline int send_pressure(u64 domain, u64 now)
{
	struct mem_cgroup *m = task_memcg((void *)bpf_get_current_task());
	struct seen *seen = bpf_map_lookup_elem(&seen_events, &domain);
	u64 ooms = 0, killer_off = 0;
	struct rec_pressure *r;
	int i;

	if (!seen || now - seen->pressed < 50000000)
		return 0;
	seen->pressed = now;
	for (i = 0; i < DEPTH && m; i++) {
		u64 id = memcg_id(m);

		if (id == domain)
			ooms = memory_event(m, EVENT_OOM);
		if (!killer_off && bpf_core_field_exists(m->oom_kill_disable) && READ(m, oom_kill_disable))
			killer_off = id;
		m = memcg_parent(m);
	}
	r = reserve(FAMILY_RECLAIM, sizeof(*r), REC_PRESSURE, now);
	if (!r)
		return 0;
	r->domain = domain;
	r->ooms = ooms;
	r->killer_off = killer_off;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return 0;
}

#endif
