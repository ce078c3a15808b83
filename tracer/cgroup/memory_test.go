package cgroup

import (
	"errors"
	"io/fs"
	"reflect"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func u(v uint64) *uint64 { return &v }

// differ reports the fields in which two structs of pointers differ.
func differ(t *testing.T, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		name := g.Type().Field(i).Name
		a, b := g.Field(i), w.Field(i)
		if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
			a, b = a.Elem(), b.Elem()
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			t.Errorf("%s: got %v, want %v", name, a, b)
		}
	}
}

func TestReadV1(t *testing.T) {
	full := event.Figures{
		Usage: u(104857600), Limit: u(134217728), MaxUsage: u(130000000),
		SwapUsage: u(1048576), SwapLimit: u(134217728),
		Anon: u(40000000), File: u(60000000), Shmem: u(1000000), FileMapped: u(2000000),
		FileDirty: u(12288), FileWriteback: u(4096),
		ActiveFile: u(39000000), InactiveFile: u(20000000), Unevictable: u(8192),
		Kernel:     u(4194304),
		WorkingSet: u(84857600), Available: u(88360128),
		Source: event.SourceCgroupfs,
	}
	tests := []struct {
		name    string
		changes map[string]string
		want    func(*event.Figures)
	}{
		{"full", nil, func(*event.Figures) {}},
		{
			"no limit",
			map[string]string{"memory.limit_in_bytes": "9223372036854771712\n", "memory.memsw.limit_in_bytes": "9223372036854771712\n"},
			func(f *event.Figures) { f.Limit, f.SwapLimit, f.Available = nil, nil, nil },
		},
		{
			"no limit, pages of 64 KiB",
			map[string]string{"memory.limit_in_bytes": "9223372036854710272\n"},
			func(f *event.Figures) { f.Limit, f.SwapLimit, f.Available = nil, nil, nil },
		},
		{
			"no limit on memory and swap together",
			map[string]string{"memory.memsw.limit_in_bytes": "9223372036854771712\n"},
			func(f *event.Figures) { f.SwapLimit = nil },
		},
		{
			"no swap accounting",
			map[string]string{
				"memory.memsw.usage_in_bytes": "", "memory.memsw.limit_in_bytes": "",
				"memory.stat": "total_inactive_file 1\n",
			},
			func(f *event.Figures) {
				*f = event.Figures{
					Usage: f.Usage, Limit: f.Limit, MaxUsage: f.MaxUsage, Kernel: f.Kernel,
					InactiveFile: u(1), WorkingSet: u(104857599), Source: f.Source,
				}
			},
		},
		{
			"swap by difference",
			map[string]string{"memory.stat": "total_swap\n"},
			func(f *event.Figures) {
				*f = event.Figures{
					Usage: f.Usage, Limit: f.Limit, MaxUsage: f.MaxUsage, Kernel: f.Kernel,
					SwapUsage: u(1048576), SwapLimit: f.SwapLimit, Source: f.Source,
				}
			},
		},
		{
			"no kmem",
			map[string]string{"memory.kmem.usage_in_bytes": ""},
			func(f *event.Figures) { f.Kernel = nil },
		},
		{
			"garbage",
			map[string]string{"memory.usage_in_bytes": "-1", "memory.max_usage_in_bytes": "99999999999999999999"},
			func(f *event.Figures) { f.Usage, f.MaxUsage, f.WorkingSet, f.Available = nil, nil, nil, nil },
		},
		{
			"no newline",
			map[string]string{"memory.usage_in_bytes": "104857600"},
			func(f *event.Figures) {},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := Mount{Root: write(t, t.TempDir(), below("a/b", with(v1Files(), test.changes))), Version: 1}
			want := full
			test.want(&want)
			got, err := m.Read("/a/b")
			if err != nil {
				t.Fatal(err)
			}
			differ(t, got, want)
		})
	}
}

func TestReadV2(t *testing.T) {
	full := event.Figures{
		Usage: u(104857600), Limit: u(134217728), MaxUsage: u(130000000), SwapUsage: u(1048576),
		Anon: u(40000000), File: u(60000000), Shmem: u(1000000), FileMapped: u(2000000),
		FileDirty: u(12288), FileWriteback: u(4096),
		ActiveFile: u(39000000), InactiveFile: u(20000000), Unevictable: u(8192),
		Kernel: u(4194304), SlabReclaimable: u(1500000), SlabUnreclaimable: u(500000),
		PageTables: u(131072), KernelStack: u(65536), Percpu: u(1024), Sock: u(8192),
		WorkingSet: u(84857600), Available: u(89860128),
		Source: event.SourceCgroupfs,
	}
	tests := []struct {
		name    string
		changes map[string]string
		want    func(*event.Figures)
	}{
		{"full", nil, func(*event.Figures) {}},
		{
			"no limit, swap limited",
			map[string]string{"memory.max": "max\n", "memory.swap.max": "0\n"},
			func(f *event.Figures) { f.Limit, f.Available, f.SwapLimit = nil, nil, u(0) },
		},
		{
			"no peak before 5.19, no swap",
			map[string]string{"memory.peak": "", "memory.swap.current": "", "memory.swap.max": ""},
			func(f *event.Figures) { f.MaxUsage, f.SwapUsage = nil, nil },
		},
		{
			"kernel memory before 5.18",
			map[string]string{"memory.stat": "slab 2000000\npercpu 1024\nsock 8192\npagetables 131072\nkernel_stack 65536\n"},
			func(f *event.Figures) {
				*f = event.Figures{
					Usage: f.Usage, Limit: f.Limit, MaxUsage: f.MaxUsage, SwapUsage: f.SwapUsage, Source: f.Source,
					Sock: f.Sock, PageTables: f.PageTables, KernelStack: f.KernelStack, Percpu: u(1024), Kernel: u(2000000 + 1024 + 131072 + 65536),
				}
			},
		},
		{
			"root",
			map[string]string{
				"memory.current": "", "memory.max": "", "memory.peak": "",
				"memory.swap.current": "", "memory.swap.max": "", "memory.stat": "anon 5\n",
			},
			func(f *event.Figures) { *f = event.Figures{Anon: u(5), Source: f.Source} },
		},
		{
			"controller not enabled here",
			map[string]string{
				"memory.current": "", "memory.max": "", "memory.peak": "",
				"memory.swap.current": "", "memory.swap.max": "", "memory.stat": "",
			},
			func(f *event.Figures) { *f = event.Figures{Source: f.Source} },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := Mount{Root: write(t, t.TempDir(), below("a", with(v2Files(), test.changes))), Version: 2}
			want := full
			test.want(&want)
			got, err := m.Read("a")
			if err != nil {
				t.Fatal(err)
			}
			differ(t, got, want)
		})
	}
}

