/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * An incident is one invocation of the OOM killer, kept by the task that invoked
 * it until the killer is left, or another incident of that task begins.
 */
#ifndef OOMTRACE_INCIDENT_H
#define OOMTRACE_INCIDENT_H

#include "exact.h"
#include "limits.h"

struct incident {
	u64 id; /* when it began; 0: none yet */
	u64 invoked, selected, signalled, marked;
	u64 domain_memcg; /* a pointer, to compare with */
	u64 locked, counted, full; /* pointers: what the search for it has found */
	u64 domain, totalpages;
	s64 points;
	u64 victim_mm, victim_memcg; /* pointers */
	u32 gfp;
	s32 order;
	u32 constraint;
	u32 flags;
	u32 active; /* between entry and exit of out_of_memory */
	u32 candidates;
	u32 signalled_tgid; /* who was sent SIGKILL last */
	u32 shared;         /* their memory has users besides their threads */
	u32 quiet;          /* its candidates are counted, not sent */
	u32 pad;
	u64 control;        /* the kernel's oom_control, on its stack until out_of_memory is left */
	struct rec_task victim;
	struct rec_mm mm;
	struct rec_lru lru;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* thread id of the trigger */
	__type(value, struct incident);
} incidents SEC(".maps");

struct victim {
	u64 incident, domain;
};

/* Processes whose exit is awaited. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32); /* tgid */
	__type(value, struct victim);
} victims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64); /* its mm */
	__type(value, struct victim);
} victim_memory SEC(".maps");

static const struct incident empty_incident;

static __always_inline struct incident *current_incident(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&incidents, &tid);
}

static __always_inline struct incident *open_incident(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&incidents, &tid, &empty_incident, BPF_ANY);
	return bpf_map_lookup_elem(&incidents, &tid);
}

#endif
