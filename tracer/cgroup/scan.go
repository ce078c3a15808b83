package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// scanEvery is how often Resolve may look through the whole hierarchy.
const scanEvery = time.Second

// Scan walks the hierarchy and learns every cgroup that is there; those that
// were known and are not there any more become tombstones. What Add, Remove and
// Rename say while it walks is newer and stands. When part of the hierarchy
// cannot be read, the rest is learnt, none is taken for dead and the error says
// what was passed over.
func (t *Tree) Scan() error {
	t.scanning.Lock()
	defer t.scanning.Unlock()
	t.mu.RLock()
	begin := t.tick
	t.mu.RUnlock()

	dirs, err := findAll(t.mount.Root)
	return t.merge(begin, dirs, err)
}

// merge takes in what a walk found that began at a tick, and the error that it
// ended with.
func (t *Tree) merge(begin uint64, dirs []found, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.scan++
	now := t.tick
	t.tick = begin // what the scan saw is no newer than its begin
	defer func() { t.tick = now }()
	newer := func(n *node) bool { return n != nil && n.tick > begin }
	for _, f := range dirs {
		if !newer(t.nodes[f.id]) && !newer(t.paths[f.path]) {
			t.put(f.id, f.path, time.Time{}).scan = t.scan
		}
	}
	if err != nil {
		return fmt.Errorf("cgroups below %s: %w", t.mount.Root, err)
	}
	for _, n := range t.paths {
		if n.scan != t.scan && !newer(n) {
			t.bury(n, t.now())
		}
	}
	return nil
}

// Resolve is Lookup for an id that was perhaps never announced: it asks the
// kernel for the directory with that id (which needs CAP_DAC_READ_SEARCH), or
// else scans, at most once a second. A cgroup that is gone already cannot be
// found.
func (t *Tree) Resolve(id uint64) (event.Cgroup, bool) {
	if c, ok := t.Lookup(id); ok || id == 0 {
		return c, ok
	}
	path, err := t.handle(t.mount.Root, id)
	switch {
	case err == nil:
		t.learn(id, path)
		return t.Lookup(id)
	case errors.Is(err, fs.ErrNotExist):
		return event.Cgroup{}, false
	}
	if t.mayScan() {
		_ = t.Scan() // what could be read was learnt
	}
	return t.Lookup(id)
}

// learn adds a cgroup that was asked for, with those above it that are not known
// either.
func (t *Tree) learn(id uint64, path string) {
	dirs := []found{{id, path}}
	for path != "/" {
		path = parentPath(path)
		if _, ok := t.ByPath(path); ok {
			break
		}
		above, err := ID(t.mount.Dir(path))
		if err != nil {
			break
		}
		dirs = append(dirs, found{above, path})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(dirs) - 1; i >= 0; i-- {
		// Another may have announced or buried it meanwhile, and knows better.
		if t.nodes[dirs[i].id] == nil {
			t.put(dirs[i].id, dirs[i].path, time.Time{})
		}
	}
}

func (t *Tree) mayScan() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if since := now.Sub(t.scanned); !t.scanned.IsZero() && since >= 0 && since < scanEvery {
		return false
	}
	t.scanned = now
	return true
}

// found is a directory of the hierarchy.
type found struct {
	id   uint64
	path string
}

// findAll lists the directories of a hierarchy, parents first. It takes one stat
// for each, and reads only those that have subdirectories: kernfs counts them in
// the number of links.
func findAll(root string) ([]found, error) {
	id, err := ID(root)
	if err != nil {
		return nil, err
	}
	all := []found{{id, "/"}}
	leaf := []bool{false}
	var failed error
	for i := 0; i < len(all); i++ {
		if leaf[i] {
			continue
		}
		path := all[i].path
		names, err := subdirectories(root + path)
		if err != nil && !vanished(err) && failed == nil {
			failed = err
		}
		if path == "/" {
			path = ""
		}
		for _, name := range names {
			below := path + "/" + name
			var st syscall.Stat_t
			err := ignoringEINTR(func() error { return syscall.Lstat(root+below, &st) })
			if err != nil {
				if !vanished(err) && failed == nil {
					failed = &os.PathError{Op: "stat", Path: root + below, Err: err}
				}
				continue
			}
			all = append(all, found{st.Ino, below})
			leaf = append(leaf, st.Nlink == 2)
		}
	}
	return all, failed
}

func subdirectories(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// vanished says whether an error only means that a cgroup was removed while we
// looked.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}
