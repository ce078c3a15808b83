//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Where memory comes from: every so many page faults the stacks that led to one
 * are taken and counted here, in a map that the tracer takes away and replaces
 * once an interval. The perf events do the sampling; these programs run at the
 * faults that are picked, when the page is there.
 */
#include "compat.h"
#include "emit.h"
#include "sample.h"

struct samples_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SAMPLES);
	__type(key, struct sample_key);
	__type(value, struct sample);
};

/* One slot: replacing what is in it waits until no program uses it any more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct samples_map);
} samples SEC(".maps");

/* Processes whose mappings have been asked for. */
struct image_key {
	u64 image;
	u64 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct image_key);
	__type(value, u8);
} images SEC(".maps");

/* Too large for the stack. Software events run with preemption off and not
 * within each other. */
struct scratch {
	struct sample_key key;
	struct sample sample;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

static const u8 yes = 1;

static __always_inline u64 hash(const u64 *stack, u32 frames)
{
	u64 h = 0;
	u32 i;

	for (i = 0; i < frames && stack[i]; i++) {
		h = (h ^ stack[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return h;
}

static __always_inline void ask_for_mappings(u64 image, u32 tgid)
{
	struct image_key key = { .image = image, .tgid = tgid };
	struct rec_image *r;

	if (bpf_map_lookup_elem(&images, &key))
		return;
	bpf_map_update_elem(&images, &key, &yes, BPF_ANY);
	r = reserve(FAMILY_PROFILE, sizeof(*r), REC_IMAGE, bpf_ktime_get_ns());
	if (!r)
		return;
	r->image = image;
	r->tgid = tgid;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP); /* it may not live long */
}

static __always_inline int sample(void *ctx, u32 fault)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 cgroup = memcg_id(task_memcg(task));
	struct sample *known;
	struct scratch *s;
	u32 zero = 0;
	void *map;

	if (!is_watched(cgroup))
		return 0;
	map = bpf_map_lookup_elem(&samples, &zero);
	s = bpf_map_lookup_elem(&scratch, &zero);
	if (!map || !s)
		return 0; /* nobody reads yet */
	bpf_get_stack(ctx, s->sample.user, sizeof(s->sample.user), BPF_F_USER_STACK);
	bpf_get_stack(ctx, s->sample.kernel, sizeof(s->sample.kernel), 0);
	s->key.user = hash(s->sample.user, USER_STACK_MAX);
	s->key.kernel = hash(s->sample.kernel, STACK_MAX);
	s->key.image = (u64)BPF_CORE_READ(task, mm);
	s->key.cgroup = cgroup;
	s->key.tgid = bpf_get_current_pid_tgid() >> 32;
	s->key.fault = fault;
	bpf_get_current_comm(s->key.comm, sizeof(s->key.comm));

	known = bpf_map_lookup_elem(map, &s->key);
	if (!known) {
		s->sample.count = 0;
		fill_task(&s->sample.task, task);
		bpf_map_update_elem(map, &s->key, &s->sample, BPF_NOEXIST);
		known = bpf_map_lookup_elem(map, &s->key);
		ask_for_mappings(s->key.image, s->key.tgid);
	}
	if (known)
		__sync_fetch_and_add(&known->count, 1);
	else
		count_map_full(FAMILY_PROFILE, 1);
	return 0;
}

SEC("perf_event/minor-faults")
int fault_minor(void *ctx)
{
	return sample(ctx, FAULT_MINOR);
}

SEC("perf_event/major-faults")
int fault_major(void *ctx)
{
	return sample(ctx, FAULT_MAJOR);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