func TestReadLargeFile(t *testing.T) {
	long := make([]byte, 100<<10)
	for i := range long {
		long[i] = 'x'
	}
	files := with(v2Files(), map[string]string{"memory.stat": string(long) + " 1\nanon 7\n"})
	m := Mount{Root: write(t, t.TempDir(), files), Version: 2}
	f, err := m.Read("/")
	if err != nil || f.Anon == nil || *f.Anon != 7 {
		t.Errorf("%v, %v", f.Anon, err)
	}
}

func TestReadNoSuchCgroup(t *testing.T) {
	for _, version := range []int{1, 2} {
		m := Mount{Root: t.TempDir(), Version: version}
		if _, err := m.Read("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read, version %d: %v", version, err)
		}
		if _, err := m.Usage("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Usage, version %d: %v", version, err)
		}
		if _, err := m.Stat("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat, version %d: %v", version, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for version, files := range map[int]map[string]string{1: v1Files(), 2: v2Files()} {
		dir := write(t, t.TempDir(), files)
		m := Mount{Root: dir, Version: version}
		if v, err := m.Usage("/"); v != 104857600 || err != nil {
			t.Errorf("version %d: %d, %v", version, v, err)
		}
		write(t, dir, map[string]string{"memory.current": "max", "memory.usage_in_bytes": ""})
		if v, err := m.Usage("/"); err == nil {
			t.Errorf("version %d: %d from garbage", version, v)
		}
	}
}

func TestStat(t *testing.T) {
	m := Mount{Root: write(t, t.TempDir(), v1Files()), Version: 1}
	got, err := m.Stat("/")
	if err != nil {
		t.Fatal(err)
	}
	differ(t, got, Stat{
		Anon: u(2), File: u(1), Swap: u(8), RefaultAnon: u(7), RefaultFile: u(228),
		Fault: u(33441), MajorFault: u(9),
	})
	m = Mount{Root: write(t, t.TempDir(), v2Files()), Version: 2}
	if got, err = m.Stat("/"); err != nil {
		t.Fatal(err)
	}
	differ(t, got, Stat{
		Hierarchical: true, Anon: u(40000000), File: u(60000000),
		RefaultAnon: u(7), RefaultFile: u(228), ActivateFile: u(100),
		Scan: u(1000), ScanKswapd: u(0), ScanDirect: u(1000), Steal: u(900),
		Fault: u(33441), MajorFault: u(9),
	})
}

func TestParseUint(t *testing.T) {
	tests := map[string]*uint64{
		"0": u(0), "1\n": u(1), " 12 ": u(12), "18446744073709551615": u(1<<64 - 1),
		"18446744073709551616": nil, "184467440737095516150": nil,
		"": nil, "\n": nil, "max": nil, "-1": nil, "+1": nil, "1 2": nil, "1kB": nil, "0x1": nil, "\x00": nil,
	}
	for s, want := range tests {
		got, ok := parseUint([]byte(s))
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q: %d, %t", s, got, ok)
		}
	}
}

func FuzzMemoryFiles(f *testing.F) {
	f.Add([]byte(v1Files()["memory.stat"]), []byte("1\n"))
	f.Add([]byte(v2Files()["memory.stat"]), []byte("max\n"))
	f.Add([]byte("slab 18446744073709551615\npercpu 18446744073709551615"), []byte("18446744073709551615"))
	f.Add([]byte("a\n \n  1\nanon"), []byte(""))
	f.Fuzz(func(t *testing.T, stat, value []byte) {
		dir := write(t, t.TempDir(), map[string]string{
			"memory.stat": string(stat), "memory.current": string(value), "memory.max": string(value),
			"memory.usage_in_bytes": string(value), "memory.limit_in_bytes": string(value),
		})
		for _, version := range []int{1, 2} {
			m := Mount{Root: dir, Version: version}
			figures, err := m.Read("/")
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := parseUint(value); ok != (figures.Usage != nil) || ok && v != *figures.Usage {
				t.Errorf("usage %v of %q", figures.Usage, value)
			}
			parseStat(stat, version)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	for version, files := range map[string]map[string]string{"v1": v1Files(), "v2": v2Files()} {
		b.Run(version, func(b *testing.B) {
			m := Mount{Root: write(b, b.TempDir(), files), Version: int(version[1] - '0')}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Read("/"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
