/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel's own oom_control tells of an incident, and the records of its
 * candidates and its end.
 */
#ifndef OOMTRACE_CONTROL_H
#define OOMTRACE_CONTROL_H

#include "spared.h"

/* Threads that are writing memory.max, which kills when reclaim does not get
 * the cgroup below its new limit. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u8);
} limit_writers SEC(".maps");

static __always_inline u32 how_invoked(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&limit_writers, &tid) ? OOM_LIMIT_WRITE : 0;
}

static __always_inline int writing_limit(bool now)
{
	u32 tid = bpf_get_current_pid_tgid();
	u8 yes = 1;

	if (now)
		bpf_map_update_elem(&limit_writers, &tid, &yes, BPF_ANY);
	else
		bpf_map_delete_elem(&limit_writers, &tid);
	return 0;
}

static __always_inline void take_control(struct incident *in, struct oom_control *oc)
{
	struct mem_cgroup *m = BPF_CORE_READ(oc, memcg);

	in->domain_memcg = (u64)m;
	in->domain = memcg_id(m);
	in->totalpages = BPF_CORE_READ(oc, totalpages);
	in->points = BPF_CORE_READ(oc, chosen_points);
	in->constraint = BPF_CORE_READ(oc, constraint);
	in->gfp = BPF_CORE_READ(oc, gfp_mask);
	in->order = BPF_CORE_READ(oc, order);
	in->flags |= OOM_CONTROL | OOM_GFP | how_invoked();
}

static __always_inline int invoked(struct oom_control *oc)
{
	struct incident *in = open_incident();

	if (!in)
		return 0;
	in->id = in->invoked = bpf_ktime_get_ns();
	in->active = 1;
	in->control = (u64)oc;
	in->quiet = told_of(memcg_id(BPF_CORE_READ(oc, memcg)), in->invoked);
	return 0;
}

static __always_inline int selected(struct oom_control *oc)
{
	struct incident *in = current_incident();

	if (!in || !in->active) {
		in = open_incident();
		if (!in)
			return 0;
		in->id = bpf_ktime_get_ns();
	}
	in->selected = bpf_ktime_get_ns();
	take_control(in, oc);
	return 0;
}

static __always_inline void send_candidate(struct incident *in, struct task_struct *task, u32 scored, s64 points)
{
	struct rec_oom_candidate *r;

	in->candidates++;
	if (in->quiet)
		return;
	r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_CANDIDATE, bpf_ktime_get_ns());
	if (!r)
		return;
	r->incident = in->id;
	r->points = points;
	r->scored = scored;
	r->pad = 0;
	fill_task(&r->task, task);
	weigh_mm(&r->mm, task, process_mm(task));
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

static __always_inline int evaluated(struct task_struct *task, struct oom_control *oc, bool after)
{
	struct incident *in = current_incident();
	bool chosen;

	if (!in || !in->active || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	/* The best so far is this one: then the kernel's score is there to read. */
	chosen = after && BPF_CORE_READ(oc, chosen) == task;
	send_candidate(in, task, chosen, chosen ? BPF_CORE_READ(oc, chosen_points) : 0);
	return 0;
}

static __always_inline void send_done(struct incident *in, u32 truncated)
{
	struct rec_oom_done *r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_DONE, bpf_ktime_get_ns());

	if (!r)
		return;
	r->incident = in->id;
	r->candidates = in->candidates;
	r->truncated = truncated;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

static __always_inline int left(u64 result)
{
	struct incident *in = current_incident();
	u32 tid = bpf_get_current_pid_tgid();
	bool tell = true;

	if (in && in->active) {
		if (nobody_chosen(in, result)) {
			take_control(in, (void *)in->control);
			tell = spared(in);
		}
		if (tell)
			send_done(in, 0);
	}
	bpf_map_delete_elem(&incidents, &tid);
	return 0;
}

#endif
