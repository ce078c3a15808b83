//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * OOM kills. One invocation of the OOM killer is one incident, kept by the task
 * that invoked it. Where fentry or kprobes are allowed the kernel's own
 * oom_control tells the domain, the score and every candidate; where only
 * tracepoints are, the OOM lock and the counters of the ancestors tell the
 * domain, and the processes are walked at the moment the victim is marked.
 *
 * The order of things in the kernel: out_of_memory, oom_evaluate_task for each
 * candidate, oom_kill_process, signal_generate(SIGKILL), mark_victim; with
 * memory.oom.group the last two again for each member.
 */
#include "control.h"
#include "mark.h"
#include "waits.h"

SEC("fentry/out_of_memory")
int BPF_PROG(fentry_out_of_memory, struct oom_control *oc)
{
	return invoked(oc);
}

SEC("fexit/out_of_memory")
int BPF_PROG(fexit_out_of_memory, struct oom_control *oc, u64 result)
{
	return left(result);
}

SEC("fexit/oom_evaluate_task")
int BPF_PROG(fexit_oom_evaluate_task, struct task_struct *task, void *oc)
{
	return evaluated(task, oc, true);
}

SEC("fentry/oom_kill_process")
int BPF_PROG(fentry_oom_kill_process, struct oom_control *oc)
{
	return selected(oc);
}

SEC("kprobe/out_of_memory")
int BPF_KPROBE(kprobe_out_of_memory, struct oom_control *oc)
{
	return invoked(oc);
}

SEC("kretprobe/out_of_memory")
int BPF_KRETPROBE(kretprobe_out_of_memory, u64 result)
{
	return left(result);
}

SEC("kprobe/oom_evaluate_task")
int BPF_KPROBE(kprobe_oom_evaluate_task, struct task_struct *task, void *oc)
{
	return evaluated(task, oc, false);
}

SEC("kprobe/oom_kill_process")
int BPF_KPROBE(kprobe_oom_kill_process, struct oom_control *oc)
{
	return selected(oc);
}

SEC("fentry/memory_max_write")
int fentry_memory_max_write(void *ctx)
{
	return writing_limit(true);
}

SEC("fexit/memory_max_write")
int fexit_memory_max_write(void *ctx)
{
	return writing_limit(false);
}

SEC("kprobe/memory_max_write")
int kprobe_memory_max_write(void *ctx)
{
	return writing_limit(true);
}

SEC("kretprobe/memory_max_write")
int kretprobe_memory_max_write(void *ctx)
{
	return writing_limit(false);
}

/* ---- told by tracepoints ---- */

/* One process of the walk. Global, so that the verifier looks at it once and
 * not once for each turn of the loop. */
__noinline int weigh(u64 address)
{
	struct task_struct *task = (void *)address;
	struct incident *in = current_incident();

	if (!in || !task || !BPF_CORE_READ(task, tgid) || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	if (in->domain_memcg && !descends(task_memcg(task), in->domain_memcg))
		return 0;
	send_candidate(in, task, 0, 0);
	return 0;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(signal_generate, int sig, struct kernel_siginfo *info, u64 address)
{
	struct task_struct *task = (void *)address;
	struct rec_oom_killed *r;
	struct incident *in;
	struct mm_struct *mm;
	u32 tgid;

	if (sig != SIGKILL)
		return 0;
	killed_waiting(task);
	if (info != SEND_SIG_PRIV)
		return 0;
	in = current_incident();
	mm = process_mm(task);
	tgid = BPF_CORE_READ(task, tgid);
	if (in && in->marked && mm && (u64)mm == in->victim_mm) {
		/* shares the victim's memory and goes with it; a group kill signals
		 * its first victim twice */
		if (tgid == in->victim.tgid)
			return 0;
		r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_KILLED, bpf_ktime_get_ns());
		if (!r)
			return 0;
		r->incident = in->id;
		fill_task(&r->task, task);
		submit(r);
		return 0;
	}
	if (!in)
		in = open_incident();
	if (!in)
		return 0;
	in->signalled = bpf_ktime_get_ns();
	in->signalled_tgid = tgid;
	in->victim_mm = (u64)mm;
	in->victim_memcg = (u64)task_memcg(task);
	in->shared = mm && BPF_CORE_READ(mm, mm_users.counter) > BPF_CORE_READ(task, signal, nr_threads);
	fill_task(&in->victim, task);
	weigh_mm(&in->mm, task, mm);
	return 0;
}

struct bpf_iter_task {
	u64 opaque[3];
} __attribute__((aligned(8)));
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task, u32 flags) __ksym __weak;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym __weak;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym __weak;

/* 6.7: the kernel's own iterator over all processes */
SEC("tp_btf/mark_victim")
int mark_victim_iter(u64 *ctx)
{
	struct bpf_iter_task it;
	struct task_struct *task;
	struct incident *in;

	if (!marked(ctx, ctx[0]))
		return 0;
	bpf_iter_task_new(&it, NULL, 0);
	while ((task = bpf_iter_task_next(&it))) {
		u64 address;

		/* a global function takes numbers, and the verifier calls this a pointer */
		bpf_probe_read_kernel(&address, sizeof(address), &task);
		weigh(address);
	}
	bpf_iter_task_destroy(&it);
	in = current_incident();
	if (in)
		send_done(in, 0);
	return 0;
}

#define WALK_MAX 4096

SEC("tp_btf/mark_victim")
int mark_victim_walk(u64 *ctx)
{
	struct task_struct *start, *task;
	struct incident *in;
	int i;

	if (!marked(ctx, ctx[0]))
		return 0;
	start = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
	task = start;
	for (i = 0; i < WALK_MAX; i++) {
		struct list_head *next;

		weigh((u64)task);
		next = BPF_CORE_READ(task, tasks.next);
		if (!next)
			break;
		task = (void *)next - bpf_core_field_offset(struct task_struct, tasks);
		if (task == start)
			break;
	}
	in = current_incident();
	if (in)
		send_done(in, task != start);
	return 0;
}

static __always_inline void send_exit(struct victim *victim, u32 tgid)
{
	struct mem_cgroup *m = task_memcg((void *)bpf_get_current_task());
	struct rec_oom_exit *r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_EXIT, bpf_ktime_get_ns());
	int i;

	if (!r)
		return;
	r->incident = victim->incident;
	r->tgid = tgid;
	r->usage = UNKNOWN;
	r->pad = 0;
	for (i = 0; i < DEPTH && m; i++) {
		if (memcg_id(m) == victim->domain) {
			r->usage = BPF_CORE_READ(m, memory.usage.counter);
			break;
		}
		m = memcg_parent(m);
	}
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

/* A victim is gone with its last thread. To 6.15 a thread has let go of the
 * memory when this fires; those still on their way out tell again. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct victim *victim = bpf_map_lookup_elem(&victims, &tgid);

	if (victim && !BPF_CORE_READ(task, signal, live.counter))
		send_exit(victim, tgid);
	return 0;
}

/* 6.2: an address space has been torn down, its pages are free. */
SEC("tp_btf/exit_mmap")
int memory_gone(u64 *ctx)
{
	u64 mm = ctx[0];
	struct victim *victim = bpf_map_lookup_elem(&victim_memory, &mm);

	if (!victim)
		return 0;
	send_exit(victim, 0);
	bpf_map_delete_elem(&victim_memory, &mm);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
