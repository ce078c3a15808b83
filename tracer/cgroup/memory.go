package cgroup

import (
	"errors"
	"io/fs"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// noLimit and above stand for no limit in version 1's files: the kernel prints
// the greatest number of pages that it can count, in bytes, which depends on the
// page size (9223372036854771712 with pages of 4 KiB).
const noLimit = 1 << 62

// Read gives the composition of one cgroup's memory from its files, everything
// below it included, in bytes. Figures that this kernel does not have are nil:
// usage and limit of version 2's root, peak usage before 5.19, swap without
// swap accounting, kernel stacks and page tables on version 1.
//
// On version 1 the swap limit is what the limit on memory and swap together
// leaves beyond that on memory alone. The limit is the cgroup's own; one
// further up may be lower.
//
// The error is fs.ErrNotExist when there is no such cgroup (any more).
func (m Mount) Read(path string) (event.Figures, error) {
	f := event.Figures{Source: event.SourceCgroupfs}
	r := openDir(m.Dir(path))
	defer r.release()
	read := readV1
	if m.Version == 2 {
		read = readV2
	}
	if err := read(r, &f, new(arena)); err != nil {
		return event.Figures{}, err
	}
	f.Derive()
	return f, nil
}

// Usage reads the one file that says how much is charged to a cgroup and all
// below it, in bytes. The error is fs.ErrNotExist when there is no such cgroup,
// and for version 2's root, which has no such file.
func (m Mount) Usage(path string) (uint64, error) {
	name := "memory.usage_in_bytes"
	if m.Version == 2 {
		name = "memory.current"
	}
	r := openDir(m.Dir(path))
	defer r.release()
	data, err := r.read(name)
	if err != nil {
		return 0, err
	}
	v, ok := parseUint(data)
	if !ok {
		return 0, &fs.PathError{Op: "parse", Path: r.dir + "/" + name, Err: errors.New("not a number of bytes")}
	}
	return v, nil
}

// arena holds the figures of one reading, so that they cost one allocation.
type arena struct {
	values [24]uint64
	n      int
}

func (a *arena) keep(v uint64) *uint64 {
	if a.n == len(a.values) {
		more := v // v itself must not escape
		return &more
	}
	p := &a.values[a.n]
	*p = v
	a.n++
	return p
}

// value reads a file that holds one number; nil when there is no such file or
// no number ("max") in it.
func (r *files) value(name string, a *arena) (*uint64, error) {
	data, err := r.read(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) {
			return nil, nil
		}
		return nil, err
	}
	v, ok := parseUint(data)
	if !ok {
		return nil, nil
	}
	return a.keep(v), nil
}

// stat reads memory.stat. Without the file it is an error only when the cgroup
// itself is not there. It is read last, so that a cgroup that vanishes meanwhile
// is an error rather than one with half its figures.
func (r *files) stat(fn func(name []byte, value uint64)) error {
	data, err := r.read("memory.stat")
	if errors.Is(err, fs.ErrNotExist) {
		return r.present()
	}
	if err != nil {
		return err
	}
	eachField(data, fn)
	return nil
}

// values reads several files that hold one number each.
func (r *files) values(a *arena, into ...target) error {
	for _, t := range into {
		v, err := r.value(t.file, a)
		if err != nil {
			return err
		}
		*t.figure = v
	}
	return nil
}

type target struct {
	file   string
	figure **uint64
}

func readV1(r *files, f *event.Figures, a *arena) error {
	var both, limitBoth *uint64 // memory and swap together
	err := r.values(a,
		target{"memory.usage_in_bytes", &f.Usage},
		target{"memory.memsw.usage_in_bytes", &both},
		target{"memory.limit_in_bytes", &f.Limit},
		target{"memory.memsw.limit_in_bytes", &limitBoth},
		target{"memory.max_usage_in_bytes", &f.MaxUsage},
		target{"memory.kmem.usage_in_bytes", &f.Kernel},
	)
	if err != nil {
		return err
	}
	// The total_ fields are those of the cgroup with all below it, as are the
	// files above. Huge pages are part of rss, shmem is part of cache.
	err = r.stat(func(name []byte, v uint64) {
		switch string(name) {
		case "total_rss":
			f.Anon = a.keep(v)
		case "total_cache":
			f.File = a.keep(v)
		case "total_shmem":
			f.Shmem = a.keep(v)
		case "total_mapped_file":
			f.FileMapped = a.keep(v)
		case "total_dirty":
			f.FileDirty = a.keep(v)
		case "total_writeback":
			f.FileWriteback = a.keep(v)
		case "total_active_file":
			f.ActiveFile = a.keep(v)
		case "total_inactive_file":
			f.InactiveFile = a.keep(v)
		case "total_unevictable":
			f.Unevictable = a.keep(v)
		case "total_swap":
			f.SwapUsage = a.keep(v)
		}
	})
	if err != nil {
		return err
	}
	// Two files are not read at one moment, so the difference is only taken
	// where the kernel does not count swap by itself.
	if f.SwapUsage == nil && both != nil && f.Usage != nil {
		f.SwapUsage = a.keep(less(*both, *f.Usage))
	}
	if f.Limit != nil && *f.Limit >= noLimit {
		f.Limit = nil
	}
	if limitBoth != nil && *limitBoth < noLimit && f.Limit != nil {
		f.SwapLimit = a.keep(less(*limitBoth, *f.Limit))
	}
	return nil
}

func readV2(r *files, f *event.Figures, a *arena) error {
	err := r.values(a,
		target{"memory.current", &f.Usage},
		target{"memory.max", &f.Limit},
		target{"memory.peak", &f.MaxUsage},
		target{"memory.swap.current", &f.SwapUsage},
		target{"memory.swap.max", &f.SwapLimit},
	)
	if err != nil {
		return err
	}
	var slab *uint64
	err = r.stat(func(name []byte, v uint64) {
		switch string(name) {
		case "anon":
			f.Anon = a.keep(v)
		case "file":
			f.File = a.keep(v)
		case "shmem":
			f.Shmem = a.keep(v)
		case "file_mapped":
			f.FileMapped = a.keep(v)
		case "file_dirty":
			f.FileDirty = a.keep(v)
		case "file_writeback":
			f.FileWriteback = a.keep(v)
		case "active_file":
			f.ActiveFile = a.keep(v)
		case "inactive_file":
			f.InactiveFile = a.keep(v)
		case "unevictable":
			f.Unevictable = a.keep(v)
		case "kernel":
			f.Kernel = a.keep(v)
		case "slab":
			slab = a.keep(v)
		case "percpu":
			f.Percpu = a.keep(v)
		case "slab_reclaimable":
			f.SlabReclaimable = a.keep(v)
		case "slab_unreclaimable":
			f.SlabUnreclaimable = a.keep(v)
		case "pagetables":
			f.PageTables = a.keep(v)
		case "kernel_stack":
			f.KernelStack = a.keep(v)
		case "sock":
			f.Sock = a.keep(v)
		}
	})
	if err != nil {
		return err
	}
	// Before 5.18 memory.stat has the parts of kernel memory but not the sum.
	if f.Kernel == nil && slab != nil {
		sum := *slab
		for _, part := range []*uint64{f.PageTables, f.KernelStack, f.Percpu} {
			if part != nil {
				sum += *part
			}
		}
		f.Kernel = a.keep(sum)
	}
	return nil
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
