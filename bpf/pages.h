/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a folio (before 5.16: a page) of the page cache is: whose, of which file,
 * how large.
 */
#ifndef OOMTRACE_PAGES_H
#define OOMTRACE_PAGES_H

#include "compat.h"

struct pages {
	struct mem_cgroup *owner;
	struct inode *inode;
	u64 css, sb; /* see struct run */
	u64 number, index;
	u32 rdev, generation;
	u32 count;
	bool shmem, frozen;
	bool reparented; /* see owner_of */
};

#define BIT_SET(flags, name) ((flags) >> bpf_core_enum_value(enum pageflags, name) & 1)

#define PERCPU_REF_DEAD 2

/* Which cgroup a folio is charged to. 5.10: page->mem_cgroup. To 7.0 memcg_data
 * is the cgroup, or with bit 1 set an object cgroup; from 7.1 always the latter.
 * Bit 0 marks a slab's vector. When a cgroup is removed the kernel gives its
 * object cgroups to the parent and kills their reference counts: from 7.1 that is
 * how a folio that the parent has inherited (`reparented`) is told from its own. */
static __always_inline struct mem_cgroup *owner_of(unsigned long data, bool *reparented)
{
	unsigned long p = data & ~7UL;

	if (data & 1 || !p)
		return NULL;
	if (data & 2 || bpf_core_field_exists(((struct mem_cgroup_per_node___objcg *)0)->objcg)) {
		if (bpf_rdonly_cast) {
			struct obj_cgroup *o = DIRECT((struct obj_cgroup *)p);

			*reparented = o->refcnt.percpu_count_ptr & PERCPU_REF_DEAD;
			return o->memcg;
		}
		return BPF_CORE_READ((struct obj_cgroup *)p, memcg);
	}
	return (void *)p;
}

/* To 6.0: the order of a compound page stands in its second page. */
static __always_inline u8 second_page_order(void *page)
{
	struct page___old *second = page + bpf_core_type_size(struct page___old);

	return BPF_CORE_READ(second, compound_order);
}

static __always_inline u64 serial_of(struct mem_cgroup *m)
{
	return m ? READ(m, css.serial_nr) : 0;
}

#define BDEVFS_MAGIC 0x62646576

/* The device that a file is on, or is. */
static __always_inline u32 dev_of(struct pages *p)
{
	struct super_block *sb = (void *)p->sb;

	return READ(sb, s_magic) == BDEVFS_MAGIC ? p->rdev : READ(sb, s_dev);
}

static __always_inline void look(struct pages *p, struct folio *folio)
{
	struct inode *inode = folio->mapping->host;
	struct folio___mdflags *md = (void *)folio;
	unsigned long flags = bpf_core_field_exists(md->flags.f) ? md->flags.f : folio->flags;

	p->reparented = false;
	p->owner = owner_of(folio->memcg_data, &p->reparented);
	p->inode = inode;
	p->index = folio->index;
	p->number = inode->i_ino;
	p->generation = inode->i_generation;
	p->rdev = inode->i_rdev;
	p->sb = (u64)inode->i_sb;
	p->css = serial_of(p->owner);
	p->count = 1;
	if (BIT_SET(flags, PG_head)) {
		struct folio___order *old = (void *)folio;

		if (bpf_core_field_exists(old->_folio_order))
			p->count <<= old->_folio_order & 31;
		else if (bpf_core_field_exists(folio->_flags_1))
			p->count <<= folio->_flags_1 & 31;
		else
			p->count <<= second_page_order(folio) & 31;
	}
	p->shmem = BIT_SET(flags, PG_swapbacked);
	p->frozen = !folio->_refcount.counter;
}

static __always_inline void look_page(struct pages *p, struct page___old *page)
{
	struct inode *inode = BPF_CORE_READ(page, mapping, host);
	unsigned long flags = BPF_CORE_READ(page, flags);

	p->reparented = false;
	if (bpf_core_field_exists(page->mem_cgroup))
		p->owner = BPF_CORE_READ(page, mem_cgroup);
	else
		p->owner = owner_of(BPF_CORE_READ((struct page___data *)page, memcg_data), &p->reparented);
	p->inode = inode;
	p->index = BPF_CORE_READ(page, index);
	p->number = BPF_CORE_READ(inode, i_ino);
	p->generation = BPF_CORE_READ(inode, i_generation);
	p->rdev = BPF_CORE_READ(inode, i_rdev);
	p->sb = (u64)BPF_CORE_READ(inode, i_sb);
	p->css = serial_of(p->owner);
	p->count = 1;
	if (BIT_SET(flags, PG_head))
		p->count <<= second_page_order(page) & 31;
	p->shmem = BIT_SET(flags, PG_swapbacked);
	p->frozen = !BPF_CORE_READ(page, _refcount.counter);
}

#endif
