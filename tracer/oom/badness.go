// Package oom knows how the kernel's OOM killer thinks.
package oom

// Figures are what the kernel weighs a process by, in pages.
type Figures struct {
	File, Anon, Shmem, Swap uint64
	PageTableBytes          uint64
	PageBytes               uint64
	ScoreAdj                int
	Origin                  bool // oom_flag_origin: swapoff or ksm asked to be first
}

// maxBadness is what the kernel gives a task that asked to be killed first.
const maxBadness = int64(^uint64(0) >> 1)

// Badness is oom_badness() as all kernels since 5.10 compute it: resident pages,
// swap and page tables, and for each thousandth of oom_score_adj a thousandth of
// the domain's pages (integer division first).
func Badness(f Figures, totalPages uint64) int64 {
	if f.Origin {
		return maxBadness
	}
	page := f.PageBytes
	if page == 0 {
		page = 4096
	}
	points := int64(f.File + f.Anon + f.Shmem + f.Swap + f.PageTableBytes/page)
	return points + int64(f.ScoreAdj)*int64(totalPages/1000)
}

// Score is /proc/PID/oom_score as kernels since 5.9 reckon it from a process's
// badness, whose total is then the pages of the node's RAM and swap.
func Score(badness int64, nodePages uint64) int {
	if nodePages == 0 {
		return 0
	}
	return int((1000 + badness*1000/int64(nodePages)) * 2 / 3)
}

// Limits are what a memory cgroup may use, in pages; nil means no limit.
type Limits struct {
	Version    int
	Memory     *uint64
	Swap       *uint64 // v2: memory.swap.max
	MemorySwap *uint64 // v1: memory.memsw.limit_in_bytes
	// TotalSwap is the node's.
	TotalSwap  uint64
	Swappiness int
}

// unlimited is PAGE_COUNTER_MAX on 64-bit machines with 4 KiB pages; larger
// pages have smaller ones, which min() below lets win.
const unlimited = uint64(1)<<51 - 1

// TotalPages is mem_cgroup_get_max(): what oom_score_adj is scaled by when a
// memory cgroup runs out. Only its own limit counts, not its ancestors'.
func TotalPages(l Limits) uint64 {
	total := unlimited
	if l.Memory != nil {
		total = *l.Memory
	}
	if l.Swappiness == 0 {
		return max(total, 1)
	}
	swap := unlimited
	switch {
	case l.Version == 1:
		both := unlimited
		if l.MemorySwap != nil {
			both = *l.MemorySwap
		}
		swap = both - min(both, total)
	case l.Swap != nil:
		swap = *l.Swap
	}
	return max(total+min(swap, l.TotalSwap), 1)
}
