package cgroup

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func newTree(o Options) *Tree { return NewTree(Mount{Root: "/nowhere", Version: 1}, o) }

func wantPath(t *testing.T, tree *Tree, id uint64, path string, alive bool) {
	t.Helper()
	c, ok := tree.Lookup(id)
	if want := (event.Cgroup{ID: id, Path: path, Version: tree.mount.Version}); !ok || c != want {
		t.Errorf("Lookup(%d): %+v, %t; want %+v", id, c, ok, want)
	}
	if got := tree.Alive(id); got != alive {
		t.Errorf("Alive(%d): %t", id, got)
	}
	if got, ok := tree.ByPath(path); alive && got != id || ok && !alive && got == id {
		t.Errorf("ByPath(%s): %d, %t", path, got, ok)
	}
	check(t, tree)
}

// check holds the tree against what must always be true of it.
func check(t *testing.T, tree *Tree) {
	t.Helper()
	linked := make(map[*node]bool)
	for path, n := range tree.paths {
		if n.path != path || !n.alive() || tree.nodes[n.id] != n {
			t.Fatalf("%s is at %s, alive %t", n.path, path, n.alive())
		}
		for c := n.first; c != nil; c = c.next {
			if c.parent != n || parentPath(c.path) != n.path || linked[c] {
				t.Fatalf("%s is no child of %s", c.path, n.path)
			}
			if c.next != nil && c.next.prev != c {
				t.Fatalf("siblings of %s are not linked", c.path)
			}
			linked[c] = true
		}
	}
	for path, n := range tree.paths {
		_, orphan := tree.orphans[n]
		if path != "/" && linked[n] == orphan {
			t.Fatalf("%s: child %t, orphan %t", path, linked[n], orphan)
		}
	}
	for n := range linked {
		if tree.paths[n.path] != n {
			t.Fatalf("%s is a child but not alive", n.path)
		}
	}
	if len(tree.nodes) != len(tree.paths)+tree.graves.Len() || tree.graves.Len() > tree.max {
		t.Fatalf("%d nodes, %d alive, %d dead", len(tree.nodes), len(tree.paths), tree.graves.Len())
	}
}

func TestTree(t *testing.T) {
	now := time.Unix(1000, 0)
	tree := newTree(Options{Now: func() time.Time { return now }})
	tree.Add(1, "/")
	tree.Add(2, "/a")
	tree.Add(3, "/a/b")
	tree.Add(4, "c/") // as a person may write it
	wantPath(t, tree, 1, "/", true)
	wantPath(t, tree, 3, "/a/b", true)
	wantPath(t, tree, 4, "/c", true)

	born := now
	now = now.Add(time.Minute)
	tree.Remove(3)
	tree.Remove(99)
	wantPath(t, tree, 3, "/a/b", false)
	e, _ := tree.Entry(3)
	if e.Parent != 2 || e.Alive || !e.Born.Equal(born) || !e.Died.Equal(now) {
		t.Errorf("tombstone %+v", e)
	}
	if p, ok := tree.Parent(3); p != 2 || !ok {
		t.Errorf("parent of a tombstone: %d, %t", p, ok)
	}
	for _, d := range []struct {
		id, ancestor uint64
		want         bool
	}{{3, 2, true}, {3, 1, true}, {3, 3, true}, {2, 3, false}, {3, 4, false}, {99, 1, false}, {99, 99, false}} {
		if got := tree.Descends(d.id, d.ancestor); got != d.want {
			t.Errorf("Descends(%d, %d): %t", d.id, d.ancestor, got)
		}
	}
	if _, ok := tree.Parent(1); ok {
		t.Error("the root has a parent")
	}
	if _, ok := tree.Lookup(99); ok {
		t.Error("an unknown id was found")
	}
	if alive, dead := tree.Len(); alive != 3 || dead != 1 {
		t.Errorf("Len: %d, %d", alive, dead)
	}
}

func TestTreeIgnoresNothings(t *testing.T) {
	tree := newTree(Options{})
	tree.Add(0, "/a")
	tree.Add(1, "")
	tree.Rename(0, "/a")
	tree.Rename(1, "")
	if alive, dead := tree.Len(); alive+dead != 0 {
		t.Errorf("%d, %d", alive, dead)
	}
}

func TestRename(t *testing.T) {
	tree := newTree(Options{})
	for i, p := range []string{"/", "/a", "/a/b", "/a/b/c", "/ab"} {
		tree.Add(uint64(i+1), p)
	}
	tree.Remove(4)
	tree.Add(6, "/a/b/d")
	tree.Rename(2, "/x")
	wantPath(t, tree, 2, "/x", true)
	wantPath(t, tree, 3, "/x/b", true)
	wantPath(t, tree, 6, "/x/b/d", true)
	wantPath(t, tree, 4, "/a/b/c", false) // as it was when it died
	wantPath(t, tree, 5, "/ab", true)
	tree.Rename(7, "/new")
	wantPath(t, tree, 7, "/new", true)
}

