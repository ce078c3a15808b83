package cgroup

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// DefaultTombstones is how many removed cgroups a Tree remembers unless told
// otherwise.
const DefaultTombstones = 16384

// DefaultMaxAge is how long a Tree remembers a removed cgroup at most unless told
// otherwise.
const DefaultMaxAge = time.Hour

// Options of a Tree; the zero value is good.
type Options struct {
	// MaxTombstones bounds how many removed cgroups are remembered: the longest
	// gone are forgotten first. 0 means DefaultTombstones, below 0 none.
	MaxTombstones int
	// MaxAge bounds how long they are remembered; looked at when one more is
	// removed. 0 means DefaultMaxAge.
	MaxAge time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Tree knows the cgroups of one hierarchy by id and by path: those that are and,
// as tombstones, those that were, because what happened in a cgroup is often
// read after it is gone. It is told of changes by Add, Remove and Rename, and
// looks for itself in Scan and Resolve. It may be used from several goroutines.
type Tree struct {
	mount  Mount
	now    func() time.Time
	max    int
	age    time.Duration
	handle func(root string, id uint64) (path string, err error)

	scanning sync.Mutex // one scan at a time
	scanned  time.Time  // begin of the last one that Resolve asked for

	mu      sync.RWMutex
	nodes   map[uint64]*node   // alive and tombstones
	paths   map[string]*node   // alive
	orphans map[*node]struct{} // alive, parent not known yet
	graves  list.List          // of *node, longest dead first
	tick    uint64             // counts changes, so that a scan knows what is newer than itself
	scan    uint64             // counts scans
}

type node struct {
	id         uint64
	path       string
	born, died time.Time
	parent     *node         // kept when dead, and when the parent is forgotten
	first      *node         // of the alive children
	prev, next *node         // among the alive siblings
	grave      *list.Element // nil while alive
	tick       uint64        // last change
	scan       uint64        // last scan that saw it
}

func (n *node) alive() bool { return n.grave == nil }

// NewTree makes a tree that knows nothing yet: call Scan.
func NewTree(m Mount, o Options) *Tree {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxTombstones == 0 {
		o.MaxTombstones = DefaultTombstones
	}
	return &Tree{
		mount:   m,
		now:     o.Now,
		max:     max(o.MaxTombstones, 0),
		age:     o.MaxAge,
		handle:  pathByHandle,
		nodes:   make(map[uint64]*node),
		paths:   make(map[string]*node),
		orphans: make(map[*node]struct{}),
	}
}

// Mount is the hierarchy that the tree is of.
func (t *Tree) Mount() Mount { return t.mount }

// Add says that a cgroup was made. Another cgroup that was known at this path
// must have gone unnoticed and becomes a tombstone. An id or path that is empty
// is ignored.
func (t *Tree) Add(id uint64, path string) {
	path = canonical(path)
	if id == 0 || path == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tick++
	t.put(id, path, t.now())
}

// Remove says that a cgroup was removed: it becomes a tombstone, as do those
// below it that are still thought alive.
func (t *Tree) Remove(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tick++
	if n := t.nodes[id]; n != nil && n.alive() {
		t.bury(n, t.now())
	}
}

// Rename says that a cgroup has a new path (version 1 only); those below it
// follow. One not known before is added.
func (t *Tree) Rename(id uint64, newPath string) {
	newPath = canonical(newPath)
	if id == 0 || newPath == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tick++
	t.put(id, newPath, time.Time{})
}

// canonical gives a path its leading slash and takes off a trailing one.
func canonical(path string) string {
	if path == "" || path == "/" {
		return path
	}
	if path[0] != '/' {
		path = "/" + path
	}
	return strings.TrimSuffix(path, "/")
}

// put makes id an alive cgroup at path.
func (t *Tree) put(id uint64, path string, born time.Time) *node {
	n := t.nodes[id]
	switch {
	case n != nil && n.alive() && n.path == path:
		n.tick = t.tick
		return n
	case n != nil && n.alive():
		t.move(n, path)
		return n
	case n != nil: // thought dead too early, or a 32-bit kernel used the id again
		t.graves.Remove(n.grave)
		if born.IsZero() {
			born = n.born
		}
	}
	t.evict(path)
	n = &node{id: id, path: path, born: born, tick: t.tick}
	t.nodes[id] = n
	t.paths[path] = n
	t.link(n)
	t.adopt(n)
	return n
}

// evict buries whoever is thought to live at a path.
func (t *Tree) evict(path string) {
	if other := t.paths[path]; other != nil {
		t.bury(other, t.now())
	}
}

// move gives an alive node another path.
func (t *Tree) move(n *node, path string) {
	t.unlink(n)
	old := len(n.path)
	var below []*node
	eachBelow(n, func(c *node) {
		delete(t.paths, c.path)
		below = append(below, c)
	})
	for _, c := range below { // n first, parents before children
		c.path = path + c.path[old:]
		c.tick = t.tick
		t.evict(c.path)
		t.paths[c.path] = c
	}
	t.link(n)
	for _, c := range below {
		t.adopt(c)
	}
}

// bury makes a tombstone of a node and of all that live below it.
func (t *Tree) bury(n *node, now time.Time) {
	for n.first != nil {
		t.bury(n.first, now)
	}
	t.unlink(n)
	delete(t.paths, n.path)
	n.died = now
	n.tick = t.tick
	n.grave = t.graves.PushBack(n)
	for t.graves.Len() > 0 {
		oldest := t.graves.Front()
		dead := oldest.Value.(*node)
		if t.graves.Len() <= t.max && now.Sub(dead.died) <= t.age {
			break
		}
		t.graves.Remove(oldest)
		delete(t.nodes, dead.id)
	}
}

// link puts a node among its parent's children, or among the orphans.
func (t *Tree) link(n *node) {
	if n.path == "/" {
		n.parent = nil
		return
	}
	p := t.paths[parentPath(n.path)]
	if p == nil {
		n.parent = nil
		t.orphans[n] = struct{}{}
		return
	}
	delete(t.orphans, n)
	n.parent = p
	n.prev, n.next = nil, p.first
	if p.first != nil {
		p.first.prev = n
	}
	p.first = n
}

// unlink takes a node from among its siblings. Its parent stays known.
func (t *Tree) unlink(n *node) {
	if _, orphan := t.orphans[n]; orphan {
		delete(t.orphans, n)
		return
	}
	switch {
	case n.prev != nil:
		n.prev.next = n.next
	case n.parent != nil && n.parent.first == n:
		n.parent.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}

// adopt links the orphans that turn out to be a node's children.
func (t *Tree) adopt(n *node) {
	for o := range t.orphans {
		if parentPath(o.path) == n.path {
			t.link(o)
		}
	}
}

// eachBelow calls fn for a node and the alive ones below it, parents first.
func eachBelow(n *node, fn func(*node)) {
	fn(n)
	for c := n.first; c != nil; c = c.next {
		eachBelow(c, fn)
	}
}

func parentPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func (t *Tree) cgroup(n *node) event.Cgroup {
	return event.Cgroup{ID: n.id, Path: n.path, Version: t.mount.Version}
}
