package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// write makes files below dir, and the directories they need. A name that ends
// in a slash is a directory.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if name[len(name)-1] == '/' {
			if err := os.MkdirAll(full, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mkdir(t testing.TB, dirs ...string) uint64 {
	t.Helper()
	var id uint64
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if id, err = ID(dir); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

const (
	procCgroups = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t4\t11\t1\npids\t8\t1\t1\n"
	procV2      = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\nmemory\t0\t11\t1\n"
)

// v1Files are a version 1 memory cgroup, as a 6.18 kernel writes them.
func v1Files() map[string]string {
	return map[string]string{
		"memory.usage_in_bytes":       "104857600\n",
		"memory.limit_in_bytes":       "134217728\n",
		"memory.max_usage_in_bytes":   "130000000\n",
		"memory.memsw.usage_in_bytes": "105906176\n",
		"memory.memsw.limit_in_bytes": "268435456\n",
		"memory.kmem.usage_in_bytes":  "4194304\n",
		"memory.stat": `cache 1
rss 2
rss_huge 0
shmem 3
mapped_file 4
dirty 5
writeback 6
workingset_refault_anon 7
workingset_refault_file 228
swap 8
pgfault 33441
pgmajfault 9
inactive_file 10
active_file 11
hierarchical_memory_limit 134217728
total_cache 60000000
total_rss 40000000
total_rss_huge 2097152
total_shmem 1000000
total_mapped_file 2000000
total_dirty 12288
total_writeback 4096
total_workingset_refault_file 79944
total_swap 1048576
total_inactive_file 20000000
total_active_file 39000000
total_unevictable 8192
`,
	}
}

// v2Files are a version 2 cgroup, as a 6.12 kernel writes them.
func v2Files() map[string]string {
	return map[string]string{
		"cgroup.controllers":  "cpu memory pids\n",
		"cgroup.events":       "populated 1\nfrozen 0\n",
		"memory.current":      "104857600\n",
		"memory.max":          "134217728\n",
		"memory.peak":         "130000000\n",
		"memory.swap.current": "1048576\n",
		"memory.swap.max":     "max\n",
		"memory.stat": `anon 40000000
file 60000000
kernel 4194304
kernel_stack 65536
pagetables 131072
sec_pagetables 0
percpu 1024
sock 8192
vmalloc 0
shmem 1000000
file_mapped 2000000
file_dirty 12288
file_writeback 4096
inactive_file 20000000
active_file 39000000
unevictable 8192
slab_reclaimable 1500000
slab_unreclaimable 500000
slab 2000000
workingset_refault_anon 7
workingset_refault_file 228
workingset_activate_file 100
pgscan 1000
pgsteal 900
pgscan_kswapd 0
pgscan_direct 1000
pgfault 33441
pgmajfault 9
`,
	}
}

// with copies files, with some replaced; an empty replacement takes one away.
func with(files map[string]string, changes map[string]string) map[string]string {
	files = maps.Clone(files)
	for name, content := range changes {
		if files[name] = content; content == "" {
			delete(files, name)
		}
	}
	return files
}

// below puts files into a directory.
func below(dir string, files map[string]string) map[string]string {
	moved := make(map[string]string, len(files))
	for name, content := range files {
		moved[dir+"/"+name] = content
	}
	return moved
}