func TestMissedEvents(t *testing.T) {
	t.Run("removal", func(t *testing.T) {
		tree := newTree(Options{})
		tree.Add(1, "/")
		tree.Add(2, "/a")
		tree.Add(3, "/a/b")
		tree.Add(4, "/a") // so 2 is gone, and 3 with it
		wantPath(t, tree, 2, "/a", false)
		wantPath(t, tree, 3, "/a/b", false)
		wantPath(t, tree, 4, "/a", true)
	})
	t.Run("removal of a child", func(t *testing.T) {
		tree := newTree(Options{})
		tree.Add(2, "/a")
		tree.Add(3, "/a/b")
		tree.Remove(2)
		wantPath(t, tree, 3, "/a/b", false)
	})
	t.Run("rename", func(t *testing.T) {
		tree := newTree(Options{})
		tree.Add(2, "/a")
		tree.Add(3, "/a/b")
		tree.Add(2, "/c")
		wantPath(t, tree, 3, "/c/b", true)
	})
	t.Run("creation of a parent", func(t *testing.T) {
		tree := newTree(Options{})
		tree.Add(3, "/a/b")
		tree.Add(2, "/a")
		tree.Add(1, "/")
		wantPath(t, tree, 3, "/a/b", true)
		if !tree.Descends(3, 1) {
			t.Error("the orphan was not adopted")
		}
	})
	t.Run("alive after all", func(t *testing.T) {
		tree := newTree(Options{})
		tree.Add(2, "/a")
		tree.Remove(2)
		tree.Add(2, "/a")
		wantPath(t, tree, 2, "/a", true)
	})
}

func TestTombstonesAreBounded(t *testing.T) {
	tree := newTree(Options{MaxTombstones: 3})
	tree.Add(1, "/")
	for id := uint64(2); id < 12; id++ {
		tree.Add(id, fmt.Sprintf("/%d", id))
		tree.Remove(id)
	}
	for id := uint64(2); id < 12; id++ {
		if _, ok := tree.Lookup(id); ok != (id >= 9) {
			t.Errorf("%d: %t", id, ok)
		}
	}
	check(t, tree)
	none := newTree(Options{MaxTombstones: -1})
	none.Add(2, "/a")
	none.Remove(2)
	if _, ok := none.Lookup(2); ok {
		t.Error("a tombstone although none were wanted")
	}
	check(t, none)
}

func TestIteration(t *testing.T) {
	tree := newTree(Options{})
	for i, p := range []string{"/", "/a", "/a/b", "/a/c", "/a/c/d", "/e"} {
		tree.Add(uint64(i+1), p)
	}
	tree.Remove(3)
	if got := slices.Sorted(maps.Values(maps.Collect(tree.All()))); !slices.Equal(got, []string{"/", "/a", "/a/c", "/a/c/d", "/e"}) {
		t.Errorf("All: %v", got)
	}
	if got := slices.Sorted(maps.Keys(maps.Collect(tree.Children(1)))); !slices.Equal(got, []uint64{2, 6}) {
		t.Errorf("Children: %v", got)
	}
	if got := slices.Sorted(maps.Keys(maps.Collect(tree.Subtree(2)))); !slices.Equal(got, []uint64{2, 4, 5}) {
		t.Errorf("Subtree: %v", got)
	}
	for range tree.Children(99) {
		t.Error("an unknown cgroup has children")
	}
	for id := range tree.All() { // must not deadlock
		tree.Remove(id)
		break
	}
}

// Any order of events, also an impossible one, leaves a sound tree.
func TestTreeStaysSound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dirs := []string{"", "/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/b"}
	path := func() string { return dirs[random.IntN(len(dirs))] + "/" + string(rune('a'+random.IntN(3))) }
	for range 200 {
		tree := newTree(Options{MaxTombstones: random.IntN(5) + 1})
		for range 100 {
			id := uint64(random.IntN(12) + 1)
			switch random.IntN(4) {
			case 0, 1:
				tree.Add(id, path())
			case 2:
				tree.Remove(id)
			case 3:
				tree.Rename(id, path())
			}
			check(t, tree)
		}
	}
}

func TestTreeFromManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		mkdir(t, filepath.Join(dir, fmt.Sprint(i), "x"))
	}
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{MaxTombstones: 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				id := uint64(1)<<40 + uint64(i)
				switch g {
				case 0:
					tree.Add(id, fmt.Sprintf("/%d/y", i%20))
				case 1:
					tree.Remove(id)
				case 2:
					_ = tree.Scan()
				case 3:
					tree.Resolve(id)
					for id := range tree.All() {
						tree.Descends(id, 1)
					}
				}
			}
		})
	}
	wg.Wait()
	check(t, tree)
}
