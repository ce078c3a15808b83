package event

// Figures is a composition of memory: what a cgroup's usage consists of at one
// moment, in bytes. A nil figure is unknown on this kernel or from this source.
type Figures struct {
	Usage     *uint64 `json:"usage_bytes,omitempty"`
	Limit     *uint64 `json:"limit_bytes,omitempty"` // absent when there is none
	SwapUsage *uint64 `json:"swap_usage_bytes,omitempty"`
	SwapLimit *uint64 `json:"swap_limit_bytes,omitempty"`
	MaxUsage  *uint64 `json:"max_usage_bytes,omitempty"`

	Anon          *uint64 `json:"anon_bytes,omitempty"`
	File          *uint64 `json:"file_bytes,omitempty"` // page cache, shmem included, as memory.stat counts it
	Shmem         *uint64 `json:"shmem_bytes,omitempty"`
	FileMapped    *uint64 `json:"file_mapped_bytes,omitempty"`
	FileDirty     *uint64 `json:"file_dirty_bytes,omitempty"`
	FileWriteback *uint64 `json:"file_writeback_bytes,omitempty"`
	ActiveFile    *uint64 `json:"active_file_bytes,omitempty"`
	InactiveFile  *uint64 `json:"inactive_file_bytes,omitempty"`
	Unevictable   *uint64 `json:"unevictable_bytes,omitempty"`
	// LRUAnon is what is on the lists of anonymous memory, shmem included: at a
	// kill it is read in the kernel, when Anon and Shmem may be too late.
	LRUAnon *uint64 `json:"lru_anon_bytes,omitempty"`
	// LRUFile is likewise what is on the lists of file memory: page cache that
	// reclaim could look at.
	LRUFile *uint64 `json:"lru_file_bytes,omitempty"`

	Kernel            *uint64 `json:"kernel_bytes,omitempty"`
	SlabReclaimable   *uint64 `json:"slab_reclaimable_bytes,omitempty"`
	SlabUnreclaimable *uint64 `json:"slab_unreclaimable_bytes,omitempty"`
	PageTables        *uint64 `json:"page_tables_bytes,omitempty"`
	KernelStack       *uint64 `json:"kernel_stack_bytes,omitempty"`
	Percpu            *uint64 `json:"percpu_bytes,omitempty"`
	Sock              *uint64 `json:"sock_bytes,omitempty"`

	// WorkingSet is usage less inactive file cache, as Kubernetes counts it.
	WorkingSet *uint64 `json:"working_set_bytes,omitempty"`
	// Available is what could still be allocated below the limit: limit less
	// what reclaim cannot take back.
	Available *uint64 `json:"available_bytes,omitempty"`

	// ReadNS is when the composition (anon and below) was read, as an offset from
	// the event's time; only where it is not the event's own moment.
	ReadNS *int64 `json:"read_ns,omitempty"`
	// Source says where the composition was read: bpf or cgroupfs.
	Source string `json:"source,omitempty"`
}

// Derive fills in WorkingSet and Available from the figures they rest on, where
// those are known.
func (f *Figures) Derive() {
	if f.Usage != nil && f.InactiveFile != nil {
		working := sub(*f.Usage, *f.InactiveFile)
		f.WorkingSet = &working
	}
	if f.Limit == nil || f.Usage == nil {
		return
	}
	// Dirty pages and pages under writeback are counted in the LRUs but can only
	// be taken back after I/O; they count as reclaimable here, as `free` has it.
	var back uint64
	switch {
	case f.ActiveFile != nil && f.InactiveFile != nil:
		back = *f.ActiveFile + *f.InactiveFile
	case f.LRUFile != nil:
		back = *f.LRUFile
	default:
		return
	}
	if f.SlabReclaimable != nil {
		back += *f.SlabReclaimable
	}
	available := sub(*f.Limit, sub(*f.Usage, back))
	f.Available = &available
}

