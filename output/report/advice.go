package report

// advice is what to do about the verdict's cause. Without a verdict there is
// none: the figures are there to judge by.
func (s *Story) advice() []Text {
	v := s.Kill.Verdict
	if v == nil {
		return nil
	}
	var out []Text
	for _, line := range remedies(v.Cause) {
		out = append(out, say(line))
	}
	return out
}

func remedies(cause string) []string {
	switch cause {
	case "limit_too_small":
		return []string{
			"Raise the limit: what the workload needed at once was more than it allows, and it was not growing without end.",
			"Leave room above the peak: page cache, kernel memory and bursts count against the same limit.",
			"If the limit must stay, lower the peak: smaller heaps, fewer workers, smaller batches.",
		}
	case "leak":
		return []string{
			"Look for a leak: anonymous memory grew steadily until it met the limit. A higher limit only postpones the next kill.",
			"Take a heap profile of the process while it grows, or two and compare them.",
			"Until it is found, restart it on a schedule or by its memory, before the kernel does.",
		}
	case "tmpfs":
		return []string{
			"Look for files in tmpfs and shared memory (/dev/shm, memory-backed volumes, memfd): they count against the limit and cannot be dropped.",
			"Delete what is not needed any more, give the mount a size limit, or move the files to a disk.",
		}
	case "kernel_memory":
		return []string{
			"Look at the kernel's part: slab (dentries, inodes), page tables, stacks of many threads, socket buffers.",
			"Fewer files, mappings, threads or connections at a time bring it down; raising the application's own limits does not.",
		}
	case "page_cache_pinned":
		return []string{
			"The page cache could not be dropped: it was dirty, under writeback, locked or otherwise unevictable.",
			"Write more gently (sync in between, lower vm.dirty_bytes, a faster disk), or lock less memory.",
		}
	case "ancestor_limit":
		return []string{
			"Look at the parent whose limit fired, not at the victim's own: its children together took more than it allows.",
			"Raise the parent's limit, lower that of the child that grew, or give each child a limit so that they cannot take each other's room.",
		}
	case "group_policy":
		return []string{
			"memory.oom.group kills all processes of the cgroup together. Unset it if the others should outlive the one that was chosen.",
		}
	case "swap_full":
		return []string{
			"Swap was used up, so anonymous memory had nowhere to go: allow more swap, or size the limit for what is in use without it.",
		}
	case "node_pressure":
		return []string{
			"The node as a whole ran out: give its workloads limits whose sum it can hold, or move some away.",
			"Protect what must survive with memory.min, memory.low or a lower oom_score_adj.",
		}
	case "fork_storm":
		return []string{
			"Many processes were started in a short time: bound their number (pids.max, worker counts) and look at what starts them.",
		}
	case "cpuset_or_policy":
		return []string{
			"The allocation was bound to NUMA nodes that were full while others may not have been: widen the cpuset's or the policy's nodes.",
		}
	}
	return nil
}
