package tracer

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func diskDir(t testing.TB) string {
	t.Helper()
	const tmpfsMagic, ramfsMagic = 0x01021994, 0x858458f6
	for _, dir := range []string{os.TempDir(), "/var/tmp", "."} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type != tmpfsMagic && fs.Type != ramfsMagic {
			return dir
		}
	}
	t.Fatal("no directory on a disk: set TMPDIR")
	return ""
}

// traffic adds up the cache events of one cgroup.
func traffic(events []event.Event, path string) (sum event.Cache, files map[string]event.CacheFile) {
	files = make(map[string]event.CacheFile)
	for _, c := range of[*event.Cache](events) {
		if c.Cgroup == nil || c.Cgroup.Path != path {
			continue
		}
		sum.Added += c.Added
		sum.Evicted += c.Evicted
		sum.Removed += c.Removed
		sum.Invalidated += c.Invalidated
		if c.Refaulted != nil {
			sum.RefaultedOf = c.RefaultedOf
			n := *c.Refaulted
			if sum.Refaulted != nil {
				n += *sum.Refaulted
			}
			sum.Refaulted = &n
		}
		sum.EvictedBy = append(sum.EvictedBy, c.EvictedBy...)
		for _, f := range c.Files {
			was := files[f.Path]
			was.Added += f.Added
			was.Evicted += f.Evicted
			was.Removed += f.Removed
			files[f.Path] = was
		}
	}
	return sum, files
}

// fileCaches is what the kernel says of cgroups' page cache, in pages. It gathers
// its counters lazily, up to two seconds late, so they are read until they have
// stayed the same for longer than that.
func fileCaches(groups []*group) []uint64 {
	read := func() (out []uint64) {
		for _, g := range groups {
			f := g.figures()
			out = append(out, (*f.File-*f.Shmem)/uint64(os.Getpagesize()))
		}
		return out
	}
	last, since := read(), time.Now()
	for time.Since(since) < 2500*time.Millisecond {
		if now := read(); !slices.Equal(now, last) {
			last, since = now, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}

// Every page that enters or leaves the page cache of a cgroup is counted once:
// added less evicted less removed is what the cache grew by, to the page.
func TestCacheBalance(t *testing.T) {
	patterns := []struct {
		name  string
		limit uint64
		work  []string // % is the file
		// exact figures where the work determines them, in pages
		added, removed, invalidated uint64
		evicts                      bool
	}{
		{"keep", 256, []string{"write=%,24"}, 6144, 0, 0, false},
		{"unlink", 256, []string{"write=%,16", "unlink=%"}, 4096, 4096, 0, false},
		{"fadvise", 256, []string{"write=%,16", "fadvise=%"}, 4096, 4096, 4096, false},
		{"truncate", 256, []string{"write=%,16", "truncate=%,4"}, 4096, 3072, 0, false},
		{"sequential-4k", 24, []string{"write=%,48", "read=%,4096,seq,48"}, 0, 0, 0, true},
		{"sequential-64k", 24, []string{"write=%,48", "read=%,65536,seq,48"}, 0, 0, 0, true},
		{"sequential-1m", 24, []string{"write=%,48", "read=%,1048576,seq,48"}, 0, 0, 0, true},
		{"random-4k", 24, []string{"write=%,48", "read=%,4096,random,24"}, 0, 0, 0, true},
	}
	eachTier(t, func(t *testing.T, tier string) {
		if tier == TierKprobe {
			t.Skip("the page cache has no kprobes: as with tracepoints")
		}
		dir := scratch(t)
		top := newGroup(t)
		groups := make([]*group, len(patterns))
		for i, p := range patterns {
			groups[i] = top.child(p.name).limit(p.limit * mib) // nobody was in it: its cache is empty
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyReclaim}, Cgroups: []Selector{{ID: top.id()}}})
		for i, p := range patterns {
			var work []string
			for _, w := range p.work {
				work = append(work, strings.ReplaceAll(w, "%", filepath.Join(dir, p.name)))
			}
			groups[i].run(work...)
		}
		after := fileCaches(groups)
		events := x.stop()
		grew := func(i int) (counted, kernel int64) {
			sum, _ := traffic(events, groups[i].path)
			return int64(sum.Added) - int64(sum.Evicted) - int64(sum.Removed), int64(after[i])
		}
		slack := counterError(t)
		differs := func() bool {
			for i := range groups {
				if counted, kernel := grew(i); abs(counted-kernel) > slack {
					return true
				}
			}
			return false
		}
		// On a busy machine the kernel gathers later still.
		for deadline := time.Now().Add(patience / 3); differs() && time.Now().Before(deadline); {
			t.Log("the kernel's counters are late")
			after = fileCaches(groups)
		}
		for i, p := range patterns {
			t.Run(p.name, func(t *testing.T) {
				g := groups[i]
				sum, files := traffic(events, g.path)
				if counted, kernel := grew(i); abs(counted-kernel) > slack {
					t.Errorf("added %d - evicted %d - removed %d = %d, the cache grew by %d", sum.Added, sum.Evicted, sum.Removed, counted, kernel)
				}
				f, ok := files[filepath.Join(dir, p.name)]
				if !ok {
					t.Fatalf("no figures of the file: %+v", files)
				}
				// The node may have taken some of it too; that is not the test's.
				foreign := checkEvictions(t, g, events, sum)
				if p.added != 0 && (f.Added != p.added || f.Removed+f.Evicted < p.removed || f.Removed > p.removed || f.Evicted > foreign) {
					t.Errorf("file: %+v, want added %d, removed %d, evicted up to %d", f, p.added, p.removed, foreign)
				}
				if p.invalidated < sum.Invalidated || p.invalidated > sum.Invalidated+foreign {
					t.Errorf("invalidated %d, want %d", sum.Invalidated, p.invalidated)
				}
				if !p.evicts {
					return
				}
				if f.Added < 12288 || f.Evicted < 6144 {
					t.Errorf("file: %+v", f)
				}
				stat, _ := g.m.Stat(g.path)
				if sum.Refaulted == nil && stat.RefaultFile != nil || sum.Refaulted != nil && *sum.Refaulted == 0 {
					var kernel uint64
					if stat.RefaultFile != nil {
						kernel = *stat.RefaultFile
					}
					t.Errorf("no refaults (known: %t), the kernel counted %d", sum.Refaulted != nil, kernel)
				}
			})
		}
	})
}

