package tracer

import (
	"container/heap"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// identities remember what cgroups stand for. Finding that out reads files, so it
// is done beside the reader of the ring buffer: once when a cgroup appears, and
// again for a while as long as the runtime may still be writing.
type identities struct {
	resolver *container.Resolver
	warn     func(string)
	wake     func()        // called when there is news
	renames  time.Duration // about how often it is looked whether a container was renamed

	mu      sync.Mutex
	known   map[uint64]*identity
	due     jobs
	news    []uint64        // cgroups whose identity has changed
	warned  map[string]bool // by runtime
	changed *sync.Cond      // due or closed
	closed  bool
}

type identity struct {
	path      string
	container *event.Container
	complete  bool
	newborn   bool // appeared under our eyes
	entered   bool // and has had a process since
	removed   bool // as was seen
	start     *container.Start
	attempt   int
	tried     time.Time     // when the latest attempt began; zero: none since there was more to know
	due       time.Time     // the next attempt
	trying    chan struct{} // closed when the attempt that is under way has ended
}

// retries are how long after one attempt the next follows. Containers that live
// for a few milliseconds have their names on disk for no longer.
var retries = [...]time.Duration{
	2, 2, 2, 2, 2, 3, 3, 4, 4, 5, 6, 8, 10, 15, 25, 50, 100, 200, 400, 1000, // milliseconds
}

const (
	// maxJobs bounds the queue; further cgroups are looked at when they are
	// asked for.
	maxJobs = 16384
	// await is how long an event waits for a name.
	await = 5 * time.Millisecond
	// again is how soon after an attempt an event causes another.
	again = 2 * time.Millisecond
)

func newIdentities(r *container.Resolver, warn func(string)) *identities {
	s := &identities{
		resolver: r, warn: warn, wake: func() {}, renames: time.Minute,
		known: make(map[uint64]*identity), warned: make(map[string]bool),
	}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// job is an attempt to find out what a cgroup stands for.
type job struct {
	at time.Time
	id uint64
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].at.Before(j[b].at) }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	return last
}

// appeared says that a cgroup was made at a time.
func (s *identities) appeared(id uint64, path string, at time.Time) {
	s.begin(id, path, false, container.Start{Born: at})
}

// entered says that the first process has entered a cgroup, brought by a process
// with this command line.
func (s *identities) entered(id uint64, path string, args []string) {
	var start container.Start
	if said := container.ParseStart(args); said != nil {
		start = *said
	}
	s.begin(id, path, true, start)
}

// begin lets the attempts begin anew unless the names are known.
func (s *identities) begin(id uint64, path string, entered bool, start container.Start) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(id, path)
	if n.start != nil && start.Born.IsZero() {
		start.Born = n.start.Born
	}
	n.newborn, n.entered, n.start, n.tried = true, entered, &start, time.Time{}
	if !n.complete {
		n.attempt = 0
		s.schedule(id, n, 0)
	}
}

// departed says that a cgroup was removed. Runtimes write what they know of a
// container before, so that what an attempt from now on does not find will not
// come any more.
func (s *identities) departed(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.known[id]
	if n == nil {
		return
	}
	n.removed = true
	if !n.complete {
		s.schedule(id, n, 0)
	}
}

// settle finds out at once what a cgroup stands for.
func (s *identities) settle(id uint64, path string) {
	s.mu.Lock()
	s.node(id, path)
	s.mu.Unlock()
	if n, _ := s.try(id, false); n != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !n.complete {
			s.schedule(id, n, await)
		}
	}
}

// renew looks once more at a cgroup of which more can be known by now.
func (s *identities) renew(id uint64) { s.try(id, true) }

// forget makes a cgroup be looked at anew, under another path.
func (s *identities) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

// node gives what is known of a cgroup, at first no more than its path says.
func (s *identities) node(id uint64, path string) *identity {
	n := s.known[id]
	if n == nil {
		n = &identity{path: path, container: container.FromPath(path), attempt: len(retries) - 4}
		s.known[id] = n
	}
	return n
}

// schedule queues the next attempt, in place of one that is queued already.
func (s *identities) schedule(id uint64, n *identity, after time.Duration) {
	n.due = time.Time{}
	if len(s.due) < maxJobs {
		n.due = time.Now().Add(after)
		heap.Push(&s.due, job{n.due, id})
		s.changed.Signal()
	}
}

// of gives what is known now.
func (s *identities) of(id uint64, path string) *event.Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(id, path)
	if n.due.IsZero() && !n.complete { // not looked at yet, or there was no room in the queue
		s.schedule(id, n, 0)
	}
	return n.container
}

