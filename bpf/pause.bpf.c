//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Tasks that wait because the OOM killer of their cgroup is off (v1's
 * memory.oom_control). Such a task sleeps in mem_cgroup_oom_synchronize on its
 * way out of a page fault, with the cgroup that is full in memcg_in_oom. Where
 * that function can be hooked, each wait tells its begin and its end; elsewhere,
 * and for tasks that waited before the trace began, all tasks are looked at.
 */
#include "thread.h"
#include "waits.h"

/* Waits under way, by thread. */
struct wait {
	u64 domain, since;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct wait);
} waits SEC(".maps");

/* Called after every page fault that ran out of memory; `handle` is false when
 * the fault was served after all. */
static __always_inline int wait_begins(bool handle)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct mem_cgroup *m = BPF_CORE_READ(current, memcg_in_oom);
	u32 tid = bpf_get_current_pid_tgid(), tgid = bpf_get_current_pid_tgid() >> 32;
	struct wait wait = { .domain = (u64)m, .since = bpf_ktime_get_ns() };

	if (!m || !handle || !BPF_CORE_READ(m, oom_kill_disable))
		return 0;
	bpf_map_update_elem(&waits, &tid, &wait, BPF_ANY);
	bpf_map_update_elem(&waiting_processes, &tgid, &wait.domain, BPF_ANY);
	send_wait(current, m, wait.since, WAIT_BEGINS);
	return 0;
}

static __always_inline int wait_ends(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct wait *wait = bpf_map_lookup_elem(&waits, &tid);

	if (!wait)
		return 0;
	send_wait((void *)bpf_get_current_task(), (void *)wait->domain, wait->since, WAIT_ENDS);
	bpf_map_delete_elem(&waits, &tid);
	return 0;
}

SEC("fentry/mem_cgroup_oom_synchronize")
int BPF_PROG(fentry_oom_synchronize, bool handle)
{
	return wait_begins(handle);
}

SEC("fexit/mem_cgroup_oom_synchronize")
int BPF_PROG(fexit_oom_synchronize)
{
	return wait_ends();
}

SEC("kprobe/mem_cgroup_oom_synchronize")
int BPF_KPROBE(kprobe_oom_synchronize, bool handle)
{
	return wait_begins(handle);
}

SEC("kretprobe/mem_cgroup_oom_synchronize")
int BPF_KRETPROBE(kretprobe_oom_synchronize)
{
	return wait_ends();
}

/* A look at all tasks, written to whoever reads the iterator. A task's last
 * reclaim ended right before its wait began. */
SEC("iter/task")
int waiting_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct last_reclaim *last;
	struct rec_pause r = {};
	struct mem_cgroup *m;
	u64 domain;
	u32 tgid;

	if (!task)
		return 0;
	m = BPF_CORE_READ(task, memcg_in_oom);
	/* running: not asleep yet, or awake again */
	if (!m || !BPF_CORE_READ(m, under_oom) || !task_state(task))
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	domain = (u64)m;
	bpf_map_update_elem(&waiting_processes, &tgid, &domain, BPF_ANY);
	r.head.type = REC_PAUSE;
	r.head.time = bpf_ktime_get_ns();
	r.state = WAIT_SEEN;
	last = last_reclaim_of(BPF_CORE_READ(task, pid));
	if (last)
		r.since = last->time;
	fill_wait(&r, task, m);
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
