/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is kept as histograms: stalls, and evicted pages that came back. The
 * structures cross to Go like those of wire.h.
 */
#ifndef OOMTRACE_HISTOGRAM_H
#define OOMTRACE_HISTOGRAM_H

#include "wire.h"

/* Buckets are logarithmic with 8 linear steps in each power of two, so a
 * quantile is known to an eighth. The last holds all that is larger. */
#define TIME_BUCKETS 256 /* units of 1024 ns, up to 4.8 hours */
#define TIME_SHIFT 10
#define DISTANCE_BUCKETS 128 /* sampled pages, up to 2^18 */

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* Ways to stall beside the kinds of reclaim. */
enum stall_kind {
	STALL_THROTTLE = 32, /* asleep for memory.high */
	STALL_WAIT,          /* asleep within reclaim: mm_vmscan_throttled */
	STALL_COMPACTION,
};

struct stall_key {
	u64 cgroup; /* of the stalled task */
	u64 domain; /* 0: not one cgroup, or not known */
	u64 kind;   /* reclaim_kind or stall_kind */
};

/* CPUs that share a slot may overwrite each other's maximum when both set it at
 * the very same time. */
#define LONGEST_SLOTS 8

struct stall_counts {
	u64 total;          /* ns */
	u64 scanned, scans; /* scans: episodes whose scanned pages are known */
	u64 reclaimed;
	/* The longest of this interval and of the one before, by CPU: the interval's
	 * number in the upper 16 bits, ns in the others. */
	u64 longest[2][LONGEST_SLOTS];
	u32 buckets[TIME_BUCKETS];
};

struct refault_key {
	u64 owner;
	u64 domain; /* whose reclaim evicted the page; 0: not one cgroup, or not known */
};

/* Sampled pages that were evicted for one domain: the clock that distances are
 * told by, and how many of them have not come back. */
struct eviction_clock {
	u64 evicted;
	s64 away;
};

struct refault_counts { /* sampled pages */
	u64 added; /* those that came back included */
	u32 after[TIME_BUCKETS];
	u32 distance[DISTANCE_BUCKETS]; /* pages that were evicted meanwhile, likewise sampled */
};

#pragma clang diagnostic pop

/* The bucket that a value falls into. A global function, which the verifier
 * looks at once and by itself: inlined, whatever comes after it would be looked
 * at for each of its 64 ways. */
__noinline u32 bucket_of(u64 v)
{
	u32 e = 0;
	u64 top = v;

	if (v < 8)
		return v;
	if (top >> 32) {
		top >>= 32;
		e += 32;
	}
	if (top >> 16) {
		top >>= 16;
		e += 16;
	}
	if (top >> 8) {
		top >>= 8;
		e += 8;
	}
	if (top >> 4) {
		top >>= 4;
		e += 4;
	}
	if (top >> 2) {
		top >>= 2;
		e += 2;
	}
	if (top >> 1)
		e++;
	return (e - 2) * 8 + (v >> (e - 3) & 7);
}

static __always_inline void count_bucket(u32 *buckets, u32 size, u64 v)
{
	u32 i = bucket_of(v);

	if (i >= size)
		i = size - 1;
	__sync_fetch_and_add(&buckets[i & (size - 1)], 1);
}

#endif
