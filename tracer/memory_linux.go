package tracer

import (
	"bufio"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// noLimit: page counters without a limit hold PAGE_COUNTER_MAX, LONG_MAX over
// the page size.
func (t *Tracer) noLimit(pages uint64) bool { return pages >= (1<<63-1)/t.page }

// sample is a reading of a cgroup's files.
type sample struct {
	at      uint64 // CLOCK_MONOTONIC
	figures event.Figures
}

// look reads a cgroup's composition. Its files are read one after the other, and
// memory may be freed meanwhile: then there is none, for it would be of no one
// moment.
func (t *Tracer) look(domain uint64) (event.Figures, bool) {
	cg, ok := t.names.tree.Resolve(domain)
	if !ok {
		return event.Figures{}, false
	}
	f, err := t.mount.Read(cg.Path)
	if err != nil || f.Usage == nil {
		return event.Figures{}, false
	}
	after, err := t.mount.Usage(cg.Path)
	return f, err == nil && near(after, *f.Usage) && explained(&f)
}

// explained tells whether the parts of a composition make up its usage: while
// an address space is torn down its pages leave the statistics some time before
// they leave the usage.
func explained(f *event.Figures) bool {
	var sum uint64
	for _, part := range []*uint64{f.Anon, f.File, f.Kernel, f.Sock} {
		if part != nil {
			sum += *part
		}
	}
	return sum+max(*f.Usage/5, 2<<20) >= *f.Usage
}

// near tells whether two readings of a usage are of the same memory: they differ
// by a twentieth, or by 1 MiB where that is more.
func near(a, b uint64) bool {
	return distance(a, b) <= max(b/20, 1<<20)
}

// pressed reads a cgroup whose reclaim has come to nothing: should it be killed
// now, this is what its memory was.
func (t *Tracer) pressed(r *bpf.CoreRecPressure) {
	figures, ok := t.look(r.Domain)
	if !ok {
		return
	}
	if len(t.samples) > 4096 {
		clear(t.samples)
	}
	t.samples[r.Domain] = sample{t.clock.now(), figures}
	t.window.note(r.Domain, t.samples[r.Domain].at, &figures)
	t.window.press(r.Domain)
}

// composition tells what a domain's memory was at a kill. Usage, limits and the
// sizes of the LRU lists were read in the kernel at that moment. What else the
// usage consisted of comes from the cgroup's files: read at the last fruitless
// reclaim before, or now, but only where it agrees with those lists, for a
// cgroup at its limit has the same usage before and after its cache was
// reclaimed, and a victim's memory leaves fast.
func (t *Tracer) composition(m *bpf.CoreRecOomMark) *event.Figures {
	if m.Domain == 0 {
		return nil
	}
	var f event.Figures
	at := t.clock.now()
	usage := m.Memory.Usage * t.page
	if now, ok := t.look(m.Domain); ok && near(*now.Usage, usage) && t.agrees(&now, m) {
		f = now
	} else if s, ok := t.samples[m.Domain]; ok && near(*s.figures.Usage, usage) && t.agrees(&s.figures, m) {
		f, at = s.figures, s.at
	}
	if f.Anon != nil {
		off := int64(at) - int64(m.Head.Time)
		f.ReadNS = &off
	}
	set := func(into **uint64, pages uint64) {
		if pages == unknown {
			return
		}
		*into = nil
		if !t.noLimit(pages) {
			v := pages * t.page
			*into = &v
		}
	}
	c := &m.Memory
	set(&f.Usage, c.Usage)
	set(&f.Limit, c.Max)
	set(&f.MaxUsage, c.Watermark)
	if t.mount.Version == 2 {
		set(&f.SwapUsage, c.Swap)
		set(&f.SwapLimit, c.SwapMax)
	}
	if l := &m.Lru; l.Complete != 0 {
		anon, file, unevictable := t.lists(l)
		f.LRUAnon, f.LRUFile, f.Unevictable = &anon, &file, &unevictable
		if l.Generations[0]+l.Generations[1] == 0 { // with generations there is no active and inactive
			set(&f.InactiveFile, l.Pages[2])
			set(&f.ActiveFile, l.Pages[3])
		}
	}
	if f.Kernel == nil && t.mount.Version == 1 {
		set(&f.Kernel, c.Kmem)
	}
	f.Derive()
	if f.Source == "" {
		f.Source = event.SourceBPF
	}
	return &f
}

// lists gives what is on the LRU lists of anonymous and of file memory and on
// that of what is unevictable, in bytes.
func (t *Tracer) lists(l *bpf.CoreRecLru) (anon, file, unevictable uint64) {
	return (l.Pages[0] + l.Pages[1] + l.Generations[0]) * t.page, (l.Pages[2] + l.Pages[3] + l.Generations[1]) * t.page, l.Pages[4] * t.page
}

// agrees tells whether a composition is that of the kill, by the LRU lists.
func (t *Tracer) agrees(f *event.Figures, m *bpf.CoreRecOomMark) bool {
	if m.Lru.Complete == 0 || f.Anon == nil || f.ActiveFile == nil || f.InactiveFile == nil {
		return false
	}
	anon, file, unevictable := t.lists(&m.Lru)
	slack := max(m.Memory.Usage*t.page/20, 1<<20) + unevictable
	held := *f.Anon
	if f.Shmem != nil {
		held += *f.Shmem
	}
	return distance(held, anon) <= slack && distance(*f.ActiveFile+*f.InactiveFile, file) <= slack
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// memoryTotals gives the node's RAM and swap in bytes, from /proc/meminfo.
func memoryTotals(procRoot string) (ram, swap uint64) {
	f, err := os.Open(filepath.Join(procRoot, "meminfo"))
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if len(field) < 2 {
			continue
		}
		kib, err := strconv.ParseUint(field[1], 10, 54)
		if err != nil {
			continue
		}
		switch field[0] {
		case "MemTotal:":
			ram = kib << 10
		case "SwapTotal:":
			swap = kib << 10
		}
	}
	return ram, swap
}

// swappiness is the domain's own on v1, the node's on v2; 60, the kernel's
// default, where it cannot be read.
func (t *Tracer) swappiness(domain uint64) int {
	path := filepath.Join(t.procRoot, "sys", "vm", "swappiness")
	if cg, ok := t.names.tree.Lookup(domain); ok && t.mount.Version == 1 && cg.Path != "/" {
		path = filepath.Join(t.mount.Dir(cg.Path), "memory.swappiness")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 60
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 60
	}
	return n
}
