package event

// Inspect is an `inspect` event: what the memory of a cgroup, or of the node,
// consists of. Time is when reading began; files are read one after the other.
type Inspect struct {
	Meta
	Cgroup    *Cgroup      `json:"cgroup,omitempty"` // absent: the node
	Container *Container   `json:"container,omitempty"`
	Memory    Figures      `json:"memory"`
	Lists     *Lists       `json:"lists,omitempty"`
	Kernel    *KernelParts `json:"kernel,omitempty"`
	// Limits are its own and its ancestors', the node's last.
	Limits   []Limit   `json:"limits"`
	Settings *Settings `json:"settings,omitempty"`
	// Events counts what has happened since the cgroup was made, by the names of
	// memory.events (v2); on v1 fail_count, swap_fail_count, kernel_fail_count
	// and oom_kill.
	Events   map[string]uint64 `json:"events,omitempty"`
	Pressure *Pressure         `json:"pressure,omitempty"`

	Processes *ProcessMemory `json:"processes,omitempty"`
	Children  []ChildUsage   `json:"children,omitempty"` // the largest first
	// ChildrenOther sums up those that are not listed.
	ChildrenOther *ChildrenOther `json:"children_other,omitempty"`
	// Unread says what could not be read.
	Unread []Unread `json:"unread,omitempty"`
}

// Lists are the LRU lists that reclaim works on.
type Lists struct {
	ActiveAnon   *uint64 `json:"active_anon_bytes,omitempty"` // anonymous memory and shmem
	InactiveAnon *uint64 `json:"inactive_anon_bytes,omitempty"`
	ActiveFile   *uint64 `json:"active_file_bytes,omitempty"`
	InactiveFile *uint64 `json:"inactive_file_bytes,omitempty"`
	Unevictable  *uint64 `json:"unevictable_bytes,omitempty"`
}

// KernelParts are parts of kernel_bytes that Figures does not have, and what is
// beside it.
type KernelParts struct {
	Percpu        *uint64 `json:"percpu_bytes,omitempty"`
	Vmalloc       *uint64 `json:"vmalloc_bytes,omitempty"`
	SecPageTables *uint64 `json:"sec_page_tables_bytes,omitempty"` // of KVM and IOMMUs
	Zswap         *uint64 `json:"zswap_bytes,omitempty"`           // RAM that compressed swap takes
	Zswapped      *uint64 `json:"zswapped_bytes,omitempty"`        // what is compressed there
	AnonHuge      *uint64 `json:"anon_huge_bytes,omitempty"`
	Hugetlb       *uint64 `json:"hugetlb_bytes,omitempty"`
}

// Settings steer reclaim and the OOM killer. What this version or kernel does
// not have is absent; so are limits of none.
type Settings struct {
	Min            *uint64 `json:"min_bytes,omitempty"`        // v2 memory.min
	Low            *uint64 `json:"low_bytes,omitempty"`        // v2 memory.low
	High           *uint64 `json:"high_bytes,omitempty"`       // v2 memory.high
	SoftLimit      *uint64 `json:"soft_limit_bytes,omitempty"` // v1
	SwapHigh       *uint64 `json:"swap_high_bytes,omitempty"`  // v2 memory.swap.high
	ZswapMax       *uint64 `json:"zswap_max_bytes,omitempty"`  // v2 memory.zswap.max
	Swappiness     *int    `json:"swappiness,omitempty"`       // v1 the cgroup's own, else the node's
	OOMGroup       *bool   `json:"oom_group,omitempty"`        // v2 memory.oom.group
	OOMKillDisable *bool   `json:"oom_kill_disable,omitempty"` // v1 memory.oom_control
	UnderOOM       *bool   `json:"under_oom,omitempty"`        // v1: tasks wait now
}

// Pressure is what PSI says of memory: the share of time in which some or all
// tasks that could run were stalled for lack of it.
type Pressure struct {
	Some *Stalled `json:"some,omitempty"`
	Full *Stalled `json:"full,omitempty"`
}

