// Package event is the model that every part of oomtrace speaks: what the
// tracer produces, outputs render, captures store and replay reads back.
//
// The JSON names, units and types are a contract with the people who script
// against them (docs/events.md): fields may be added, none changes its meaning.
// What is not known is absent, never zero: that is why optional figures are
// pointers, and why every figure's unit stands in its name.
package event

import (
	"strings"
	"time"
)

// Schema is the version of the event contract, written in every header.
const Schema = 1

// The types of events, as they stand in the "type" field.
const (
	TypeHeader   = "header"
	TypeOOMKill  = "oom_kill"
	TypeOOMEnd   = "oom_end"
	TypeOOMPause = "oom_pause"
	TypeKmsg     = "kmsg"
	TypeReclaim  = "reclaim"
	TypeKswapd   = "kswapd"
	TypeThrottle = "throttle"
	TypeCache    = "cache"
	TypeMemory   = "memory"
	TypeCgroup   = "cgroup"
	TypeStalls   = "stalls"
	TypeThrash   = "thrash"
	TypeRank     = "rank"
	TypeInspect  = "inspect"
	TypeProfile  = "profile"
	TypeLost     = "lost"
	TypeSummary  = "summary"
)

// Where a value came from, weakest last.
const (
	SourceBPF      = "bpf"      // read in the kernel at the moment itself
	SourceKmsg     = "kmsg"     // the kernel's own log
	SourceProcfs   = "procfs"   // read from /proc afterwards
	SourceCgroupfs = "cgroupfs" // read from the cgroup's files afterwards
	SourceInferred = "inferred" // computed by oomtrace
)

// Event is one line of the stream. Every concrete type below implements it by
// embedding Meta.
type Event interface {
	// Head gives the part that all events share.
	Head() *Meta
}

// Meta is what every event begins with.
type Meta struct {
	// Type names the event; one of the Type constants.
	Type string `json:"type"`
	// Time is when it happened (for what has a duration: when it began), UTC,
	// stamped in the kernel.
	Time time.Time `json:"time"`
}

// Head implements Event.
func (m *Meta) Head() *Meta { return m }

// Process identifies a process or one of its threads.
type Process struct {
	PID  int32  `json:"pid"`           // thread group id in the initial pid namespace
	TID  int32  `json:"tid,omitempty"` // thread id, likewise
	PPID int32  `json:"ppid,omitempty"`
	Comm string `json:"comm"`
	UID  *int64 `json:"uid,omitempty"`
	// StartTimeNS is when the process began, nanoseconds since boot
	// (CLOCK_BOOTTIME), as in /proc/PID/stat but unrounded.
	StartTimeNS int64 `json:"start_time_ns,omitempty"`
	// ContainerPID is the thread group id in the innermost pid namespace.
	ContainerPID int32 `json:"container_pid,omitempty"`
}

// Cgroup names one memory cgroup.
type Cgroup struct {
	ID      uint64 `json:"id"`             // kernfs id: the inode number of its directory
	Path    string `json:"path,omitempty"` // below the memory controller's mount, "/" for the root
	Version int    `json:"version,omitempty"`
}

// Container is what a cgroup stands for in the eyes of a person.
type Container struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Runtime string `json:"runtime,omitempty"` // docker, containerd, cri-o, podman, runc, crun, lxc, nspawn, systemd or unknown
	Image   string `json:"image,omitempty"`
	Pod     *Pod   `json:"pod,omitempty"`
	Unit    string `json:"unit,omitempty"` // systemd unit
	// Parent is the container that this one runs in.
	Parent *Container `json:"parent,omitempty"`
}

// GoesBy tells whether a name means the container: its name, its id, at least
// eight characters that the id begins with, or its unit, with or without
// ".service".
func (c *Container) GoesBy(name string) bool {
	return c.Name == name || c.ID == name || c.Unit == name || c.Unit == name+".service" ||
		len(name) >= 8 && strings.HasPrefix(c.ID, name)
}

// InPod tells whether the container is in, or is, the pod that a name means:
// NAMESPACE/NAME, NAME or UID.
func (c *Container) InPod(pod string) bool {
	if c.Pod == nil {
		return false
	}
	namespace, name, qualified := strings.Cut(pod, "/")
	if !qualified {
		return c.Pod.UID == pod || c.Pod.Name == pod
	}
	return c.Pod.Namespace == namespace && c.Pod.Name == name
}

// Pod is a Kubernetes pod; of podman's pods only the UID, their id, is known.
type Pod struct {
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// File names a file in the page cache.
type File struct {
	Dev   string `json:"dev"` // "major:minor"
	Inode uint64 `json:"inode"`
	Path  string `json:"path,omitempty"`
}

// Hook says how one family sees.
type Hook struct {
	Family string `json:"family"`
	Hook   string `json:"hook"`
	Kind   string `json:"kind"` // fentry, kprobe, tp_btf, tracepoint, perf_event, eventfd, kmsg, cgroupfs
}

// Missing is something that this kernel or these privileges do not give.
type Missing struct {
	Family string `json:"family"`
	What   string `json:"what,omitempty"` // which part of the family, absent when all of it
	Reason string `json:"reason"`
}

// Header is the first event of a stream.
type Header struct {
	Meta
	Schema        int       `json:"schema"`
	Version       string    `json:"version"`
	Host          string    `json:"host,omitempty"`
	BootID        string    `json:"boot_id,omitempty"`
	Kernel        string    `json:"kernel,omitempty"`
	Arch          string    `json:"arch,omitempty"`
	PageBytes     int       `json:"page_bytes"`
	CgroupVersion int       `json:"cgroup_version,omitempty"` // of the memory controller
	Hooks         []Hook    `json:"hooks"`
	Missing       []Missing `json:"missing,omitempty"`
}

// CgroupChange says that a cgroup appeared, was identified (its first process
// entered) or went away.
type CgroupChange struct {
	Meta
	State     string     `json:"state"` // appeared, identified, gone, known
	Cgroup    Cgroup     `json:"cgroup"`
	Container *Container `json:"container,omitempty"`
}

// CgroupKnown is the state of a cgroup that nothing has happened to: it says who
// is who in the events that follow, in a part of a stream.
const CgroupKnown = "known"

// Lost says how many records of a family could not be delivered since a moment.
type Lost struct {
	Meta
	Family string    `json:"family"`
	Count  uint64    `json:"count"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
}

// Summary is the last event of a stream.
type Summary struct {
	Meta
	Events map[string]uint64 `json:"events"`         // written, by type; the summary itself not counted
	Lost   map[string]uint64 `json:"lost,omitempty"` // by family
	// Uncounted is what could not be counted in the kernel because a map was
	// full: pages of the family cache, episodes of others.
	Uncounted map[string]uint64 `json:"uncounted,omitempty"`
	Sent      uint64            `json:"sent"` // records the kernel side tried to send: received + lost
	Received  uint64            `json:"received"`
	WallNS    int64             `json:"wall_ns"`
	CPUNS     int64             `json:"cpu_ns,omitempty"` // user and system time of the tracer
	PeakRSS   int64             `json:"peak_rss_bytes,omitempty"`
}
