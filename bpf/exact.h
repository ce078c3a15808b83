/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * RSS counters to the page. Since 6.2 a process's counters have a part on each
 * CPU, of up to a batch of pages, which is added to the whole only when it is
 * full. oom_badness() looks at the whole alone to 6.19 and adds the parts since
 * 7.0; both figures are sent, and the kernel's own scores tell which it goes by.
 *
 * A part lies at the counter's per-CPU address plus the CPU's offset, which no
 * helper gives. But a map with a value on each CPU has both for its own value:
 * the address that holds on every CPU, in the map, and where that is on this one.
 */
#ifndef OOMTRACE_EXACT_H
#define OOMTRACE_EXACT_H

#include "compat.h"
#include "emit.h"

#define SUM_CPUS 64 /* on more it would take too long with the OOM killer waiting */

const volatile u32 cpus = 1; /* possible ones */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} cpu_anchor SEC(".maps");

static __always_inline u64 anchor_everywhere(void)
{
	void *map = &cpu_anchor;
	u64 address, everywhere = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &map); /* a number to the verifier, no pointer */
	bpf_probe_read_kernel(&everywhere, sizeof(everywhere),
			      (void *)address + bpf_core_field_offset(struct bpf_array, pptrs));
	return everywhere;
}

/* Adds the parts to the whole; false when they cannot be had. */
static __noinline bool sum_rss(struct rec_mm *r, struct mm_struct *mm)
{
	u64 everywhere, counters[RSS_KINDS];
	s64 sums[RSS_KINDS];
	u32 zero = 0, cpu;
	int i;

	if (!bpf_core_type_exists(struct percpu_counter) || bpf_core_type_exists(struct mm_rss_stat) || cpus > SUM_CPUS)
		return false;
	everywhere = anchor_everywhere();
	if (!everywhere)
		return false;
	for (i = 0; i < RSS_KINDS; i++) {
		void *counter = (void *)mm + bpf_core_field_offset(struct mm_struct, rss_stat) +
				i * bpf_core_type_size(struct percpu_counter);

		sums[i] = 0;
		counters[i] = 0;
		bpf_probe_read_kernel(&sums[i], sizeof(sums[i]), counter + bpf_core_field_offset(struct percpu_counter, count));
		bpf_probe_read_kernel(&counters[i], sizeof(counters[i]),
				      counter + bpf_core_field_offset(struct percpu_counter, counters));
	}
	for (cpu = 0; cpu < SUM_CPUS && cpu < cpus; cpu++) {
		void *value = bpf_map_lookup_percpu_elem(&cpu_anchor, &zero, cpu);
		u64 here;

		if (!value)
			return false;
		bpf_probe_read_kernel(&here, sizeof(here), &value);
		for (i = 0; i < RSS_KINDS; i++) {
			s32 part = 0;

			bpf_probe_read_kernel(&part, sizeof(part), (void *)(counters[i] + here - everywhere));
			sums[i] += part;
		}
	}
	for (i = 0; i < RSS_KINDS; i++)
		r->sums[i] = sums[i] > 0 ? sums[i] : 0;
	return true;
}

static __always_inline void weigh_mm(struct rec_mm *r, struct task_struct *task, struct mm_struct *mm)
{
	fill_mm(r, task, mm);
	if (mm)
		r->summed = sum_rss(r, mm);
}

#endif