// counterError is by how many pages the kernel's own figure may be off for good:
// before 5.12 each CPU kept up to 32 pages to itself.
func counterError(t *testing.T) int64 {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var vmstats *btf.Struct
	if spec.TypeByName("memcg_vmstats", &vmstats) == nil {
		return 0
	}
	return 2 * 32 * int64(runtime.NumCPU())
}

// checkEvictions holds what was counted as evicted against what the episodes
// say they evicted, and against the kernel's own count of reclaimed pages. It
// gives how many pages were evicted by others than the cgroup itself.
func checkEvictions(t *testing.T, g *group, events []event.Event, sum event.Cache) (foreign uint64) {
	t.Helper()
	var episodes, reclaimed, own uint64
	for _, r := range of[*event.Reclaim](events) {
		if r.Cgroup == nil || r.Cgroup.Path != g.path {
			continue
		}
		for _, v := range r.Evicted {
			episodes += v.Pages
		}
		episodes += r.EvictedOtherPages
		reclaimed += r.Reclaimed
		if r.Kind != event.ReclaimMemcgLimit || r.Domain == nil || r.Domain.Path != g.path || r.Cgroup.Path != g.path {
			t.Errorf("reclaim %s of %+v by %s", r.Kind, r.Domain, r.Cgroup.Path)
		}
	}
	for _, v := range sum.EvictedBy {
		if v.Cgroup != nil && v.Cgroup.ID == g.id() {
			own += v.Pages
		} else {
			foreign += v.Pages
		}
	}
	if episodes != own || own+foreign != sum.Evicted {
		t.Errorf("evicted %d, by episodes %d, by itself %d, by others %d", sum.Evicted, episodes, own, foreign)
	}
	// The kernel's figure has reclaimed slab and anonymous pages in it too.
	if reclaimed < own {
		t.Errorf("evicted %d pages, the kernel says it reclaimed %d", own, reclaimed)
	}
	if steal, ok := pgsteal(g); ok && abs(int64(steal)-int64(sum.Evicted)) > counterError(t) {
		t.Errorf("evicted %d pages, pgsteal of the cgroup is %d", sum.Evicted, steal)
	}
	return foreign
}

