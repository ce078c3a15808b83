package event

// Causes of an OOM kill, as a Verdict names them (docs/verdicts.md).
const (
	CauseLimitTooSmall   = "limit_too_small"
	CauseLeak            = "leak"
	CauseTmpfs           = "tmpfs"
	CauseKernelMemory    = "kernel_memory"
	CausePageCachePinned = "page_cache_pinned"
	CauseAncestorLimit   = "ancestor_limit"
	CauseGroupPolicy     = "group_policy"
	CauseSwapFull        = "swap_full"
	CauseNodePressure    = "node_pressure"
	CauseForkStorm       = "fork_storm"
	CauseCpusetOrPolicy  = "cpuset_or_policy"
	CauseUnknown         = "unknown"
)

// How much a verdict's figures bear.
const (
	ConfidenceHigh   = "high"   // they leave no other reading
	ConfidenceMedium = "medium" // they point there; another cause could look alike
	ConfidenceLow    = "low"    // the likeliest of several
)

// Verdict says why it happened, in words a person can act on.
type Verdict struct {
	Cause string `json:"cause"`
	// Underlying is the cause of the shortage itself, where Cause says why it
	// struck these processes (ancestor_limit, group_policy, swap_full).
	Underlying string `json:"underlying,omitempty"`
	Confidence string `json:"confidence"`
	// Evidence are sentences with figures, the weightiest first; what to do about
	// it comes last.
	Evidence []string `json:"evidence"`
}

// Shapes of a Window.
const (
	ShapeSteady = "steady" // grew all the time
	ShapeBurst  = "burst"  // level, then grew at the end
	ShapeLevel  = "level"  // did not grow by much
)

// Window sums up how a domain's memory got where it was at a kill, from readings
// of its files before. Need is what reclaim could not have taken back: usage less
// the file LRU lists, and what is in swap.
type Window struct {
	SpanNS  int64 `json:"span_ns"` // from the first reading to the kill
	Samples int   `json:"samples"`
	// NeedFirst and NeedLast are the need at both ends.
	NeedFirst uint64 `json:"need_first_bytes"`
	NeedLast  uint64 `json:"need_last_bytes"`
	// Slope of the need over its growth, by least squares, in bytes a second.
	Slope *int64 `json:"need_slope_bytes_per_s,omitempty"`
	// GrowthNS is for how long it grew before the kill.
	GrowthNS int64 `json:"growth_ns,omitempty"`
	// Shape is steady, burst or level; absent where the readings are too few.
	Shape string `json:"shape,omitempty"`
	// Refaulted is page cache that was read again after its eviction.
	Refaulted *uint64 `json:"refaulted_pages,omitempty"`
}
