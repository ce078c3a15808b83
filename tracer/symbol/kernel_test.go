package symbol

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeRoot makes files below a directory that stands for /proc.
func fakeRoot(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const kallsyms = `0000000000000000 A fixed_percpu_data
ffffffff81003000 T second
ffffffff81000000 T _text
ffffffff81000000 T first
ffffffff81004000 t try_charge_memcg
ffffffff81005000 T __traceiter_mark_victim
ffffffff81006000 T bpf_trace_run2
ffffffff81007000 T __bpf_trace_mark_victim
not a line
ffffffffzz008000 T bad_address
ffffffffc0100000 t ext4_readahead	[ext4]
ffffffffc0200000 t bpf_prog_6deef7357e7b4530_mark_victim_iter	[bpf]
`

func TestSymbols(t *testing.T) {
	s, err := LoadKernel(fakeRoot(t, map[string]string{"kallsyms": kallsyms}))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(s.at) || len(s.at) != len(s.name) {
		t.Fatalf("%#x", s.at)
	}
	for address, want := range map[uint64]string{
		0xffffffff81003000: "second+0x0",
		0xffffffff81003fff: "second+0xfff",
		0xffffffff81004010: "try_charge_memcg+0x10",
		0xffffffff81002fff: "first+0x2fff",
		0xffffffff80ffffff: "0xffffffff80ffffff", // before the first
		0:                  "0x0",
		0xffffffffc0400000: "0xffffffffc0400000", // far behind the last: of no function known
		^uint64(0):         "0xffffffffffffffff",
	} {
		if got := s.lookup(address); got != want {
			t.Errorf("%#x: %s, want %s", address, got, want)
		}
	}
	if got := s.lookup(0xffffffffc0100004); !strings.HasPrefix(got, "ext4_readahead") || !strings.Contains(got, "[ext4]") || !strings.Contains(got, "+0x4") {
		t.Errorf("in a module: %s", got)
	}
}

func TestStackLeavesOutTracing(t *testing.T) {
	s, err := LoadKernel(fakeRoot(t, map[string]string{"kallsyms": kallsyms}))
	if err != nil {
		t.Fatal(err)
	}
	const (
		program, run, proto, iter = 0xffffffffc0200010, 0xffffffff81006010, 0xffffffff81007010, 0xffffffff81005010
		charge, first             = 0xffffffff81004010, 0xffffffff81000010
	)
	for _, c := range []struct {
		name      string
		addresses []uint64
		want      []string
	}{
		{"none", nil, []string{}},
		{"a plain stack", []uint64{charge, first}, []string{"try_charge_memcg+0x10", "first+0x10"}},
		{"from a tracepoint", []uint64{program, run, proto, iter, charge, first}, []string{"try_charge_memcg+0x10", "first+0x10"}},
		{"a frame without a name among them", []uint64{program, 0x1234, run, charge}, []string{"try_charge_memcg+0x10"}},
		{"nothing but tracing", []uint64{program, run}, []string{}},
		{"deep inside it belongs to the kernel", []uint64{charge, charge, charge, charge, charge, run, first}, []string{
			"try_charge_memcg+0x10", "try_charge_memcg+0x10", "try_charge_memcg+0x10", "try_charge_memcg+0x10", "try_charge_memcg+0x10",
			"bpf_trace_run2+0x10", "first+0x10",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.Stack(c.addresses); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Where kallsyms hides its addresses, stacks are numbers.
func TestSymbolsHidden(t *testing.T) {
	hidden, err := LoadKernel(fakeRoot(t, map[string]string{"kallsyms": "0000000000000000 T _text\n0000000000000000 T second\n"}))
	if err != nil || len(hidden.at) != 0 {
		t.Fatalf("%v, %v", hidden, err)
	}
	absent, err := LoadKernel(t.TempDir())
	if err == nil || absent == nil {
		t.Fatalf("%v, %v", absent, err)
	}
	for _, s := range []*Kernel{hidden, absent} {
		if got := s.Stack([]uint64{0xffffffff81003010}); !slices.Equal(got, []string{"0xffffffff81003010"}) {
			t.Errorf("%q", got)
		}
	}
}
