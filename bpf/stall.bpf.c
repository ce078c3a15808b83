//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Stalls beside the episodes of reclaim: sleeps within reclaim, and compaction
 * that a task does on its own behalf. They are only counted.
 */
#include "episode.h"
#include "stall.h"

static __always_inline bool background(struct task_struct *task)
{
	return BPF_CORE_READ(task, flags) & PF_KTHREAD;
}

/* reclaim_throttle() has slept: for writeback, for others to finish, or since
 * nothing could be reclaimed (6.1). The time is part of an episode's. */
SEC("tp_btf/mm_vmscan_throttled")
int BPF_PROG(throttled, int nid, int usec_timeout, int usec_delayed, int reason)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct episode *e = current_episode();
	u64 cgroup, domain = e ? e->domain : 0;

	if (background(task) || usec_delayed < 0)
		return 0;
	cgroup = memcg_id(task_memcg(task));
	if (is_watched(cgroup) || is_watched(domain))
		count_stall(cgroup, domain, STALL_WAIT, (u64)(u32)usec_delayed * 1000, ~0ULL, 0);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, u64);
} compacting SEC(".maps"); /* since when */

SEC("tp_btf/mm_compaction_begin")
int compaction_begin(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns();

	if (!background((void *)bpf_get_current_task()))
		bpf_map_update_elem(&compacting, &tid, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/mm_compaction_end")
int compaction_end(void *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 *since = bpf_map_lookup_elem(&compacting, &tid), cgroup, took;

	if (!since)
		return 0;
	took = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&compacting, &tid);
	cgroup = memcg_id(task_memcg((void *)bpf_get_current_task()));
	if (is_watched(cgroup))
		count_stall(cgroup, 0, STALL_COMPACTION, took, ~0ULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
