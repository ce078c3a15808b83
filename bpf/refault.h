/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Evicted pages that come back, and after how long: one page in SAMPLING of
 * every file, always the same one, so that its eviction and its return are both
 * seen. The others cost a multiplication and a comparison.
 */
#ifndef OOMTRACE_REFAULT_H
#define OOMTRACE_REFAULT_H

#include "histogram.h"
#include "pages.h"

#define SAMPLING 256
#define SAMPLING_SHIFT 8

const volatile bool sample_refaults = false;

/* Where a sampled page was evicted. A table without chains: a later eviction
 * takes the place of an earlier one with the same slot, whose return is then
 * not told. 64 Ki slots stand for 64 GiB of evicted pages. */
#define SLOT_BITS 16

struct eviction {
	u64 key;
	u64 time, domain;
	u64 clock; /* of the domain */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << SLOT_BITS);
	__type(key, u32);
	__type(value, struct eviction);
} evictions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64); /* domain */
	__type(value, struct eviction_clock);
} eviction_clocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct refault_key);
	__type(value, struct refault_counts);
} refaults SEC(".maps");

static const struct refault_counts no_refaults;
static const struct eviction_clock no_evictions;

/* The most blocks of SAMPLING pages in a folio: 512 MiB in pages of 64 KiB. */
#define MAX_BLOCKS 32

/* Which page of a block is sampled is a hash of file and position. 0: one that
 * is not in this folio. The product's lower bits differ little between the blocks
 * of a file; slots are taken from the upper ones, so these are mixed in. */
static __always_inline u64 sample(struct pages *p, u64 block)
{
	u64 hash = (p->number * 0x9e3779b97f4a7c15ULL + block) * 0xd6e8feb86659fd93ULL;
	u64 chosen = block << SAMPLING_SHIFT | hash >> (64 - SAMPLING_SHIFT);

	if (chosen - p->index >= p->count)
		return 0;
	hash ^= (u64)dev_of(p) << 32 | p->generation;
	hash ^= hash >> 32;
	return hash * 0x9e3779b97f4a7c15ULL;
}

/* How many blocks a folio is in. It is aligned to its size. */
static __always_inline u64 blocks_of(struct pages *p)
{
	return p->count > SAMPLING ? p->count >> SAMPLING_SHIFT : 1;
}

static __always_inline struct eviction *eviction_of(u64 key)
{
	u32 slot = key >> (64 - SLOT_BITS);

	return bpf_map_lookup_elem(&evictions, &slot);
}

/* Empties a slot, and gives its domain's clock. */
static __always_inline struct eviction_clock *vacate(struct eviction *at)
{
	u64 domain = at->domain;
	struct eviction_clock *clock = bpf_map_lookup_elem(&eviction_clocks, &domain);

	at->key = 0;
	if (clock)
		__sync_fetch_and_add(&clock->away, -1);
	return clock;
}

/* Global functions, called for sampled pages alone. */

__noinline int sample_evicted(u64 key, u64 domain)
{
	struct eviction *at = eviction_of(key);
	struct eviction_clock *clock;

	if (!at)
		return 0;
	if (at->key)
		vacate(at);
	clock = bpf_map_lookup_elem(&eviction_clocks, &domain);
	if (!clock) {
		bpf_map_update_elem(&eviction_clocks, &domain, &no_evictions, BPF_NOEXIST);
		clock = bpf_map_lookup_elem(&eviction_clocks, &domain);
		if (!clock)
			return 0;
	}
	__sync_fetch_and_add(&clock->evicted, 1);
	__sync_fetch_and_add(&clock->away, 1);
	at->time = bpf_ktime_get_ns();
	at->domain = domain;
	at->clock = clock->evicted;
	at->key = key;
	return 0;
}

__noinline int sample_added(u64 key, u64 owner)
{
	struct eviction *at = eviction_of(key), was = {};
	struct refault_key of = {owner};
	struct eviction_clock *clock = NULL;
	struct refault_counts *c;

	if (at && at->key == key) {
		was = *at;
		clock = vacate(at);
	}
	of.domain = was.domain;
	c = bpf_map_lookup_elem(&refaults, &of);
	if (!c) {
		bpf_map_update_elem(&refaults, &of, &no_refaults, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&refaults, &of);
		if (!c) {
			count_map_full(FAMILY_CACHE, SAMPLING);
			return 0;
		}
	}
	__sync_fetch_and_add(&c->added, 1);
	if (!clock)
		return 0;
	count_bucket(c->after, TIME_BUCKETS, (bpf_ktime_get_ns() - was.time) >> TIME_SHIFT);
	count_bucket(c->distance, DISTANCE_BUCKETS, clock->evicted - was.clock);
	return 0;
}

static __always_inline void sample_eviction(struct pages *p, u64 domain)
{
	u64 key, n = blocks_of(p);

	for (u32 i = 0; i < MAX_BLOCKS && i < n; i++) {
		key = sample(p, (p->index >> SAMPLING_SHIFT) + i);
		if (key)
			sample_evicted(key, domain);
	}
}

static __always_inline void sample_add(struct pages *p)
{
	u64 key, owner, n = blocks_of(p);

	for (u32 i = 0; i < MAX_BLOCKS && i < n; i++) {
		key = sample(p, (p->index >> SAMPLING_SHIFT) + i);
		if (!key)
			continue;
		owner = memcg_id(p->owner);
		if (is_watched(owner))
			sample_added(key, owner);
	}
}

#endif
