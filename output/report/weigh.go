package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// weighedView is the table of candidates.
func (s *Story) weighedView() *weighedView {
	const most = 20
	all := slices.Clone(s.Kill.Candidates)
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, byBadness)
	columns := []struct {
		name string
		of   func(*event.Candidate) string
	}{
		{"badness", func(c *event.Candidate) string {
			if c.Badness == nil {
				return clean(strings.ReplaceAll(c.Unkillable, "_", " "))
			}
			return score(*c.Badness)
		}},
		{"resident", func(c *event.Candidate) string { return optional(c.RSS()) }},
		{"anon", func(c *event.Candidate) string { return optional(c.AnonRSS) }},
		{"file", func(c *event.Candidate) string { return optional(c.FileRSS) }},
		{"shmem", func(c *event.Candidate) string { return optional(c.ShmemRSS) }},
		{"swap", func(c *event.Candidate) string { return optional(c.Swap) }},
		{"page tables", func(c *event.Candidate) string { return optional(c.PageTables) }},
		{"virtual", func(c *event.Candidate) string { return optional(c.TotalVM) }},
		{"adj", func(c *event.Candidate) string {
			if c.OOMScoreAdj == nil {
				return ""
			}
			return strconv.Itoa(*c.OOMScoreAdj)
		}},
	}
	v := &weighedView{}
	shown := all[:min(len(all), most)]
	for _, col := range columns {
		known := func(c event.Candidate) bool { return col.of(&c) != "" }
		some := func(c event.Candidate) bool { return known(c) && col.of(&c) != size(0) }
		switch {
		case slices.ContainsFunc(shown, some):
			v.Columns = append(v.Columns, col.name)
		case slices.ContainsFunc(shown, known): // a column of nothing but zeros needs room for none
			v.Notes = append(v.Notes, "None held "+col.name+".")
		}
	}
	for i := range shown {
		c := &shown[i]
		r := weighedRow{Killed: s.died(c.PID), Name: process(&c.Process).String(), Where: cleanPlace(c.Container, c.Cgroup)}
		for _, col := range columns {
			if slices.Contains(v.Columns, col.name) {
				r.Cells = append(r.Cells, col.of(c))
			}
		}
		v.Rows = append(v.Rows, r)
	}
	if n := len(all) - len(shown); n > 0 {
		v.Notes = append(v.Notes, "and "+counted(n, "more process")+".")
	}
	if n := s.Kill.CandidatesMissing; n > 0 {
		v.Notes = append(v.Notes, counted(n, "process")+" more were weighed but lost on the way.")
	}
	if s.Kill.CandidatesTruncated {
		v.Notes = append(v.Notes, "There were more processes than were looked at.")
	}
	return v
}

// byBadness puts the worst first, and those without a score last.
func byBadness(a, b event.Candidate) int {
	switch {
	case a.Badness != nil && b.Badness != nil:
		return cmp.Compare(*b.Badness, *a.Badness)
	case a.Badness != nil:
		return -1
	case b.Badness != nil:
		return 1
	}
	return 0
}

func (s *Story) died(pid int32) bool {
	return pid == s.Kill.Victim.PID || slices.ContainsFunc(s.Kill.Killed, func(k event.Killed) bool { return k.PID == pid })
}

func optional(n *uint64) string {
	if n == nil {
		return ""
	}
	return size(*n)
}