// Stalled is one line of a PSI file.
type Stalled struct {
	Avg10   float64 `json:"avg10_percent"`
	Avg60   float64 `json:"avg60_percent"`
	Avg300  float64 `json:"avg300_percent"`
	TotalNS int64   `json:"total_ns"`
}

// ProcessMemory is what the processes of a cgroup hold, those below it included.
type ProcessMemory struct {
	Total   int `json:"total"`
	Threads int `json:"threads"`
	// Sum is of the processes whose smaps could be read (Read of Total). It is of
	// PSS: a page counts once however many of them map it.
	Read int        `json:"read"`
	Sum  MemoryKind `json:"sum"`
	// RSS is the sum of resident sizes, shared pages counted for each process.
	RSS        *uint64 `json:"rss_bytes,omitempty"`
	PageTables *uint64 `json:"page_tables_bytes,omitempty"`
	// Largest are the processes that hold most, by PSS.
	Largest []ProcessKinds `json:"largest,omitempty"`
}

// ProcessKinds is one process's memory.
type ProcessKinds struct {
	Actor
	RSS        *uint64 `json:"rss_bytes,omitempty"`
	PageTables *uint64 `json:"page_tables_bytes,omitempty"`
	Threads    int     `json:"threads,omitempty"`
	MemoryKind
	// Unread says why there is no more than status tells.
	Unread string `json:"unread,omitempty"`
}

// MemoryKind splits PSS in two ways: by what pages are (anon, file, shmem) and by
// what they are for.
type MemoryKind struct {
	PSS   *uint64 `json:"pss_bytes,omitempty"`
	Anon  *uint64 `json:"pss_anon_bytes,omitempty"`
	File  *uint64 `json:"pss_file_bytes,omitempty"`
	Shmem *uint64 `json:"pss_shmem_bytes,omitempty"`
	Swap  *uint64 `json:"swap_pss_bytes,omitempty"`

	Heap      *uint64 `json:"heap_bytes,omitempty"`
	Stack     *uint64 `json:"stack_bytes,omitempty"`
	Libraries *uint64 `json:"libraries_bytes,omitempty"`
	Mapped    *uint64 `json:"mapped_files_bytes,omitempty"`
	Anonymous *uint64 `json:"anonymous_bytes,omitempty"`
	Shared    *uint64 `json:"shared_memory_bytes,omitempty"`
	Other     *uint64 `json:"other_bytes,omitempty"`
}

// Add adds another's figures. What neither has stays unknown.
func (k *MemoryKind) Add(o *MemoryKind) {
	k.PSS, k.Anon, k.File, k.Shmem, k.Swap = Sum(k.PSS, o.PSS), Sum(k.Anon, o.Anon), Sum(k.File, o.File), Sum(k.Shmem, o.Shmem), Sum(k.Swap, o.Swap)
	k.Heap, k.Stack, k.Libraries, k.Mapped = Sum(k.Heap, o.Heap), Sum(k.Stack, o.Stack), Sum(k.Libraries, o.Libraries), Sum(k.Mapped, o.Mapped)
	k.Anonymous, k.Shared, k.Other = Sum(k.Anonymous, o.Anonymous), Sum(k.Shared, o.Shared), Sum(k.Other, o.Other)
}

// Sum adds what is known of two figures; nil when neither is.
func Sum(a, b *uint64) *uint64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	sum := *a + *b
	return &sum
}

// ChildUsage is what a cgroup below uses.
type ChildUsage struct {
	Cgroup    Cgroup     `json:"cgroup"`
	Container *Container `json:"container,omitempty"`
	Usage     *uint64    `json:"usage_bytes,omitempty"`
	Limit     *uint64    `json:"limit_bytes,omitempty"`
}

// ChildrenOther sums up cgroups that are not listed.
type ChildrenOther struct {
	Cgroups int    `json:"cgroups"`
	Usage   uint64 `json:"usage_bytes"`
}

// Unread is something that these privileges do not allow to be read.
type Unread struct {
	What   string `json:"what"`
	Count  int    `json:"count,omitempty"`
	Reason string `json:"reason"`
}
