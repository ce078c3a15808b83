package tracer

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// A container is killed before its runtime has written what it is called, or
// before oomtrace on a busy machine came to read that. The kill waits for the name
// by which it was asked for; those of others are not told.
func TestNamedAfterTheKill(t *testing.T) {
	dir := t.TempDir()
	top := newGroup(t)
	late, other := top.child("late").limit(16*mib), top.child("other").limit(16*mib)
	x := startTrace(t, Options{
		Families: []string{FamilyOOM}, Cgroups: []Selector{{Container: "late"}},
		RuntimeRoots: []container.Root{{Runtime: container.Runc, Dir: dir}},
	})
	inner := late.child("inner") // made while it is traced, as containers are
	foreign := other.child("inner")
	foreign.runKilled("comm=other", "hog")
	victim := inner.runKilled("comm=late", "hog")
	time.Sleep(300 * time.Millisecond) // far longer than a kill waits for other things
	putState(t, filepath.Join(dir, "late", "state.json"), fmt.Sprintf(`{"id":"late","cgroup_paths":{"":%q}}`, inner.dir()))
	k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		k := of[*event.OOMKill](events)
		return firstOf(k), len(k) > 0
	})
	if k.Victim.PID != victim || k.Victim.Container == nil || k.Victim.Container.Name != "late" {
		t.Errorf("told %s", show(k.Victim))
	}
	if all := of[*event.OOMKill](x.stop()); len(all) != 1 {
		t.Errorf("%d kills told: %s", len(all), show(all))
	}
}
