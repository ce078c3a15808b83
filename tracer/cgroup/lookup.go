package cgroup

import (
	"iter"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Entry is all that the tree knows of one cgroup.
type Entry struct {
	event.Cgroup
	Parent uint64 // 0 when not known, and for the root
	Alive  bool
	Born   time.Time // when it was announced; zero for those found by a scan
	Died   time.Time // zero while alive
}

// Lookup names a cgroup by id, alive or tombstone.
func (t *Tree) Lookup(id uint64) (event.Cgroup, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[id]
	if n == nil {
		return event.Cgroup{}, false
	}
	return t.cgroup(n), true
}

// Entry gives all that is known of a cgroup, alive or tombstone.
func (t *Tree) Entry(id uint64) (Entry, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[id]
	if n == nil {
		return Entry{}, false
	}
	e := Entry{Cgroup: t.cgroup(n), Alive: n.alive(), Born: n.born, Died: n.died}
	if n.parent != nil {
		e.Parent = n.parent.id
	}
	return e, true
}

// Alive says whether a cgroup is known and not removed.
func (t *Tree) Alive(id uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[id]
	return n != nil && n.alive()
}

// ByPath gives the id of the cgroup that lives at a path.
func (t *Tree) ByPath(path string) (uint64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.paths[canonical(path)]
	if n == nil {
		return 0, false
	}
	return n.id, true
}

// Parent gives the id of the cgroup above, also of a tombstone. The parent may
// itself have been forgotten.
func (t *Tree) Parent(id uint64) (uint64, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.nodes[id]
	if n == nil || n.parent == nil {
		return 0, false
	}
	return n.parent.id, true
}

// Descends says whether a cgroup is ancestor itself or lies below it, also when
// either or what is between them is gone. False for an id that is not known.
func (t *Tree) Descends(id, ancestor uint64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for n := t.nodes[id]; n != nil; n = n.parent {
		if n.id == ancestor {
			return true
		}
	}
	return false
}

// Len counts the cgroups that are alive and the tombstones.
func (t *Tree) Len() (alive, tombstones int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.paths), t.graves.Len()
}

// All iterates over the alive cgroups' ids and paths as they are when it begins,
// in no order. The loop's body may use the tree.
func (t *Tree) All() iter.Seq2[uint64, string] {
	return t.each(func(add func(*node)) {
		for _, n := range t.paths {
			add(n)
		}
	})
}

// Children iterates likewise over the alive cgroups right below one.
func (t *Tree) Children(id uint64) iter.Seq2[uint64, string] {
	return t.each(func(add func(*node)) {
		if n := t.nodes[id]; n != nil {
			for c := n.first; c != nil; c = c.next {
				add(c)
			}
		}
	})
}

// Subtree iterates likewise over an alive cgroup and all below it, parents
// before their children.
func (t *Tree) Subtree(id uint64) iter.Seq2[uint64, string] {
	return t.each(func(add func(*node)) {
		if n := t.nodes[id]; n != nil && n.alive() {
			eachBelow(n, add)
		}
	})
}

// each iterates over what collect adds; only the collecting holds the lock.
func (t *Tree) each(collect func(add func(*node))) iter.Seq2[uint64, string] {
	type item struct {
		id   uint64
		path string
	}
	return func(yield func(uint64, string) bool) {
		var items []item
		t.mu.RLock()
		collect(func(n *node) { items = append(items, item{n.id, n.path}) })
		t.mu.RUnlock()
		for _, i := range items {
			if !yield(i.id, i.path) {
				return
			}
		}
	}
}
