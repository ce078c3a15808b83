//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Stalls beside the episodes of reclaim: sleeps within reclaim and compaction
 * that a task does on its own behalf, which are only counted, and waits for
 * kswapd before direct reclaim, which are told like episodes.
 */
#include "tell.h"

static __always_inline bool background(struct task_struct *task)
{
	return READ(task, flags) & PF_KTHREAD;
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

/* ---- throttle_direct_reclaim() ----
 *
 * Direct reclaim of the node calls it first each time. It returns at once but
 * when less than half of the minimum watermark is free: then the task sleeps
 * until kswapd has freed that much. */

struct kswapd_wait {
	u64 start, cpu_start;
	u64 switches; /* when it was called: how often the task had gone to sleep */
	u32 gfp, cpu;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct kswapd_wait);
} kswapd_waits SEC(".maps");

static __always_inline int enter(u32 gfp)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 tid = bpf_get_current_pid_tgid();
	struct kswapd_wait w = { .gfp = gfp };

	if (background(task))
		return 0;
	w.start = bpf_ktime_get_ns();
	w.cpu_start = cpu_clock(task, w.start);
	w.cpu = bpf_get_smp_processor_id();
	w.switches = READ(task, nvcsw);
	if (bpf_map_update_elem(&kswapd_waits, &tid, &w, BPF_ANY))
		count_map_full(FAMILY_RECLAIM, 1);
	return 0;
}

static __always_inline int leave(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 tid = bpf_get_current_pid_tgid();
	struct kswapd_wait *found = bpf_map_lookup_elem(&kswapd_waits, &tid), w;
	u64 now = bpf_ktime_get_ns();
	struct episode *e;

	if (!found)
		return 0;
	w = *found;
	bpf_map_delete_elem(&kswapd_waits, &tid);
	if (READ(task, nvcsw) == w.switches)
		return 0;
	e = open_episode();
	if (!e)
		return 0;
	e->kind = RECLAIM_THROTTLED;
	e->gfp = w.gfp;
	e->task_cgroup = memcg_id(task_memcg(task));
	e->start = w.start;
	e->cpu_start = w.cpu_start;
	e->cpu = w.cpu;
	tell(ctx, e, now);
	drop_episode(e);
	return 0;
}

SEC("fentry/throttle_direct_reclaim")
int BPF_PROG(fentry_throttle_direct_reclaim, u32 gfp)
{
	return enter(gfp);
}

SEC("fexit/throttle_direct_reclaim")
int BPF_PROG(fexit_throttle_direct_reclaim)
{
	return leave(ctx);
}

SEC("kprobe/throttle_direct_reclaim")
int BPF_KPROBE(kprobe_throttle_direct_reclaim, u32 gfp)
{
	return enter(gfp);
}

SEC("kretprobe/throttle_direct_reclaim")
int BPF_KRETPROBE(kretprobe_throttle_direct_reclaim)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
