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

/* Sampled pages that were evicted for each domain: the clock that distances are
 * told by. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u64);
	__type(value, u64);
} eviction_clocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct refault_key);
	__type(value, struct refault_counts);
} refaults SEC(".maps");

static const struct refault_counts no_refaults;

/* Which page of each 256 is sampled is a hash of file and position. A folio of
 * 256 pages and more has the one of its first 256. */
static __always_inline u64 sample(struct pages *p)
{
	u64 block = p->index >> SAMPLING_SHIFT;
	u64 hash = (p->number * 0x9e3779b97f4a7c15ULL + block) * 0xd6e8feb86659fd93ULL;
	u64 chosen = block << SAMPLING_SHIFT | hash >> (64 - SAMPLING_SHIFT);

	if (chosen - p->index >= p->count)
		return 0;
	return (hash ^ ((u64)p->dev << 32 | p->generation)) * 0x9e3779b97f4a7c15ULL;
}

/* How many samples a folio stands for. */
static __always_inline u64 weight(struct pages *p)
{
	return p->count > SAMPLING ? p->count >> SAMPLING_SHIFT : 1;
}

static __always_inline struct eviction *eviction_of(u64 key)
{
	u32 slot = key >> (64 - SLOT_BITS);

	return bpf_map_lookup_elem(&evictions, &slot);
}

static __always_inline void sample_eviction(struct pages *p, u64 domain)
{
	u64 key = sample(p), *clock;
	struct eviction *at;

	if (!key)
		return;
	clock = bpf_map_lookup_elem(&eviction_clocks, &domain);
	if (!clock) {
		u64 zero = 0;

		bpf_map_update_elem(&eviction_clocks, &domain, &zero, BPF_NOEXIST);
		clock = bpf_map_lookup_elem(&eviction_clocks, &domain);
	}
	at = eviction_of(key);
	if (!at || !clock)
		return;
	__sync_fetch_and_add(clock, weight(p));
	at->time = bpf_ktime_get_ns();
	at->domain = domain;
	at->clock = *clock;
	at->key = key;
}

static __always_inline void sample_add(struct pages *p)
{
	u64 key = sample(p), n = weight(p), *clock;
	struct refault_counts *c;
	struct refault_key of;
	struct eviction *at, was = {};

	if (!key)
		return;
	of.owner = memcg_id(p->owner);
	if (!is_watched(of.owner))
		return;
	at = eviction_of(key);
	if (at && at->key == key) {
		was = *at;
		at->key = 0;
	}
	of.domain = was.domain;
	c = bpf_map_lookup_elem(&refaults, &of);
	if (!c) {
		bpf_map_update_elem(&refaults, &of, &no_refaults, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&refaults, &of);
		if (!c) {
			count_map_full(FAMILY_CACHE, n * SAMPLING);
			return;
		}
	}
	__sync_fetch_and_add(&c->added, n);
	if (!was.key)
		return;
	clock = bpf_map_lookup_elem(&eviction_clocks, &was.domain);
	if (!clock)
		return;
	count_bucket(c->after, TIME_BUCKETS, (bpf_ktime_get_ns() - was.time) >> TIME_SHIFT);
	count_bucket(c->distance, DISTANCE_BUCKETS, *clock - was.clock);
}

#endif
