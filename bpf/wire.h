/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every structure that crosses from the kernel to Go. Go's twins are generated
 * from these (bpf2go -type), so they must stay free of implicit padding: the
 * compiler is told to refuse it.
 */
#ifndef OOMTRACE_WIRE_H
#define OOMTRACE_WIRE_H

#include "kernel.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

#define EVICTED_MAX 8   /* files named by one episode */
#define STACK_MAX 40    /* frames kept of a kernel stack */
#define USER_STACK_MAX 127 /* and of a user stack: as many as the kernel gives by default */
#define COMPONENTS 14   /* directories of a file's path that are kept */
#define COMPONENT_LEN 80 /* longer names cut the path short; container layers have 64 */
#define NAME_LEN 256
#define ARGS_LEN 512 /* of a container runtime's command line */
#define PATH_LEN 512 /* of a cgroup; also the key of want_paths */

enum family { FAMILY_OOM, FAMILY_RECLAIM, FAMILY_KSWAPD, FAMILY_THROTTLE, FAMILY_CACHE, FAMILY_CGROUP, FAMILY_PROFILE, FAMILY_COUNT };

enum rec_type {
	REC_RECLAIM = 1,
	REC_KSWAPD,
	REC_THROTTLE,
	REC_PRESSURE,
	REC_OOM_MARK,
	REC_OOM_CANDIDATE,
	REC_OOM_KILLED,
	REC_OOM_DONE,
	REC_OOM_EXIT,
	REC_CGROUP,
	REC_FILE,
	REC_PAUSE,
	REC_IMAGE,
};

/* How reclaim came about: `kind` of events. */
enum reclaim_kind { RECLAIM_NONE, RECLAIM_LIMIT, RECLAIM_HIGH, RECLAIM_PROACTIVE, RECLAIM_SOFT, RECLAIM_DIRECT, RECLAIM_NODE, RECLAIM_KSWAPD, RECLAIM_DAMON,
	RECLAIM_THROTTLED /* a wait before RECLAIM_DIRECT */ };

/* How sure a figure is. */
enum certainty { SURE, INFERRED };

/* flags of rec_oom_mark */
enum oom_flags {
	OOM_FIRST = 1,       /* the first victim of its incident */
	OOM_CONTROL = 2,     /* the kernel's oom_control was read: domain, totalpages, score are its own */
	OOM_GROUP = 4,       /* memory.oom.group took this victim */
	OOM_LOCKED = 8,      /* domain found by the OOM lock */
	OOM_MORE = 16,       /* REC_OOM_DONE follows for certain */
	OOM_GFP = 32,        /* gfp and order are known */
	OOM_SHARED = 64,     /* others use the victim's memory: they are killed next */
	OOM_SAME_MEMORY = 128, /* another victim's memory: its end is told once */
	OOM_NO_VICTIM = 256,   /* nobody could be killed: there is no victim */
	OOM_LIMIT_WRITE = 512, /* a write to memory.max invoked it */
	OOM_REMOTE = 1024,     /* the trigger was charging another cgroup's memory at its request */
};

/* why a candidate may not be killed */
enum unkillable { KILLABLE, UNKILLABLE_ADJ, UNKILLABLE_REAPED, UNKILLABLE_VFORK, UNKILLABLE_KTHREAD, UNKILLABLE_INIT, UNKILLABLE_NO_MM };

struct rec_head {
	u32 type;
	u32 cpu;
	u64 time; /* CLOCK_MONOTONIC, when the thing was over */
};

struct rec_task {
	u32 tgid, tid, ppid, uid;
	u32 container_pid, flags;
	u64 start; /* CLOCK_BOOTTIME */
	u64 cgroup;
	u8 comm[16];
};

#define RSS_KINDS 4 /* file, anon, swap, shmem */

struct rec_mm { /* pages, but for pgtables */
	u64 total_vm, file, anon, swap, shmem;
	u64 pgtables; /* bytes */
	u64 data_vm, exec_vm, stack_vm, locked_vm;
	u64 sums[RSS_KINDS]; /* exact, where `summed` */
	s32 adj;
	u32 unkillable;
	u32 origin; /* oom_flag_origin */
	u32 known;  /* 0: the task had no memory any more */
	u32 summed; /* the parts that each CPU keeps were added */
	u32 pad;
};

struct rec_counters { /* of a memory cgroup, pages; ~0 where not known or without limit */
	u64 usage, max, watermark;
	u64 swap, swap_max; /* v1: memory and swap together */
	u64 kmem;
};

/* Pages on the LRU lists of a cgroup and all below it, exact at the moment. The
 * order is the kernel's: inactive anon (with shmem), active anon, inactive file,
 * active file, unevictable. */
#define LRU_LISTS 5
struct rec_lru {
	u64 pages[LRU_LISTS];
	u64 generations[2]; /* anon, file: those that the multi-generational LRU holds instead */
	u64 complete; /* 0: more cgroups or nodes than are looked at */
};

