package event

// OOMPause says that tasks of a cgroup wait for memory because its OOM killer is
// off (cgroup v1, memory.oom_control), and in a second event that none does any
// more. Time is in both when the first wait began: with the cgroup it tells
// which belong together.
type OOMPause struct {
	Meta
	State     string     `json:"state"`  // PauseBegin or PauseEnd
	Cgroup    Cgroup     `json:"cgroup"` // the one that is full
	Container *Container `json:"container,omitempty"`
	// DurationNS is from the begin of the first wait to the end of the last;
	// only on end.
	DurationNS *int64 `json:"duration_ns,omitempty"`
	// Processes are those that wait; on end all that did.
	Processes []Waiter `json:"processes"`
	Usage     *uint64  `json:"usage_bytes,omitempty"` // of the cgroup, at that moment
	Limit     *uint64  `json:"limit_bytes,omitempty"`
	// Ended is how it ended: killer_enabled, limit_raised, killed or memory_freed;
	// only on end, absent when it could not be told.
	Ended string `json:"ended,omitempty"`
	// Incident is that of the kill that followed.
	Incident string `json:"incident,omitempty"`
	// Source is bpf where the kernel's function was hooked; cgroupfs where
	// notifications and under_oom told, up to 20 ms late.
	Source string `json:"source"`
}

// States of an OOMPause.
const (
	PauseBegin = "begin"
	PauseEnd   = "end"
)

// How an OOMPause ends.
const (
	PauseKillerEnabled = "killer_enabled" // the OOM killer was switched on
	PauseLimitRaised   = "limit_raised"
	PauseKilled        = "killed"       // a process that waited was sent SIGKILL
	PauseMemoryFreed   = "memory_freed" // by others of the cgroup
)

// Waiter is a process of which a thread waits.
type Waiter struct {
	Process
	// SinceNS is when its first wait began, as an offset from the event's time.
	SinceNS *int64 `json:"since_ns,omitempty"`
	// KilledBy is who sent it SIGKILL while it waited; its comm and cgroup too.
	KilledBy *Actor `json:"killed_by,omitempty"`
}
