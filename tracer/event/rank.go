package event

// Rank is a `rank` event: whom the kernel would kill if memory ran out now.
// Time is when the processes were read.
type Rank struct {
	Meta
	Cgroup    *Cgroup    `json:"cgroup,omitempty"` // that was asked for; absent: the node
	Container *Container `json:"container,omitempty"`
	// Domain is the limit that would be reached first: the cgroup's own, an
	// ancestor's or the node's RAM and swap. Badness is reckoned in it.
	Domain RankDomain `json:"domain"`
	// Limits are all that there are, from the cgroup up to the node.
	Limits   []Limit   `json:"limits"`
	Forecast *Forecast `json:"forecast,omitempty"` // absent: not measured
	// Next is who would be killed: the worst in the domain, which need not be in
	// the cgroup that was asked for. Absent when nobody may be killed.
	Next *Ranked `json:"next,omitempty"`
	// Close are the processes of so nearly Next's badness that the kernel's own
	// inexact counters decide.
	Close []Process `json:"close,omitempty"`
	// Group is the cgroup that would be killed as a whole (memory.oom.group),
	// and GroupProcesses how many that are.
	Group          *Cgroup `json:"group,omitempty"`
	GroupProcesses int     `json:"group_processes,omitempty"`
	// OOMKillDisabled: the domain's OOM killer is off (v1 memory.oom_control);
	// tasks would wait instead.
	OOMKillDisabled bool `json:"oom_kill_disabled,omitempty"`
	// Processes are those of the cgroup, worst first, those that may not be
	// killed last. Kernel threads are left out.
	Processes []Ranked `json:"processes"`
	// Total counts the processes of the cgroup, DomainTotal those of the domain.
	Total       int `json:"processes_total"`
	DomainTotal int `json:"domain_processes_total"`
}

// RankDomain is where memory would run out first.
type RankDomain struct {
	Constraint string `json:"constraint"` // memcg or global
	Limit
	TotalPages uint64 `json:"total_pages"` // what oom_score_adj is scaled by
}

// Ranked is a process with its badness now.
type Ranked struct {
	Candidate
	// Position is its place among all of the domain, 1 for who would be killed
	// first. Absent where the process may not be killed.
	Position int `json:"position,omitempty"`
	// OOMScore is the kernel's own figure (/proc/PID/oom_score), of the node
	// whatever the domain; OOMScoreComputed is ours by the kernel's formula, from
	// the figures here.
	OOMScore         *int `json:"oom_score,omitempty"`
	OOMScoreComputed *int `json:"oom_score_computed,omitempty"`
	// Inexact is by how many pages each of the kernel's counters may be off.
	Inexact uint64 `json:"inexact_pages,omitempty"`
}

// Limit is a bound of memory: a cgroup's, or the node's RAM.
type Limit struct {
	Cgroup    *Cgroup    `json:"cgroup,omitempty"` // absent: the node
	Container *Container `json:"container,omitempty"`
	Limit     *uint64    `json:"limit_bytes,omitempty"` // absent: none
	High      *uint64    `json:"high_bytes,omitempty"`  // v2 memory.high; absent: none
	Usage     *uint64    `json:"usage_bytes,omitempty"`
	// Reclaimable is what of Usage reclaim could take back: file cache on the LRU
	// lists and reclaimable slab.
	Reclaimable *uint64 `json:"reclaimable_bytes,omitempty"`
	// SwapLeft is how much more may be swapped out from here.
	SwapLeft *uint64 `json:"swap_left_bytes,omitempty"`
	// Headroom is how much more may be used until nothing can be reclaimed:
	// limit − usage + reclaimable + swap left. Absent without a limit.
	Headroom *uint64 `json:"headroom_bytes,omitempty"`
	Tightest bool    `json:"tightest,omitempty"` // has the least headroom
}

// Trends of a forecast.
const (
	TrendGrowing = "growing"
	TrendFlat    = "flat"
	TrendFalling = "falling"
	TrendNoise   = "noise" // it moves, but no line can be drawn through it
)

// Forecast says when a domain's headroom is used up, if what cannot be reclaimed
// goes on growing as it did.
type Forecast struct {
	Trend    string `json:"trend"`
	WindowNS int64  `json:"window_ns"` // over which it was measured
	Samples  int    `json:"samples"`
	Noise    uint64 `json:"noise_bytes"` // a change of less over the window is flat
	// Growth and ReachedInNS are there when it grows.
	Growth      *uint64 `json:"growth_bytes_per_second,omitempty"`
	ReachedInNS *int64  `json:"reached_in_ns,omitempty"`
}
