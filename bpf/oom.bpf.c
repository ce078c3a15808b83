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
#include "limits.h"

const volatile u32 nodes = 1; /* NUMA nodes */
const volatile bool mark_has_task = true; /* mark_victim(task) instead of mark_victim(pid) */

struct incident {
	u64 id; /* when it began; 0: none yet */
	u64 invoked, selected, signalled, marked;
	u64 domain_memcg; /* a pointer, to compare with */
	u64 locked, counted, full; /* pointers: what the search for it has found */
	u64 domain, totalpages;
	s64 points;
	u64 victim_mm;
	u32 gfp;
	s32 order;
	u32 constraint;
	u32 flags;
	u32 active; /* between entry and exit of out_of_memory */
	u32 candidates;
	u32 signalled_tgid; /* who was sent SIGKILL last */
	u32 shared;         /* their memory has users besides their threads */
	struct rec_task victim;
	struct rec_mm mm;
	struct rec_lru lru;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32); /* thread id of the trigger */
	__type(value, struct incident);
} incidents SEC(".maps");

struct victim {
	u64 incident, domain;
};

/* Processes whose exit is awaited. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u32); /* tgid */
	__type(value, struct victim);
} victims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64); /* its mm */
	__type(value, struct victim);
} victim_memory SEC(".maps");

static const struct incident empty_incident;

static __always_inline struct incident *current_incident(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&incidents, &tid);
}

static __always_inline struct incident *open_incident(void)
{
	u32 tid = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&incidents, &tid, &empty_incident, BPF_ANY);
	return bpf_map_lookup_elem(&incidents, &tid);
}

/* ---- told by the kernel's oom_control ---- */

static __always_inline void take_control(struct incident *in, struct oom_control *oc)
{
	struct mem_cgroup *m = BPF_CORE_READ(oc, memcg);

	in->domain_memcg = (u64)m;
	in->domain = memcg_id(m);
	in->totalpages = BPF_CORE_READ(oc, totalpages);
	in->points = BPF_CORE_READ(oc, chosen_points);
	in->constraint = BPF_CORE_READ(oc, constraint);
	in->gfp = BPF_CORE_READ(oc, gfp_mask);
	in->order = BPF_CORE_READ(oc, order);
	in->flags |= OOM_CONTROL | OOM_GFP;
}

static __always_inline int invoked(struct oom_control *oc)
{
	struct incident *in = open_incident();

	if (!in)
		return 0;
	in->id = in->invoked = bpf_ktime_get_ns();
	in->active = 1;
	return 0;
}

static __always_inline int selected(struct oom_control *oc)
{
	struct incident *in = current_incident();

	if (!in || !in->active) {
		in = open_incident();
		if (!in)
			return 0;
		in->id = bpf_ktime_get_ns();
	}
	in->selected = bpf_ktime_get_ns();
	take_control(in, oc);
	return 0;
}

static __always_inline void send_candidate(struct incident *in, struct task_struct *task, u32 scored, s64 points)
{
	struct rec_oom_candidate *r;

	in->candidates++;
	r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_CANDIDATE, bpf_ktime_get_ns());
	if (!r)
		return;
	r->incident = in->id;
	r->points = points;
	r->scored = scored;
	r->pad = 0;
	fill_task(&r->task, task);
	fill_mm(&r->mm, task, process_mm(task));
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
}

static __always_inline int evaluated(struct task_struct *task, struct oom_control *oc, bool after)
{
	struct incident *in = current_incident();
	bool chosen;

	if (!in || !in->active || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	/* The best so far is this one: then the kernel's score is there to read. */
	chosen = after && BPF_CORE_READ(oc, chosen) == task;
	send_candidate(in, task, chosen, chosen ? BPF_CORE_READ(oc, chosen_points) : 0);
	return 0;
}

static __always_inline void send_done(struct incident *in, u32 truncated)
{
	struct rec_oom_done *r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_DONE, bpf_ktime_get_ns());

	if (!r)
		return;
	r->incident = in->id;
	r->candidates = in->candidates;
	r->truncated = truncated;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
}

static __always_inline int left(void)
{
	struct incident *in = current_incident();
	u32 tid = bpf_get_current_pid_tgid();

	if (in && in->active)
		send_done(in, 0);
	bpf_map_delete_elem(&incidents, &tid);
	return 0;
}

SEC("fentry/out_of_memory")
int BPF_PROG(fentry_out_of_memory, struct oom_control *oc)
{
	return invoked(oc);
}

