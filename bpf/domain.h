/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whose limit fired, when only tracepoints are there to tell, and what the
 * memory of that cgroup is on the LRU lists.
 */
#ifndef OOMTRACE_DOMAIN_H
#define OOMTRACE_DOMAIN_H

#include "incident.h"

const volatile u32 nodes = 1; /* NUMA nodes */

/* One level of the search. Global like weigh() below: the verifier looks at it
 * once, and does not multiply its outcomes by those of every level. */
__noinline int climb(u64 address)
{
	struct mem_cgroup *m = (void *)address;
	struct incident *in = current_incident();
	u64 id = memcg_id(m), oom = memory_event(m, EVENT_OOM);
	struct seen *seen = bpf_map_lookup_elem(&seen_events, &id);

	if (!in)
		return 0;
	if (bpf_core_field_exists(m->oom_lock) && BPF_CORE_READ(m, oom_lock))
		in->locked = address;
	if (seen && seen->oom != oom) {
		in->counted = address;
		seen->oom = oom;
	}
	if (!in->full && BPF_CORE_READ(m, memory.usage.counter) + 1 > BPF_CORE_READ(m, memory.max))
		in->full = address;
	return 0;
}

/* The cgroup whose limit fired, from `m` upwards: the highest that is OOM-locked
 * (the kernel locks the whole subtree), else the one whose count of OOM events
 * has moved, else the nearest at its limit. */
static __always_inline bool search_domain(struct incident *in, struct mem_cgroup *m)
{
	u64 found;
	int i;

	in->locked = in->counted = in->full = 0;
	for (i = 0; i < DEPTH && m; i++) {
		climb((u64)m);
		m = memcg_parent(m);
	}
	found = in->locked ?: in->counted ?: in->full;
	if (!found)
		return false;
	if (in->locked || in->counted)
		in->flags |= OOM_LOCKED;
	in->domain_memcg = found;
	in->domain = memcg_id((void *)found);
	in->constraint = 3;
	return true;
}

static __always_inline bool in_group(struct mem_cgroup *m, u64 domain)
{
	int i;

	for (i = 0; i < DEPTH && m; i++) {
		if (BPF_CORE_READ(m, oom_group))
			return true;
		if ((u64)m == domain)
			return false;
		m = memcg_parent(m);
	}
	return false;
}

static __always_inline bool descends(struct mem_cgroup *m, u64 domain)
{
	int i;

	for (i = 0; i < DEPTH && m; i++) {
		if ((u64)m == domain)
			return true;
		m = memcg_parent(m);
	}
	return false;
}

#define NODES 8
#define ZONES 6
#define TREE 128 /* cgroups of a domain that are looked at */

/* Adds the lists of one cgroup on one node. Global, as climb() is. */
__noinline int add_lists(u64 address)
{
	struct mem_cgroup_per_node *info = (void *)address;
	struct incident *in = current_incident();
	u32 zones = bpf_core_field_size(info->lru_zone_size) / (LRU_LISTS * sizeof(long));
	int zone, list;

	if (!in)
		return 0;
	for (zone = 0; zone < ZONES && zone < zones; zone++) {
		long pages[LRU_LISTS] = {};

		bpf_probe_read_kernel(pages, sizeof(pages),
				      (void *)info + bpf_core_field_offset(struct mem_cgroup_per_node, lru_zone_size) +
					      zone * sizeof(pages));
		for (list = 0; list < LRU_LISTS; list++)
			in->lru.pages[list] += pages[list];
	}
	return 0;
}

/* The same for the generations that MGLRU keeps: four, of anon and of file. */
__noinline int add_generations(u64 address)
{
	struct mem_cgroup_per_node *info = (void *)address;
	struct incident *in = current_incident();
	u32 offset, i, zones, type = 0, zone = 0;

	if (!in)
		return 0;
	offset = bpf_core_field_offset(struct mem_cgroup_per_node, lruvec);
	if (bpf_core_type_exists(struct lru_gen_folio)) {
		offset += bpf_core_field_offset(struct lruvec, lrugen) + bpf_core_field_offset(struct lru_gen_folio, nr_pages);
		zones = bpf_core_field_size(((struct lru_gen_folio *)0)->nr_pages) / (8 * sizeof(long));
	} else if (bpf_core_type_exists(struct lru_gen_struct)) {
		offset += bpf_core_field_offset(struct lruvec___first, lrugen) + bpf_core_field_offset(struct lru_gen_struct, nr_pages);
		zones = bpf_core_field_size(((struct lru_gen_struct *)0)->nr_pages) / (8 * sizeof(long));
	} else {
		return 0;
	}
	for (i = 0; i < 8 * ZONES; i++) {
		long pages = 0;

		if (i >= 8 * zones)
			break;
		bpf_probe_read_kernel(&pages, sizeof(pages), (void *)info + offset + i * sizeof(pages));
		in->lru.generations[type & 1] += pages > 0 ? pages : 0;
		if (++zone == zones) {
			zone = 0;
			type ^= 1;
		}
	}
	return 0;
}

/* Adds the lists of one cgroup. Global, as climb() is. */
__noinline int add_lru(u64 address)
{
	struct mem_cgroup *m = (void *)address;
	int node;

	for (node = 0; node < NODES && node < nodes; node++) {
		u64 info = 0;

		bpf_probe_read_kernel(&info, sizeof(info),
				      (void *)m + bpf_core_field_offset(struct mem_cgroup, nodeinfo) + node * sizeof(info));
		if (!info)
			break;
		add_lists(info);
		add_generations(info);
	}
	return 0;
}

/* The next of a tree in preorder, 0 after the last. */
__noinline u64 next_css(u64 at, u64 root)
{
	struct cgroup_subsys_state *css = (void *)at;
	void *next = BPF_CORE_READ(css, children.next);
	int i;

	if (next != (void *)css + bpf_core_field_offset(struct cgroup_subsys_state, children))
		return (u64)next - bpf_core_field_offset(struct cgroup_subsys_state, sibling);
	for (i = 0; i < DEPTH && css && (u64)css != root; i++) {
		struct cgroup_subsys_state *parent = BPF_CORE_READ(css, parent);

		next = BPF_CORE_READ(css, sibling.next);
		if (next != (void *)parent + bpf_core_field_offset(struct cgroup_subsys_state, children))
			return (u64)next - bpf_core_field_offset(struct cgroup_subsys_state, sibling);
		css = parent;
	}
	return 0;
}

static __always_inline void gather_lru(struct incident *in)
{
	u64 root = in->domain_memcg + bpf_core_field_offset(struct mem_cgroup, css), css = root;
	int i;

	for (i = 0; i < TREE && css; i++) {
		add_lru((u64)css_to_memcg(css));
		css = next_css(css, root);
	}
	in->lru.complete = !css && nodes <= NODES;
}

#endif
