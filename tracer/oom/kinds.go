package oom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// kinds is the memory of a domain by kinds that do not overlap, in bytes.
type kinds struct {
	usage  uint64
	limit  uint64 // 0: none known
	anon   uint64
	shmem  uint64 // tmpfs, shared memory
	cache  uint64 // of files
	kernel uint64 // sockets included
	// pinned is the part of cache that reclaim could not take at once.
	pinned                   uint64
	dirty, writeback, locked uint64
	// split says that anon and shmem were read as such, and not told apart by
	// what the processes held.
	split bool
	// whole says that shmem was told from anonymous memory at all.
	whole bool
	// unheld is the part of anon that no weighed process held, where no reading
	// from before tells whether it is shmem.
	unheld uint64
}

// slack is the memory that approximate counters may be wrong by.
const slack = 2 << 20

// kindsOf splits a domain's memory; false where the figures do not allow it.
func kindsOf(c *Case) (*kinds, bool) {
	m := c.Kill.Domain.Memory
	if m == nil {
		return nil, false
	}
	k := &kinds{usage: get(m.Usage), limit: get(m.Limit)}
	switch {
	case m.Anon != nil && m.File != nil:
		k.split, k.whole = true, m.Shmem != nil
		k.anon, k.shmem = *m.Anon, get(m.Shmem)
		k.cache = *m.File - min(k.shmem, *m.File)
		k.dirty, k.writeback = get(m.FileDirty), get(m.FileWriteback)
		if m.ActiveFile != nil && m.InactiveFile != nil && m.Unevictable != nil && k.whole {
			// File pages that are on no list of file memory are on that of what
			// cannot be evicted.
			lists := *m.ActiveFile + *m.InactiveFile
			k.locked = min(k.cache-min(lists, k.cache), *m.Unevictable)
		}
	case m.LRUAnon != nil && m.LRUFile != nil:
		k.anon, k.cache = *m.LRUAnon, *m.LRUFile
		if held, ok := c.resident(func(t *event.TaskMemory) *uint64 { return t.AnonRSS }); ok {
			// What is on the lists of anonymous memory and is no process's is
			// tmpfs, or of a process that was exiting already and therefore not
			// weighed: the last reading must have seen it too. Pages that processes
			// share are counted for each.
			shmem := k.anon - min(held, k.anon)
			if m.Unevictable != nil {
				// What cannot be evicted is locked memory of processes, or file
				// pages: of a ramfs, or locked.
				private := min(held-min(k.anon, held), *m.Unevictable)
				k.locked = *m.Unevictable - private
				k.anon += private
				k.cache += k.locked
			}
			if shmem < slack {
				shmem = 0
			}
			if shmem == 0 || len(c.Window) > 0 && c.Window[len(c.Window)-1].Shmem >= shmem/2 {
				k.whole, k.shmem = true, shmem
				k.anon -= shmem
			} else if len(c.Window) == 0 {
				k.unheld = shmem
			}
		}
	default:
		return nil, false
	}
	k.pinned = min(k.dirty+k.writeback+k.locked, k.cache)
	k.kernel, _ = kernelOf(m)
	k.kernel += get(m.Sock)
	if k.usage == 0 {
		k.usage = k.anon + k.shmem + k.cache + k.kernel
	}
	return k, k.usage > 0
}

// kernelOf is the kernel's memory, or what is known of it; false when nothing is.
func kernelOf(m *event.Figures) (uint64, bool) {
	if m.Kernel != nil {
		return *m.Kernel, true
	}
	var sum uint64
	known := false
	for _, part := range []*uint64{m.SlabReclaimable, m.SlabUnreclaimable, m.PageTables, m.KernelStack, m.Percpu} {
		if part != nil {
			sum += *part
			known = true
		}
	}
	return sum, known
}

// resident adds up what the candidates held of a kind; false where some are
// missing or do not say.
func (c *Case) resident(kind func(*event.TaskMemory) *uint64) (uint64, bool) {
	e := c.Kill
	if len(e.Candidates) == 0 || e.CandidatesMissing > 0 || e.CandidatesTruncated {
		return 0, false
	}
	var sum uint64
	for i := range e.Candidates {
		v := kind(&e.Candidates[i].TaskMemory)
		if v == nil {
			if e.Candidates[i].Unkillable != "" {
				continue
			}
			return 0, false
		}
		sum += *v
	}
	return sum, true
}

// A kind of memory and what it is called.
type part struct {
	name  string
	bytes uint64
}

func (k *kinds) parts() []part {
	anon := "anonymous memory"
	if !k.whole {
		anon = "anonymous memory and tmpfs"
	}
	p := []part{{anon, k.anon}, {"tmpfs and shared memory", k.shmem}, {"page cache", k.cache}, {"kernel memory", k.kernel}}
	slices.SortStableFunc(p, func(a, b part) int { return cmp.Compare(b.bytes, a.bytes) })
	return p
}

// list names all kinds that count.
func (k *kinds) list() string {
	var s []string
	for _, p := range k.parts() {
		if p.bytes >= k.usage/50 && p.bytes > 0 {
			s = append(s, p.name+" "+size(p.bytes))
		}
	}
	if len(s) == 0 {
		return "nothing is known of " + size(k.usage)
	}
	return strings.Join(s, ", ") + ", of " + size(k.usage) + " in use"
}

// most tells whether a kind is the largest and at least a third of the usage, and
// how sure that makes.
func (k *kinds) most(bytes uint64) (confidence string, ok bool) {
	if bytes < k.usage/3 || bytes < k.anon || bytes < k.shmem || bytes < k.cache || bytes < k.kernel {
		return "", false
	}
	switch {
	case bytes >= k.usage/100*60:
		return event.ConfidenceHigh, true
	case bytes >= k.usage/100*45:
		return event.ConfidenceMedium, true
	}
	return event.ConfidenceLow, true
}
