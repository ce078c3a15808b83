//go:build ignore
// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What belongs to no family: the shared maps in one object, so that the loader
 * can make them once, the types that cross to Go, and empty programs on the
 * hooks of the others, which the benchmark measures them against.
 */
#include "counts.h"
#include "emit.h"
#include "histogram.h"
#include "sample.h"
#include <bpf/bpf_tracing.h>

#define EMPTY(hook)                   \
	SEC("tp_btf/" #hook)          \
	int empty_##hook(void *ctx)   \
	{                             \
		return 0;             \
	}

EMPTY(mm_filemap_add_to_page_cache)
EMPTY(mm_filemap_delete_from_page_cache)
EMPTY(mm_vmscan_memcg_reclaim_begin)
EMPTY(mm_vmscan_memcg_reclaim_end)
EMPTY(mm_vmscan_lru_shrink_inactive)
EMPTY(signal_generate)
EMPTY(sched_process_exit)
EMPTY(cgroup_mkdir)
EMPTY(cgroup_attach_task)

/* Sends a thousand records: ring-buffer throughput. */
SEC("raw_tp/")
int flood(void *ctx)
{
	int i;

	for (i = 0; i < 1000; i++) {
		struct rec_pressure *r = reserve(FAMILY_RECLAIM, sizeof(*r), REC_PRESSURE, bpf_ktime_get_ns());

		if (!r)
			continue;
		r->domain = r->ooms = r->killer_off = 0;
		submit(r);
	}
	return 0;
}

/* Types that are only used behind pointers reach BTF this way. */
#define EXPORT(type) const struct type *export_##type __attribute__((unused));
EXPORT(rec_head)
EXPORT(rec_task)
EXPORT(rec_mm)
EXPORT(rec_counters)
EXPORT(rec_lru)
EXPORT(rec_evicted)
EXPORT(rec_reclaim)
EXPORT(rec_throttle)
EXPORT(rec_pressure)
EXPORT(rec_pause)
EXPORT(rec_oom_mark)
EXPORT(rec_oom_candidate)
EXPORT(rec_oom_killed)
EXPORT(rec_oom_done)
EXPORT(rec_oom_exit)
EXPORT(rec_cgroup)
EXPORT(rec_file)
EXPORT(rec_image)
EXPORT(tally)
EXPORT(cache_counts)
EXPORT(file_key)
EXPORT(file_counts)
EXPORT(evict_key)
EXPORT(evict_counts)
EXPORT(run)
EXPORT(history_second)
EXPORT(history)
EXPORT(stall_key)
EXPORT(stall_counts)
EXPORT(refault_key)
EXPORT(refault_counts)
EXPORT(eviction_clock)
EXPORT(sample_key)
EXPORT(sample)
const enum rec_type export_rec_type = 0;
const enum reclaim_kind export_reclaim_kind = 0;
const enum certainty export_certainty = 0;
const enum family export_family = 0;
const enum oom_flags export_oom_flags = 0;
const enum unkillable export_unkillable = 0;
const enum stall_kind export_stall_kind = 0;
const enum cgroup_change export_cgroup_change = 0;
const enum cause export_cause = 0;
const enum wait_state export_wait_state = 0;
const enum fault export_fault = 0;

char LICENSE[] SEC("license") = "Dual BSD/GPL";
