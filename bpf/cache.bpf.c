//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Page cache: pages that come and go, by owner, file and cause. These are the
 * hottest hooks there are, so they only compare with the run in hand and count;
 * maps are touched when the run changes.
 */
#include "pages.h"
#include "path.h"
#include "refault.h"

/* The run in hand of each CPU, one a program since 7.0 lets programs preempt
 * each other. Evictions within an episode use the episode's own. */
enum { RUN_ADD, RUN_DELETE, RUNS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RUNS);
	__type(key, u32);
	__type(value, struct run);
} cache_runs SEC(".maps");

static __always_inline bool continues(struct run *run, struct pages *p, u32 cause)
{
	return run->css == p->css && run->inode == p->number && run->sb == p->sb && run->generation == p->generation &&
	       run->rdev == p->rdev && run->cause == cause && run->pages && run->pages < 1 << 20;
}

static __always_inline void count(struct run *run, struct episode *e, struct pages *p, u32 cause, u64 evictor, u32 kind)
{
	u64 owner;

	if (continues(run, p, cause) && run->evictor == evictor && run->kind == kind) {
		run->pages += p->count;
		return;
	}
	owner = memcg_id(p->owner);
	if (!is_watched(owner) && !(e && is_watched(evictor)))
		return;
	if (run->pages) {
		if (e)
			close_run(e);
		else
			flush_run(run);
	}
	run->owner = owner;
	run->inode = p->number;
	run->dev = dev_of(p);
	run->generation = p->generation;
	run->cause = cause;
	run->evictor = evictor;
	run->kind = kind;
	run->pages = p->count;
	run->css = p->css;
	run->sb = p->sb;
	run->rdev = p->rdev;
	if (want_paths)
		name_file(run, p->inode);
}

static __always_inline u32 kind_outside(u32 flags)
{
	char comm[16] = {};

	if (flags & PF_KSWAPD)
		return RECLAIM_KSWAPD;
	if (!(flags & PF_KTHREAD))
		return RECLAIM_NONE;
	bpf_get_current_comm(comm, sizeof(comm));
	return __builtin_memcmp(comm, "kdamond", 7) ? RECLAIM_NONE : RECLAIM_DAMON;
}

static __always_inline int added(struct pages *p)
{
	u32 slot = RUN_ADD;
	struct run *run;

	/* ramfs and the like come this way too, and are page cache; shmem does not */
	if (p->shmem)
		return 0;
	if (sample_refaults)
		sample_add(p);
	if (!count_cache)
		return 0;
	run = bpf_map_lookup_elem(&cache_runs, &slot);
	if (run)
		count(run, NULL, p, CAUSE_ADD, 0, 0);
	return 0;
}

static __always_inline u32 evict_cause(struct pages *p)
{
	return p->reparented ? CAUSE_EVICT_REPARENTED : CAUSE_EVICT;
}

static __always_inline int deleted(struct pages *p, u32 tid, u32 flags)
{
	u32 slot = RUN_DELETE;
	struct episode *e = NULL;
	struct run *run;

	if (p->shmem)
		return 0;
	if (p->frozen && flags & PF_MEMALLOC) {
		e = episode_of(tid);
		if (sample_refaults)
			sample_eviction(p, e ? e->domain : 0);
		if (e && e->stage == BEGUN) {
			count(&e->run, e, p, evict_cause(p), e->task_cgroup, e->kind);
			return 0;
		}
	}
	if (!count_cache)
		return 0;
	run = bpf_map_lookup_elem(&cache_runs, &slot);
	if (!run)
		return 0;
	if (p->frozen && flags & PF_MEMALLOC) {
		/* reclaim outside an episode: begun before the trace, or on a way that
		 * has no tracepoint (DAMON, madvise) */
		u64 evictor = memcg_id(task_memcg((void *)bpf_get_current_task()));

		count(run, NULL, p, evict_cause(p), evictor, kind_outside(flags));
	} else {
		count(run, NULL, p, p->frozen ? CAUSE_INVALIDATE : CAUSE_TRUNCATE, 0, 0);
	}
	return 0;
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(add, struct folio *folio)
{
	struct pages p;

	look(&p, folio);
	return added(&p);
}

SEC("tp_btf/mm_filemap_delete_from_page_cache")
int BPF_PROG(delete, struct folio *folio)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pages p;

	look(&p, folio);
	return deleted(&p, task->pid, task->flags);
}

/* before the folio (5.16) */
SEC("tp_btf/mm_filemap_add_to_page_cache")
int add_page(u64 *ctx)
{
	struct pages p;

	look_page(&p, (void *)ctx[0]);
	return added(&p);
}

SEC("tp_btf/mm_filemap_delete_from_page_cache")
int delete_page(u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pages p;

	look_page(&p, (void *)ctx[0]);
	return deleted(&p, bpf_get_current_pid_tgid(), BPF_CORE_READ(task, flags));
}

/* ---- refaults, by owner ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u64);
} cache_refaults SEC(".maps");

SEC("fentry/workingset_refault")
int BPF_PROG(fentry_workingset_refault, struct folio *folio, void *shadow)
{
	struct pages p;
	u64 owner, *pages, n;

	if (!bpf_core_type_exists(struct folio)) /* 5.16 */
		look_page(&p, (void *)folio);
	else
		look(&p, folio);
	if (p.shmem)
		return 0;
	owner = memcg_id(p.owner);
	if (!is_watched(owner))
		return 0;
	n = p.count;
	pages = bpf_map_lookup_elem(&cache_refaults, &owner);
	if (pages)
		__sync_fetch_and_add(pages, n);
	else if (bpf_map_update_elem(&cache_refaults, &owner, &n, BPF_NOEXIST))
		count_map_full(FAMILY_CACHE, n);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
