package tracer

import (
	"os"
	"path/filepath"
	"slices"
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

// settled waits until the kernel has done with the removed cgroups below one: it
// hands their page cache on some time after rmdir.
func settled(g *group) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		stat, err := os.ReadFile(filepath.Join(g.dir(), "cgroup.stat"))
		if err != nil {
			g.t.Fatal(err)
		}
		if strings.Contains(string(stat), "nr_dying_descendants 0\n") {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("cgroups below %s are still dying: %s", g.path, stat)
		}
		time.Sleep(time.Millisecond)
	}
}

// A cgroup is removed and leaves page cache behind, which a neighbour's flood
// then evicts. Where the kernel has given it to the parent, the evictions are
// the parent's and say so; else they are of the one that is gone. What the
// neighbour evicts of its own is not marked.
func TestReparented(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		top := newGroup(t).limit(24 * mib)
		gone, flood := top.child("gone"), top.child("flood")
		left, theirs := filepath.Join(dir, "left"), filepath.Join(dir, "theirs")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyReclaim}, Cgroups: []Selector{{Path: top.path}}})
		gone.run("write=" + left + ",8")
		gone.remove()
		owner := gone
		if reparents(t) {
			owner = top
			settled(top)
		}
		flood.run("write="+theirs+",32", "read="+theirs+",65536,seq,32")
		events := x.stop()

		// pages gives what of the removed cgroup's page cache was evicted, by the
		// owner that is told, and how much of it is marked.
		check := func(what string, pages, reparented map[string]uint64) {
			t.Helper()
			if pages[owner.path] < 64 || pages[flood.path] < 64 || len(pages) != 2 {
				t.Errorf("%s: pages %v, want those of %s and %s", what, pages, owner.path, flood.path)
			}
			want := map[string]uint64{owner.path: 0, flood.path: 0}
			if owner == top {
				want[top.path] = pages[top.path]
			}
			for path, n := range want {
				if reparented[path] != n {
					t.Errorf("%s: of %s %d of %d pages are marked, want %d", what, path, reparented[path], pages[path], n)
				}
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
					byFlood[v.Cgroup.Path] += v.Pages
					ofThem[v.Cgroup.Path] += v.Reparented
				}
			}
		}
		check("cache", evicted, reparented)
		check("what flood evicted", byFlood, ofThem)
		clear(evicted)
		clear(reparented)
		for _, r := range of[*event.Reclaim](events) {
			for _, v := range r.Evicted {
				evicted[v.Cgroup.Path] += v.Pages
				reparented[v.Cgroup.Path] += v.Reparented
				if v.Cgroup.Path == owner.path && v.File.Path != left {
					t.Errorf("%s of %s was evicted", v.File.Path, owner.path)
				}
			}
		}
		check("episodes", evicted, reparented)
	})
}
