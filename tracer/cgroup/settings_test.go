package cgroup

import (
	"errors"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func yes(v bool) *bool { return &v }

func number(v int) *int { return &v }

func TestSettings(t *testing.T) {
	v2 := Mount{Root: write(t, t.TempDir(), map[string]string{
		"a/memory.min": "0\n", "a/memory.low": "1048576\n", "a/memory.high": "max\n", "a/memory.swap.high": "max\n",
		"a/memory.zswap.max": "4096\n", "a/memory.oom.group": "1\n", "a/memory.stat": "percpu 1\nvmalloc 2\nsec_pagetables 3\nzswap 4\n" +
			"zswapped 5\nanon_thp 6\nhugetlb 7\nactive_anon 8\ninactive_anon 9\nactive_file 10\ninactive_file 11\nunevictable 12\ntotal_rss 13\n",
		"a/memory.events":   "low 0\nhigh 5\nmax 17\noom 2\noom_kill 1\noom_group_kill 0\n",
		"a/memory.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=15792\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=12\n",
		"bare/":             "",
	}), Version: 2}
	s, err := v2.Settings("/a")
	if want := (event.Settings{Min: u(0), Low: u(1 << 20), ZswapMax: u(4096), OOMGroup: yes(true)}); err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	l, k, err := v2.Detail("/a")
	if err != nil {
		t.Fatal(err)
	}
	differ(t, l, event.Lists{ActiveAnon: u(8), InactiveAnon: u(9), ActiveFile: u(10), InactiveFile: u(11), Unevictable: u(12)})
	differ(t, k, event.KernelParts{Percpu: u(1), Vmalloc: u(2), SecPageTables: u(3), Zswap: u(4), Zswapped: u(5), AnonHuge: u(6), Hugetlb: u(7)})
	if e := v2.Events("/a"); !maps.Equal(e, map[string]uint64{"low": 0, "high": 5, "max": 17, "oom": 2, "oom_kill": 1, "oom_group_kill": 0}) {
		t.Error(e)
	}
	if p := v2.Pressure("/a"); p == nil || *p.Some != (event.Stalled{Avg10: 1.5, Avg60: 0.25, TotalNS: 15792000}) || p.Full.TotalNS != 12000 {
		t.Errorf("%+v", p)
	}
	if s, err := v2.Settings("/bare"); err != nil || !reflect.DeepEqual(s, event.Settings{}) || v2.Pressure("/bare") != nil || len(v2.Events("/bare")) != 0 {
		t.Errorf("%+v %v", s, err)
	}

	v1 := Mount{Root: write(t, t.TempDir(), map[string]string{
		"a/memory.soft_limit_in_bytes": "9223372036854771712\n", "a/memory.swappiness": "10\n",
		"a/memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n", "a/memory.failcnt": "12\n",
		"a/memory.memsw.failcnt": "1\n", "a/memory.kmem.failcnt": "2\n",
		"a/memory.stat": "active_anon 1\ntotal_active_anon 2\ntotal_rss_huge 3\n",
	}), Version: 1}
	s, err = v1.Settings("/a")
	if want := (event.Settings{Swappiness: number(10), OOMKillDisable: yes(true), UnderOOM: yes(false)}); err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, %v", s, err)
	}
	if e := v1.Events("/a"); !maps.Equal(e, map[string]uint64{"fail_count": 12, "swap_fail_count": 1, "kernel_fail_count": 2, "oom_kill": 3}) {
		t.Error(e)
	}
	l, k, err = v1.Detail("/a")
	if err != nil || *l.ActiveAnon != 2 || *k.AnonHuge != 3 || l.InactiveAnon != nil {
		t.Errorf("%+v %+v %v", l, k, err)
	}
	for _, m := range []Mount{v1, v2} {
		if _, err := m.Settings("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if _, _, err := m.Detail("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestAbove(t *testing.T) {
	root := write(t, t.TempDir(), map[string]string{
		"a/memory.stat": "", "a/b/c/": "", "a/b/d/": "",
		"own/memory.use_hierarchy": "0\n", "own/below/memory.use_hierarchy": "1\n", "own/below/leaf/": "",
	})
	v1, v2 := Mount{Root: root, Version: 1}, Mount{Root: root, Version: 2}
	if got := v2.Above("/a/b/c"); !slices.Equal(got, []string{"/a/b/c", "/a/b", "/a"}) {
		t.Error(got)
	}
	if got := v1.Above("/own/below/leaf"); !slices.Equal(got, []string{"/own/below/leaf", "/own/below"}) {
		t.Error(got)
	}
	if got := v2.Above("/"); got != nil {
		t.Error(got)
	}
	v2.Partial = true
	if got := v2.Above("/a"); !slices.Equal(got, []string{"/a", "/"}) {
		t.Error(got)
	}
	if v1.Hierarchical("/own") || !v1.Hierarchical("/a") || !v2.Hierarchical("/own") {
		t.Error("hierarchical")
	}
	for _, c := range [][2]string{{"/a/b/c", "/a"}, {"/a", "/a"}, {"/own", "/"}} {
		if got, err := v2.Controlled(c[0]); got != c[1] || err != nil {
			t.Errorf("%s: %s, %v", c[0], got, err)
		}
	}
	if _, err := v2.Controlled("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if got, err := v2.Children("/a/b"); !slices.Equal(got, []string{"/a/b/c", "/a/b/d"}) || err != nil {
		t.Error(got, err)
	}
	if got, err := v2.Children("/"); !slices.Equal(got, []string{"/a", "/own"}) || err != nil {
		t.Error(got, err)
	}
	if _, err := v2.Children("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzPressure(f *testing.F) {
	f.Add([]byte("some avg10=0.12 avg60=0.05 avg300=0.00 total=15792\nfull avg10=0 avg60=0 avg300=0 total=0\n"))
	f.Add([]byte("some avg10=NaN avg60=-1 avg300=1e300 total=-1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := ParsePressure(data)
		if p == nil {
			return
		}
		for _, s := range []*event.Stalled{p.Some, p.Full} {
			if s != nil && !(s.Avg10 >= 0 && s.Avg60 >= 0 && s.Avg300 >= 0 && s.Avg300 <= 1000 && s.TotalNS >= 0) {
				t.Errorf("%+v", s)
			}
		}
	})
}
