package event

import "math"

// Kinds of stalls beside those of reclaim.
const (
	// StallThrottle is a sleep for exceeding memory.high.
	StallThrottle = "throttle"
	// StallThrottled is a sleep within reclaim (mm_vmscan_throttled): its time is
	// part of that episode's, which has a kind of its own.
	StallThrottled = "throttled"
	// StallCompaction is compaction that a task does on its own behalf.
	StallCompaction = "compaction"
)

// Ways to evict page cache beside the kinds of reclaim.
const (
	EvictKswapd = "kswapd"
	EvictDAMON  = "damon"
)

// Stalls is how tasks of one cgroup stalled over one interval, for one domain
// and of one kind, counted in the kernel: short stalls are in it that are told
// by no event of their own. Time is the interval's begin.
type Stalls struct {
	Meta
	IntervalNS int64      `json:"interval_ns"`
	Cgroup     *Cgroup    `json:"cgroup,omitempty"` // of the stalled tasks
	Container  *Container `json:"container,omitempty"`
	Domain     *Domain    `json:"domain,omitempty"` // absent: the node, or not known
	Kind       string     `json:"kind"`
	Count      uint64     `json:"count"`
	TotalNS    int64      `json:"total_ns"`
	MaxNS      int64      `json:"max_ns"`
	// DurationNS is the histogram. Buckets that are empty are left out but for
	// those that say where the next one begins.
	DurationNS []Bucket `json:"duration_ns"`
	Scanned    *uint64  `json:"scanned_pages,omitempty"`
	Reclaimed  *uint64  `json:"reclaimed_pages,omitempty"`
}

// RefaultDistance is how many pages were evicted for a domain between a page's
// eviction and its return: how much more room would have kept it.
type RefaultDistance struct {
	Domain  *Domain `json:"domain,omitempty"` // absent: the node, or not known
	Sampled uint64  `json:"sampled_pages"`    // pages that came back
	P50     uint64  `json:"p50_pages"`
	P90     uint64  `json:"p90_pages"`
}

// EvictedOf is page cache that tasks of a cgroup pushed out.
type EvictedOf struct {
	Cgroup    *Cgroup    `json:"cgroup,omitempty"` // owner; absent: charged to none
	Container *Container `json:"container,omitempty"`
	Kind      string     `json:"kind,omitempty"`
	Pages     uint64     `json:"pages"`
	// Reparented is a part of Pages, as in Evicted.
	Reparented uint64 `json:"reparented_pages,omitempty"`
}

// States of a Thrash.
const (
	StateBegin = "begin"
	StateEnd   = "end"
)

// Thrash says that a cgroup's page cache is evicted and read again faster than
// its tasks can work with it, without any OOM. At begin Time is the begin of the
// first window that passed the thresholds and the figures are those of the
// windows since; at end Time is the same and the figures are of the whole.
type Thrash struct {
	Meta
	State      string     `json:"state"`
	Cgroup     Cgroup     `json:"cgroup"`
	Container  *Container `json:"container,omitempty"`
	Domain     *Domain    `json:"domain,omitempty"` // whose limit evicted most of what came back; absent: the node, or not known
	DurationNS int64      `json:"duration_ns"`
	// Refaulted estimates the pages that came back within a minute of their
	// eviction, and AddedPages all that were read in, both from a sample.
	Refaulted uint64 `json:"refaulted_pages"`
	Added     uint64 `json:"added_pages"`
	Sampling  int    `json:"sampling"` // of so many pages one was looked at
	StalledNS int64  `json:"stalled_ns"`
	// RefaultAfterP50NS is the median of the time from eviction to return.
	RefaultAfterP50NS int64 `json:"refault_after_p50_ns,omitempty"`
	// Limit is the domain's, or what it used where it has none.
	Limit *uint64 `json:"limit_bytes,omitempty"`
	// Sufficient estimates how large the limit would have to be for nine tenths
	// of what came back to have stayed.
	Sufficient *uint64 `json:"sufficient_bytes,omitempty"`
	Source     string  `json:"source"` // inferred
}

// Quantile is the upper end of the bucket that holds the q-th part of all
// values, counted from the smallest; 0 when there are none.
func Quantile(buckets []Bucket, q float64) uint64 {
	var all, seen uint64
	for _, b := range buckets {
		all += b.Count
	}
	rank := max(uint64(math.Ceil(q*float64(all))), 1)
	for _, b := range buckets {
		if seen += b.Count; seen >= rank {
			return b.UpTo
		}
	}
	return 0
}
