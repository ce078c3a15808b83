package tracer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

func TestMemoryTotals(t *testing.T) {
	for _, c := range []struct {
		name, text string
		ram, swap  uint64
	}{
		{"both", "MemTotal:        8057172 kB\nMemFree:          1 kB\nSwapCached: 5 kB\nSwapTotal:       2097148 kB\nHugePages_Total: 0\n", 8057172 << 10, 2097148 << 10},
		{"no swap", "MemTotal: 1024 kB\nSwapTotal: 0 kB\n", 1 << 20, 0},
		{"garbage", "MemTotal:\nMemTotal: many kB\nSwapTotal: -1 kB\n\n", 0, 0},
		{"larger than there is room for", "MemTotal: 99999999999999999999 kB\nSwapTotal: 1 kB\n", 0, 1024},
		{"empty", "", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ram, swap := memoryTotals(fakeRoot(t, map[string]string{"meminfo": c.text})); ram != c.ram || swap != c.swap {
				t.Errorf("%d and %d, want %d and %d", ram, swap, c.ram, c.swap)
			}
		})
	}
	if ram, swap := memoryTotals(t.TempDir()); ram != 0 || swap != 0 {
		t.Errorf("no meminfo: %d and %d", ram, swap)
	}
}

func TestSwappiness(t *testing.T) {
	const id = 7
	for _, c := range []struct {
		name    string
		version int
		node    string // "": not readable
		own     string
		want    int
	}{
		{"v2: the node's", 2, "10\n", "90\n", 10},
		{"v1: its own", 1, "10\n", "90\n", 90},
		{"v1: 0", 1, "10\n", "0\n", 0},
		{"not readable", 2, "", "", 60},
		{"garbage", 2, "some\n", "", 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.node != "" {
				root = fakeRoot(t, map[string]string{"sys/vm/swappiness": c.node})
			}
			tr := unattached(t, c.version, root)
			tr.names.tree.Add(id, "/a")
			if err := os.MkdirAll(filepath.Join(tr.mount.Root, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tr.mount.Root, "a", "memory.swappiness"), []byte(c.own), 0o644); err != nil {
				t.Fatal(err)
			}
			if got := tr.swappiness(id); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestNear(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		a, b uint64
		want bool
	}{
		{0, 0, true}, {mib, 0, true}, {mib + 1, 0, false},
		{100 * mib, 104 * mib, true}, {100 * mib, 94 * mib, false}, {100 * mib, 106 * mib, false},
		{0, ^uint64(0), false},
	} {
		if got := near(c.a, c.b); got != c.want {
			t.Errorf("%d near %d: %v", c.a, c.b, got)
		}
	}
}

func bytesOf(n uint64) *uint64 { return &n }

func TestExplained(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		f    event.Figures
		want bool
	}{
		{"all of it", event.Figures{Usage: bytesOf(100 * mib), Anon: bytesOf(60 * mib), File: bytesOf(30 * mib), Kernel: bytesOf(10 * mib)}, true},
		{"but a fifth", event.Figures{Usage: bytesOf(100 * mib), Anon: bytesOf(80 * mib)}, true},
		{"more is missing", event.Figures{Usage: bytesOf(100 * mib), Anon: bytesOf(79 * mib)}, false},
		{"a small one", event.Figures{Usage: bytesOf(2 * mib)}, true},
		{"sockets count", event.Figures{Usage: bytesOf(100 * mib), Sock: bytesOf(90 * mib)}, true},
	} {
		if got := explained(&c.f); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestNoLimit(t *testing.T) {
	for page, most := range map[uint64]uint64{4096: 1<<51 - 1, 1 << 16: 1<<47 - 1} {
		tr := &Tracer{page: page}
		if !tr.noLimit(most) || tr.noLimit(most-1) || !tr.noLimit(unknown) {
			t.Errorf("pages of %d bytes", page)
		}
	}
}

// mark is a kill in a cgroup that holds 8 MiB of anonymous memory and 2 MiB of
// page cache, at its limit of 10 MiB.
func mark() *bpf.CoreRecOomMark {
	return &bpf.CoreRecOomMark{
		Head: bpf.CoreRecHead{Time: 5000}, Domain: 7,
		Memory: bpf.CoreRecCounters{Usage: 2560, Max: 2560, Watermark: 2570, Swap: 0, SwapMax: 1<<51 - 1, Kmem: unknown},
		Lru:    bpf.CoreRecLru{Pages: [5]uint64{2000, 48, 412, 100, 3}, Complete: 1},
	}
}

func figures(anon, file uint64) event.Figures {
	return event.Figures{
		Usage: bytesOf(2560 << 12), Anon: bytesOf(anon << 12), Shmem: bytesOf(0), File: bytesOf(file << 12),
		ActiveFile: bytesOf(100 << 12), InactiveFile: bytesOf((file - 100) << 12), Source: event.SourceCgroupfs,
	}
}

func check(t *testing.T, what string, got, want *uint64) {
	t.Helper()
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		show := func(p *uint64) any {
			if p == nil {
				return "none"
			}
			return *p
		}
		t.Errorf("%s: %v, want %v", what, show(got), show(want))
	}
}

// Without a sample, a composition is what the kernel side read.
func TestCompositionFromTheKernel(t *testing.T) {
	tr := unattached(t, 2, t.TempDir())
	f := tr.composition(mark())
	if f == nil || f.Source != event.SourceBPF || f.ReadNS != nil {
		t.Fatalf("%+v", f)
	}
	check(t, "usage", f.Usage, bytesOf(2560<<12))
	check(t, "limit", f.Limit, bytesOf(2560<<12))
	check(t, "watermark", f.MaxUsage, bytesOf(2570<<12))
	check(t, "swap", f.SwapUsage, bytesOf(0))
	check(t, "swap limit, there is none", f.SwapLimit, nil)
	check(t, "anon, not read", f.Anon, nil)
	check(t, "lru anon", f.LRUAnon, bytesOf(2048<<12))
	check(t, "lru file", f.LRUFile, bytesOf(512<<12))
	check(t, "inactive file", f.InactiveFile, bytesOf(412<<12))
	check(t, "active file", f.ActiveFile, bytesOf(100<<12))
	check(t, "unevictable", f.Unevictable, bytesOf(3<<12))
	check(t, "working set", f.WorkingSet, bytesOf((2560-412)<<12))
	check(t, "available", f.Available, bytesOf(512<<12))
	check(t, "kernel", f.Kernel, nil)
}

func TestCompositionVariants(t *testing.T) {
	tr := unattached(t, 2, t.TempDir())
	global := mark()
	global.Domain = 0
	if f := tr.composition(global); f != nil {
		t.Errorf("a global kill has no domain's memory: %+v", f)
	}

	generations := mark()
	generations.Lru.Pages = [5]uint64{}
	generations.Lru.Generations = [2]uint64{2048, 512}
	f := tr.composition(generations)
	check(t, "lru anon of generations", f.LRUAnon, bytesOf(2048<<12))
	check(t, "lru file of generations", f.LRUFile, bytesOf(512<<12))
	check(t, "generations are neither active", f.ActiveFile, nil)
	check(t, "nor inactive", f.InactiveFile, nil)
	check(t, "available of generations", f.Available, bytesOf(512<<12))

	cut := mark()
	cut.Lru.Complete = 0
	f = tr.composition(cut)
	check(t, "lists that were not walked to the end", f.LRUAnon, nil)
	check(t, "available, not known", f.Available, nil)

	unlimited := mark()
	unlimited.Memory.Max = 1<<51 - 1
	unlimited.Memory.SwapMax = 100
	f = tr.composition(unlimited)
	check(t, "no limit", f.Limit, nil)
	check(t, "a swap limit", f.SwapLimit, bytesOf(100<<12))

	v1 := unattached(t, 1, t.TempDir())
	old := mark()
	old.Memory.Kmem = 16
	f = v1.composition(old)
	check(t, "v1 counts memory and swap together", f.SwapUsage, nil)
	check(t, "v1 kernel memory", f.Kernel, bytesOf(16<<12))
}

// A sample of before the kill counts where it is of the same memory.
func TestCompositionFromSample(t *testing.T) {
	for _, c := range []struct {
		name string
		at   event.Figures
		want bool
	}{
		{"it agrees with the lists", figures(2048, 512), true},
		{"nearly", figures(2048-200, 512), true},
		{"anonymous memory has gone since", figures(1000, 512), false},
		{"the cache was reclaimed since", figures(2048, 512+300), false},
		{"another usage", func() event.Figures { f := figures(2048, 512); f.Usage = bytesOf(1000 << 12); return f }(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := unattached(t, 2, t.TempDir())
			tr.samples[7] = sample{4000, c.at}
			f := tr.composition(mark())
			if (f.Anon != nil) != c.want {
				t.Fatalf("%+v", f)
			}
			if !c.want {
				return
			}
			check(t, "anon", f.Anon, c.at.Anon)
			check(t, "limit, of the moment", f.Limit, bytesOf(2560<<12))
			if f.ReadNS == nil || *f.ReadNS != -1000 || f.Source != event.SourceCgroupfs {
				t.Errorf("read at %v from %s", f.ReadNS, f.Source)
			}
		})
	}
}
