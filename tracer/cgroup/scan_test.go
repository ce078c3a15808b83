package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestScan(t *testing.T) {
	dir := t.TempDir()
	b := mkdir(t, dir+"/a/b")
	a := mkdir(t, dir+"/a")
	root := mkdir(t, dir)
	write(t, dir, map[string]string{"memory.stat": "", "a/memory.stat": ""})
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{})
	scan := func() {
		t.Helper()
		if err := tree.Scan(); err != nil {
			t.Fatal(err)
		}
	}
	scan()
	wantPath(t, tree, root, "/", true)
	wantPath(t, tree, a, "/a", true)
	wantPath(t, tree, b, "/a/b", true)
	if alive, _ := tree.Len(); alive != 3 {
		t.Errorf("%d alive", alive)
	}

	if err := os.Rename(dir+"/a", dir+"/z"); err != nil {
		t.Fatal(err)
	}
	c := mkdir(t, dir+"/a/c") // before b goes, whose inode number could be used again
	if err := os.Remove(dir + "/z/b"); err != nil {
		t.Fatal(err)
	}
	scan()
	wantPath(t, tree, a, "/z", true)
	wantPath(t, tree, b, "/z/b", false)
	wantPath(t, tree, c, "/a/c", true)
	tree.Remove(c) // in error
	scan()
	wantPath(t, tree, c, "/a/c", true)
}

func TestScanFailure(t *testing.T) {
	dir := t.TempDir()
	a := mkdir(t, dir+"/a")
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{})
	if err := tree.Scan(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := tree.Scan(); err == nil {
		t.Error("no error from a root that is not there")
	}
	wantPath(t, tree, a, "/a", true) // not known to be dead
}

// What happens while a scan walks is newer than what the scan saw.
func TestScanIsNotNewerThanEvents(t *testing.T) {
	dir := t.TempDir()
	a, b := mkdir(t, dir+"/a"), mkdir(t, dir+"/b")
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{})
	if err := tree.Scan(); err != nil {
		t.Fatal(err)
	}
	// As if these came between the scan's walk and its end.
	walked, err := findAll(dir)
	begin := tree.tick
	tree.Remove(a)
	tree.Rename(b, "/c")
	tree.Add(1<<60, "/new")
	tree.merge(begin, walked, err)
	wantPath(t, tree, a, "/a", false)
	wantPath(t, tree, b, "/c", true)
	wantPath(t, tree, 1<<60, "/new", true)
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(1000, 0)
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{Now: func() time.Time { return now }})
	a := mkdir(t, dir+"/a")
	if c, ok := tree.Resolve(a); !ok || c.Path != "/a" {
		t.Errorf("%+v, %t", c, ok)
	}
	b := mkdir(t, dir+"/b")
	now = now.Add(scanEvery - 1)
	if _, ok := tree.Resolve(b); ok {
		t.Error("scanned again within a second")
	}
	now = now.Add(1)
	if _, ok := tree.Resolve(b); !ok {
		t.Error("not scanned again after a second")
	}
	if _, ok := tree.Resolve(0); ok {
		t.Error("found 0")
	}
}

// With handles only the cgroup asked for and those above it are learnt.
func TestResolveByHandle(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir+"/other")
	b, a := mkdir(t, dir+"/a/b"), mkdir(t, dir+"/a")
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{})
	tree.handle = func(_ string, id uint64) (string, error) {
		if id == b {
			return "/a/b", nil
		}
		return "", os.ErrNotExist
	}
	if _, ok := tree.Resolve(1 << 60); ok {
		t.Error("found what is not there")
	}
	if c, ok := tree.Resolve(b); !ok || c.Path != "/a/b" {
		t.Errorf("%+v, %t", c, ok)
	}
	if !tree.Descends(b, a) {
		t.Error("the parent was not learnt")
	}
	if alive, _ := tree.Len(); alive != 3 {
		t.Errorf("%d alive: scanned", alive)
	}
	check(t, tree)
}

func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	for i := range 2000 {
		mkdir(b, filepath.Join(dir, fmt.Sprint(i%50), fmt.Sprint(i)))
	}
	tree := NewTree(Mount{Root: dir, Version: 2}, Options{})
	for b.Loop() {
		if err := tree.Scan(); err != nil {
			b.Fatal(err)
		}
	}
}