// await is of, for the few events that should not go without a name: it looks
// once more where none is known, for a few milliseconds at most.
func (s *identities) await(id uint64, path string) *event.Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(id, path)
	timer := time.NewTimer(await)
	defer timer.Stop()
	for looked := false; !looked; {
		// One that is under way may have begun before there was cause for it.
		done := n.trying
		if looked = done == nil; looked {
			if n.complete || time.Since(n.tried) < again {
				break
			}
			done = make(chan struct{})
			go func() {
				s.try(id, false)
				close(done)
			}()
		}
		s.mu.Unlock()
		select {
		case <-done:
		case <-timer.C:
			looked = true
		}
		s.mu.Lock()
	}
	return n.container
}

// open tells whether more may become known of what a cgroup stands for.
func (s *identities) open(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.known[id]
	return n != nil && !n.complete
}

// try makes one attempt, and gives the identity when it is still wanted. What is
// known already is looked at anew if so asked; where nothing is found any more, it
// stays.
func (s *identities) try(id uint64, anew bool) (*identity, container.Identity) {
	s.mu.Lock()
	n := s.known[id]
	if n == nil || n.complete && !anew {
		s.mu.Unlock()
		return nil, container.Identity{}
	}
	trying := make(chan struct{})
	n.tried, n.trying = time.Now(), trying
	start := n.start
	s.mu.Unlock()

	found := s.resolver.Resolve(n.path, start)

	s.mu.Lock()
	defer s.mu.Unlock()
	close(trying)
	if n.trying == trying {
		n.trying = nil
	}
	if s.known[id] != n || n.complete && !anew {
		return nil, container.Identity{}
	}
	if found.Complete || !n.complete {
		n.complete = found.Complete
		if !reflect.DeepEqual(n.container, found.Container) {
			n.container = found.Container
			s.news = append(s.news, id)
			s.wake()
		}
	}
	switch {
	case !n.complete:
	case n.removed:
		s.wake() // its end is told once its name is settled
	case renameable(n.container):
		s.schedule(id, n, s.renames/2+rand.N(s.renames)) // not of all at once
	}
	return n, found
}

// renameable tells whether a container's name may change.
func renameable(c *event.Container) bool {
	return c != nil && (c.Runtime == container.Docker || c.Runtime == container.Podman)
}

// run makes the attempts that are due until close.
func (s *identities) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.due) == 0 && !s.closed {
			s.changed.Wait()
		}
		if s.closed {
			return
		}
		if wait := time.Until(s.due[0].at); wait > 0 {
			timer := time.AfterFunc(wait, func() {
				s.mu.Lock() // which is held until we wait: a signal before that would be lost
				defer s.mu.Unlock()
				s.changed.Signal()
			})
			s.changed.Wait()
			timer.Stop()
			continue
		}
		j := heap.Pop(&s.due).(job)
		id := j.id
		n := s.known[id]
		if n == nil || !n.due.Equal(j.at) || n.complete && n.removed {
			continue
		}
		anew := n.complete
		s.mu.Unlock()
		n, found := s.try(id, anew)
		s.mu.Lock()
		if n == nil || n.complete || !n.due.Equal(j.at) { // known, or meanwhile there was cause for another attempt
			continue
		}
		if n.attempt < len(retries) && (n.newborn && !n.removed || found.Trouble != nil) {
			n.attempt++
			s.schedule(id, n, retries[n.attempt-1]*time.Millisecond)
			continue
		}
		n.complete = true // as far as it can be
		s.complain(found)
		if n.removed {
			s.wake()
		}
	}
}

// complain tells once for each runtime that names are missing.
func (s *identities) complain(found container.Identity) {
	runtime := container.Unknown
	if found.Container != nil && found.Container.Runtime != "" {
		runtime = found.Container.Runtime
	}
	if found.Trouble == nil || s.warned[runtime] {
		return
	}
	s.warned[runtime] = true
	s.warn("containers without names (" + runtime + "): " + found.Trouble.Error())
}

// takeNews gives the cgroups whose identity has changed since it was asked last,
// and whether that is to be told: of a cgroup that no process has entered yet it
// is told when one does, unless it is a pod's, where none ever will.
func (s *identities) takeNews() map[uint64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.news) == 0 {
		return nil
	}
	news := make(map[uint64]bool, len(s.news))
	for _, id := range s.news {
		if n := s.known[id]; n != nil {
			news[id] = n.newborn && (n.entered || isPod(n.container))
		}
	}
	s.news = s.news[:0]
	return news
}

// sweep forgets the cgroups that are not remembered any more.
func (s *identities) sweep(remembered func(id uint64) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.known {
		if !remembered(id) {
			delete(s.known, id)
		}
	}
}

func (s *identities) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Signal()
}