struct rec_evicted {
	u64 owner, inode;
	u32 dev, generation;
	u64 pages;
	u64 reparented; /* of these */
};

struct rec_reclaim {
	struct rec_head head;
	struct rec_task task;
	u64 domain; /* 0: not one cgroup, or not known */
	u64 duration;
	u64 cpu_ns; /* ~0: not known, the task has changed CPUs */
	u64 scanned, reclaimed;
	u32 gfp;
	s32 order;
	u32 kind, certainty;
	s32 priority, node; /* -1: not known */
	u32 evicted_count, evicted_other;
	struct rec_evicted evicted[EVICTED_MAX];
	/* sent only when stacks are asked for */
	u64 stack[STACK_MAX];
	u64 image; /* see rec_image */
	u64 user_stack[USER_STACK_MAX];
};

struct rec_throttle {
	struct rec_head head;
	struct rec_task task;
	u64 domain;
	u64 duration; /* asleep */
};

struct rec_pressure { /* reclaim of a domain found nothing: an OOM kill may be next */
	struct rec_head head;
	u64 domain;
	u64 ooms;      /* of its own, counted by the kernel so far */
	u64 killer_off; /* the nearest of the task's ancestors whose OOM killer is off (v1); 0: none */
};

/* A task that waits because a cgroup's OOM killer is off. */
enum wait_state { WAIT_BEGINS, WAIT_ENDS, WAIT_SEEN, WAIT_KILLED };

struct rec_pause {
	struct rec_head head;
	struct rec_task task;
	struct rec_task killer; /* WAIT_KILLED */
	u64 domain;
	u64 since; /* 0: not known */
	u64 usage, max; /* of the domain, pages */
	u32 state;
	u32 killer_off;
};

struct rec_oom_mark {
	struct rec_head head;
	u64 incident;
	u64 invoked, selected, signalled; /* CLOCK_MONOTONIC, 0: not known */
	struct rec_task trigger, victim;
	struct rec_mm mm;
	struct rec_counters memory; /* of the domain */
	struct rec_lru lru;         /* likewise; on an incident's first mark */
	u64 domain;                 /* 0: global */
	u64 branch, branch_usage, branch_max; /* the cgroup right below it that the victim is in, pages; 0: none */
	u64 totalpages;             /* 0: not known */
	s64 points;                 /* the kernel's own score, with OOM_CONTROL */
	u32 gfp;
	s32 order;
	u32 constraint;
	u32 flags;
	u64 repeats; /* with OOM_NO_VICTIM: further invocations since it was told last */
	u64 stack[STACK_MAX];
};

struct rec_oom_candidate {
	struct rec_head head;
	u64 incident;
	struct rec_task task;
	struct rec_mm mm;
	s64 points; /* the kernel's own score where `scored` */
	u32 scored;
	u32 pad;
};

struct rec_oom_killed { /* killed without being marked: it shares the victim's memory */
	struct rec_head head;
	u64 incident;
	struct rec_task task;
};

struct rec_oom_done {
	struct rec_head head;
	u64 incident;
	u32 candidates; /* seen by the kernel side, delivered or not */
	u32 truncated;  /* 1: the walk stopped before the last process */
};

struct rec_oom_exit {
	struct rec_head head;
	u64 incident;
	u64 usage; /* of the domain, pages; ~0 not known */
	u32 tgid, pad; /* 0: not a process but its memory is gone */
};

enum cgroup_change { CGROUP_MKDIR, CGROUP_RMDIR, CGROUP_RELEASE, CGROUP_RENAME, CGROUP_ATTACH };

struct rec_cgroup {
	struct rec_head head;
	u64 id;
	u64 parent;
	u32 change;
	u32 tgid; /* CGROUP_ATTACH: the first process in it */
	u8 path[PATH_LEN];
	/* CGROUP_ATTACH alone has the rest: the arguments of whoever put it there */
	u32 args_bytes; /* of all; may be more than fit */
	u32 pad;
	u8 args[ARGS_LEN];
};

struct rec_file {
	struct rec_head head;
	u64 inode;
	u32 dev, generation;
	u32 count;     /* of directories, the nearest first */
	u32 truncated; /* a directory's name or the depth was cut */
	u8 name[NAME_LEN];
	u8 directories[COMPONENTS][COMPONENT_LEN];
};

/* counted in the kernel, read from maps */

struct tally {
	u64 sent; /* records tried: received + lost */
	u64 lost;
	u64 map_full; /* what could not be counted because a map was full */
};

#define HISTORY_SECONDS 16

struct history_second {
	u64 second; /* of CLOCK_MONOTONIC */
	u64 episodes, stalled, reclaimed;
};

struct history { /* reclaim of one domain, the latest seconds */
	struct history_second seconds[HISTORY_SECONDS];
};

#pragma clang diagnostic pop

#endif
