//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Reclaim: who stalls, for how long, on account of which limit. Each episode
 * lies between a begin and an end tracepoint of the same task. fentry on
 * try_to_free_mem_cgroup_pages, where allowed, names the cgroup being shrunk;
 * elsewhere it is found from the counters of the task's own ancestors.
 */
#include "cause.h"
#include "tell.h"

const volatile bool want_kswapd = false;
const volatile bool begin_has_memcg = false; /* 7.1: (gfp, order, memcg) instead of (order, gfp) */

#define RECLAIM_OPTION_PROACTIVE (1 << 2)
const volatile bool options_known = false; /* 6.1: the 4th argument is a set of options, before a bool */

static __always_inline int announce(struct mem_cgroup *m, u64 options)
{
	struct episode *e;

	if (!m)
		return 0;
	e = open_episode();
	if (!e)
		return 0;
	judge_domain(e, m);
	if (options_known && options & RECLAIM_OPTION_PROACTIVE) {
		e->kind = RECLAIM_PROACTIVE;
		e->certainty = SURE;
	}
	return 0;
}

SEC("fentry/try_to_free_mem_cgroup_pages")
int BPF_PROG(fentry_try_to_free_mem_cgroup_pages, struct mem_cgroup *m, unsigned long nr, u32 gfp, u32 options)
{
	return announce(m, options);
}

SEC("kprobe/try_to_free_mem_cgroup_pages")
int BPF_KPROBE(kprobe_try_to_free_mem_cgroup_pages, struct mem_cgroup *m, unsigned long nr, u32 gfp, u32 options)
{
	return announce(m, options);
}

static __always_inline struct episode *begin(u32 kind, u32 gfp, s32 order)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct episode *e = current_episode();

	/* An announced episode is this one; any other is left over from a task
	 * that never came back to its end. */
	if (!e || e->stage == BEGUN || kind != RECLAIM_LIMIT)
		e = open_episode();
	if (!e)
		return NULL;
	if (kind != RECLAIM_LIMIT)
		e->kind = kind;
	e->stage = BEGUN;
	e->gfp = gfp;
	if (kind != RECLAIM_LIMIT) /* a cgroup's reclaim always says 0, whatever was being allocated */
		e->order = order;
	e->task_cgroup = memcg_id(task_memcg(task));
	e->start = bpf_ktime_get_ns();
	e->cpu_start = cpu_clock(task, e->start);
	e->cpu = bpf_get_smp_processor_id();
	return e;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin")
int memcg_begin(u64 *ctx)
{
	struct episode *e;

	if (begin_has_memcg)
		e = begin(RECLAIM_LIMIT, ctx[0], ctx[1]);
	else
		e = begin(RECLAIM_LIMIT, ctx[1], ctx[0]);
	if (!e || e->kind != RECLAIM_NONE)
		return 0;
	if (begin_has_memcg && ctx[2])
		judge_domain(e, (void *)ctx[2]);
	else
		find_domain(e);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int direct_begin(u64 *ctx)
{
	if (begin_has_memcg)
		begin(RECLAIM_DIRECT, ctx[0], ctx[1]);
	else
		begin(RECLAIM_DIRECT, ctx[1], ctx[0]);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_softlimit_reclaim_begin")
int soft_begin(u64 *ctx)
{
	/* Within kswapd or direct reclaim it is a part of that. */
	if (current_episode())
		return 0;
	if (begin_has_memcg)
		begin(RECLAIM_SOFT, ctx[0], ctx[1]);
	else
		begin(RECLAIM_SOFT, ctx[1], ctx[0]);
	return 0;
}

SEC("tp_btf/mm_vmscan_node_reclaim_begin")
int BPF_PROG(node_begin, int nid, int order, u32 gfp)
{
	struct episode *e = begin(RECLAIM_NODE, gfp, order);

	if (e)
		e->node = nid;
	return 0;
}

static __always_inline int finish(void *ctx, u64 reclaimed)
{
	struct episode *e = current_episode();
	u64 now = bpf_ktime_get_ns();

	if (!e || e->stage != BEGUN)
		return 0;
	close_run(e);
	e->reclaimed = reclaimed;
	remember_reclaim(e, now);
	if (tell(ctx, e, now) && e->kind == RECLAIM_LIMIT && !reclaimed)
		send_pressure(e->domain, now);
	if (e->domain)
		add_history(e->domain, now, now - e->start, reclaimed);
	drop_episode(e);
	return 0;
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end")
int BPF_PROG(memcg_end, unsigned long reclaimed)
{
	return finish(ctx, reclaimed);
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(direct_end, unsigned long reclaimed)
{
	return finish(ctx, reclaimed);
}

SEC("tp_btf/mm_vmscan_node_reclaim_end")
int BPF_PROG(node_end, unsigned long reclaimed)
{
	return finish(ctx, reclaimed);
}

SEC("tp_btf/mm_vmscan_memcg_softlimit_reclaim_end")
int BPF_PROG(soft_end, unsigned long reclaimed)
{
	struct episode *e = current_episode();

	return e && e->kind == RECLAIM_SOFT ? finish(ctx, reclaimed) : 0;
}

/* Does not fire under MGLRU before 6.12; then scanned stays unknown. */
SEC("tp_btf/mm_vmscan_lru_shrink_inactive")
int BPF_PROG(shrink_inactive, int nid, unsigned long scanned, unsigned long reclaimed, void *stat, int priority)
{
	struct episode *e = current_episode();

	if (!e)
		return 0;
	e->scanned = (e->scanned == UNKNOWN ? 0 : e->scanned) + scanned;
	if (e->priority < 0 || priority < e->priority)
		e->priority = priority;
	if (e->kind == RECLAIM_KSWAPD) {
		e->reclaimed += reclaimed;
		e->last = bpf_ktime_get_ns();
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int thread_exit(void *ctx)
{
	release_slot();
	return 0;
}

/*
 * kswapd. One run lies between wake and sleep, less the nap of up to 0.1 s that
 * kswapd takes before it believes that it is done: the run ends with the last
 * sign of work. A second wake without a sleep begins a new run.
 */
static __always_inline int kswapd_finish(void *ctx)
{
	struct episode *e = current_episode();

	if (!e || e->kind != RECLAIM_KSWAPD)
		return 0;
	close_run(e);
	if (want_kswapd && e->last > e->start)
		send(ctx, e, FAMILY_KSWAPD, REC_KSWAPD, e->last);
	drop_episode(e);
	return 0;
}

SEC("tp_btf/mm_vmscan_kswapd_wake")
int BPF_PROG(kswapd_wake, int nid, int zone, int order)
{
	struct episode *e;

	kswapd_finish(ctx);
	e = begin(RECLAIM_KSWAPD, 0, order);
	if (e)
		e->node = nid;
	return 0;
}

SEC("tp_btf/mm_vmscan_kswapd_sleep")
int BPF_PROG(kswapd_sleep, int nid)
{
	return kswapd_finish(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
