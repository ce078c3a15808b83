// Package tracer watches the memory of containers through eBPF: OOM kills,
// reclaim stalls, throttling and page-cache traffic, as a stream of events.
//
//	t, err := tracer.Open(tracer.Options{})
//	...
//	defer t.Close()
//	err = t.Run(ctx, sink)
package tracer

import (
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Families of events that can be asked for.
const (
	FamilyOOM      = "oom"
	FamilyReclaim  = "reclaim"
	FamilyKswapd   = "kswapd"
	FamilyThrottle = "throttle"
	FamilyCache    = "cache"
	FamilyMemory   = "memory"
	FamilyCgroup   = "cgroup"
	FamilyStalls   = "stalls"
	FamilyThrash   = "thrash"
	FamilyKmsg     = "kmsg"
)

// FamilyProfile samples page faults with their stacks. It is asked for by name
// alone: it is none of Families.
const FamilyProfile = "profile"

// Families lists them all, in the order in which help texts name them.
func Families() []string {
	return []string{FamilyOOM, FamilyReclaim, FamilyKswapd, FamilyThrottle, FamilyCache, FamilyMemory, FamilyCgroup, FamilyStalls, FamilyThrash, FamilyKmsg}
}

// RestsOn names the family whose hooks a family cannot do without: stalls are
// counted where reclaim is seen, thrash where the page cache is.
func RestsOn(family string) string {
	switch family {
	case FamilyStalls:
		return FamilyReclaim
	case FamilyThrash:
		return FamilyCache
	}
	return family
}

// DefaultFamilies is what is traced when nothing is asked for.
func DefaultFamilies() []string { return []string{FamilyOOM, FamilyReclaim, FamilyThrottle} }

// Tiers cap how a tracer may see; the tests use them to prove the fallbacks on
// kernels that have better.
const (
	TierBest       = ""           // whatever this kernel has
	TierKprobe     = "kprobe"     // as on a kernel without BPF trampolines
	TierTracepoint = "tracepoint" // as on a kernel with lockdown: no fentry, no kprobe
)

// Options say what to trace. The zero value traces the default families of
// every cgroup.
type Options struct {
	Families []string
	// Cgroups limits the trace to these and all below them; empty means all.
	Cgroups []Selector
	// MinStall leaves out stalls (reclaim, throttle) that are shorter; they are
	// dropped in the kernel.
	MinStall time.Duration
	// Interval of cache and memory events; 0 means one second.
	Interval time.Duration
	// MemoryInterval of memory events of the cgroups that are under pressure or
	// fill up; 0 means Interval.
	MemoryInterval time.Duration
	// Stacks asks for kernel stacks of stalls and triggers, and user stacks of
	// stalls.
	Stacks bool
	// Period of the family profile: of so many page faults on a CPU one is looked
	// at; 0 means DefaultPeriod.
	Period uint64
	// CgroupRoot and ProcRoot are where the host's cgroup and proc file systems
	// are mounted; empty means /sys/fs/cgroup and /proc.
	CgroupRoot string
	ProcRoot   string
	// RuntimeRoots are further directories in which container runtimes keep their
	// state, as the host has them.
	RuntimeRoots []container.Root
	// Tier caps how the tracer may see.
	Tier string
	// Version is what the header calls this program.
	Version string
	// RingBytes is the size of the ring buffer, a power of two; 0 means 8 MiB.
	RingBytes int
	// Warn is told of conditions that do not stop the trace, one line each. May
	// be nil.
	Warn func(msg string)
}

// DefaultPeriod is how many page faults pass for each that is sampled. A prime,
// so that it does not keep step with loops.
const DefaultPeriod = 61

// Selector picks one cgroup; exactly one field is set.
type Selector struct {
	ID   uint64 // kernfs id
	Path string // below the memory controller's mount; need not exist yet
	PID  int    // the cgroup this process is in
	// Container is a container's name or id (or a prefix of 8 or more characters
	// of it), or a systemd unit's name. It need not run yet.
	Container string
	// Pod is a pod's [NAMESPACE/]NAME or UID. It need not run yet.
	Pod string
}

// Sink takes events in order. It is called from one goroutine; an error ends
// the trace.
type Sink func(event.Event) error
