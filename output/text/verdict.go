package text

import (
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	maxEvidence   = 8
	evidenceLines = 4
)

// causes say in words what the names of causes stand for.
var causes = map[string]term.Text{
	event.CauseLimitTooSmall:   "the limit is too small for what was asked of it",
	event.CauseLeak:            "memory grew steadily until the limit, as a leak does",
	event.CauseTmpfs:           "files in a tmpfs or shared memory fill the limit",
	event.CauseKernelMemory:    "memory that the kernel holds for the processes fills the limit",
	event.CausePageCachePinned: "page cache fills the limit and could not be dropped",
	event.CauseAncestorLimit:   "the limit of a cgroup further up is too small for all below it",
	event.CauseGroupPolicy:     "all died because memory.oom.group is set, where one would have done",
	event.CauseSwapFull:        "swap is full, and nothing more could be moved out",
	event.CauseNodePressure:    "the machine itself ran out of memory",
	event.CauseForkStorm:       "very many new processes fill the memory",
	event.CauseCpusetOrPolicy:  "the memory nodes that were allowed ran out",
	event.CauseUnknown:         "the figures do not tell",
}

// Cause says in words what a verdict's cause is; known tells whether this version
// knows the cause.
func Cause(v *event.Verdict) (t term.Text, known bool) {
	if t, known = causes[v.Cause]; !known {
		t = term.Clean(v.Cause)
	}
	switch {
	case v.Cause == event.CauseUnknown && v.Confidence == event.ConfidenceHigh:
		t = "nothing had run out"
	case v.Cause == event.CauseLimitTooSmall && v.Confidence == event.ConfidenceLow:
		t = "the processes' memory fills the limit: it is too small, or they leak"
	}
	return t, known
}

// verdict says why it happened, and by what that is borne out.
func (w *Writer) verdict(v *event.Verdict) {
	t, known := Cause(v)
	var name term.Text
	if known && v.Cause != event.CauseUnknown {
		name = term.Clean(v.Cause)
	}
	if v.Underlying != "" {
		name += ", underlying " + term.Clean(v.Underlying)
	}
	if v.Confidence != "" {
		if name != "" {
			name += "; "
		}
		name += term.Clean(v.Confidence) + " confidence"
	}
	if name != "" {
		t += " (" + name + ")"
	}
	w.label("verdict").wrap(bold, t, body, 3)
	for _, evidence := range v.Evidence[:min(len(v.Evidence), maxEvidence)] {
		w.line().to(body).put(dim, "-").skip(1).wrap(plain, term.Clean(evidence), body+2, evidenceLines)
	}
}