SEC("fexit/out_of_memory")
int BPF_PROG(fexit_out_of_memory, struct oom_control *oc)
{
	return left();
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
int BPF_KRETPROBE(kretprobe_out_of_memory)
{
	return left();
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

/* ---- told by tracepoints ---- */

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

	if (sig != SIGKILL || info != SEND_SIG_PRIV)
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
	in->shared = mm && BPF_CORE_READ(mm, mm_users.counter) > BPF_CORE_READ(task, signal, nr_threads);
	fill_task(&in->victim, task);
	fill_mm(&in->mm, task, mm);
	return 0;
}

/* Whether this mark belongs to the incident at hand. Without fentry: it does
 * when a group is being killed and the task has not reclaimed since. */
static __always_inline bool same_incident(struct incident *in)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct last_reclaim *last;

	if (in->active || !in->marked)
		return in->active;
	if (!(in->flags & OOM_GROUP))
		return false;
	last = bpf_map_lookup_elem(&last_reclaims, &tid);
	return !last || last->time < in->marked;
}

static __always_inline void begin_incident(struct incident *in, u64 now)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct last_reclaim *last = bpf_map_lookup_elem(&last_reclaims, &tid);

	in->id = now;
	in->marked = 0;
	in->candidates = 0;
	in->flags = 0;
	in->domain = in->domain_memcg = in->totalpages = 0;
	in->constraint = 0;
	if (last) {
		in->gfp = last->gfp;
		in->order = last->order;
		in->flags |= OOM_GFP;
	}
}

/* ---- what the domain's memory is on the LRU lists ---- */

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

static __always_inline void add_lru(struct mem_cgroup *m)
{
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
		add_lru(css_to_memcg((void *)css));
		css = next_css(css, root);
	}
	in->lru.complete = !css && nodes <= NODES;
}

/* Sends the mark; returns 1 when the candidates are still to be walked. */
static __always_inline int marked(void *ctx, u64 argument)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct incident *in = current_incident();
	struct task_struct *task = NULL;
	struct victim victim = {};
	u64 now = bpf_ktime_get_ns(), mm;
	struct mem_cgroup *memcg;
	struct rec_oom_mark *r;
	u32 tgid, flags;
	bool walk = false;

	/* mark_victim also fires for tasks that were on their way out anyhow; a
	 * kill was signalled just before. */
	if (!in)
		return 0;
	if (mark_has_task) {
		task = (void *)argument;
		tgid = BPF_CORE_READ(task, tgid);
		if (tgid != in->signalled_tgid)
			return 0;
		in->victim_mm = (u64)BPF_CORE_READ(task, mm);
		fill_task(&in->victim, task);
		fill_mm(&in->mm, task, BPF_CORE_READ(task, mm));
	} else {
		tgid = in->signalled_tgid;
		if ((u32)argument != in->victim.tid && (u32)argument != tgid)
			return 0;
	}
	in->signalled_tgid = 0;
	memcg = task_memcg(task ?: current);
	if (!same_incident(in)) {
		begin_incident(in, now);
		if (!search_domain(in, task_memcg(current)) && task)
			search_domain(in, task_memcg(task)); /* a write to memory.max from outside */
		walk = true;
	}
	flags = in->flags;
	if (!in->marked)
		flags |= OOM_FIRST;
	if (in->active || walk)
		flags |= OOM_MORE;
	if (in_group(memcg, in->domain_memcg))
		in->flags |= OOM_GROUP;
	if (!in->marked && in->domain_memcg) {
		__builtin_memset(&in->lru, 0, sizeof(in->lru));
		gather_lru(in);
	}
	flags |= in->flags | (in->shared ? OOM_SHARED : 0);
	in->marked = now;

	victim.incident = in->id;
	victim.domain = in->domain;
	bpf_map_update_elem(&victims, &tgid, &victim, BPF_ANY);
	mm = in->victim_mm;
	if (mm)
		bpf_map_update_elem(&victim_memory, &mm, &victim, BPF_ANY);
	if (want_stacks)
		r = reserve(FAMILY_OOM, sizeof(*r), REC_OOM_MARK, now);
	else
		r = reserve(FAMILY_OOM, __builtin_offsetof(struct rec_oom_mark, stack), REC_OOM_MARK, now);
	if (!r)
		return walk;
	r->incident = in->id;
	r->invoked = in->invoked;
	r->selected = in->selected;
	r->signalled = in->signalled;
	fill_task(&r->trigger, current);
	r->victim = in->victim;
	r->mm = in->mm;
	fill_counters(&r->memory, (void *)in->domain_memcg);
	r->lru = in->lru;
	r->domain = in->domain;
	r->totalpages = in->totalpages;
	r->points = in->points;
	r->gfp = in->gfp;
	r->order = in->order;
	r->constraint = in->constraint;
	r->flags = flags;
	if (want_stacks) {
		__builtin_memset(r->stack, 0, sizeof(r->stack));
		bpf_get_stack(ctx, r->stack, sizeof(r->stack), 0);
	}
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return walk;
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
