/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * An episode is one call into reclaim by one task. The reclaim programs open
 * and close it, the page-cache programs find it by the task and charge to it
 * what it evicts.
 */
#ifndef OOMTRACE_EPISODE_H
#define OOMTRACE_EPISODE_H

#include "compat.h"
#include "emit.h"

struct episode {
	u64 start, cpu_start, last; /* last: the latest sign of work */
	u64 domain;
	u64 task_cgroup;
	u64 scanned, reclaimed;
	u32 gfp;
	s32 order;
	u32 kind, certainty;
	s32 priority, node;
	u32 begun; /* 0: only announced by the call, the tracepoint follows */
	u32 evicted_count, evicted_other;
	u32 cpu;
	u32 tid; /* of a slot: whose it is, 0: nobody's */
	struct run run;
	struct rec_evicted evicted[EVICTED_MAX];
};

/* The page-cache hook looks for its episode with each page, so that has to be
 * cheaper than a hash map: an array by thread id, whose slots are claimed in a
 * hash map when an episode opens. Threads that find theirs taken have their
 * episodes in the hash map `episodes`. None is LRU: an episode that is running
 * must never be pushed out. */
#define EPISODE_SLOTS 8192

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EPISODE_SLOTS);
	__type(key, u32); /* thread id, its lower bits */
	__type(value, struct episode);
} episode_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EPISODE_SLOTS);
	__type(key, u32); /* slot */
	__type(value, u32); /* thread id */
} episode_claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u32); /* thread id */
	__type(value, struct episode);
} episodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64); /* owner: memory cgroup, 0 for pages charged to none */
	__type(value, struct cache_counts);
} cache_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_key);
	__type(value, struct file_counts);
} cache_files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct evict_key);
	__type(value, struct evict_counts);
} cache_evictors SEC(".maps");

const volatile bool count_cache = false; /* `cache` events are wanted */

static __always_inline struct episode *current_episode(void)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (EPISODE_SLOTS - 1);
	struct episode *e = bpf_map_lookup_elem(&episode_slots, &slot);

	if (e && e->tid == tid)
		return e;
	return bpf_map_lookup_elem(&episodes, &tid);
}

static const struct episode empty_episode;

static __always_inline struct episode *open_episode(void)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (EPISODE_SLOTS - 1), *owner;
	struct episode *e;

	bpf_map_update_elem(&episode_claims, &slot, &tid, BPF_NOEXIST);
	owner = bpf_map_lookup_elem(&episode_claims, &slot);
	e = bpf_map_lookup_elem(&episode_slots, &slot);
	if (e && owner && *owner == tid) {
		*e = empty_episode;
		e->tid = tid;
		return e;
	}
	if (bpf_map_update_elem(&episodes, &tid, &empty_episode, BPF_ANY)) {
		count_map_full(FAMILY_RECLAIM, 1);
		return NULL;
	}
	return bpf_map_lookup_elem(&episodes, &tid);
}

static __always_inline void drop_episode(void)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (EPISODE_SLOTS - 1);
	struct episode *e = bpf_map_lookup_elem(&episode_slots, &slot);

	if (e && e->tid == tid) {
		e->tid = 0;
		bpf_map_delete_elem(&episode_claims, &slot);
	} else {
		bpf_map_delete_elem(&episodes, &tid);
	}
}

static __always_inline struct file_counts *counts_of(struct run *run)
{
	struct file_key key = { .owner = run->owner, .inode = run->inode, .dev = run->dev, .generation = run->generation };
	struct file_counts *counts = bpf_map_lookup_elem(&cache_files, &key);

	if (!counts) {
		struct file_counts fresh = { .born = bpf_ktime_get_ns() };

		bpf_map_update_elem(&cache_files, &key, &fresh, BPF_NOEXIST);
		counts = bpf_map_lookup_elem(&cache_files, &key);
	}
	return counts;
}

static __always_inline void add_counts(struct cache_counts *c, u32 cause, u64 pages)
{
	if (cause == CAUSE_ADD)
		__sync_fetch_and_add(&c->added, pages);
	else if (cause == CAUSE_EVICT || cause == CAUSE_EVICT_REPARENTED)
		__sync_fetch_and_add(&c->evicted, pages);
	else if (cause == CAUSE_TRUNCATE)
		__sync_fetch_and_add(&c->truncated, pages);
	else
		__sync_fetch_and_add(&c->invalidated, pages);
}

/* Moves a run into the maps. */
static __always_inline void flush_run(struct run *run)
{
	u64 owner = run->owner, pages = run->pages;
	struct cache_counts *total;
	struct file_counts *counts;

	total = bpf_map_lookup_elem(&cache_totals, &owner);
	if (!total) {
		struct cache_counts zero = {};

		bpf_map_update_elem(&cache_totals, &owner, &zero, BPF_NOEXIST);
		total = bpf_map_lookup_elem(&cache_totals, &owner);
	}
	if (total)
		add_counts(total, run->cause, pages);
	else
		count_map_full(FAMILY_CACHE, pages);

	counts = counts_of(run);
	if (counts)
		add_counts(&counts->pages, run->cause, pages);

	if (run->cause == CAUSE_EVICT || run->cause == CAUSE_EVICT_REPARENTED) {
		struct evict_key key = { .owner = owner, .evictor = run->evictor, .kind = run->kind };
		struct evict_counts *evicted = bpf_map_lookup_elem(&cache_evictors, &key);
		struct evict_counts these = { .pages = pages };

		if (run->cause == CAUSE_EVICT_REPARENTED)
			these.reparented = pages;
		if (evicted) {
			__sync_fetch_and_add(&evicted->pages, pages);
			if (these.reparented)
				__sync_fetch_and_add(&evicted->reparented, pages);
		} else if (bpf_map_update_elem(&cache_evictors, &key, &these, BPF_NOEXIST)) {
			count_map_full(FAMILY_CACHE, pages);
		}
	}
}

/* Charges the run of an episode to the files it has evicted. */
static __always_inline void close_run(struct episode *e)
{
	struct run *run = &e->run;
	u64 reparented = run->cause == CAUSE_EVICT_REPARENTED ? run->pages : 0;
	int i;

	if (!run->pages)
		return;
	if (count_cache)
		flush_run(run);
	for (i = 0; i < EVICTED_MAX; i++) {
		struct rec_evicted *slot = &e->evicted[i];

		if (i >= e->evicted_count) {
			slot->owner = run->owner;
			slot->inode = run->inode;
			slot->dev = run->dev;
			slot->generation = run->generation;
			slot->pages = run->pages;
			slot->reparented = reparented;
			e->evicted_count = i + 1;
			goto out;
		}
		if (slot->inode == run->inode && slot->owner == run->owner && slot->dev == run->dev &&
		    slot->generation == run->generation) {
			slot->pages += run->pages;
			slot->reparented += reparented;
			goto out;
		}
	}
	e->evicted_other += run->pages;
out:
	run->pages = 0;
}

#endif
