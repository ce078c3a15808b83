/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The part of wire.h that is for samples of page faults.
 */
#ifndef OOMTRACE_SAMPLE_H
#define OOMTRACE_SAMPLE_H

#include "wire.h"

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* A process was sampled for the first time since it executes what it does: its
 * mappings are to be read before it is gone. */
struct rec_image {
	struct rec_head head;
	u64 image; /* tells the process from what it was before exec: the address of its mm */
	u32 tgid;
	u32 pad;
};

enum fault { FAULT_MINOR, FAULT_MAJOR };

#define SAMPLES 8192 /* different stacks of one interval */

struct sample_key {
	u64 user, kernel; /* hashes of the stacks */
	u64 image, cgroup;
	u32 tgid, fault;
	u8 comm[16];
};

struct sample {
	u64 count;
	struct rec_task task; /* the first that was seen with these stacks */
	u64 kernel[STACK_MAX];
	u64 user[USER_STACK_MAX];
};

#pragma clang diagnostic pop

#endif
