/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The path of a file, sent once for each that is seen.
 */
#ifndef OOMTRACE_PATH_H
#define OOMTRACE_PATH_H

#include "episode.h"

const volatile bool want_paths = false;

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

#endif
