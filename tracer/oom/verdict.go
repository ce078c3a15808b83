package oom

import (
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// Case is what is known of a kill when it is judged. Only Kill must be there:
// whatever else is missing makes the verdict less sure, not another one.
type Case struct {
	Kill *event.OOMKill
	// Window are readings of the domain's memory before the kill, oldest first.
	Window []Point
	// Branch is the cgroup right below the domain that the victim is in, as it was
	// at the kill; nil: the victim is in none, or it is not known.
	Branch *Child
	// Others are the other cgroups right below the domain, read after the kill: by
	// then the kernel may have killed in these too.
	Others []Child
	// Node is the machine's memory at the kill.
	Node *Node
	// SinceBoot is when the kill was, on the clock of the processes' start times;
	// 0 where that is not known, as in a kernel log.
	SinceBoot time.Duration
	// PageBytes is the size of a page; 0 unknown.
	PageBytes uint64
}

// Point is one reading of a cgroup's memory, in bytes.
type Point struct {
	At                 time.Duration // before the kill: negative
	Usage, Anon, Shmem uint64
	Cache              uint64 // what is on the lists of file memory
	Swap               uint64
	RefaultedPages     uint64 // since the cgroup was made, where HasRefaults
	HasRefaults        bool
	Threads            uint64 // below the cgroup; 0: not counted
}

// Child is a cgroup right below the domain.
type Child struct {
	Path      string
	Usage     uint64
	Limit     *uint64          // nil: none
	Container *event.Container // nil: none, or not known
}

func (c *Child) called() string { return label.Called(c.Container, &event.Cgroup{Path: c.Path}) }

// Node is the memory of the machine, in bytes, from /proc/meminfo.
type Node struct {
	Total, SwapTotal, SwapFree           uint64
	Anon, Shmem, PageTables, KernelStack uint64
	Unreclaimable                        uint64 // slab that cannot shrink
}

// finding is what a rule has found.
type finding struct {
	cause, confidence string
	evidence          []string
	remedy            string // what to do about it
}

// Judge says why a kill happened, as far as the figures support it. It first
// asks what no composition can answer (the kernel ran out of the nodes of a
// policy, or of the machine), then what filled the domain, and last whether it
// is for another reason that this struck the processes it struck. Each rule is a
// function of its own, and docs/verdicts.md explains them.
func Judge(c *Case) *event.Verdict {
	v := judge(c)
	if s := spared(c); s != "" {
		v.Evidence = append([]string{s}, v.Evidence...)
	}
	return v
}

func judge(c *Case) *event.Verdict {
	if f := requested(c); f != nil {
		return f.verdict("")
	}
	if f := policy(c); f != nil {
		return f.verdict("")
	}
	if f := node(c); f != nil {
		if storm := forkStorm(c); storm != nil {
			storm.evidence = append(storm.evidence, f.evidence[:1]...)
			return storm.verdict("")
		}
		return f.verdict("")
	}
	filled := shortage(c)
	for _, rule := range []func(*Case, *finding) *finding{ancestorLimit, groupPolicy, swapFull} {
		struck := rule(c, filled)
		if struck == nil {
			continue
		}
		v := struck.verdict("")
		v.Underlying = filled.cause
		remedy := len(v.Evidence)
		if struck.remedy != "" {
			remedy--
		}
		v.Evidence = append(append(v.Evidence[:remedy:remedy], filled.evidence...), v.Evidence[remedy:]...)
		return v
	}
	if s := whoseLimit(c); s != "" {
		filled.say(s)
	}
	return filled.verdict("")
}

// shortage says what filled the memory of a domain that is a cgroup.
func shortage(c *Case) *finding {
	k, ok := kindsOf(c)
	if !ok {
		return blind(c)
	}
	for _, rule := range []func(*Case, *kinds) *finding{storm, lowered, tmpfs, kernelMemory, pinnedCache, idleCache, unheld, leak, burst, tooSmall} {
		if f := rule(c, k); f != nil {
			f.evidence = append(f.evidence, reclaim(c, k)...)
			return f
		}
	}
	f := &finding{cause: event.CauseUnknown, confidence: event.ConfidenceLow}
	if k.anon+k.shmem+k.cache+k.kernel < k.usage/2 {
		f.say("The kinds of memory explain less than half of the usage (" + k.list() + "): it was on its way out, as after a kill just before, or is charged to no kind.")
	} else {
		f.say("No kind of memory stands out: " + k.list() + ".")
	}
	f.evidence = append(f.evidence, reclaim(c, k)...)
	return f
}

func (f *finding) say(sentence string) { f.evidence = append(f.evidence, sentence) }

func (f *finding) verdict(underlying string) *event.Verdict {
	v := &event.Verdict{Cause: f.cause, Underlying: underlying, Confidence: f.confidence, Evidence: f.evidence}
	if f.remedy != "" {
		v.Evidence = append(v.Evidence, f.remedy)
	}
	return v
}

// lessSure is the next lower confidence.
func lessSure(confidence string) string {
	if confidence == event.ConfidenceHigh {
		return event.ConfidenceMedium
	}
	return event.ConfidenceLow
}
