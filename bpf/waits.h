/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Tasks that wait because the OOM killer of their cgroup is off, as far as
 * programs of several families need to know of them.
 */
#ifndef OOMTRACE_WAITS_H
#define OOMTRACE_WAITS_H

#include "limits.h"

/* Processes that wait, or did: the cgroup that they wait for, as a pointer. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, u64);
} waiting_processes SEC(".maps");

static __always_inline void fill_wait(struct rec_pause *r, struct task_struct *task, struct mem_cgroup *m)
{
	fill_task(&r->task, task);
	__builtin_memset(&r->killer, 0, sizeof(r->killer));
	r->domain = memcg_id(m);
	r->usage = BPF_CORE_READ(m, memory.usage.counter);
	r->max = BPF_CORE_READ(m, memory.max);
	r->killer_off = bpf_core_field_exists(m->oom_kill_disable) && BPF_CORE_READ(m, oom_kill_disable);
}

static __always_inline void send_wait(struct task_struct *task, struct mem_cgroup *m, u64 since, u32 state)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct rec_pause *r = reserve(FAMILY_OOM, sizeof(*r), REC_PAUSE, bpf_ktime_get_ns());

	if (!r)
		return;
	fill_wait(r, task, m);
	if (state == WAIT_KILLED)
		fill_task(&r->killer, current);
	r->since = since;
	r->state = state;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

/* Somebody sends SIGKILL. */
static __always_inline void killed_waiting(struct task_struct *task)
{
	u32 tgid = BPF_CORE_READ(task, tgid);
	u64 *m = bpf_map_lookup_elem(&waiting_processes, &tgid);
	u64 domain;

	if (!m)
		return;
	domain = *m;
	bpf_map_delete_elem(&waiting_processes, &tgid);
	send_wait(task, (void *)domain, 0, WAIT_KILLED);
}

#endif
