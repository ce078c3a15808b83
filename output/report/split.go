package report

import "github.com/oomtrace/oomtrace/tracer/event"

// part is one kind of memory of a composition. Kinds do not overlap.
type part struct {
	key   string // of colours: kernel, anon, shmem, file, other
	name  string
	bytes uint64
}

// split takes a composition apart, from what is hardest to take back to what is
// easiest. It is empty when too little is known.
func split(f *event.Figures) []part {
	var out []part
	add := func(key, name string, n *uint64) {
		if n != nil {
			out = append(out, part{key, name, *n})
		}
	}
	add("kernel", "kernel", kernel(f))
	switch {
	case f.Anon != nil:
		add("anon", "anonymous", f.Anon)
		add("shmem", "shmem and tmpfs", f.Shmem)
	case f.LRUAnon != nil:
		add("anon", "anonymous and shmem", f.LRUAnon)
	}
	switch {
	case f.File != nil:
		// The page cache counts shmem, which cannot be dropped as files can.
		cache, what := *f.File, "file cache"
		if f.Shmem != nil && f.Anon != nil {
			cache -= min(*f.Shmem, cache)
		} else {
			what = "page cache"
		}
		add("file", what, &cache)
	case f.LRUFile != nil:
		add("file", "file cache", f.LRUFile)
	}
	if f.Usage != nil && (f.Anon != nil && f.File != nil || f.LRUAnon != nil && f.LRUFile != nil) {
		rest := *f.Usage
		for _, p := range out {
			rest -= min(p.bytes, rest)
		}
		// A smaller rest is the counters' own inaccuracy.
		if rest > *f.Usage/100 {
			add("other", "other", &rest)
		}
	}
	return out
}

// kernel is the kernel's part, or what is known of it.
func kernel(f *event.Figures) *uint64 {
	if f.Kernel != nil {
		return f.Kernel
	}
	var sum uint64
	known := false
	for _, n := range []*uint64{f.SlabReclaimable, f.SlabUnreclaimable, f.PageTables, f.KernelStack} {
		if n != nil {
			sum += *n
			known = true
		}
	}
	if !known {
		return nil
	}
	return &sum
}
