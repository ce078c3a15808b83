package tracer

import "github.com/oomtrace/oomtrace/tracer/event"

// departure is a cgroup that was removed, which is yet to be told.
type departure struct{ id, at uint64 } // at is CLOCK_MONOTONIC

// settleDepartures tells of the cgroups that were removed, each once its name is
// settled: it may decide whether the cgroup is traced, and whoever keeps an
// account of cgroups closes it with this. It returns when it wants to be called
// again, 0 for no particular time.
func (t *Tracer) settleDepartures(now uint64, final bool) (uint64, error) {
	var next uint64
	var over, waiting []departure
	for _, d := range t.departures {
		if until := d.at + uint64(namesCome); !final && now < until && t.names.identities.open(d.id) {
			waiting = append(waiting, d)
			if next == 0 || until < next {
				next = until
			}
			continue
		}
		over = append(over, d)
	}
	if len(over) == 0 {
		return next, nil
	}
	if err := t.identified(); err != nil { // what has just become known of them comes first
		return 0, err
	}
	t.departures = waiting
	for _, d := range over {
		if err := t.tellCgroup(d.id, "gone", d.at); err != nil {
			return 0, err
		}
	}
	return next, nil
}

// tellCgroup tells of a change of a cgroup at a time (CLOCK_MONOTONIC), if that is
// asked for.
func (t *Tracer) tellCgroup(id uint64, state string, at uint64) error {
	if !t.opts.wants(FamilyCgroup) || !t.selected(id) {
		return nil
	}
	e := &event.CgroupChange{Meta: event.Meta{Type: event.TypeCgroup, Time: t.clock.wall(at)}, State: state}
	if cg, c := t.names.cgroup(id); cg != nil {
		e.Cgroup, e.Container = *cg, c
	}
	return t.emit(e)
}
