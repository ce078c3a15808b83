/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What is kept of a thread. An episode is one call into reclaim by one task. The
 * reclaim programs open and close it, the page-cache programs find it by the task
 * and charge to it what it evicts.
 */
#ifndef OOMTRACE_THREAD_H
#define OOMTRACE_THREAD_H

#include "compat.h"
#include "counts.h"
#include "emit.h"

/* A task's latest reclaim: what it was allocating, and whether it has reclaimed
 * since it last invoked the OOM killer, which tells incidents apart. */
struct last_reclaim {
	u64 time; /* when it ended; 0: none yet */
	u32 gfp;
	s32 order;
};

enum stage {
	NONE,
	ANNOUNCED, /* by the call, the tracepoint follows */
	BEGUN,
};

struct episode {
	u32 tid; /* whose the slot is; 0: nobody's, or in the hash map */
	u32 stage;
	/* what each page needs comes first */
	struct run run;
	u64 task_cgroup;
	u32 kind, certainty;
	u64 domain;
	u64 start, cpu_start, last; /* last: the latest sign of work, of kswapd */
	u64 scanned, reclaimed;
	u32 gfp;
	s32 order;
	s32 priority, node;
	u32 cpu;
	u32 evicted_count, evicted_other;
	u32 pad;
	struct last_reclaim last_reclaim;
	struct rec_evicted evicted[EVICTED_MAX];
};

/* The page-cache hook looks for its episode with each page, so that has to be
 * cheaper than a hash map: an array by thread id. A thread claims its slot in a hash
 * map when it reclaims for the first time, and keeps it until it exits. Threads that
 * find theirs taken have their episodes in the hash map `episodes`. None is LRU: an
 * episode that is running must never be pushed out. */
#define THREAD_SLOTS 8192

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, THREAD_SLOTS);
	__type(key, u32); /* thread id, its lower bits */
	__type(value, struct episode);
} thread_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREAD_SLOTS);
	__type(key, u32); /* slot */
	__type(value, u32); /* thread id */
} thread_claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u32); /* thread id */
	__type(value, struct episode);
} episodes SEC(".maps");

/* Of threads without a slot. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct last_reclaim);
} last_reclaims SEC(".maps");

static const struct episode empty_episode;

/* The slot of a thread, NULL when it has none. */
static __always_inline struct episode *slot_of(u32 tid)
{
	u32 slot = tid & (THREAD_SLOTS - 1);
	struct episode *e = bpf_map_lookup_elem(&thread_slots, &slot);

	return e && e->tid == tid ? e : NULL;
}

static __always_inline struct episode *episode_of(u32 tid)
{
	struct episode *e = slot_of(tid);

	if (e)
		return e->stage ? e : NULL;
	return bpf_map_lookup_elem(&episodes, &tid);
}

static __always_inline struct episode *current_episode(void)
{
	return episode_of(bpf_get_current_pid_tgid());
}

static __always_inline struct episode *claim_slot(u32 tid)
{
	u32 slot = tid & (THREAD_SLOTS - 1);
	struct episode *e = bpf_map_lookup_elem(&thread_slots, &slot);

	if (!e || e->tid || bpf_map_update_elem(&thread_claims, &slot, &tid, BPF_NOEXIST))
		return NULL;
	*e = empty_episode;
	e->tid = tid;
	return e;
}

static __always_inline struct episode *open_episode(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct episode *e = slot_of(tid);

	if (!e)
		e = claim_slot(tid);
	if (!e) {
		if (bpf_map_update_elem(&episodes, &tid, &empty_episode, BPF_ANY)) {
			count_map_full(FAMILY_RECLAIM, 1);
			return NULL;
		}
		e = bpf_map_lookup_elem(&episodes, &tid);
		if (!e)
			return NULL;
	}
	e->stage = ANNOUNCED;
	e->run.pages = 0;
	e->kind = e->certainty = 0;
	e->domain = e->last = e->reclaimed = 0;
	e->scanned = UNKNOWN;
	e->order = e->priority = e->node = -1;
	e->evicted_count = e->evicted_other = 0;
	return e;
}

/* Of the current task. */
static __always_inline void drop_episode(struct episode *e)
{
	u32 tid;

	if (e->tid) {
		e->stage = NONE;
		return;
	}
	tid = bpf_get_current_pid_tgid();
	bpf_map_delete_elem(&episodes, &tid);
}

/* Of a thread that exits. */
static __always_inline void release_slot(void)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (THREAD_SLOTS - 1);
	struct episode *e = slot_of(tid);

	if (!e)
		return;
	e->tid = 0;
	bpf_map_delete_elem(&thread_claims, &slot);
}

static __always_inline void remember_reclaim(struct episode *e, u64 now)
{
	struct last_reclaim last = { .time = now, .gfp = e->gfp, .order = e->order };
	u32 tid;

	if (e->tid) {
		e->last_reclaim = last;
		return;
	}
	tid = bpf_get_current_pid_tgid();
	bpf_map_update_elem(&last_reclaims, &tid, &last, BPF_ANY);
}

/* NULL when none is known. */
static __always_inline struct last_reclaim *last_reclaim_of(u32 tid)
{
	struct episode *e = slot_of(tid);

	if (!e)
		return bpf_map_lookup_elem(&last_reclaims, &tid);
	return e->last_reclaim.time ? &e->last_reclaim : NULL;
}

#endif