func sub(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// MemorySample is a `memory` event: the composition of one cgroup.
type MemorySample struct {
	Meta
	Cgroup    Cgroup     `json:"cgroup"`
	Container *Container `json:"container,omitempty"`
	Memory    Figures    `json:"memory"`
}

// Evicted is page cache of one owner and file that was pushed out.
type Evicted struct {
	Cgroup    *Cgroup    `json:"cgroup,omitempty"` // owner; absent when the pages were charged to none
	Container *Container `json:"container,omitempty"`
	File      *File      `json:"file,omitempty"`
	Pages     uint64     `json:"pages"`
	// Reparented are those of Pages that had been charged to a cgroup below the
	// owner, which was removed: the kernel (7.1) has given them to the owner since.
	Reparented uint64 `json:"reparented_pages,omitempty"`
}

// Reclaim is one episode of direct reclaim by a task. Time is its begin.
type Reclaim struct {
	Meta
	Kind string `json:"kind"`
	// KindSource says how the kind was found where it was not read directly.
	KindSource string     `json:"kind_source,omitempty"`
	Process    Process    `json:"process"`
	Cgroup     *Cgroup    `json:"cgroup,omitempty"` // of the stalled task
	Container  *Container `json:"container,omitempty"`
	Domain     *Domain    `json:"domain,omitempty"` // the cgroup being shrunk; absent for node-wide reclaim
	DurationNS int64      `json:"duration_ns"`
	CPUNS      *int64     `json:"cpu_ns,omitempty"` // on CPU meanwhile; the rest it slept or waited
	Scanned    *uint64    `json:"scanned_pages,omitempty"`
	Reclaimed  uint64     `json:"reclaimed_pages"`
	Order      *int       `json:"order,omitempty"`
	GFPFlags   string     `json:"gfp_flags,omitempty"`
	Priority   *int       `json:"priority,omitempty"` // the hardest reached: 12 is gentle, 0 desperate
	Node       *int       `json:"node,omitempty"`     // kind node

	Evicted           []Evicted `json:"evicted,omitempty"`
	EvictedOtherPages uint64    `json:"evicted_other_pages,omitempty"`
	Stack             []string  `json:"stack,omitempty"`      // kernel functions+offset, innermost first
	UserStack         []Frame   `json:"user_stack,omitempty"` // innermost first
}

// Kinds of reclaim.
const (
	ReclaimMemcgLimit     = "memcg_limit"
	ReclaimMemcgHigh      = "memcg_high"
	ReclaimMemcgProactive = "memcg_proactive"
	ReclaimMemcgSoft      = "memcg_soft"
	ReclaimDirect         = "direct"
	ReclaimNode           = "node"
	// ReclaimDirectThrottled is no reclaim yet: the task, about to reclaim memory of
	// the node, sleeps until kswapd has freed some (throttle_direct_reclaim).
	ReclaimDirectThrottled = "direct_throttled"
)

// Domain is the cgroup whose limit made the kernel act.
type Domain struct {
	Cgroup
	Container *Container `json:"container,omitempty"`
}

// Kswapd is one background run on a NUMA node. Time is its begin.
type Kswapd struct {
	Meta
	Node              int       `json:"node"`
	DurationNS        int64     `json:"duration_ns"`
	CPUNS             *int64    `json:"cpu_ns,omitempty"`
	Scanned           *uint64   `json:"scanned_pages,omitempty"`
	Reclaimed         *uint64   `json:"reclaimed_pages,omitempty"`
	Order             *int      `json:"order,omitempty"`
	Evicted           []Evicted `json:"evicted,omitempty"`
	EvictedOtherPages uint64    `json:"evicted_other_pages,omitempty"`
}

// Throttle is a task's sleep for exceeding memory.high. Time is its begin.
type Throttle struct {
	Meta
	Process    Process    `json:"process"`
	Cgroup     *Cgroup    `json:"cgroup,omitempty"`
	Container  *Container `json:"container,omitempty"`
	Domain     *Domain    `json:"domain,omitempty"`
	DurationNS int64      `json:"duration_ns"` // asleep; the reclaim before it is its own event
}

// Cache is the page-cache traffic of one cgroup over one interval. Time is the
// interval's begin.
type Cache struct {
	Meta
	IntervalNS int64      `json:"interval_ns"`
	Cgroup     *Cgroup    `json:"cgroup,omitempty"` // absent: pages charged to no cgroup
	Container  *Container `json:"container,omitempty"`
	Added      uint64     `json:"added_pages"`
	Evicted    uint64     `json:"evicted_pages"` // by reclaim
	// Reparented is the part of Evicted that had been charged to cgroups below this
	// one which were removed: the kernel (7.1) has given it to this one since.
	Reparented uint64 `json:"reparented_pages,omitempty"`
	Removed    uint64 `json:"removed_pages"` // truncated or invalidated
	// Invalidated is the part of Removed that was clean cache dropped by
	// request: fadvise, drop_caches.
	Invalidated uint64  `json:"invalidated_pages"`
	Refaulted   *uint64 `json:"refaulted_pages,omitempty"`
	RefaultedOf string  `json:"refaulted_source,omitempty"`
	// RefaultAfterNS is a histogram of the time between eviction and return, of a
	// sample: one page in RefaultSampling.
	RefaultAfterNS   []Bucket          `json:"refault_after_ns,omitempty"`
	RefaultSampling  int               `json:"refault_sampling,omitempty"`
	RefaultDistances []RefaultDistance `json:"refault_distances,omitempty"`

	EvictedBy           []EvictedBy `json:"evicted_by,omitempty"`
	EvictedByOtherPages uint64      `json:"evicted_by_other_pages,omitempty"` // by all further
	// EvictedOf is whose page cache tasks of this cgroup pushed out.
	EvictedOf           []EvictedOf `json:"evicted,omitempty"`
	EvictedOfOtherPages uint64      `json:"evicted_other_pages,omitempty"`
	Files               []CacheFile `json:"files,omitempty"`
}

// Bucket is one bar of a histogram: count of values below UpTo and not below
// the bucket before it.
type Bucket struct {
	UpTo  uint64 `json:"up_to"`
	Count uint64 `json:"count"`
}

// EvictedBy says who pushed pages of a cgroup out.
type EvictedBy struct {
	Kswapd bool `json:"kswapd,omitempty"`
	// Kind is the kind of reclaim, kswapd or damon; absent where reclaim has no
	// tracepoint (madvise) or had begun before the trace.
	Kind      string     `json:"kind,omitempty"`
	Cgroup    *Cgroup    `json:"cgroup,omitempty"`
	Container *Container `json:"container,omitempty"`
	Pages     uint64     `json:"pages"`
	// Reparented is a part of Pages, as in Evicted.
	Reparented uint64 `json:"reparented_pages,omitempty"`
}

// CacheFile is the traffic of one file.
type CacheFile struct {
	File
	Added   uint64 `json:"added_pages"`
	Evicted uint64 `json:"evicted_pages"`
	Removed uint64 `json:"removed_pages"`
}
