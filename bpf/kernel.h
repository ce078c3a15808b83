/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's structures, reduced to the fields that oomtrace reads. Offsets
 * come from the running kernel's BTF when the programs are loaded, so order,
 * neighbours and sizes here mean nothing. A name with three underscores is a
 * flavour: the same kernel type as it was at some version.
 */
#ifndef OOMTRACE_KERNEL_H
#define OOMTRACE_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>

#define __VMLINUX_H__ /* register names below are the kernel's, not the UAPI's */

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	u64 regs[31];
	u64 sp, pc, pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
};
#endif

typedef struct {
	s32 counter;
} atomic_t;
typedef struct {
	long counter;
} atomic_long_t;

struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct list_head {
	struct list_head *next, *prev;
};

/* cgroups */
struct kernfs_node {
	u64 id;
};
struct cgroup_root {
	int hierarchy_id;
};
struct cgroup;
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
	struct list_head sibling, children;
	u64 serial_nr;
};
struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};
enum cgroup_subsys_id { memory_cgrp_id = 4 };
struct css_set {
	struct cgroup_subsys_state *subsys[16];
};

/* the memory controller */
struct page_counter {
	atomic_long_t usage;
	unsigned long high, max, watermark;
};
enum memcg_memory_event { MEMCG_HIGH = 1, MEMCG_MAX = 2, MEMCG_OOM = 3 };
struct mem_cgroup_per_node;
struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct page_counter swap; /* shares its storage with memsw, which v1 uses */
	struct page_counter kmem; /* to 6.1; later only with CONFIG_MEMCG_V1 */
	atomic_long_t memory_events_local[16];
	bool oom_lock; /* likewise */
	int under_oom, oom_kill_disable;
	bool oom_group;
	struct mem_cgroup_per_node *nodeinfo[1];
};
struct lru_gen_folio { /* 6.1, then called lru_gen_struct */
	long nr_pages[4][2][5];
};
struct lru_gen_struct {
	long nr_pages[4][2][5];
};
struct lruvec {
	struct lru_gen_folio lrugen;
};
struct lruvec___first {
	struct lru_gen_struct lrugen;
};
struct mem_cgroup_per_node {
	unsigned long lru_zone_size[5][5]; /* zones differ by configuration */
	struct lruvec lruvec;
};
struct percpu_ref {
	unsigned long percpu_count_ptr;
};
struct obj_cgroup {
	struct percpu_ref refcnt;
	struct mem_cgroup *memcg;
};
struct mem_cgroup_per_node___objcg { /* 7.1 */
	struct obj_cgroup *objcg;
};

/* tasks */
struct upid {
	int nr;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};
struct mm_rss_stat { /* to 6.1 */
	atomic_long_t count[4];
};
struct mm_struct___counts {
	struct mm_rss_stat rss_stat;
};
struct percpu_counter {
	s64 count;
	s32 *counters;
};
struct mm_struct {
	atomic_t mm_users;
	unsigned long total_vm, data_vm, exec_vm, stack_vm, locked_vm;
	unsigned long arg_start, arg_end;
	atomic_long_t pgtables_bytes;
	struct percpu_counter rss_stat[4]; /* 6.2 */
	unsigned long flags;               /* to 6.17 */
};
typedef struct {
	unsigned long __mm_flags[1];
} mm_flags_t;
struct mm_struct___flags { /* 6.18 */
	mm_flags_t flags;
};
struct signal_struct {
	int nr_threads;
	atomic_t live;
	struct list_head thread_head;
	short oom_score_adj;
	bool oom_flag_origin;
	struct pid *pids[4];
};
typedef struct {
	u32 val;
} kuid_t;
struct cred {
	kuid_t uid;
};
struct sched_entity {
	u64 exec_start, sum_exec_runtime;
};
struct task_struct {
	u32 flags;
	int pid, tgid;
	char comm[16];
	u64 start_boottime;
	struct task_struct *real_parent, *group_leader;
	struct list_head tasks, thread_node;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct signal_struct *signal;
	const struct cred *cred;
	struct sched_entity se;
	struct pid *thread_pid;
	void *vfork_done;
	struct mem_cgroup *active_memcg;
	struct mem_cgroup *memcg_in_oom; /* to 6.1; later only with CONFIG_MEMCG_V1 */
	unsigned long nvcsw;
	unsigned int __state;
	unsigned int memcg_nr_pages_over_high;
};
struct task_struct___state { /* to 5.13 */
	long state;
};
struct kernel_siginfo;

struct bpf_array {
	void *pptrs[1];
};

/* what an iterator over tasks is given */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

/* the OOM killer */
enum oom_constraint { CONSTRAINT_NONE };
struct oom_control {
	struct mem_cgroup *memcg;
	u32 gfp_mask;
	int order;
	unsigned long totalpages;
	struct task_struct *chosen;
	long chosen_points;
	enum oom_constraint constraint; /* a number here would match no kernel's */
};

/* the page cache */
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	union {
		struct hlist_node d_alias;
	} d_u;
};
struct dentry___plain { /* d_alias outside the union */
	struct hlist_node d_alias;
};
struct super_block {
	u32 s_dev;
	unsigned long s_magic;
};
struct inode {
	unsigned long i_ino;
	u32 i_rdev, i_generation;
	struct super_block *i_sb;
	struct hlist_head i_dentry;
};
struct address_space {
	struct inode *host;
};
struct folio {
	unsigned long flags;
	struct address_space *mapping;
	unsigned long index;
	atomic_t _refcount;
	unsigned long memcg_data;
	unsigned long _flags_1;
};
typedef struct {
	unsigned long f;
} memdesc_flags_t;
struct folio___mdflags { /* 6.18: flags became a structure */
	memdesc_flags_t flags;
};
struct folio___order { /* 6.1 */
	u8 _folio_order;
};
struct page___old { /* 5.10 */
	unsigned long flags;
	struct address_space *mapping;
	unsigned long index;
	atomic_t _refcount;
	struct mem_cgroup *mem_cgroup;
	u8 compound_order;
};
struct page___data { /* 5.11 */
	unsigned long memcg_data;
};
enum pageflags { PG_head = 6, PG_swapbacked = 17 };

#pragma clang attribute pop

#endif
