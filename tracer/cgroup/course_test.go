package cgroup

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		version int
		files   map[string]string
		want    Reading
	}{
		{"v1: the totals", 1, map[string]string{
			"memory.usage_in_bytes": "1000\n",
			"memory.stat": "cache 1\nrss 2\nshmem 3\nactive_file 4\ninactive_file 5\nworkingset_refault_file 6\nswap 7\n" +
				"total_rss 20\ntotal_shmem 30\ntotal_active_file 40\ntotal_inactive_file 50\ntotal_workingset_refault_file 60\ntotal_swap 70\n",
		}, Reading{Usage: 1000, Anon: 20, Shmem: 30, Cache: 90, Swap: 70, Refaulted: u(60)}},
		{"v2", 2, map[string]string{
			"memory.current": "1000\n", "memory.swap.current": "70\n",
			"memory.stat": "anon 20\nfile 500\nshmem 30\nactive_file 40\ninactive_file 50\nworkingset_refault_anon 1\nworkingset_refault_file 60\n",
		}, Reading{Usage: 1000, Anon: 20, Shmem: 30, Cache: 90, Swap: 70, Refaulted: u(60)}},
		{"v2 without swap and refaults", 2, map[string]string{"memory.current": "1000\n", "memory.stat": "anon 20\n"}, Reading{Usage: 1000, Anon: 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Mount{Root: write(t, t.TempDir(), below("a", c.files)), Version: c.version}
			got, err := m.Watch("/a")
			if err != nil {
				t.Fatal(err)
			}
			if (got.Refaulted == nil) != (c.want.Refaulted == nil) || got.Refaulted != nil && *got.Refaulted != *c.want.Refaulted {
				t.Errorf("refaults %v", got.Refaulted)
			}
			got.Refaulted, c.want.Refaulted = nil, nil
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
	if _, err := (Mount{Root: t.TempDir(), Version: 2}).Watch("/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such cgroup: %v", err)
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		version    int
		file, text string
		want       *uint64
	}{
		{1, "memory.limit_in_bytes", "4096\n", u(4096)},
		{1, "memory.limit_in_bytes", "9223372036854771712\n", nil},
		{2, "memory.max", "0\n", u(0)},
		{2, "memory.max", "max\n", nil},
	} {
		m := Mount{Root: write(t, t.TempDir(), map[string]string{"a/" + c.file: c.text}), Version: c.version}
		got, err := m.Limit("/a")
		if err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("v%d %q: %v, %v", c.version, c.text, got, err)
		}
		if _, err := m.Limit("/gone"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no such cgroup: %v", err)
		}
	}
}

// Files of processes come in pieces of a page.
func TestThreads(t *testing.T) {
	m := Mount{Root: write(t, t.TempDir(), map[string]string{"a/tasks": strings.Repeat("4194303\n", 5000)}), Version: 1}
	if n, err := m.Threads("/a"); err != nil || n != 5000 {
		t.Errorf("%d, %v", n, err)
	}
}
