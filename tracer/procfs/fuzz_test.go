package procfs

import (
	"math"
	"os"
	"strings"
	"testing"
)

// Whatever /proc may hold, nothing panics, and what is said to be known can be.

func FuzzStat(f *testing.F) {
	f.Add(statLine("cat", "S"))
	f.Add(statLine(") R 1 (", "Z"))
	f.Add("1 ()")
	f.Fuzz(func(t *testing.T, text string) {
		if s, ok := parseStat(text); ok && (s.State == 0 || s.StartNS < 0 || !strings.Contains(text, s.Comm)) {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(status))
	f.Add([]byte("VmSize:\t99999999999999999999 kB\nVmRSS: -1 kB\nNSpid:\nUid:"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _ := parseStatus(data)
		if s.Size != nil && *s.Size%1024 != 0 {
			t.Errorf("%d", *s.Size)
		}
	})
}

func FuzzSmaps(f *testing.F) {
	f.Add(smaps)
	f.Add("0-1 rw-p 0 0:0 0\nPss: 1 kB")
	f.Add("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\nRss: x\n")
	f.Fuzz(func(t *testing.T, text string) {
		var k Kinds
		var pss uint64
		err := eachMapping(strings.NewReader(text), func(m *Mapping) {
			if len(m.Perms) != 4 || m.PSS > math.MaxUint64>>2 {
				t.Errorf("%+v", m)
			}
			pss += m.PSS
			if into := k.unfiled(m); into != nil {
				*into += m.PSS
			} else {
				k.Files += m.PSS
			}
		}, func(string, *uint64) {})
		if err != nil || k.PSS() != pss {
			t.Errorf("%v: %d of %d", err, k.PSS(), pss)
		}
	})
}

func FuzzRest(f *testing.F) {
	f.Add("0::/\n4:memory:/a\nMemTotal: 5 kB\n5 1 0:42 / / rw - tmpfs x y\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range parseCgroups(text) {
			if m.Path[0] != '/' || m.Hierarchy < 0 {
				t.Errorf("%+v", m)
			}
		}
		parseMeminfo([]byte(text))
		if _, err := parseTmpfs(strings.NewReader(text)); err != nil {
			t.Error(err)
		}
		numbers(strings.Fields(text))
	})
}

func BenchmarkKinds(b *testing.B) {
	dir := b.TempDir()
	if err := os.Mkdir(dir+"/1", 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(dir+"/1/smaps", []byte(strings.Repeat(smaps, 4000)), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if k, err := Root(dir).Kinds(1, nil); err != nil || k.Mappings != 68000 {
			b.Fatal(k, err)
		}
	}
}
