package tracer

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

func made(id uint64, path string) bpf.CoreRecCgroup {
	r := bpf.CoreRecCgroup{Head: head(bpf.CoreRecTypeREC_CGROUP, 0), Id: id, Change: uint32(bpf.CoreCgroupChangeCGROUP_MKDIR)}
	copy(r.Path[:], path)
	return r
}

// A cgroup below a traced one is in the kernel's filter, whenever it was made.
func TestInherit(t *testing.T) {
	needRoot(t)
	f := newFeed(t)
	watched, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 1, MaxEntries: 16})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Close()
	f.session.Maps = map[string]*ebpf.Map{"watched": watched}
	f.opts.Cgroups, f.roots[7] = []Selector{{Container: "web"}}, true
	f.send(made(30, "/limited/late"))
	f.send(made(31, "/elsewhere"))
	for id, want := range map[uint64]bool{30: true, 31: false} {
		var yes uint8
		if err := watched.Lookup(id, &yes); (err == nil) != want {
			t.Errorf("%d: %v", id, err)
		}
	}
}

// What was traced and is forgotten does not stay in the filter for ever.
func TestRootsAreForgotten(t *testing.T) {
	f := newFeed(t)
	f.roots[7], f.roots[99] = true, true
	f.sweep()
	if len(f.roots) != 1 || !f.roots[7] {
		t.Errorf("%v", f.roots)
	}
}

// A path that is too long for a record is asked for, and not known when the cgroup
// is gone by then: the part that was sent may be that of another.
func TestLongPath(t *testing.T) {
	f := newFeed(t)
	f.opts.Families = []string{FamilyCgroup}
	f.send(made(30, "/"+strings.Repeat("a", 700)))
	if _, ok := f.names.tree.Lookup(30); ok || len(f.out) != 0 {
		t.Errorf("told %s", show(f.out))
	}
}

func TestLongPathLive(t *testing.T) {
	needRoot(t)
	x := startTrace(t, Options{Families: []string{FamilyCgroup}})
	top := newGroup(t)
	deep := top.child(strings.Repeat("a", 250)).child(strings.Repeat("b", 250)).child("docker-" + dockerID)
	id := deep.id()
	e := waitFor(x, func(events []event.Event) (*event.CgroupChange, bool) {
		all := of[*event.CgroupChange](events)
		i := slices.IndexFunc(all, func(e *event.CgroupChange) bool { return e.Cgroup.ID == id })
		if i < 0 {
			return nil, false
		}
		return all[i], true
	})
	if e.Cgroup.Path != deep.path || e.Container == nil || e.Container.ID != dockerID {
		t.Errorf("%s", show(e))
	}
	x.stop()
}
