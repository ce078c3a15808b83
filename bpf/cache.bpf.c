//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Page cache: pages that come and go, by owner, file and cause. These are the
 * hottest hooks there are, so they only compare with the run in hand and count;
 * maps are touched when the run changes.
 */
#include "episode.h"

/* The run in hand of each CPU, one a program since 7.0 lets programs preempt
 * each other. Evictions within an episode use the episode's own. */
enum { RUN_ADD, RUN_DELETE, RUNS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RUNS);
	__type(key, u32);
	__type(value, struct run);
} cache_runs SEC(".maps");

const volatile bool want_paths = false;

struct pages {
	struct mem_cgroup *owner;
	struct inode *inode;
	u64 number;
	u32 dev, generation;
	u32 count;
	bool shmem, frozen;
};

#define BIT_SET(flags, name) ((flags) >> bpf_core_enum_value(enum pageflags, name) & 1)

/* Which cgroup a folio is charged to. 5.10: page->mem_cgroup. To 7.0 memcg_data
 * is the cgroup, or with bit 1 set an object cgroup; from 7.1 always the latter.
 * Bit 0 marks a slab's vector. */
static __always_inline struct mem_cgroup *owner_of(unsigned long data)
{
	unsigned long p = data & ~7UL;

	if (data & 1 || !p)
		return NULL;
	if (data & 2 || bpf_core_field_exists(((struct mem_cgroup_per_node___objcg *)0)->objcg)) {
		if (bpf_rdonly_cast) {
			struct obj_cgroup *o = bpf_rdonly_cast((void *)p, bpf_core_type_id_kernel(struct obj_cgroup));

			return o->memcg;
		}
		return BPF_CORE_READ((struct obj_cgroup *)p, memcg);
	}
	return (void *)p;
}

#define BDEVFS_MAGIC 0x62646576

static __always_inline void look(struct pages *p, struct folio *folio)
{
	struct inode *inode = folio->mapping->host;
	struct super_block *sb = inode->i_sb;
	struct folio___mdflags *md = (void *)folio;
	unsigned long flags = bpf_core_field_exists(md->flags.f) ? md->flags.f : folio->flags;

	p->owner = owner_of(folio->memcg_data);
	p->inode = inode;
	p->number = inode->i_ino;
	p->generation = inode->i_generation;
	p->dev = sb->s_magic == BDEVFS_MAGIC ? inode->i_rdev : sb->s_dev;
	p->count = 1;
	if (BIT_SET(flags, PG_head)) {
		struct folio___order *old = (void *)folio;

		if (bpf_core_field_exists(old->_folio_order))
			p->count <<= old->_folio_order & 31;
		else
			p->count <<= folio->_flags_1 & 31;
	}
	p->shmem = BIT_SET(flags, PG_swapbacked);
	p->frozen = !folio->_refcount.counter;
}

static __always_inline void look_page(struct pages *p, struct page___old *page)
{
	struct inode *inode = BPF_CORE_READ(page, mapping, host);
	unsigned long flags = BPF_CORE_READ(page, flags);

	p->owner = BPF_CORE_READ(page, mem_cgroup);
	p->inode = inode;
	p->number = BPF_CORE_READ(inode, i_ino);
	p->generation = BPF_CORE_READ(inode, i_generation);
	p->dev = BPF_CORE_READ(inode, i_sb, s_magic) == BDEVFS_MAGIC ? BPF_CORE_READ(inode, i_rdev) :
								       BPF_CORE_READ(inode, i_sb, s_dev);
	p->count = 1;
	if (BIT_SET(flags, PG_head)) {
		struct page___old *second = (void *)page + bpf_core_type_size(struct page___old);

		p->count <<= BPF_CORE_READ(second, compound_order) & 31;
	}
	p->shmem = BIT_SET(flags, PG_swapbacked);
	p->frozen = !BPF_CORE_READ(page, _refcount.counter);
}

/* ---- the path of a file, once for each that is seen ---- */

struct budget {
	u64 since, spent;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct budget);
} path_budget SEC(".maps");

#define PATHS_PER_SECOND 500 /* on one CPU; the rest get theirs later */

static __always_inline bool may_send_path(u64 now)
{
	u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&path_budget, &zero);

	if (!b)
		return false;
	if (now - b->since > 1000000000) {
		b->since = now;
		b->spent = 0;
	}
	return b->spent++ < PATHS_PER_SECOND;
}

