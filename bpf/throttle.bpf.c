//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * memory.high: a task over it is put to sleep on its way back to user space.
 * The kernel sleeps inside (__)mem_cgroup_handle_over_high, after one pass of
 * reclaim there; the sleep is what remains.
 */
#include "compat.h"
#include "emit.h"
#include "stall.h"

struct throttled {
	u64 start, reclaiming; /* reclaiming: time spent in reclaim meanwhile */
	u64 reclaim_start;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct throttled);
} throttled_tasks SEC(".maps");

const volatile bool want_throttle = true;
const volatile bool gated = false; /* to 6.17 it is called on every return: look whether there is anything to do */

static __always_inline int enter(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 tid = bpf_get_current_pid_tgid();
	struct throttled t = {};

	if (gated && !BPF_CORE_READ(task, memcg_nr_pages_over_high))
		return 0;
	t.start = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&throttled_tasks, &tid, &t, BPF_ANY))
		count_map_full(FAMILY_THROTTLE, 1);
	return 0;
}

/* The ancestor that is over its memory.high by the largest share: the one whose
 * penalty is longest. */
static __always_inline u64 domain_of(struct task_struct *task)
{
	struct mem_cgroup *m = task_memcg(task);
	u64 found = 0, worst = 0;
	int i;

	for (i = 0; i < DEPTH && m; i++) {
		u64 usage = BPF_CORE_READ(m, memory.usage.counter);
		u64 high = BPF_CORE_READ(m, memory.high);

		if (usage > high) {
			u64 over = ((usage - high) << 16) / (high ? high : 1);

			if (over >= worst) {
				worst = over;
				found = memcg_id(m);
			}
		}
		m = memcg_parent(m);
	}
	return found;
}

/* The kernel sleeps only for penalties of a hundredth of a second and more;
 * what is shorter than this is the function's own work. */
#define SHORTEST 1000000

static __always_inline int leave(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 tid = bpf_get_current_pid_tgid();
	struct throttled *t = bpf_map_lookup_elem(&throttled_tasks, &tid);
	u64 now = bpf_ktime_get_ns(), asleep, domain, cgroup;
	struct rec_throttle *r;

	if (!t)
		return 0;
	asleep = now - t->start - t->reclaiming;
	bpf_map_delete_elem(&throttled_tasks, &tid);
	if (asleep < SHORTEST)
		return 0;
	domain = domain_of(task);
	cgroup = memcg_id(task_memcg(task));
	if (!is_watched(cgroup) && !is_watched(domain))
		return 0;
	if (want_stalls)
		count_stall(cgroup, domain, STALL_THROTTLE, asleep, UNKNOWN, 0);
	if (!want_throttle || asleep < min_stall)
		return 0;
	r = reserve(FAMILY_THROTTLE, sizeof(*r), REC_THROTTLE, now);
	if (!r)
		return 0;
	fill_task(&r->task, task);
	r->domain = domain;
	r->duration = asleep;
	submit(r);
	return 0;
}

SEC("fentry/__mem_cgroup_handle_over_high")
int BPF_PROG(fentry_handle_over_high)
{
	return enter();
}

SEC("fexit/__mem_cgroup_handle_over_high")
int BPF_PROG(fexit_handle_over_high)
{
	return leave();
}

SEC("kprobe/__mem_cgroup_handle_over_high")
int BPF_KPROBE(kprobe_handle_over_high)
{
	return enter();
}

SEC("kretprobe/__mem_cgroup_handle_over_high")
int BPF_KRETPROBE(kretprobe_handle_over_high)
{
	return leave();
}

static __always_inline struct throttled *current_throttled(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&throttled_tasks, &tid);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int throttle_reclaim_begin(u64 *ctx)
{
	struct throttled *t = current_throttled();

	if (t)
		t->reclaim_start = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int throttle_reclaim_end(u64 *ctx)
{
	struct throttled *t = current_throttled();

	if (t && t->reclaim_start) {
		t->reclaiming += bpf_ktime_get_ns() - t->reclaim_start;
		t->reclaim_start = 0;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
