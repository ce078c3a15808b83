/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stalls, counted where they end: how many, how long, by whose task and on
 * account of which limit. Short ones that are not sent are in here too.
 */
#ifndef OOMTRACE_STALL_H
#define OOMTRACE_STALL_H

#include "emit.h"
#include "histogram.h"

const volatile bool want_stalls = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct stall_key);
	__type(value, struct stall_counts);
} stalls SEC(".maps");

/* The number of the interval, counted by the reader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} stall_interval SEC(".maps");

static const struct stall_counts no_stalls;

#define NS_MASK ((1ULL << 48) - 1)

static __always_inline void set_longest(struct stall_counts *c, u64 duration)
{
	u32 zero = 0, *interval = bpf_map_lookup_elem(&stall_interval, &zero);
	u64 now = interval ? *interval & 0xffff : 0, ours, *slot;

	ours = now << 48 | (duration < NS_MASK ? duration : NS_MASK);
	slot = &c->longest[now & 1][bpf_get_smp_processor_id() & (LONGEST_SLOTS - 1)];
	if (*slot >> 48 != now || *slot < ours)
		*slot = ours;
}

static __always_inline void count_stall(u64 cgroup, u64 domain, u32 kind, u64 duration, u64 scanned, u64 reclaimed)
{
	struct stall_key key = { .cgroup = cgroup, .domain = domain, .kind = kind };
	struct stall_counts *c = bpf_map_lookup_elem(&stalls, &key);

	if (!c) {
		bpf_map_update_elem(&stalls, &key, &no_stalls, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&stalls, &key);
		if (!c) {
			count_map_full(FAMILY_RECLAIM, 1);
			return;
		}
	}
	__sync_fetch_and_add(&c->total, duration);
	if (reclaimed) /* an atomic addition of nothing becomes an instruction of 5.12 */
		__sync_fetch_and_add(&c->reclaimed, reclaimed);
	if (scanned != ~0ULL) {
		__sync_fetch_and_add(&c->scanned, scanned);
		__sync_fetch_and_add(&c->scans, 1);
	}
	count_bucket(c->buckets, TIME_BUCKETS, duration >> TIME_SHIFT);
	set_longest(c, duration);
}

#endif
