package tracer

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

const (
	// sweepEvery is the pace of the background poll, and how dense readings get.
	sweepEvery = 200 * time.Millisecond
	// idleShare and pressedShare are how much CPU time may be spent in each such
	// interval on reading: on all cgroups in turn, and on those that fill up.
	idleShare    = 200 * time.Microsecond
	pressedShare = 2400 * time.Microsecond
	// restEvery is how often a cgroup is looked at in which nothing moves.
	restEvery = time.Second
	// limitEvery is how often a limit is read again.
	limitEvery = 10 * time.Second
	// hotFor is how long a cgroup counts as filling up.
	hotFor = 3 * time.Second
	// maxPoints bounds what is kept of one cgroup: dense of late, sparse of long ago.
	maxPoints = 48
	// maxCourses bounds the cgroups.
	maxCourses = 20000
	// keepGone is how long the course of a removed cgroup is kept, for a kill in
	// it may be read late.
	keepGone = time.Minute
)

// window keeps how the memory of the cgroups that have a limit went of late: a
// cgroup without one is never what runs out. Its goroutine reads usage in turn,
// within a share of one core, and the composition where usage moves or is near
// the limit; what fills up, or is under pressure, comes first.
type window struct {
	mount cgroup.Mount
	tree  *cgroup.Tree
	now   func() uint64 // CLOCK_MONOTONIC
	cpu   func() uint64 // what the thread that polls has used of its CPU
	// calm is called when a cgroup fills up but will not be full for a while. May
	// be nil.
	calm func(id uint64)

	mu      sync.Mutex
	courses map[uint64]*course
	order   []uint64 // of the poll
	next    int
	hot     map[uint64]uint64 // until when

	// What sweeps took beyond their shares, to be made up for by the next: with
	// many cgroups one memory.stat may take milliseconds.
	idleOwed, pressedOwed time.Duration
}

// course is what is kept of one cgroup. Times are CLOCK_MONOTONIC, and in points
// the At too.
type course struct {
	path    string
	born    uint64
	limit   uint64 // bytes; 0: none
	limitAt uint64
	usage   uint64 // at the last look
	looked  uint64
	gone    uint64
	points  []oom.Point
}

func newWindow(tree *cgroup.Tree, now func() uint64) *window {
	return &window{mount: tree.Mount(), tree: tree, now: now, cpu: threadTime, courses: make(map[uint64]*course), hot: make(map[uint64]uint64)}
}

// add begins to look at a cgroup.
func (w *window) add(id uint64, path string) {
	if w == nil || path == "/" || path == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.courses[id]; c != nil {
		c.path, c.gone = path, 0
		return
	}
	if len(w.courses) >= maxCourses {
		return
	}
	w.courses[id] = &course{path: path, born: w.now()}
	w.order = append(w.order, id)
}

// remove keeps what was read of a cgroup that is gone for a while.
func (w *window) remove(id uint64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.courses[id]; c != nil {
		c.gone = w.now()
	}
}

// press makes a cgroup one of those that are read first: it is being reclaimed.
func (w *window) press(id uint64) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.courses[id] != nil {
		w.hot[id] = w.now() + uint64(hotFor)
	}
}

// note takes a composition that was read for another reason.
func (w *window) note(id, at uint64, f *event.Figures) {
	if w == nil || f.Usage == nil || f.Anon == nil || f.ActiveFile == nil || f.InactiveFile == nil {
		return
	}
	p := oom.Point{At: time.Duration(at), Usage: *f.Usage, Anon: *f.Anon, Cache: *f.ActiveFile + *f.InactiveFile}
	if f.Shmem != nil {
		p.Shmem = *f.Shmem
	}
	if f.SwapUsage != nil {
		p.Swap = *f.SwapUsage
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.courses[id]; c != nil {
		c.keep(p)
	}
}

// before gives the readings of a cgroup that were over at a moment.
func (w *window) before(id, at uint64) []oom.Point {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.courses[id]
	if c == nil {
		return nil
	}
	var out []oom.Point
	add := func(p oom.Point) {
		if p.At -= time.Duration(at); p.At < 0 {
			out = append(out, p)
		}
	}
	for _, p := range c.points {
		add(p)
	}
	if n := len(c.points); n > 0 && c.looked > uint64(c.points[n-1].At) && c.usage == c.points[n-1].Usage {
		last := c.points[n-1]
		last.At = time.Duration(c.looked)
		add(last)
	}
	return out
}

// run polls until it is told to stop.
func (w *window) run(stop <-chan struct{}) {
	runtime.LockOSThread() // its CPU time is what the shares are of
	defer runtime.UnlockOSThread()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			w.sweep()
		}
	}
}

