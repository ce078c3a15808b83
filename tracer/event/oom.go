package event

// TaskMemory is what a process holds, as the OOM killer weighs it.
type TaskMemory struct {
	TotalVM  *uint64 `json:"total_vm_bytes,omitempty"`
	AnonRSS  *uint64 `json:"anon_rss_bytes,omitempty"`
	FileRSS  *uint64 `json:"file_rss_bytes,omitempty"`
	ShmemRSS *uint64 `json:"shmem_rss_bytes,omitempty"`
	Swap     *uint64 `json:"swap_bytes,omitempty"`
	// ResidentSum is what is resident where the kinds are not told apart.
	ResidentSum *uint64 `json:"rss_bytes,omitempty"`
	PageTables  *uint64 `json:"page_tables_bytes,omitempty"`
	// Of TotalVM: private and writable, executable, stack. What is locked in
	// memory is LockedVM.
	DataVM      *uint64 `json:"data_vm_bytes,omitempty"`
	ExecVM      *uint64 `json:"exec_vm_bytes,omitempty"`
	StackVM     *uint64 `json:"stack_vm_bytes,omitempty"`
	LockedVM    *uint64 `json:"locked_vm_bytes,omitempty"`
	OOMScoreAdj *int    `json:"oom_score_adj,omitempty"`
	// Badness is the kernel's score in pages; absent where the process may not
	// be killed at all.
	Badness *int64 `json:"badness,omitempty"`
	// BadnessSource is bpf where the kernel's own score was read, inferred where
	// it was computed from the figures here.
	BadnessSource string `json:"badness_source,omitempty"`
}

// RSS is what is resident, in bytes: the sum of the kinds, else ResidentSum; nil
// when neither is known.
func (t *TaskMemory) RSS() *uint64 {
	var sum uint64
	known := false
	for _, v := range []*uint64{t.AnonRSS, t.FileRSS, t.ShmemRSS} {
		if v != nil {
			sum += *v
			known = true
		}
	}
	if !known {
		return t.ResidentSum
	}
	return &sum
}

// Actor is a process with the cgroup it belongs to.
type Actor struct {
	Process
	Cgroup    *Cgroup    `json:"cgroup,omitempty"`
	Container *Container `json:"container,omitempty"`
}

// Trigger is the task whose allocation (or write to a limit) invoked the OOM
// killer.
type Trigger struct {
	Actor
	GFPFlags string   `json:"gfp_flags,omitempty"`
	Order    *int     `json:"order,omitempty"`
	Stack    []string `json:"stack,omitempty"`
	// InvokedBy is what the task was doing: allocation, limit_write (it wrote
	// memory.max) or sysrq (SysRq-f).
	InvokedBy string `json:"invoked_by,omitempty"`
	// InvokedBySource is inferred where the kernel did not say.
	InvokedBySource string `json:"invoked_by_source,omitempty"`
}

// What a trigger was doing.
const (
	InvokedByAllocation = "allocation"
	InvokedByLimitWrite = "limit_write"
	InvokedBySysrq      = "sysrq"
)

// Candidate is a process that the kernel weighed.
type Candidate struct {
	Actor
	TaskMemory
	// Unkillable says why the kernel passed it over: oom_score_adj, vfork,
	// reaped, kernel_thread, init, no_memory.
	Unkillable string `json:"unkillable,omitempty"`
	// Kinds is what its memory was for; only of victims, where it was read in time.
	Kinds *Kinds `json:"kinds,omitempty"`
}

// Killed is a process that was killed in the incident.
type Killed struct {
	Actor
	// Reason is chosen (the victim), group (memory.oom.group) or shared_mm
	// (it shares a victim's address space).
	Reason string `json:"reason"`
}

