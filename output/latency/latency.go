// Package latency works out from the event stream where time goes in reclaim:
// which containers' tasks stalled, how long and why, which threads, whose page
// cache was evicted by whom, and whether it came straight back.
package latency

import (
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Where the histograms of a Report come from.
const (
	FromStalls   = "stalls"   // counted in the kernel: every stall
	FromEpisodes = "episodes" // the reclaim and throttle events: those that were told
)

// Report is what a stream of events says, also as a JSON object
// (docs/latency.md).
type Report struct {
	Host      string    `json:"host,omitempty"`
	Hosts     []string  `json:"hosts,omitempty"` // where there are several; Host and Kernel are absent then
	Kernel    string    `json:"kernel,omitempty"`
	PageBytes int       `json:"page_bytes,omitempty"` // absent also where hosts differ
	Began     time.Time `json:"began,omitzero"`
	// WallNS is how long was traced, without gaps between captures; of several
	// hosts the longest. Shares are of the host's own.
	WallNS int64 `json:"wall_ns"`
	// Source is where stalls come from: FromStalls, or FromEpisodes where the
	// stream has no counts. "" when there was no stall.
	Source     string            `json:"source,omitempty"`
	Containers []*Container      `json:"containers"`
	Threads    []*Thread         `json:"threads,omitempty"`
	Files      []*File           `json:"files,omitempty"`
	Evictions  []*Eviction       `json:"evictions,omitempty"`
	Heat       *Heat             `json:"heat,omitempty"`
	Lost       map[string]uint64 `json:"lost,omitempty"` // records by family: figures are lower bounds

	// Left out of the lists above because of their length.
	MoreContainers int `json:"more_containers,omitempty"`
	MoreThreads    int `json:"more_threads,omitempty"`
	MoreFiles      int `json:"more_files,omitempty"`
	MoreEvictions  int `json:"more_evictions,omitempty"`
}

// Place is a cgroup with the container that it is.
type Place struct {
	Host      string           `json:"host,omitempty"` // where there are several; the label has it too
	Cgroup    *event.Cgroup    `json:"cgroup,omitempty"`
	Container *event.Container `json:"container,omitempty"`
	Label     string           `json:"label"` // the name to show
}

// Stats are stalls put together. Their times are those of the stalled tasks,
// added up, so with many threads a share can be above 1.
type Stats struct {
	Count     uint64  `json:"count"`
	StalledNS int64   `json:"stalled_ns"`
	Share     float64 `json:"stalled_share"` // of wall time
	P50NS     int64   `json:"p50_ns"`
	P90NS     int64   `json:"p90_ns"`
	P99NS     int64   `json:"p99_ns"`
	MaxNS     int64   `json:"max_ns"`

	buckets map[uint64]uint64 // by where they end
}

// Kind is the stalls of one kind for one domain.
type Kind struct {
	Kind string `json:"kind"`
	// Within: this time is part of other kinds' (throttled) and not in sums.
	Within     bool           `json:"within,omitempty"`
	Domain     *Place         `json:"domain,omitempty"`
	Inferred   bool           `json:"inferred,omitempty"` // the kind of some of them was
	Scanned    uint64         `json:"scanned_pages,omitempty"`
	Reclaimed  uint64         `json:"reclaimed_pages,omitempty"`
	DurationNS []event.Bucket `json:"duration_ns"`
	Stats
}

// Cache is what became of a container's page cache.
type Cache struct {
	Added          uint64         `json:"added_pages"`
	Evicted        uint64         `json:"evicted_pages"`
	Refaulted      *uint64        `json:"refaulted_pages,omitempty"`
	RefaultAfterNS []event.Bucket `json:"refault_after_ns,omitempty"`
	Sampling       int            `json:"refault_sampling,omitempty"`
	AfterP50NS     int64          `json:"refault_after_p50_ns,omitempty"`
	AfterP90NS     int64          `json:"refault_after_p90_ns,omitempty"`

	after map[uint64]uint64
}

// Thrash is how long a container's page cache thrashed.
type Thrash struct {
	Times      int     `json:"times"`
	DurationNS int64   `json:"duration_ns"`
	Refaulted  uint64  `json:"refaulted_pages"` // estimate
	Limit      *uint64 `json:"limit_bytes,omitempty"`
	// Sufficient estimates the limit that would have sufficed, the largest of
	// those that were told.
	Sufficient *uint64 `json:"sufficient_bytes,omitempty"`

	open map[uint64]int64 // by cgroup: of those that have begun, not ended
}

// Container is one container, or one cgroup that is none.
type Container struct {
	Place
	Stats
	Kinds  []*Kind `json:"kinds,omitempty"`
	Cache  *Cache  `json:"cache,omitempty"`
	Thrash *Thrash `json:"thrash,omitempty"`
	Heat   *Heat   `json:"heat,omitempty"`
	Kills  int     `json:"oom_kills,omitempty"`

	kinds map[kindKey]*Kind
	heat  *heat
}

// Thread is one thread, by the stalls that have events of their own.
type Thread struct {
	Process   event.Process `json:"process"`
	Place     Place         `json:"place"`
	Count     uint64        `json:"count"`
	StalledNS int64         `json:"stalled_ns"`
	MaxNS     int64         `json:"max_ns"`
}

// File is one file's page cache.
type File struct {
	event.File
	Owner   Place  `json:"owner"`
	Added   uint64 `json:"added_pages"`
	Evicted uint64 `json:"evicted_pages"`
}

// Eviction is a cell of the matrix of who evicted whose page cache.
type Eviction struct {
	Owner Place `json:"owner"`
	// By is who did it; nil for threads of the kernel, which Kind names, and for
	// those that did too little to be told one by one.
	By    *Place `json:"by,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Pages uint64 `json:"pages"`
	// Reparented are those of Pages that had been the page cache of cgroups below
	// Owner which were removed (7.1).
	Reparented uint64 `json:"reparented_pages,omitempty"`
}

// Heat is how many stalls there were, by time and length.
type Heat struct {
	Began  time.Time `json:"began"`
	StepNS int64     `json:"step_ns"` // of a column
	// UpToNS ends each band of lengths; the last has all that is longer.
	UpToNS []int64 `json:"up_to_ns"`
	// Counts holds the stalls of each column by band, StalledNS its stalled time.
	Counts    [][]uint64 `json:"counts"`
	StalledNS []int64    `json:"stalled_ns"`
}

// Options say what to report.
type Options struct {
	Sort string // one of SortKeys
	Top  int    // how long lists may be; 0 means ten
}

// SortKeys are the ways to sort containers: by time stalled, number of stalls,
// 99th percentile, longest, share of page cache that came back, pages evicted,
// name.
func SortKeys() []string {
	return []string{"stalled", "count", "p99", "max", "refaults", "evicted", "name"}
}
