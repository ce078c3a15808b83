/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every difference between kernels, each behind one accessor. Nothing outside
 * this file asks what kernel it runs on.
 */
#ifndef OOMTRACE_COMPAT_H
#define OOMTRACE_COMPAT_H

#include "wire.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PF_MEMALLOC 0x00000800
#define PF_KSWAPD 0x00020000
#define PF_KTHREAD 0x00200000
#define SIGKILL 9
#define SEND_SIG_PRIV ((void *)1)
#define UNKNOWN (~0ULL)
#define DEPTH 24 /* levels of cgroups that are walked */

/* 6.2: lets a number be read through as a kernel pointer, without a helper call */
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

#define DIRECT(p) ((typeof(p))bpf_rdonly_cast(p, bpf_core_type_id_kernel(typeof(*(p)))))

/* As BPF_CORE_READ, by loads alone where they are allowed: what a helper call
 * costs counts where reclaim begins and ends. */
#define READ(p, ...)                                                         \
	({                                                                   \
		typeof(p) __at = (p);                                        \
		bpf_rdonly_cast ? ___arrow(DIRECT(__at), ##__VA_ARGS__) :    \
				  BPF_CORE_READ(__at, ##__VA_ARGS__);        \
	})

/* What stands at an address, and is not a pointer to the verifier, which has to
 * be told apart from what global functions take. By loads alone it is read as the
 * first word of a page_counter. */
static __always_inline u64 word(void *address)
{
	u64 value = 0;

	if (bpf_rdonly_cast) {
		struct page_counter *c = address - bpf_core_field_offset(struct page_counter, usage);

		return DIRECT(c)->usage.counter;
	}
	bpf_probe_read_kernel(&value, sizeof(value), address);
	return value;
}

/* ---- cgroups ---- */

static __always_inline u64 cgroup_id(struct cgroup *cgrp)
{
	return BPF_CORE_READ(cgrp, kn, id);
}

static __always_inline u64 memcg_id(struct mem_cgroup *m)
{
	if (!m)
		return 0;
	return READ(m, css.cgroup, kn, id);
}

static __always_inline struct mem_cgroup *css_to_memcg(u64 css)
{
	return css ? (void *)css - bpf_core_field_offset(struct mem_cgroup, css) : NULL;
}

static __always_inline struct mem_cgroup *memcg_parent(struct mem_cgroup *m)
{
	return css_to_memcg(word((void *)m + bpf_core_field_offset(m->css.parent)));
}

/* The memory cgroup of a task, on v1 and v2 alike. */
static __always_inline struct mem_cgroup *task_memcg(struct task_struct *task)
{
	struct css_set *set = READ(task, cgroups);
	u32 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);

	if (!set || index > 15)
		return NULL;
	return css_to_memcg(word((void *)set + bpf_core_field_offset(set->subsys) + index * sizeof(void *)));
}

static __always_inline u64 memory_event(struct mem_cgroup *m, u32 index)
{
	if (index > 15)
		return 0;
	return word((void *)m + bpf_core_field_offset(m->memory_events_local) + index * sizeof(long));
}

#define EVENT_HIGH bpf_core_enum_value(enum memcg_memory_event, MEMCG_HIGH)
#define EVENT_MAX bpf_core_enum_value(enum memcg_memory_event, MEMCG_MAX)
#define EVENT_OOM bpf_core_enum_value(enum memcg_memory_event, MEMCG_OOM)

/* ---- tasks ---- */

static __always_inline void fill_task(struct rec_task *r, struct task_struct *task)
{
	struct pid *pid = READ(task, group_leader, thread_pid);
	u32 level = READ(pid, level);

	r->tgid = READ(task, tgid);
	r->tid = READ(task, pid);
	r->ppid = READ(task, real_parent, tgid);
	r->uid = READ(task, cred, uid.val);
	r->flags = READ(task, flags);
	r->start = READ(task, group_leader, start_boottime);
	r->cgroup = memcg_id(task_memcg(task));
	r->container_pid = 0;
	if (level > 0 && level < 33)
		bpf_probe_read_kernel(&r->container_pid, sizeof(r->container_pid),
				      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
					      level * bpf_core_type_size(struct upid) +
					      bpf_core_field_offset(struct upid, nr));
	bpf_probe_read_kernel_str(r->comm, sizeof(r->comm), &task->comm);
}

/* CPU time that the task has used, up to this very moment: the scheduler's sum
 * is as old as the last tick, and exec_start says how old. Only the difference of
 * two readings by the running task itself on one CPU means anything, since the
 * clock of exec_start leaves out interrupts and stolen time, on each CPU its own. */
static __always_inline u64 cpu_clock(struct task_struct *task, u64 now)
{
	return READ(task, se.sum_exec_runtime) + now - READ(task, se.exec_start);
}

/* 6.2 (f1a7941243c1): per-CPU counters instead of an array of atomics. The
 * per-CPU remainders are left out, as in oom_badness() to 6.19. */
static __always_inline u64 rss_count(struct mm_struct *mm, int member)
{
	s64 count = 0;

	if (bpf_core_type_exists(struct mm_rss_stat)) {
		struct mm_struct___counts *old = (void *)mm;

		bpf_probe_read_kernel(&count, sizeof(count),
				      (void *)old + bpf_core_field_offset(struct mm_struct___counts, rss_stat) +
					      member * sizeof(long));
	} else {
		bpf_probe_read_kernel(&count, sizeof(count),
				      (void *)mm + bpf_core_field_offset(struct mm_struct, rss_stat) +
					      member * bpf_core_type_size(struct percpu_counter) +
					      bpf_core_field_offset(struct percpu_counter, count));
	}
	return count > 0 ? count : 0;
}

static __always_inline u64 mm_flags(struct mm_struct *mm)
{
	struct mm_struct___flags *new = (void *)mm;

	if (bpf_core_field_exists(new->flags.__mm_flags))
		return BPF_CORE_READ(new, flags.__mm_flags[0]);
	return BPF_CORE_READ(mm, flags);
}

/* A process whose first thread has exited keeps its memory while others run:
 * like the kernel, look for a thread that has it. */
static __always_inline struct mm_struct *process_mm(struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct signal_struct *signal;
	struct list_head *at;
	int i;

	if (mm || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return mm;
	signal = BPF_CORE_READ(task, signal);
	at = BPF_CORE_READ(signal, thread_head.next);
	for (i = 0; i < 8 && at && !mm; i++) {
		struct task_struct *thread = (void *)at - bpf_core_field_offset(struct task_struct, thread_node);

		if ((void *)at == (void *)signal + bpf_core_field_offset(struct signal_struct, thread_head))
			break;
		mm = BPF_CORE_READ(thread, mm);
		at = BPF_CORE_READ(at, next);
	}
	return mm;
}

/* 0: running. Called __state since 5.14 (2f064a59a11f). */
static __always_inline u32 task_state(struct task_struct *task)
{
	struct task_struct___state *old = (void *)task;

	if (bpf_core_field_exists(task->__state))
		return BPF_CORE_READ(task, __state);
	return BPF_CORE_READ(old, state);
}

#define MMF_OOM_SKIP 21

static __always_inline void fill_mm(struct rec_mm *r, struct task_struct *task, struct mm_struct *mm)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);

	__builtin_memset(r, 0, sizeof(*r));
	r->adj = BPF_CORE_READ(signal, oom_score_adj);
	r->origin = BPF_CORE_READ(signal, oom_flag_origin);
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		r->unkillable = UNKILLABLE_KTHREAD;
	else if (BPF_CORE_READ(task, tgid) == 1)
		r->unkillable = UNKILLABLE_INIT;
	else if (!mm)
		r->unkillable = UNKILLABLE_NO_MM;
	else if (r->adj == -1000)
		r->unkillable = UNKILLABLE_ADJ;
	else if (mm_flags(mm) & (1ULL << MMF_OOM_SKIP))
		r->unkillable = UNKILLABLE_REAPED;
	else if (BPF_CORE_READ(task, vfork_done) && BPF_CORE_READ(task, real_parent, mm) == mm)
		r->unkillable = UNKILLABLE_VFORK;
	if (!mm)
		return;
	r->known = 1;
	r->total_vm = BPF_CORE_READ(mm, total_vm);
	r->data_vm = BPF_CORE_READ(mm, data_vm);
	r->exec_vm = BPF_CORE_READ(mm, exec_vm);
	r->stack_vm = BPF_CORE_READ(mm, stack_vm);
	r->locked_vm = BPF_CORE_READ(mm, locked_vm);
	r->file = rss_count(mm, 0);
	r->anon = rss_count(mm, 1);
	r->swap = rss_count(mm, 2);
	r->shmem = rss_count(mm, 3);
	r->pgtables = BPF_CORE_READ(mm, pgtables_bytes.counter);
}

static __always_inline void fill_counters(struct rec_counters *r, struct mem_cgroup *m)
{
	r->usage = r->max = r->watermark = r->swap = r->swap_max = r->kmem = UNKNOWN;
	if (!m)
		return;
	r->usage = BPF_CORE_READ(m, memory.usage.counter);
	r->max = BPF_CORE_READ(m, memory.max);
	r->watermark = BPF_CORE_READ(m, memory.watermark);
	if (bpf_core_field_exists(m->swap)) {
		r->swap = BPF_CORE_READ(m, swap.usage.counter);
		r->swap_max = BPF_CORE_READ(m, swap.max);
	}
	if (bpf_core_field_exists(m->kmem))
		r->kmem = BPF_CORE_READ(m, kmem.usage.counter);
}

#endif
