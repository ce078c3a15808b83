/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The part of wire.h that is for counts of the page cache.
 */
#ifndef OOMTRACE_COUNTS_H
#define OOMTRACE_COUNTS_H

#include "wire.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

struct cache_counts { /* pages */
	u64 added, evicted, truncated, invalidated;
};

struct file_key {
	u64 owner, inode;
	u32 dev;
	u32 generation; /* inode numbers are used again */
};

struct file_counts {
	struct cache_counts pages;
	u64 born;  /* CLOCK_MONOTONIC: tells a fresh entry from a forgotten one */
	u64 named; /* its path was sent */
};

struct evict_key {
	u64 owner;
	u64 evictor; /* cgroup of the task that reclaimed */
	u64 kind;    /* reclaim_kind */
};

struct evict_counts { /* pages, and of these CAUSE_EVICT_REPARENTED */
	u64 pages, reparented;
};

enum cause { CAUSE_ADD, CAUSE_EVICT, CAUSE_TRUNCATE, CAUSE_INVALIDATE, CAUSE_EVICT_REPARENTED /* of a removed cgroup below */ };

/* A run is page-cache traffic of one file and one cause, not yet in the maps:
 * neighbours in time mostly belong together, and maps are ten times as dear as
 * a counter. */
struct run {
	u64 owner, inode, evictor;
	u32 dev, generation;
	u32 cause;
	u32 kind;
	u64 pages;
	/* The owner and the device once more, as they are nearest at hand for each page: a
	 * number that no other css is ever given, 0 for none; where the super block is, and
	 * for block devices, which all have the same, their number. */
	u64 css, sb;
	u32 rdev, pad;
};

#pragma clang diagnostic pop

#endif
