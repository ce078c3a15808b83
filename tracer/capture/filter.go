package capture

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// Filter picks events as the filters of a live trace do. The zero value takes
// all.
type Filter struct {
	// From and To bound the time: an event is taken when any of its duration lies
	// between. The zero time is no bound.
	From, To time.Time
	// Types are the types of events to take; nil means all. Headers, losses and
	// summaries are always taken.
	Types []string
	// MinStall leaves out reclaim and throttle events that are shorter.
	MinStall time.Duration
	// Cgroups, IDs, Containers and Pods pick by where it happened, below a cgroup
	// included; an event is taken that fits any of them. Cgroups are clean paths.
	Cgroups []string
	IDs     []uint64
	// Containers are names, ids or prefixes of ids of 8 or more characters, or
	// systemd units; Pods are [NAMESPACE/]NAME or UID.
	Containers, Pods []string
}

// Cheap tells whether a record may be taken, by its head alone. It is safe for
// concurrent use.
func (f *Filter) Cheap(r *Record) bool {
	switch r.Type {
	case event.TypeHeader:
		return true
	case event.TypeLost, event.TypeSummary:
	case event.TypeReclaim, event.TypeThrottle:
		if r.Duration < f.MinStall {
			return false
		}
		fallthrough
	default:
		if f.Types != nil && !slices.Contains(f.Types, r.Type) {
			return false
		}
	}
	if r.Time.IsZero() {
		return true
	}
	return !r.End().Before(f.From) && (f.To.IsZero() || !r.Time.After(f.To))
}

// Places tells whether the filter asks where things happened: then Matcher needs
// each event as a whole.
func (f *Filter) Places() bool {
	return len(f.Cgroups)+len(f.IDs)+len(f.Containers)+len(f.Pods) > 0
}

// Matcher applies a filter to the events of one stream, in their order. It is
// not safe for concurrent use.
type Matcher struct {
	*Filter
	acting *Places // where it happened
	losing *Places // who lost memory too
	paths  map[uint64]string
	passed map[string]bool // incidents
}

// Matcher returns a Matcher for one stream.
func (f *Filter) Matcher() *Matcher {
	return &Matcher{
		Filter: f, acting: NewPlaces("candidates", "evicted", "evicted_by"), losing: NewPlaces(),
		paths: make(map[uint64]string), passed: make(map[string]bool),
	}
}

// Match tells whether an event is to be taken. The error is that of reading it.
func (m *Matcher) Match(r *Record) (bool, error) {
	if !m.Cheap(r) {
		return false, nil
	}
	if !m.Places() || r.Type == event.TypeHeader || r.Type == event.TypeLost || r.Type == event.TypeSummary {
		return true, nil
	}
	e, err := r.Event()
	if err != nil {
		return false, err
	}
	where, taken := m.acting, false
	switch e := e.(type) {
	case *event.OOMEnd:
		taken = m.passed[e.Incident]
		delete(m.passed, e.Incident)
	case *event.Kswapd:
		where = m.losing
	case *jsonl.Unknown:
		var u struct {
			Cgroup    *event.Cgroup
			Container *event.Container
			Domain    *event.Domain
		}
		_ = json.Unmarshal(e.Raw, &u) // what it holds of them
		if taken = m.at(u.Cgroup, u.Container); u.Domain != nil {
			taken = m.at(&u.Domain.Cgroup, u.Domain.Container) || taken
		}
	}
	where.Of(e, func(cg *event.Cgroup, c *event.Container) { taken = m.at(cg, c) || taken })
	if kill, ok := e.(*event.OOMKill); ok && taken {
		if len(m.passed) > 4096 { // their ends are missing
			clear(m.passed)
		}
		m.passed[kill.Incident] = true
	}
	return taken, nil
}

// at tells whether a place is one that was asked for.
func (m *Matcher) at(cg *event.Cgroup, c *event.Container) bool {
	if cg != nil {
		if slices.Contains(m.IDs, cg.ID) {
			if cg.Path != "" {
				m.paths[cg.ID] = cg.Path
			}
			return true
		}
		for _, path := range m.Cgroups {
			if cg.Path != "" && event.Within(cg.Path, path) {
				return true
			}
		}
		for _, path := range m.paths {
			if cg.Path != "" && event.Within(cg.Path, path) {
				return true
			}
		}
	}
	for ; c != nil; c = c.Parent { // what is in a container that was asked for lies below it
		if slices.ContainsFunc(m.Containers, c.GoesBy) || slices.ContainsFunc(m.Pods, c.InPod) {
			return true
		}
	}
	return false
}
