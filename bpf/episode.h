/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What an episode evicts, and the counts of the page cache, into which that goes
 * too.
 */
#ifndef OOMTRACE_EPISODE_H
#define OOMTRACE_EPISODE_H

#include "thread.h"

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
