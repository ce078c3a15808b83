//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Cgroups that come, go and change their names; the filter follows them here,
 * so that nothing is missed between a cgroup's birth and the tracer's hearing
 * of it.
 */
#include "limits.h"

const volatile int hierarchy = 0; /* that of the memory controller: 0 is cgroup v2 */

/* Paths that are waited for: a cgroup that appears under one is watched. */
struct path_key {
	u8 path[PATH_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct path_key);
	__type(value, u8);
} wanted_paths SEC(".maps");

/* A key too large for the stack. mkdir holds cgroup_mutex, so there is one at a
 * time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct path_key);
} path_scratch SEC(".maps");

/* Cgroups that no process has entered yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, u8);
} newborn SEC(".maps");

static const struct path_key empty_path;
static const struct seen nothing_seen;
static const u8 yes = 1;

static __always_inline bool ours(struct cgroup *cgrp)
{
	return BPF_CORE_READ(cgrp, root, hierarchy_id) == hierarchy;
}

static __always_inline u64 parent_id(struct cgroup *cgrp)
{
	struct cgroup_subsys_state *parent = BPF_CORE_READ(cgrp, self.parent);

	return parent ? BPF_CORE_READ(parent, cgroup, kn, id) : 0;
}

static __always_inline void fill(struct rec_cgroup *r, struct cgroup *cgrp, const char *path, u32 change, u32 tgid)
{
	r->id = cgroup_id(cgrp);
	r->parent = parent_id(cgrp);
	r->change = change;
	r->tgid = tgid;
	if (bpf_probe_read_kernel_str(r->path, sizeof(r->path), path) < 0)
		r->path[0] = 0;
}

static __always_inline int send(struct cgroup *cgrp, const char *path, u32 change)
{
	struct rec_cgroup *r =
		reserve(FAMILY_CGROUP, offsetof(struct rec_cgroup, args_bytes), REC_CGROUP, bpf_ktime_get_ns());

	if (!r)
		return 0;
	fill(r, cgrp, path, change, 0);
	submit(r);
	return 0;
}

/* With the command line of the current process, which moved the first process
 * into the cgroup or forked it there: a container runtime says in it which
 * container that is, and may be gone with all that it wrote when this is read. */
static __always_inline int send_first(struct cgroup *cgrp, const char *path, u32 tgid)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	unsigned long start = BPF_CORE_READ(me, mm, arg_start);
	u64 length = BPF_CORE_READ(me, mm, arg_end) - start;
	struct rec_cgroup *r;

	/* checked at once: 5.10 forgets that what it has put aside may be NULL */
	r = reserve(FAMILY_CGROUP, sizeof(*r), REC_CGROUP, bpf_ktime_get_ns());
	if (!r)
		return 0;
	fill(r, cgrp, path, CGROUP_ATTACH, tgid);
	r->pad = 0;
	r->args_bytes = length > 0xffffffff ? 0xffffffff : length;
	if (length > sizeof(r->args))
		length = sizeof(r->args);
	if (!start || bpf_probe_read_user(r->args, length, (void *)start))
		r->args_bytes = 0;
	submit(r);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int mkdir(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	const char *path = (void *)ctx[1];
	u64 id, parent;
	u32 zero = 0;

	if (!ours(cgrp))
		return 0;
	id = cgroup_id(cgrp);
	bpf_map_update_elem(&newborn, &id, &yes, BPF_ANY);
	/* its counters begin at zero: the first event at its limit is proof */
	bpf_map_update_elem(&seen_events, &id, &nothing_seen, BPF_NOEXIST);
	if (filtered) {
		struct path_key *key;

		parent = parent_id(cgrp);
		if (bpf_map_lookup_elem(&watched, &parent)) {
			bpf_map_update_elem(&watched, &id, &yes, BPF_ANY);
		} else {
			bpf_map_update_elem(&path_scratch, &zero, &empty_path, BPF_ANY);
			key = bpf_map_lookup_elem(&path_scratch, &zero);
			if (key && bpf_probe_read_kernel_str(key->path, sizeof(key->path), path) > 0 &&
			    bpf_map_lookup_elem(&wanted_paths, key))
				bpf_map_update_elem(&watched, &id, &yes, BPF_ANY);
		}
	}
	return send(cgrp, path, CGROUP_MKDIR);
}

SEC("tp_btf/cgroup_rmdir")
int rmdir(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];

	return ours(cgrp) ? send(cgrp, (void *)ctx[1], CGROUP_RMDIR) : 0;
}

/* Long after rmdir, when its last page is gone: only now may the filter forget
 * it. */
SEC("tp_btf/cgroup_release")
int release(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	u64 id;

	if (!ours(cgrp))
		return 0;
	id = cgroup_id(cgrp);
	bpf_map_delete_elem(&watched, &id);
	return 0;
}

SEC("tp_btf/cgroup_rename")
int rename(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];

	return ours(cgrp) ? send(cgrp, (void *)ctx[1], CGROUP_RENAME) : 0;
}

SEC("tp_btf/cgroup_attach_task")
int attach_task(u64 *ctx)
{
	struct cgroup *cgrp = (void *)ctx[0];
	u64 id;

	if (!ours(cgrp))
		return 0;
	id = cgroup_id(cgrp);
	if (!bpf_map_lookup_elem(&newborn, &id))
		return 0;
	bpf_map_delete_elem(&newborn, &id);
	return send_first(cgrp, (void *)ctx[1], BPF_CORE_READ((struct task_struct *)ctx[2], tgid));
}

/* A process may be born into a cgroup (CLONE_INTO_CGROUP) without being attached. */
SEC("tp_btf/sched_process_fork")
int forked(u64 *ctx)
{
	struct task_struct *child = (void *)ctx[1];
	struct mem_cgroup *m = task_memcg(child);
	u64 id = memcg_id(m);

	if (!bpf_map_lookup_elem(&newborn, &id))
		return 0;
	bpf_map_delete_elem(&newborn, &id);
	return send_first(BPF_CORE_READ(m, css.cgroup), NULL, BPF_CORE_READ(child, tgid));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
