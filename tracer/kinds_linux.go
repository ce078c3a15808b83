package tracer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/procfs"
)

const (
	// A process's mappings are read again when it has grown by an eighth, or after
	// a while; reading takes about 1 ms for each 100 MiB, off the tracer's own path.
	kindsAgain = 30 * time.Second
	// kindsCompared is how often the processes of a cgroup are compared at most.
	kindsCompared = time.Second
	// kindsLargest is the largest process whose mappings are read: the kernel
	// walks all page tables of it.
	kindsLargest = 4 << 30
	// kindsProcesses bounds how many processes of a cgroup are compared.
	kindsProcesses = 512
	// kindsBelieved is how old a reading may be at a kill.
	kindsBelieved = time.Minute
)

// kinds are readings of what the memory of likely victims is for: taken while
// their cgroup fills up, for a victim's is gone too fast. They are not taken when
// it is full: whoever reads the mappings of a process keeps its memory from being
// torn down, and the kernel, still short of it, kills another.
type kinds struct {
	mu     sync.Mutex
	busy   bool
	looked map[uint64]uint64 // by cgroup: when its processes were compared last
	read   map[int]kindsOf
}

type kindsOf struct {
	start, at int64 // CLOCK_BOOTTIME of the process's start; CLOCK_MONOTONIC of the reading
	rss       uint64
	kinds     procfs.Kinds
	before    *kindsOf // the reading before, should this one be too late
}

// lookAtLargest reads the mappings of the largest process of a cgroup, in the
// background.
func (t *Tracer) lookAtLargest(domain uint64) {
	top, ok := t.names.tree.Lookup(domain)
	now := t.clock.now()
	t.kinds.mu.Lock()
	defer t.kinds.mu.Unlock()
	if last, known := t.kinds.looked[domain]; !ok || t.kinds.busy || known && now < last+uint64(kindsCompared) {
		return
	}
	if t.kinds.looked == nil || len(t.kinds.looked) >= 4096 {
		t.kinds.looked = make(map[uint64]uint64)
	}
	t.kinds.busy, t.kinds.looked[domain] = true, now
	dirs := []string{t.mount.Dir(top.Path)}
	for _, path := range t.names.tree.Subtree(domain) {
		if dirs = append(dirs, t.mount.Dir(path)); len(dirs) >= kindsProcesses {
			break
		}
	}
	go func() {
		t.kinds.readLargest(procfs.Root(t.procRoot), dirs, t.page)
		t.kinds.mu.Lock()
		t.kinds.busy = false
		t.kinds.mu.Unlock()
	}()
}

func (k *kinds) readLargest(root procfs.Root, dirs []string, page uint64) {
	var largest int
	var rss uint64
	seen := 0
	for _, dir := range dirs {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for line := range strings.FieldsSeq(string(procs)) {
			pid, err := strconv.Atoi(line)
			if seen++; err != nil || pid <= 0 || seen > kindsProcesses {
				continue
			}
			if n := resident(root, pid) * page; n > rss {
				largest, rss = pid, n
			}
		}
	}
	st, err := root.Stat(largest)
	if largest == 0 || err != nil || rss > kindsLargest {
		return
	}
	k.mu.Lock()
	last, known := k.read[largest]
	k.mu.Unlock()
	var c clock
	now := int64(c.now())
	if known && last.start == st.StartNS && rss < last.rss+last.rss/8 && now < last.at+int64(kindsAgain) {
		return
	}
	got, err := root.Kinds(largest, nil)
	if err != nil || got.PSS() < rss/8 { // it is being torn down
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.read == nil || len(k.read) >= 1024 {
		k.read = make(map[int]kindsOf)
	}
	next := kindsOf{start: st.StartNS, at: int64(c.now()), rss: rss, kinds: got}
	if known && last.start == st.StartNS {
		last.before = nil
		next.before = &last
	}
	k.read[largest] = next
}

// resident gives the resident pages of a process, 0 when it is gone.
func resident(root procfs.Root, pid int) uint64 {
	text, err := os.ReadFile(root.Dir(pid) + "/statm")
	if err != nil {
		return 0
	}
	field := strings.Fields(string(text))
	if len(field) < 2 {
		return 0
	}
	n, _ := strconv.ParseUint(field[1], 10, 40)
	return n
}

// kindsOf tells what a victim's memory was for, when that was read before.
func (t *Tracer) kindsOf(v *event.Candidate, at uint64) *event.Kinds {
	t.kinds.mu.Lock()
	defer t.kinds.mu.Unlock()
	r, ok := t.kinds.read[int(v.PID)]
	if ok && r.at > int64(at) && v.AnonRSS != nil && r.kinds.PSS() < *v.AnonRSS/8*7 {
		// By then it was being torn down.
		if ok = r.before != nil; ok {
			r = *r.before
		}
	}
	if !ok || !sameStart(r.start, v.StartTimeNS) || int64(at)-r.at > int64(kindsBelieved) {
		return nil
	}
	off, k := r.at-int64(at), r.kinds
	return &event.Kinds{
		Heap: k.Heap, Stack: k.Stack, Libraries: k.Libraries, MappedFiles: k.Files, Anonymous: k.Anonymous, Shared: k.Shmem,
		Other: k.Other, Swap: k.Swap, ReadNS: off, Source: event.SourceProcfs,
	}
}

// sameStart compares start times of processes, which /proc has in hundredths of a
// second.
func sameStart(a, b int64) bool {
	const tick = int64(10 * time.Millisecond)
	return a/tick == b/tick
}
