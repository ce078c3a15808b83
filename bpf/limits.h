/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a cgroup's own counters tell about its limits, and the last seconds of its
 * reclaim.
 */
#ifndef OOMTRACE_LIMITS_H
#define OOMTRACE_LIMITS_H

#include "compat.h"
#include "emit.h"

/* Events of a cgroup when last looked at. */
struct seen {
	u64 max, high, oom;
	u64 pressed; /* when REC_PRESSURE was last sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct seen);
} seen_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct history);
} histories SEC(".maps");

static const struct history empty_history;

/* Adds an episode to its domain's last seconds, short ones included. */
static __always_inline void add_history(u64 domain, u64 now, u64 stalled, u64 reclaimed)
{
	struct history *h = bpf_map_lookup_elem(&histories, &domain);
	u64 second = now / 1000000000;
	struct history_second *s;

	if (!h) {
		bpf_map_update_elem(&histories, &domain, &empty_history, BPF_NOEXIST);
		h = bpf_map_lookup_elem(&histories, &domain);
		if (!h)
			return;
	}
	s = &h->seconds[second % HISTORY_SECONDS];
	if (s->second != second) {
		s->second = second;
		s->episodes = 0;
		s->stalled = 0;
		s->reclaimed = 0;
	}
	__sync_fetch_and_add(&s->episodes, 1);
	__sync_fetch_and_add(&s->stalled, stalled);
	__sync_fetch_and_add(&s->reclaimed, reclaimed);
}

#endif
