package kernlog

import (
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// counter is a line "memory: usage 4kB, limit 8kB, failcnt 1", in bytes.
type counter struct {
	known   bool
	usage   uint64
	limit   uint64
	limited bool
}

// usage takes a counter's line.
func (r *report) usage(m string) bool {
	name, rest, ok := strings.Cut(m, ": usage ")
	if !ok {
		return false
	}
	if i := strings.LastIndexByte(name, ' '); i >= 0 && dateLike(name[:i]) {
		name = name[i+1:]
	}
	var c *counter
	switch name {
	case "memory":
		c = &r.memory
	case "memory+swap":
		c = &r.memsw
	case "swap":
		c = &r.swap
	case "kmem":
		c = &r.kmem
	default:
		return false
	}
	r.memcg, r.inStack, r.inStats = true, false, false
	usage, rest, ok1 := strings.Cut(rest, ",")
	limit, rest, ok2 := strings.Cut(strings.TrimLeft(rest, " "), ",")
	u := kib("="+usage, "=")
	l := kib(strings.TrimSpace(limit), "limit ")
	if !ok1 || !ok2 || u == nil || !strings.Contains(rest, "failcnt") {
		// A number beyond 2^53 kB is no limit at all.
		if u == nil || !ok2 {
			return true
		}
	}
	*c = counter{known: true, usage: *u << 10}
	if l != nil && !unlimited(*l) {
		c.limit, c.limited = *l<<10, true
	}
	return true
}

// unlimited tells what the kernel prints for no limit: PAGE_COUNTER_MAX with
// pages of any size on 64 and 32 bits.
func unlimited(kb uint64) bool { return kb >= 1<<53-1<<10 || kb == 8589934588 }

// statsHead is "Memory cgroup stats for /x: ...": up to 5.2 with the figures of
// one cgroup in the line and one line for each cgroup, then with the figures of
// all in the lines below it.
func (r *report) statsHead(m string) {
	r.memcg, r.inStats, r.inStack = true, true, false
	if path, ok := strings.CutPrefix(m, "Memory cgroup stats for "); ok && r.domain == "" {
		// The first is that of the cgroup at its limit.
		if end := strings.LastIndex(path, ": cache:"); end >= 0 {
			path = path[:end+1]
		}
		if path, ok = strings.CutSuffix(path, ":"); ok && strings.HasPrefix(path, "/") {
			r.domain = path
		}
	}
	i := strings.LastIndex(m, " cache:")
	if i < 0 {
		if i = strings.LastIndex(m, ":cache:"); i < 0 {
			// Several lines in one record.
			if head, rest, ok := strings.Cut(m, ": "); ok && strings.HasPrefix(head, "Memory cgroup stats for ") {
				r.stats(rest)
			}
			return
		}
	}
	r.inStats = false
	for s := m[i+1:]; s != ""; {
		name, rest, ok := strings.Cut(s, ":")
		n := leadingDigits(rest)
		v, err := strconv.ParseUint(n, 10, 64)
		after, isKB := strings.CutPrefix(rest[len(n):], "KB")
		if !ok || err != nil || !isKB || v > 1<<53 {
			return
		}
		r.stat("total_"+strings.TrimSpace(name), v<<10)
		s = after
	}
}

// maxStats bounds the kinds of figures kept.
const maxStats = 256

func (r *report) stat(name string, v uint64) {
	if r.figures == nil {
		r.figures = make(map[string]uint64)
	}
	if len(r.figures) < maxStats && len(name) < 64 {
		r.figures[name] += v
	}
}

// recordMax is where the kernel may have cut a record that was too long.
const recordMax = 900

// stats takes lines "name 123"; several where a record held them all.
func (r *report) stats(m string) bool {
	f := strings.Fields(m)
	if len(f) == 3 || len(f) > 3 && clockIn(m) { // behind a prefix of unknown shape
		f = f[len(f)-2:]
	}
	if len(f) < 2 {
		return false
	}
	if len(m) > recordMax && len(f) > 2 {
		f = f[:len(f)-2+len(f)%2]
	}
	for i := 0; i+1 < len(f); i += 2 {
		v, err := strconv.ParseUint(f[i+1], 10, 63)
		if err != nil || strings.Trim(f[i], "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return i > 0
		}
		r.stat(f[i], v)
	}
	return true
}

// node takes the few figures of Mem-Info from which the kernel makes the total
// that a global OOM weighs by.
func (r *report) node(m string) bool {
	before, what, ok := strings.Cut(m, " pages ")
	switch {
	case ok && digits(before) && what == "RAM":
		r.ram, r.hasRAM = atou(before)
	case ok && digits(before) && what == "reserved":
		r.reserved, r.hasReserved = atou(before)
	case strings.HasPrefix(m, "Total swap = "):
		if v := kib(m, "Total swap = "); v != nil {
			r.totalSwap, r.hasSwap = *v, true
		}
	default:
		return false
	}
	return true
}

func atou(s string) (uint64, bool) {
	v, err := strconv.ParseUint(s, 10, 48)
	return v, err == nil
}

// composition is what the domain's memory consisted of.
func (r *report) composition() *event.Figures {
	f := &event.Figures{Source: event.SourceKmsg}
	if c := r.memory; c.known {
		f.Usage = &c.usage
		if c.limited {
			f.Limit = &c.limit
		}
	}
	switch {
	case r.swap.known:
		swap := r.swap
		f.SwapUsage = &swap.usage
		if swap.limited {
			f.SwapLimit = &swap.limit
		}
	case r.memsw.known && r.memory.known:
		// v1 limits the sum.
		if r.memsw.usage >= r.memory.usage {
			n := r.memsw.usage - r.memory.usage
			f.SwapUsage = &n
		}
		if r.memsw.limited && r.memory.limited && r.memsw.limit >= r.memory.limit {
			n := r.memsw.limit - r.memory.limit
			f.SwapLimit = &n
		}
	}
	if r.kmem.known && r.kmem.usage > 0 {
		f.Kernel = &r.kmem.usage
	}
	r.kinds(f)
	if f.Usage == nil && len(r.figures) == 0 {
		return nil
	}
	if r.columns != nil || r.summed {
		f.Derive() // the list is whole
		if _, v1 := r.figures["total_cache"]; !v1 && f.SlabReclaimable == nil {
			f.Available = nil
		}
	}
	return f
}

// kinds fills in the figures by kind, in the names of whichever version printed
// them. Those of v1 that begin with total_ have all below the cgroup in them.
func (r *report) kinds(f *event.Figures) {
	get := func(to **uint64, name string) {
		if v, ok := r.figures[name]; ok {
			*to = &v
		}
	}
	prefix := ""
	if _, v1 := r.figures["total_cache"]; v1 {
		prefix = "total_"
	}
	_, plain := r.figures["cache"]
	if prefix == "" && plain {
		return // of v1, cut before the totals
	}
	if prefix != "" {
		get(&f.Anon, "total_rss")
		get(&f.File, "total_cache")
		get(&f.FileMapped, "total_mapped_file")
		get(&f.FileDirty, "total_dirty")
		get(&f.FileWriteback, "total_writeback")
	} else {
		get(&f.Anon, "anon")
		get(&f.File, "file")
		get(&f.FileMapped, "file_mapped")
		get(&f.FileDirty, "file_dirty")
		get(&f.FileWriteback, "file_writeback")
		get(&f.SlabReclaimable, "slab_reclaimable")
		get(&f.SlabUnreclaimable, "slab_unreclaimable")
		get(&f.PageTables, "pagetables")
		get(&f.KernelStack, "kernel_stack")
		get(&f.Percpu, "percpu")
		get(&f.Sock, "sock")
		get(&f.Kernel, "kernel")
		if _, since518 := r.figures["vmalloc"]; f.Kernel == nil && !since518 {
			sum, whole := uint64(0), true
			for _, name := range []string{"slab", "pagetables", "kernel_stack", "percpu"} {
				v, ok := r.figures[name]
				sum, whole = sum+v, whole && ok
			}
			if whole {
				f.Kernel = &sum
			}
		}
	}
	get(&f.Shmem, prefix+"shmem")
	get(&f.ActiveFile, prefix+"active_file")
	get(&f.InactiveFile, prefix+"inactive_file")
	get(&f.Unevictable, prefix+"unevictable")
}
