/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel's own oom_control tells of an incident, and the records of its
 * candidates and its end.
 */
#ifndef OOMTRACE_CONTROL_H
#define OOMTRACE_CONTROL_H

#include "incident.h"

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
	in->flags |= OOM_CONTROL | OOM_GFP;
}

static __always_inline int invoked(struct oom_control *oc)
{
	struct incident *in = open_incident();

	if (!in)
		return 0;
	in->id = in->invoked = bpf_ktime_get_ns();
	in->active = 1;
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
	r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_CANDIDATE, bpf_ktime_get_ns());
	if (!r)
		return;
	r->incident = in->id;
	r->points = points;
	r->scored = scored;
	r->pad = 0;
	fill_task(&r->task, task);
	fill_mm(&r->mm, task, process_mm(task));
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

static __always_inline int left(void)
{
	struct incident *in = current_incident();
	u32 tid = bpf_get_current_pid_tgid();

	if (in && in->active)
		send_done(in, 0);
	bpf_map_delete_elem(&incidents, &tid);
	return 0;
}

#endif
