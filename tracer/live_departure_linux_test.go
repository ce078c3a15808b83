package tracer

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// A container is gone before oomtrace came to read of it, and its state is not: its
// end is told after its name, also where the name decides whether it is told at
// all.
func TestGoneAfterItsName(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name   string
		filter func(holds *group) []Selector
		states []string
	}{
		{"every cgroup", func(*group) []Selector { return nil }, []string{"appeared", "identified", "gone"}},
		{"by name", func(holds *group) []Selector { return []Selector{{Container: "brief"}, {Path: holds.path}} }, []string{"identified", "gone"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			top := newGroup(t)
			holds := top.child("holds")
			x := startTrace(t, Options{
				Families: []string{FamilyCgroup}, Cgroups: c.filter(holds),
				RuntimeRoots: []container.Root{{Runtime: container.Runc, Dir: dir}},
			})
			hold := make(chan struct{})
			x.mu.Lock()
			x.hold = hold
			x.mu.Unlock()
			holds.child("x").remove() // at the latest this event holds the reader up

			g := top.child("brief")
			putState(t, filepath.Join(dir, "brief", "state.json"), fmt.Sprintf(`{"id":"brief","cgroup_paths":{"":%q}}`, g.dir()))
			id := g.id()
			g.run("anon=1")
			g.remove()
			x.mu.Lock()
			x.hold = nil
			x.mu.Unlock()
			close(hold)

			told := func(events []event.Event) (all []*event.CgroupChange) {
				for _, e := range of[*event.CgroupChange](events) {
					if e.Cgroup.ID == id {
						all = append(all, e)
					}
				}
				return all
			}
			waitFor(x, func(events []event.Event) (bool, bool) {
				return true, slices.ContainsFunc(told(events), func(e *event.CgroupChange) bool { return e.State == "gone" })
			})
			all := told(x.stop())
			var states []string
			for i, e := range all {
				states = append(states, e.State)
				if i > 0 && e.Time.Before(all[i-1].Time) {
					t.Errorf("told in another order than that of their times: %s", show(all))
				}
			}
			want := &event.Container{ID: "brief", Name: "brief", Runtime: container.Runc}
			if !slices.Equal(slices.Compact(states), c.states) || show(all[len(all)-1].Container) != show(want) {
				t.Errorf("%s", show(all))
			}
		})
	}
}