// OOMDomain is where memory ran out.
type OOMDomain struct {
	Constraint string     `json:"constraint"` // memcg, global, cpuset, mempolicy
	Cgroup     *Cgroup    `json:"cgroup,omitempty"`
	Container  *Container `json:"container,omitempty"`
	// Nodes are the memory nodes that a cpuset or policy allows, as the kernel
	// writes them ("0-1,3"); from its log.
	Nodes      string   `json:"nodes,omitempty"`
	TotalPages *uint64  `json:"total_pages,omitempty"` // what the kernel scaled oom_score_adj by
	Memory     *Figures `json:"memory,omitempty"`
	// Source says how the domain was found: bpf (told by the kernel's own OOM
	// control, the cgroup's OOM lock or its count of OOM events) or inferred
	// (by which cgroup was at its limit).
	Source string `json:"source,omitempty"`
}

// Constraints of an OOM.
const (
	ConstraintMemcg     = "memcg"
	ConstraintGlobal    = "global"
	ConstraintCpuset    = "cpuset"
	ConstraintMempolicy = "mempolicy"
)

// Timeline holds moments of an incident as offsets from its time (the moment the
// victim was marked), in nanoseconds; earlier ones are negative.
type Timeline struct {
	InvokedNS   *int64 `json:"invoked_ns,omitempty"`
	SelectedNS  *int64 `json:"selected_ns,omitempty"`
	SignalledNS *int64 `json:"signalled_ns,omitempty"`
	ExitedNS    *int64 `json:"exited_ns,omitempty"`
	FreedNS     *int64 `json:"freed_ns,omitempty"`
}

// ReclaimBefore sums up the reclaim of the domain in the seconds before a kill.
type ReclaimBefore struct {
	WindowNS  int64  `json:"window_ns"`
	Episodes  uint64 `json:"episodes"`
	StalledNS int64  `json:"stalled_ns"`
	Reclaimed uint64 `json:"reclaimed_pages"`
}

// OOMKill is one incident: everything that one invocation of the OOM killer
// did. Time is the moment the first victim was marked. Where nobody could be
// killed, Killed is empty and Victim zero, and Time is when that was clear.
type OOMKill struct {
	Meta
	Incident   string      `json:"incident"`
	Trigger    Trigger     `json:"trigger"`
	Victim     Candidate   `json:"victim,omitzero"`
	Domain     OOMDomain   `json:"domain"`
	Candidates []Candidate `json:"candidates,omitempty"`
	// CandidatesMissing counts processes that were weighed but could not be
	// delivered.
	CandidatesMissing uint64 `json:"candidates_missing,omitempty"`
	// CandidatesTruncated: there were more processes than one walk takes in.
	CandidatesTruncated bool     `json:"candidates_truncated,omitempty"`
	Killed              []Killed `json:"killed"`
	Group               bool     `json:"group"`
	// Repeated counts further invocations in this domain since the last such
	// event that found nobody to kill either, which are not told one by one.
	Repeated      uint64         `json:"repeated,omitempty"`
	Timeline      Timeline       `json:"timeline"`
	ReclaimBefore *ReclaimBefore `json:"reclaim_before,omitempty"`
	Window        *Window        `json:"window,omitempty"`
	Verdict       *Verdict       `json:"verdict,omitempty"`
	Source        string         `json:"source"`
	// FromKmsg names the fields that come from the kernel's log, because the hooks
	// could not tell.
	FromKmsg []string `json:"from_kmsg,omitempty"`
	// UptimeNS is when it was since boot, where a kernel log says that; Time is
	// zero where the log says no more.
	UptimeNS *int64 `json:"uptime_ns,omitempty"`
}

// OOMEnd follows an OOMKill when its victims are gone and memory is back, or
// after 30 s with what is still missing. Time is that of the incident's
// OOMKill, so that offsets share their origin.
type OOMEnd struct {
	Meta
	Incident  string    `json:"incident"`
	Timeline  Timeline  `json:"timeline"`
	Freed     *uint64   `json:"freed_bytes,omitempty"`
	Survivors []Process `json:"survivors,omitempty"` // marked but still alive
	// Killed are processes whose kill became known only after the OOMKill.
	Killed []Killed `json:"killed,omitempty"`
}