static __always_inline struct dentry *alias_of(struct inode *inode)
{
	struct hlist_node *first = BPF_CORE_READ(inode, i_dentry.first);

	if (!first)
		return NULL;
	if (bpf_core_field_exists(((struct dentry___plain *)0)->d_alias))
		return (void *)first - bpf_core_field_offset(struct dentry___plain, d_alias);
	return (void *)first - bpf_core_field_offset(struct dentry, d_u.d_alias);
}

/* Names are read without locks: dentries and their names outlive this program
 * (RCU), and a rename meanwhile costs no more than the other true name. */
static __always_inline int send_path(struct inode *inode, struct run *run)
{
	u64 now = bpf_ktime_get_ns();
	struct dentry *d = alias_of(inode), *parent;
	struct rec_file *r;
	int i;

	if (!d)
		return 0;
	/* A root has no name; nor has the inode of a block device, whose pages are
	 * a file system's metadata. */
	parent = BPF_CORE_READ(d, d_parent);
	if (parent == d || !may_send_path(now))
		return 0;
	r = reserve(FAMILY_CACHE, sizeof(*r), REC_FILE, now);
	if (!r)
		return 0;
	r->inode = run->inode;
	r->dev = run->dev;
	r->generation = run->generation;
	r->count = 0;
	r->truncated = 1;
	if (bpf_probe_read_kernel_str(r->name, NAME_LEN, BPF_CORE_READ(d, d_name.name)) <= 0)
		r->name[0] = 0;
	for (i = 0; i < COMPONENTS; i++) {
		long n;

		d = parent;
		parent = BPF_CORE_READ(d, d_parent);
		if (parent == d || !parent) {
			r->truncated = 0;
			break;
		}
		n = bpf_probe_read_kernel_str(r->directories[i], COMPONENT_LEN, BPF_CORE_READ(d, d_name.name));
		if (n <= 0 || n == COMPONENT_LEN)
			break;
		r->count = i + 1;
	}
	submit(r);
	return 1;
}

static __always_inline void name_file(struct run *run, struct inode *inode)
{
	struct file_counts *counts = counts_of(run);

	if (counts && !counts->named && send_path(inode, run))
		counts->named = 1;
}

/* ---- counting ---- */

static __always_inline void count(struct run *run, struct episode *e, struct pages *p, u32 cause, u64 evictor, u32 kind)
{
	u64 owner = memcg_id(p->owner);

	if (run->pages && run->inode == p->number && run->owner == owner && run->cause == cause && run->dev == p->dev &&
	    run->generation == p->generation && run->evictor == evictor && run->kind == kind && run->pages < 1 << 20) {
		run->pages += p->count;
		return;
	}
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
	run->dev = p->dev;
	run->generation = p->generation;
	run->cause = cause;
	run->evictor = evictor;
	run->kind = kind;
	run->pages = p->count;
	if (want_paths)
		name_file(run, p->inode);
}

static __always_inline int added(struct pages *p)
{
	u32 slot = RUN_ADD;
	struct run *run = bpf_map_lookup_elem(&cache_runs, &slot);

	/* ramfs and the like come this way too, and are page cache; shmem does not */
	if (run && !p->shmem)
		count(run, NULL, p, CAUSE_ADD, 0, 0);
	return 0;
}

static __always_inline int deleted(struct pages *p, u32 flags)
{
	u32 slot = RUN_DELETE;
	struct episode *e = NULL;
	struct run *run;

	if (p->shmem)
		return 0;
	if (p->frozen && flags & PF_MEMALLOC) {
		e = current_episode();
		if (e && e->begun) {
			count(&e->run, e, p, CAUSE_EVICT, e->task_cgroup,
			      flags & PF_KSWAPD ? EVICTOR_KSWAPD : EVICTOR_TASK);
			return 0;
		}
	}
	if (!count_cache)
		return 0;
	run = bpf_map_lookup_elem(&cache_runs, &slot);
	if (!run)
		return 0;
	if (p->frozen && flags & PF_MEMALLOC) {
		/* reclaim outside an episode: begun before the trace, or by a kernel
		 * thread that has no tracepoint (DAMON) */
		u64 evictor = memcg_id(task_memcg((void *)bpf_get_current_task()));

		count(run, NULL, p, CAUSE_EVICT, evictor, flags & PF_KSWAPD ? EVICTOR_KSWAPD : EVICTOR_TASK);
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
	return deleted(&p, task->flags);
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
	struct pages p;

	look_page(&p, (void *)ctx[0]);
	return deleted(&p, BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), flags));
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

	if (bpf_core_field_exists(((struct page___old *)0)->mem_cgroup))
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