// sweep looks at what fills up, then at the others in turn, for as long as each
// may take.
func (w *window) sweep() {
	began := w.now()
	hot := w.filling(began)
	spend(w.cpu, &w.pressedOwed, pressedShare, func() bool {
		if len(hot) == 0 {
			return false
		}
		w.look(hot[0])
		hot = hot[1:]
		return true
	})
	left := w.turn(began)
	spend(w.cpu, &w.idleOwed, idleShare, func() bool {
		id := w.nextOf()
		if left--; id == 0 || left < 0 {
			return false
		}
		w.look(id)
		return true
	})
}

// spend calls a function while it has something to do and the share of this sweep
// lasts, less what earlier ones have taken too much.
func spend(clock func() uint64, owed *time.Duration, share time.Duration, more func() bool) {
	if *owed >= share {
		*owed -= share
		return
	}
	began := clock()
	took := time.Duration(0)
	for took < share-*owed && more() {
		took = time.Duration(clock() - began)
	}
	*owed = max(took+*owed-share, 0)
}

func threadTime() uint64 { return uint64(read(unix.CLOCK_THREAD_CPUTIME_ID)) }

// filling gives the cgroups that are read first. They take turns at being first
// themselves: maps give them in no order.
func (w *window) filling(now uint64) []uint64 {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []uint64
	for id, until := range w.hot {
		if until < now {
			delete(w.hot, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

// turn forgets what is long gone, and gives how many cgroups there are.
func (w *window) turn(now uint64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next >= len(w.order) {
		w.next = 0
		w.order = slices.DeleteFunc(w.order, func(id uint64) bool {
			c := w.courses[id]
			if c != nil && (c.gone == 0 || now < c.gone+uint64(keepGone)) {
				return false
			}
			delete(w.courses, id)
			return true
		})
	}
	return len(w.order)
}

func (w *window) nextOf() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next >= len(w.order) {
		return 0 // the rest of the turn is over: the next sweep begins anew
	}
	id := w.order[w.next]
	w.next++
	return id
}

// look reads one cgroup, as far as there is something to be seen.
func (w *window) look(id uint64) {
	w.mu.Lock()
	c := w.courses[id]
	if c == nil || c.gone != 0 {
		w.mu.Unlock()
		return
	}
	now := w.now()
	hot := w.hot[id] != 0
	path, limit, looked, usage := c.path, c.limit, c.looked, c.usage
	// A limit is mostly set right after a cgroup is made, and then it fills.
	young := now < c.born+uint64(limitEvery)
	stale := c.limitAt == 0 || now > c.limitAt+uint64(limitEvery) || limit == 0 && young
	w.mu.Unlock()
	if !hot && !young && looked != 0 && now < looked+uint64(restEvery) && !stale {
		return
	}
	if stale {
		v, err := w.mount.Limit(path)
		if errors.Is(err, fs.ErrNotExist) {
			w.remove(id)
			return
		}
		if limit = 0; v != nil {
			limit = *v
		}
		w.mu.Lock()
		c.limit, c.limitAt = limit, now
		w.mu.Unlock()
	}
	if limit == 0 {
		return
	}
	held, err := w.mount.Usage(path)
	if err != nil {
		return
	}
	moved := distance(held, usage) > limit/256
	if !moved && held < limit-limit/8 || looked == 0 && held < limit/32 {
		w.mu.Lock()
		c.looked = w.now()
		if looked == 0 {
			c.usage = held
		}
		w.mu.Unlock()
		return
	}
	r, err := w.mount.Watch(path)
	if err != nil {
		return
	}
	p := oom.Point{At: time.Duration(w.now()), Usage: r.Usage, Anon: r.Anon, Shmem: r.Shmem, Cache: r.Cache, Swap: r.Swap}
	if r.Refaulted != nil {
		p.RefaultedPages, p.HasRefaults = *r.Refaulted, true
	}
	if rest := r.Usage - min(r.Anon+r.Shmem+r.Cache, r.Usage); w.mount.Version == 1 && rest > r.Usage/4 {
		p.Threads = w.threads(id) // memory.stat has no stacks
	}
	w.mu.Lock()
	if moved && (looked == 0 || held > usage) {
		w.hot[id] = now + uint64(hotFor)
	}
	calm := w.calm != nil && len(c.points) > 0 && farFromLimit(c.points[len(c.points)-1], p, limit)
	c.keep(p)
	w.mu.Unlock()
	if calm {
		w.calm(id)
	}
}

// farFromLimit tells whether a cgroup has filled up to some extent with what
// reclaim cannot take, and would need a second or more for the rest.
func farFromLimit(before, now oom.Point, limit uint64) bool {
	need := func(p oom.Point) uint64 { return p.Usage - min(p.Cache, p.Usage) }
	was, is := need(before), need(now)
	if is < limit/4 || is > limit-limit/8 {
		return false
	}
	return is <= was || float64(limit-is)*(now.At-before.At).Seconds() >= float64(is-was)
}

// threads counts those of a cgroup and of all below it; 0 where they cannot all
// be counted.
func (w *window) threads(id uint64) uint64 {
	var sum uint64
	cgroups := 0
	for _, path := range w.tree.Subtree(id) {
		n, err := w.mount.Threads(path)
		if cgroups++; err != nil || cgroups > maxChildren {
			return 0
		}
		sum += n
	}
	return sum
}

// keep adds a reading. Of readings that say the same the first and the last are
// kept, and when there are too many the one between neighbours that are close
// for their age goes.
func (c *course) keep(p oom.Point) {
	n := len(c.points)
	if n > 0 && p.At <= c.points[n-1].At {
		return
	}
	if n > 0 {
		same := c.points[n-1]
		if same.At = p.At; same == p {
			c.usage, c.looked = p.Usage, uint64(p.At)
			return
		}
	}
	if n > 0 && c.usage == c.points[n-1].Usage && c.looked > uint64(c.points[n-1].At) && c.looked < uint64(p.At) {
		last := c.points[n-1]
		last.At = time.Duration(c.looked)
		c.points = append(c.points, last)
	}
	c.points = append(c.points, p)
	c.usage, c.looked = p.Usage, uint64(p.At)
	for len(c.points) > maxPoints {
		least, at := 0.0, 0
		for i := 1; i < len(c.points)-1; i++ {
			gap := float64(c.points[i+1].At-c.points[i-1].At) / float64(p.At-c.points[i].At)
			if at == 0 || gap < least {
				least, at = gap, i
			}
		}
		c.points = slices.Delete(c.points, at, at+1)
	}
}

// openWindow begins with the cgroups that are there. Those above a cgroup that
// is traced are looked at too: it may be their limit that is reached.
func (t *Tracer) openWindow() {
	t.window = newWindow(t.names.tree, t.clock.now)
	t.window.calm = t.lookAtLargest
	for id, path := range t.names.tree.All() {
		if t.selected(id) || t.aboveSelected(id) {
			t.window.add(id, path)
		}
	}
}

func (t *Tracer) aboveSelected(id uint64) bool {
	for root := range t.roots {
		if t.names.tree.Descends(root, id) {
			return true
		}
	}
	return false
}
