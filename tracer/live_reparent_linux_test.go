package tracer

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// reparents tells whether this kernel gives the page cache of a removed cgroup to
// its parent (7.1).
func reparents(t *testing.T) bool {
	t.Helper()
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var node *btf.Struct
	if err := spec.TypeByName("mem_cgroup_per_node", &node); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(node.Members, func(m btf.Member) bool { return m.Name == "objcg" })
}

// members is how many cgroups below one, itself included, are in use by the memory
// controller (6.12). One that was removed leaves their number when it has been
// taken offline, which is when its page cache is handed on.
func members(g *group) int {
	g.t.Helper()
	stat, err := os.ReadFile(filepath.Join(g.dir(), "cgroup.stat"))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(stat)) {
		if n, ok := strings.CutPrefix(line, "nr_subsys_memory "); ok {
			count, err := strconv.Atoi(strings.TrimSpace(n))
			if err != nil {
				g.t.Fatal(err)
			}
			return count
		}
	}
	g.t.Fatalf("no nr_subsys_memory in %s", stat)
	return 0
}

// A cgroup is removed and leaves page cache behind, which a neighbour's flood
// then evicts. Where the kernel has given it to the parent, the evictions are
// the parent's and say so; else they are of the one that is gone. What the
// neighbour evicts of its own is not marked.
func TestReparented(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t).limit(32 * mib)
		gone, flood := top.child("gone"), top.child("flood")
		left, theirs := filepath.Join(dir, "left"), filepath.Join(dir, "theirs")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyReclaim}, Cgroups: []Selector{{Path: top.path}}})
		gone.run("write=" + left + ",8")
		owner := gone
		if reparents(t) {
			owner = top
			before, deadline := members(top), time.Now().Add(patience)
			for gone.remove(); members(top) >= before; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s is not offline", gone.path)
				}
			}
		} else {
			gone.remove()
		}
		flood.run("write="+theirs+",40", "read="+theirs+",65536,seq,40")
		events := x.stop()

		// Of the page cache that the parent has, all was the removed cgroup's: no
		// process ever lived in the parent itself.
		check := func(what string, pages, reparented map[string]uint64) {
			t.Helper()
			if pages[owner.path] < 64 || pages[flood.path] < 64 {
				t.Errorf("%s: pages %v, want those of %s and %s", what, pages, owner.path, flood.path)
			}
			for path, n := range pages {
				if path != top.path {
					n = 0
				}
				if reparented[path] != n {
					t.Errorf("%s: of %s %d of %d pages are marked, want %d", what, path, reparented[path], pages[path], n)
				}
			}
			if owner == gone && pages[top.path] > 0 {
				t.Errorf("%s: %d pages of %s", what, pages[top.path], top.path)
			}
		}
		evicted, reparented := make(map[string]uint64), make(map[string]uint64)
		byFlood, ofThem := make(map[string]uint64), make(map[string]uint64)
		for _, c := range of[*event.Cache](events) {
			if c.Evicted > 0 {
				evicted[c.Cgroup.Path] += c.Evicted
				reparented[c.Cgroup.Path] += c.Reparented
			}
			if c.Cgroup.Path == flood.path {
				for _, v := range c.EvictedOf {
					if v.Cgroup == nil { // of none: the node was short too
						continue
					}
					byFlood[v.Cgroup.Path] += v.Pages
					ofThem[v.Cgroup.Path] += v.Reparented
				}
			}
		}
		check("cache", evicted, reparented)
		check("what flood evicted", byFlood, ofThem)
		clear(evicted)
		clear(reparented)
		named := false
		for _, r := range of[*event.Reclaim](events) {
			for _, v := range r.Evicted {
				if v.Cgroup == nil {
					continue
				}
				evicted[v.Cgroup.Path] += v.Pages
				reparented[v.Cgroup.Path] += v.Reparented
				named = named || v.Cgroup.Path == owner.path && v.File.Path == left
			}
		}
		if !named {
			t.Errorf("no episode evicts %s of %s", left, owner.path)
		}
		check("episodes", evicted, reparented)
	})
}
