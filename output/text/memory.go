package text

import (
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// share is one kind of memory in a composition.
type share struct {
	name    term.Text
	short   term.Text
	bytes   uint64
	remarks []term.Text
}

// shares splits a composition into kinds that do not overlap.
func shares(f *event.Figures) []share {
	var s []share
	if f.Anon != nil {
		s = append(s, share{"anon", "anon", *f.Anon, nil})
	} else if f.LRUAnon != nil {
		s = append(s, share{"anon, shmem", "anon", *f.LRUAnon, nil})
	}
	if f.File == nil && f.LRUFile != nil {
		s = append(s, share{"file cache", "file", *f.LRUFile, nil})
	}
	if f.File != nil {
		// The page cache counts shmem, which cannot be dropped as files can.
		cache, name := *f.File, term.Text("file cache")
		if f.Shmem != nil {
			cache -= min(*f.Shmem, cache)
		} else {
			name = "cache"
		}
		s = append(s, share{name, "file", cache, figures{{"dirty", f.FileDirty}, {"writeback", f.FileWriteback}, {"mapped", f.FileMapped}}.list()})
	}
	if f.Shmem != nil {
		s = append(s, share{"shmem, tmpfs", "shmem", *f.Shmem, nil})
	}
	if k, exact := kernel(f); k != nil {
		name := term.Text("kernel")
		if !exact {
			name = "~kernel"
		}
		s = append(s, share{name, "kernel", *k,
			figures{{"slab", sum(f.SlabReclaimable, f.SlabUnreclaimable)}, {"page tables", f.PageTables}, {"stacks", f.KernelStack}}.list()})
	}
	if f.Sock != nil && (f.Usage == nil && *f.Sock > 0 || f.Usage != nil && *f.Sock > *f.Usage/100) {
		s = append(s, share{"sockets", "sock", *f.Sock, nil})
	}
	if f.Usage != nil && (f.Anon != nil && f.File != nil || f.LRUAnon != nil && f.LRUFile != nil) {
		rest := *f.Usage
		for _, known := range s {
			rest -= min(known.bytes, rest)
		}
		// A smaller rest is the counters' own inaccuracy.
		if rest > *f.Usage/100 {
			s = append(s, share{"other", "other", rest, nil})
		}
	}
	return s
}

// kernel is the kernel's part, or at least what is known of it.
func kernel(f *event.Figures) (n *uint64, exact bool) {
	if f.Kernel != nil {
		return f.Kernel, true
	}
	return sum(f.SlabReclaimable, f.SlabUnreclaimable, f.PageTables, f.KernelStack), false
}

func sum(figures ...*uint64) *uint64 {
	var total *uint64
	for _, f := range figures {
		if f != nil {
			if total == nil {
				total = new(uint64)
			}
			*total += *f
		}
	}
	return total
}

// figures are named amounts that may be unknown.
type figures []struct {
	name  term.Text
	bytes *uint64
}

// list writes those that are known and more than nothing.
func (f figures) list() []term.Text {
	var parts []term.Text
	for _, fig := range f {
		if fig.bytes != nil && *fig.bytes > 0 {
			parts = append(parts, fig.name+" "+size(*fig.bytes))
		}
	}
	return parts
}

// composition draws what the memory at the kill consisted of.
func (w *Writer) composition(f *event.Figures) {
	kinds := shares(f)
	// Percentages and bars are of the limit, or of all that is in use.
	whole := f.Limit
	if whole == nil {
		whole = f.Usage
	}
	if whole == nil {
		all := uint64(0)
		for _, k := range kinds {
			all += k.bytes
		}
		whole = &all
	}
	if f.Usage != nil {
		total := share{name: "in use", bytes: *f.Usage}
		if f.Limit != nil {
			total.remarks = append(total.remarks, "of "+size(*f.Limit))
		}
		kinds = append([]share{total}, kinds...)
	}
	swap := f.SwapUsage != nil && (*f.SwapUsage > 0 || f.SwapLimit != nil)
	if swap {
		kinds = append(kinds, share{name: "swap", bytes: *f.SwapUsage})
	}
	for i, k := range kinds {
		of, name := *whole, term.Text("")
		if i == 0 {
			name = "memory"
			switch from := source(f.Source); {
			case f.ReadNS != nil && *f.ReadNS >= 0:
				k.remarks = append(k.remarks, "kinds read "+duration(*f.ReadNS)+" after")
			case f.ReadNS != nil:
				k.remarks = append(k.remarks, "kinds read "+duration(-*f.ReadNS)+" before")
			case from != "":
				k.remarks = append(k.remarks, from)
			}
		}
		if swap && i == len(kinds)-1 {
			of = 0
			if f.SwapLimit != nil {
				of = *f.SwapLimit
				k.remarks = append(k.remarks, "of "+size(of))
			}
		}
		w.bar(name, k, of)
	}
}

const barWide = 20

func (w *Writer) bar(label term.Text, k share, whole uint64) {
	l := w.label(label).put(plain, k.name).to(body + 14)
	if whole > 0 {
		filled := min(float64(k.bytes)/float64(whole), 1) * barWide
		l.put(warn, term.Text(strings.Repeat("#", int(filled+0.5))))
	}
	l.to(body+14+barWide+1).right(plain, size(k.bytes), 8).skip(1).right(plain, term.Text(unit.Percent(k.bytes, whole)), 4)
	l.skip(2)
	for i, r := range k.remarks {
		if i > 0 {
			r = ", " + r
		}
		l.whole(dim, r)
	}
	l.end()
}

// memory is one line: how full a cgroup is, and of what.
func (w *Writer) memory(e *event.MemorySample) {
	f := &e.Memory
	l := w.at(e.Time).put(plain, "memory").to(body+8).put(plain, term.Elide(place(e.Container, &e.Cgroup), placeWide))
	l.to(body + 8 + placeWide + 2)
	whole := f.Usage
	switch {
	case f.Usage != nil && f.Limit != nil:
		l.right(plain, term.Text(unit.Pair(*f.Usage, *f.Limit)), 13).skip(1).right(plain, term.Text(unit.Percent(*f.Usage, *f.Limit)), 4)
	case f.Usage != nil:
		l.right(plain, size(*f.Usage), 13).skip(5)
	}
	l.skip(1)
	for _, k := range shares(f) {
		if whole == nil {
			l.skip(1).whole(plain, k.short+" "+size(k.bytes))
		} else if p := unit.Percent(k.bytes, *whole); p != "" && p != "0%" {
			l.skip(1).whole(plain, k.short+" "+term.Text(p))
		}
	}
	if f.Available != nil {
		l.skip(2).whole(dim, size(*f.Available)+" available")
	}
	l.end()
}