// pgsteal is the kernel's own count of the pages that were reclaimed from a
// cgroup; only v2 tells.
func pgsteal(g *group) (uint64, bool) {
	f, err := os.Open(filepath.Join(g.dir(), "memory.stat"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "pgsteal "); ok {
			n, err := strconv.ParseUint(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// tmpfs is not page cache that reclaim could drop: neither its pages' coming nor
// their going is told.
func TestTmpfs(t *testing.T) {
	needRoot(t)
	g := newGroup(t).limit(256 * mib)
	name := filepath.Join(tmpfs(t), "file")
	g.run("anon=1")
	x := startTrace(t, Options{Families: []string{FamilyCache}, Cgroups: []Selector{{ID: g.id()}}})
	g.run("tmpfs="+name+",16", "unlink="+name)
	sum, _ := traffic(x.stop(), g.path)
	if sum.Added > 256 || sum.Removed > 256 {
		t.Errorf("tmpfs counted as page cache: added %d, removed %d", sum.Added, sum.Removed)
	}
}

// Two cgroups share a limit; the flood of one evicts the file of the other, and
// is named for it.
func TestWhoEvictedWhom(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t).limit(48 * mib)
		quiet, loud := top.child("quiet"), top.child("loud")
		mine, theirs := filepath.Join(dir, "mine"), filepath.Join(dir, "theirs")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyReclaim}, Cgroups: []Selector{{Path: top.path}}})
		quiet.run("write=" + mine + ",16")
		loud.run("write="+theirs+",64", "read="+theirs+",65536,seq,64", "read="+theirs+",65536,seq,64")
		events := x.stop()
		sum, files := traffic(events, quiet.path)
		if files[mine].Added != 4096 || files[mine].Evicted < 64 {
			t.Errorf("quiet's file: %+v", files[mine])
		}
		var by uint64
		for _, v := range sum.EvictedBy {
			if v.Cgroup != nil && v.Cgroup.Path == loud.path {
				by += v.Pages
			}
		}
		if by == 0 || by+64 < sum.Evicted {
			t.Errorf("loud evicted %d of %d pages: %+v", by, sum.Evicted, sum.EvictedBy)
		}
		if !slices.ContainsFunc(of[*event.Reclaim](events), func(r *event.Reclaim) bool {
			return r.Cgroup.Path == loud.path && r.Domain != nil && r.Domain.Path == top.path &&
				slices.ContainsFunc(r.Evicted, func(e event.Evicted) bool {
					return e.Cgroup != nil && e.Cgroup.Path == quiet.path && e.File.Path == mine
				})
		}) {
			t.Error("no episode of loud's names quiet's file")
		}
	})
}

// A trace that ends lets go of the page cache before it lets go of reclaim, and so
// evictions have their episode, and with it a kind, until the last.
func TestEvictionsToTheEnd(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		t.Skip("a matter of order, the same on every kernel: the host's tests have it")
	}
	bestTier(t, func(t *testing.T, tier string) {
		file := filepath.Join(scratch(t), "file")
		g := newGroup(t).limit(24 * mib)
		g.run("write=" + file + ",48")
		g.start(append([]string{"threads=2"}, slices.Repeat([]string{"read=" + file + ",65536,seq,48"}, 2000)...)...)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyStalls, FamilyKswapd}, Cgroups: []Selector{{ID: g.id()}}, Interval: 200 * time.Millisecond})
		busy := func(c *event.Cache) bool { return c.Evicted >= 256 }
		waitFor(x, func(events []event.Event) (bool, bool) {
			n := 0
			for _, c := range ofCaches(events) {
				if busy(c) {
					n++
				}
			}
			return true, n >= 4
		})
		events := x.stop()
		lost := len(of[*event.Lost](events)) > 0 // from 7.0 a program may be passed over
		n := 0
		for _, c := range ofCaches(events) {
			for _, v := range c.EvictedBy {
				// By the third interval what had begun before the trace is over.
				if v.Kind == "" && n >= 3 && !lost {
					t.Errorf("%d pages of %d evicted without a kind: %s", v.Pages, c.Evicted, show(v))
				}
			}
			if busy(c) {
				n++
			}
		}
	})
}
