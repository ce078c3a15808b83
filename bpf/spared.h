/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The OOM killer invoked, and nobody there whom it may kill. The kernel goes on:
 * the allocation fails, or the page fault is tried again, and again the killer
 * is invoked, thousands of times a second. So each domain is told of less and
 * less often while it lasts.
 */
#ifndef OOMTRACE_SPARED_H
#define OOMTRACE_SPARED_H

#include "domain.h"

#define TELL_FIRST 1000000000ULL  /* ns between two of one domain, doubled each time */
#define TELL_LAST 64000000000ULL
#define CALM 10000000000ULL /* without any, it begins anew */

struct spared {
	u64 told, last; /* CLOCK_MONOTONIC */
	u64 gap;
	u64 repeats; /* since it was told */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64); /* cgroup, 0 for the node */
	__type(value, struct spared);
} spared_domains SEC(".maps");

/* Whether a domain was told of too recently to be told of again. */
static __always_inline bool told_of(u64 domain, u64 now)
{
	struct spared *s = bpf_map_lookup_elem(&spared_domains, &domain);

	return s && now - s->last < CALM && now - s->told < s->gap;
}

/* out_of_memory is being left without a victim: chosen is NULL when it has
 * looked at all, and no pointer when a victim of before is still exiting. What
 * it does before it looks, it does not report as a failure. */
static __always_inline bool nobody_chosen(struct incident *in, u64 result)
{
	struct oom_control *oc = (void *)in->control;

	return !in->selected && !in->marked && !(u8)result && oc && !BPF_CORE_READ(oc, chosen) &&
	       BPF_CORE_READ(oc, totalpages);
}

static __always_inline void send_spared(struct incident *in, u64 repeats, u64 now)
{
	struct rec_oom_mark *r = reserve(FAMILY_OOM, __builtin_offsetof(struct rec_oom_mark, stack), REC_OOM_MARK, now);

	if (!r)
		return;
	in->marked = now;
	__builtin_memset(&in->lru, 0, sizeof(in->lru));
	if (in->domain_memcg)
		gather_lru(in);
	r->incident = in->id;
	r->invoked = in->invoked;
	r->selected = r->signalled = 0;
	fill_task(&r->trigger, (void *)bpf_get_current_task());
	__builtin_memset(&r->victim, 0, sizeof(r->victim));
	__builtin_memset(&r->mm, 0, sizeof(r->mm));
	fill_counters(&r->memory, (void *)in->domain_memcg);
	r->lru = in->lru;
	r->domain = in->domain;
	r->totalpages = in->totalpages;
	r->points = 0;
	r->gfp = in->gfp;
	r->order = in->order;
	r->constraint = in->constraint;
	r->flags = in->flags | OOM_FIRST | OOM_MORE | OOM_NO_VICTIM;
	r->repeats = repeats;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

/* Tells of it, or counts it; false when there is nothing to be told. */
static __always_inline bool spared(struct incident *in)
{
	struct spared fresh = { .gap = TELL_FIRST }, *s;
	u64 now = bpf_ktime_get_ns(), domain = in->domain, repeats = 0;

	s = bpf_map_lookup_elem(&spared_domains, &domain);
	if (s && now - s->last < CALM) {
		s->last = now;
		if (in->quiet || now - s->told < s->gap) {
			__sync_fetch_and_add(&s->repeats, 1);
			return false;
		}
		repeats = s->repeats;
		s->repeats = 0;
		s->told = now;
		s->gap = s->gap * 2 < TELL_LAST ? s->gap * 2 : TELL_LAST;
	} else {
		fresh.told = fresh.last = now;
		bpf_map_update_elem(&spared_domains, &domain, &fresh, BPF_ANY);
	}
	send_spared(in, repeats, now);
	return true;
}

#endif
