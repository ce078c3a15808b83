/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Maps that all objects share (the loader replaces them by one set), and the
 * way records leave: reserved and filled in place, every failure counted.
 */
#ifndef OOMTRACE_EMIT_H
#define OOMTRACE_EMIT_H

#include "wire.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAMILY_COUNT);
	__type(key, u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* The cgroups that are traced, when a filter is set: descendants are in it too,
 * put there by the tracer at start and by cgroup_mkdir since. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, u8);
} watched SEC(".maps");

const volatile bool filtered = false; /* only what is in `watched` */
const volatile bool want_stacks = false;
const volatile u64 min_stall = 0; /* ns */

static __always_inline struct tally *tally_of(u32 family)
{
	return bpf_map_lookup_elem(&tallies, &family);
}

/* Records are written by programs that may be preempted by others of the same
 * family on the same CPU (7.0 and later), hence atomics on per-CPU counters. */
static __always_inline void count_map_full(u32 family, u64 n)
{
	struct tally *t = tally_of(family);

	if (t)
		__sync_fetch_and_add(&t->map_full, n);
}

/* The last eighth of the ring buffer is kept for kills and for the names of
 * cgroups: a storm of stalls must not cost a kill. */
static __always_inline bool room_for(u32 family)
{
	if (family == FAMILY_OOM || family == FAMILY_CGROUP)
		return true;
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 8 * 7;
}

static __always_inline void *reserve(u32 family, u64 size, u32 type, u64 time)
{
	struct tally *t = tally_of(family);
	struct rec_head *head = room_for(family) ? bpf_ringbuf_reserve(&events, size, 0) : NULL;

	if (t)
		__sync_fetch_and_add(&t->sent, 1);
	if (!head) {
		if (t)
			__sync_fetch_and_add(&t->lost, 1);
		return NULL;
	}
	head->type = type;
	head->cpu = bpf_get_smp_processor_id();
	head->time = time;
	return head;
}

/* 1 while the reader looks by itself every few milliseconds: waking it costs the
 * task that sends ten times as much as the record, so that is left to quiet
 * times and to what cannot wait. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} reader_polls SEC(".maps");

#define WAKE_AT (256 << 10) /* bytes that wait */

static __always_inline void submit(void *record)
{
	u32 zero = 0, *polls = bpf_map_lookup_elem(&reader_polls, &zero);

	if (polls && *polls && bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) < WAKE_AT)
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(record, 0);
}

static __always_inline bool is_watched(u64 cgroup)
{
	return !filtered || bpf_map_lookup_elem(&watched, &cgroup);
}

#endif
