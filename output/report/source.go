package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// sources says where the story's figures are from, what could not be seen, and
// what was lost.
func (s *Story) sources() []sourceRow {
	var out []sourceRow
	add := func(name, text string) { out = append(out, sourceRow{name, text}) }
	h := s.Header
	switch {
	case s.From == FromLog:
		add("input", "a kernel log: what the kernel itself wrote about the kill, and nothing from before or after it")
	case h == nil:
		add("input", "a capture without its header: what was traced and how is not known")
	default:
		t := "a capture by oomtrace " + clean(h.Version)
		if h.Kernel != "" {
			t += " on Linux " + clean(h.Kernel)
		}
		if h.Arch != "" {
			t += " " + clean(h.Arch)
		}
		if h.CgroupVersion != 0 {
			t += ", cgroup v" + strconv.Itoa(h.CgroupVersion)
		}
		if h.Schema > event.Schema {
			t += "; its schema is " + strconv.Itoa(h.Schema) + ", this version knows " + strconv.Itoa(event.Schema) + ": what is said here may be wrong"
		}
		add("input", t)
	}
	if w := s.Window; w != nil {
		t := "from " + offset(w.FromNS) + " to " + offset(w.ToNS) + " around the kill"
		if w.StallsFromNS != nil {
			t += "; stalls only from " + offset(*w.StallsFromNS) + ": there were too many before"
		}
		add("window", t)
	}
	d := &s.Kill.Domain
	if d.Constraint != "" && d.Source != "" {
		add("whose limit", sourceName(d.Source))
	}
	if m := d.Memory; m != nil {
		t := "usage, limit and LRU lists of the moment of the kill"
		switch {
		case m.Source == event.SourceKmsg:
			t = "from the kernel log"
		case m.ReadNS != nil && *m.ReadNS >= 0:
			t += "; its kinds from the cgroup's files, read " + lasting(*m.ReadNS) + " after"
		case m.ReadNS != nil:
			t += "; its kinds from the cgroup's files, read " + lasting(-max(*m.ReadNS, -1<<62)) + " before"
		}
		add("memory at the kill", t)
	}
	if from := s.Kill.FromKmsg; len(from) > 0 {
		add("from the kernel log", clean(strings.Join(from, ", ")))
	}
	if c := s.Cache; c != nil {
		t := "counted in the kernel, all of it, in intervals"
		if c.Source == event.TypeReclaim {
			t = "from the stalls that were told, so not all of it"
		}
		add("page cache", t)
	}
	if s.Kill.Verdict == nil {
		add("verdict", "none in the input")
	}
	if h != nil && len(h.Hooks) > 0 {
		add("seen by", hooks(h.Hooks))
	}
	if h != nil {
		for _, m := range h.Missing {
			what := clean(m.Family)
			if m.What != "" {
				what += ", " + clean(m.What)
			}
			add("not seen", what+": "+clean(m.Reason))
		}
	}
	add("lost", s.losses())
	return out
}

func sourceName(source string) string {
	switch source {
	case event.SourceBPF:
		return "told by the kernel at that moment"
	case event.SourceKmsg:
		return "from the kernel log"
	case event.SourceInferred:
		return "inferred: by which cgroup was at its limit"
	case event.SourceCgroupfs:
		return "from the cgroup's files"
	case event.SourceProcfs:
		return "from /proc"
	}
	return clean(source)
}

// hooks lists the families with the kinds of hook that each rests on.
func hooks(all []event.Hook) string {
	var families, parts []string
	for _, h := range all {
		if !slices.Contains(families, h.Family) {
			families = append(families, h.Family)
		}
	}
	for _, f := range families {
		var kinds []string
		for _, h := range all {
			if h.Family == f && !slices.Contains(kinds, h.Kind) {
				kinds = append(kinds, h.Kind)
			}
		}
		parts = append(parts, clean(f)+" by "+clean(strings.Join(kinds, "+")))
	}
	return strings.Join(parts, ", ")
}

// losses says what the story may lack.
func (s *Story) losses() string {
	var parts []string
	for _, l := range s.Lost {
		parts = append(parts, lostLine(l).String())
	}
	if n := s.Kill.CandidatesMissing; n > 0 {
		parts = append(parts, counted(n, "candidate")+" of the kill")
	}
	if s.Unread > 0 {
		parts = append(parts, counted(s.Unread, "piece")+" of the input could not be read")
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, "; ")
	case s.From == FromLog:
		return "not known: a log does not say"
	}
	return "nothing that the input tells of"
}
