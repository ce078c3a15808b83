package hook

import (
	"bytes"
	"encoding/binary"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
)

// specs reads all objects, as they are built into this binary.
func specs(t *testing.T) map[string]*ebpf.CollectionSpec {
	t.Helper()
	out := make(map[string]*ebpf.CollectionSpec)
	for name, read := range Objects() {
		spec, err := read()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = spec
	}
	return out
}

// forBenchmarks tells the programs that nothing but a benchmark loads.
func forBenchmarks(object, program string) bool {
	return object == "core" && (strings.HasPrefix(program, "empty_") || program == "flood")
}

func TestTableFindsItsPrograms(t *testing.T) {
	all := specs(t)
	for _, purpose := range Table() {
		for i := range purpose.Ways {
			w := &purpose.Ways[i]
			if (w.Object == "") != (len(w.Programs) == 0) {
				t.Errorf("%s: object %q with %d programs", purpose.Key(w), w.Object, len(w.Programs))
			}
			if w.Object == "" {
				continue
			}
			spec := all[w.Object]
			if spec == nil {
				t.Errorf("%s: no object %q", purpose.Key(w), w.Object)
				continue
			}
			for _, p := range w.Programs {
				ps := spec.Programs[p.Name]
				if ps == nil {
					t.Errorf("%s: no program %q in object %s", purpose.Key(w), p.Name, w.Object)
					continue
				}
				checkProgram(t, w.Kind, p, ps)
			}
		}
	}
}

// checkProgram holds a line of the table against the program's own section.
func checkProgram(t *testing.T, kind string, p Program, ps *ebpf.ProgramSpec) {
	t.Helper()
	if p.Target == Iterator {
		kind = Iterator
	}
	type shape struct {
		kind    string
		returns bool
	}
	want, known := map[shape]struct {
		typ     ebpf.ProgramType
		attach  ebpf.AttachType
		section string
	}{
		{Tracepoint, false}: {ebpf.Tracing, ebpf.AttachTraceRawTp, "tp_btf/"},
		{PerfEvent, false}:  {ebpf.PerfEvent, ebpf.AttachNone, "perf_event/"},
		{Fentry, false}:     {ebpf.Tracing, ebpf.AttachTraceFEntry, "fentry/"},
		{Fentry, true}:      {ebpf.Tracing, ebpf.AttachTraceFExit, "fexit/"},
		{Kprobe, false}:     {ebpf.Kprobe, ebpf.AttachNone, "kprobe/"},
		{Kprobe, true}:      {ebpf.Kprobe, ebpf.AttachNone, "kretprobe/"},
		{Iterator, false}:   {ebpf.Tracing, ebpf.AttachTraceIter, "iter/"},
	}[shape{kind, p.Return}]
	if !known {
		t.Errorf("program %s: kind %q, at return: %v", p.Name, kind, p.Return)
		return
	}
	if ps.Type != want.typ || ps.AttachType != want.attach {
		t.Errorf("program %s: %v/%v, its kind %s wants %v/%v", p.Name, ps.Type, ps.AttachType, kind, want.typ, want.attach)
	}
	// A function may have had another name, which the loader sets: up to
	// leading underscores it is the one that the program was written for.
	target, ok := strings.CutPrefix(ps.SectionName, want.section)
	if !ok || strings.TrimLeft(target, "_") != strings.TrimLeft(p.Target, "_") {
		t.Errorf("program %s: section %s, the table has %s at %s", p.Name, ps.SectionName, kind, p.Target)
	}
	if !strings.Contains(ps.License, "GPL") {
		t.Errorf("program %s: license %q", p.Name, ps.License)
	}
}

func TestProgramsAreInTheTable(t *testing.T) {
	named := make(map[string]bool)
	for _, purpose := range Table() {
		for _, w := range purpose.Ways {
			for _, p := range w.Programs {
				named[w.Object+"/"+p.Name] = true
			}
		}
	}
	for object, spec := range specs(t) {
		for program := range spec.Programs {
			if !named[object+"/"+program] && !forBenchmarks(object, program) {
				t.Errorf("program %s of object %s: nothing in the table attaches it", program, object)
			}
		}
	}
}

// An empty program is what a real one on the same hook is measured against.
func TestBenchmarkProgramsMeetRealOnes(t *testing.T) {
	targets := make(map[string]bool)
	for _, purpose := range Table() {
		for _, w := range purpose.Ways {
			for _, p := range w.Programs {
				targets[w.Kind+" "+p.Target] = true
			}
		}
	}
	for name, ps := range specs(t)["core"].Programs {
		if target, ok := strings.CutPrefix(name, "empty_"); ok && (!targets[Tracepoint+" "+target] || ps.AttachTo != target) {
			t.Errorf("program %s is attached to %q, which no real one is", name, ps.AttachTo)
		}
	}
}

// Programs within a way are attached in order; each way attaches a program once.
func TestWaysAreWhole(t *testing.T) {
	for _, purpose := range Table() {
		keys := make(map[string]bool)
		for i := range purpose.Ways {
			w := &purpose.Ways[i]
			key := purpose.Key(w)
			if keys[key] {
				t.Errorf("%s: two ways have this key, so refusing one refuses both", key)
			}
			keys[key] = true
			names := make(map[string]bool)
			for _, p := range w.Programs {
				if names[p.Name] || p.Target == "" {
					t.Errorf("%s: program %q, target %q", key, p.Name, p.Target)
				}
				names[p.Name] = true
			}
		}
		if len(purpose.Ways) == 0 || purpose.Family == "" || purpose.Name == "" {
			t.Errorf("purpose without name or ways: %+v", purpose)
		}
	}
}

// The loader makes each map once and hands it to every object that names it.
func TestSharedMapsAgree(t *testing.T) {
	type owner struct {
		object string
		spec   *ebpf.MapSpec
	}
	first := make(map[string]owner)
	all := specs(t)
	for _, object := range slices.Sorted(maps.Keys(all)) {
		for name, m := range all[object].Maps {
			if strings.HasPrefix(name, ".") {
				continue
			}
			a, seen := first[name]
			if !seen {
				first[name] = owner{object, m}
				continue
			}
			b := a.spec
			if m.Type != b.Type || m.KeySize != b.KeySize || m.ValueSize != b.ValueSize || m.MaxEntries != b.MaxEntries || m.Flags != b.Flags {
				t.Errorf("map %s: %v in %s, %v in %s", name, b, a.object, m, object)
			}
		}
	}
}

func TestEveryObjectSharesTheRing(t *testing.T) {
	for object, spec := range specs(t) {
		ring, tallies := spec.Maps["events"], spec.Maps["tallies"]
		if ring == nil || tallies == nil {
			t.Errorf("object %s: events %v, tallies %v", object, ring, tallies)
			continue
		}
		if n := ring.MaxEntries; ring.Type != ebpf.RingBuf || n < 4096 || n&(n-1) != 0 {
			t.Errorf("object %s: events is %v of %d bytes", object, ring.Type, n)
		}
		if tallies.MaxEntries != uint32(bpf.CoreFamilyFAMILY_COUNT) {
			t.Errorf("object %s: %d tallies", object, tallies.MaxEntries)
		}
	}
}

// What Go reads from maps has the size of what the programs keep there.
func TestMapsHoldWhatGoReads(t *testing.T) {
	all := specs(t)
	for _, c := range []struct {
		object, name string
		typ          ebpf.MapType
		key, value   any
	}{
		{"core", "tallies", ebpf.PerCPUArray, uint32(0), bpf.CoreTally{}},
		{"core", "watched", ebpf.Hash, uint64(0), uint8(0)},
		{"core", "reader_polls", ebpf.Array, uint32(0), uint32(0)},
		{"lifecycle", "wanted_paths", ebpf.Hash, bpf.CoreRecCgroup{}.Path, uint8(0)},
		{"oom", "histories", ebpf.LRUHash, uint64(0), bpf.CoreHistory{}},
		{"cache", "cache_totals", ebpf.Hash, uint64(0), bpf.CoreCacheCounts{}},
		{"cache", "cache_files", ebpf.LRUHash, bpf.CoreFileKey{}, bpf.CoreFileCounts{}},
		{"cache", "cache_evictors", ebpf.Hash, bpf.CoreEvictKey{}, bpf.CoreEvictCounts{}},
		{"cache", "cache_refaults", ebpf.Hash, uint64(0), uint64(0)},
		{"cache", "cache_runs", ebpf.PerCPUArray, uint32(0), bpf.CoreRun{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := all[c.object].Maps[c.name]
			if m == nil {
				t.Fatalf("not in object %s", c.object)
			}
			if m.Type != c.typ {
				t.Errorf("type %v, want %v", m.Type, c.typ)
			}
			if key, value := uint32(binary.Size(c.key)), uint32(binary.Size(c.value)); m.KeySize != key || m.ValueSize != value {
				t.Errorf("key of %d and value of %d bytes, Go has %d and %d", m.KeySize, m.ValueSize, key, value)
			}
		})
	}
}

// The constants of all objects are set, and none is set that no object has: a
// name that is mistyped is otherwise passed over in silence.
func TestConstantsAgree(t *testing.T) {
	all := specs(t)
	constants := Config{}.constants(&fake{})
	for name, value := range constants {
		found := false
		for object, spec := range all {
			if v := spec.Variables[name]; v != nil {
				found = true
				if err := v.Set(value); err != nil {
					t.Errorf("object %s: set %s to %T: %v", object, name, value, err)
				}
			}
		}
		if !found {
			t.Errorf("constant %s is set, but no object has it", name)
		}
	}
	for object, spec := range all {
		for name := range spec.Variables {
			if _, ok := constants[name]; !ok && !strings.HasPrefix(name, "export_") {
				t.Errorf("object %s: nobody sets %s", object, name)
			}
		}
	}
}

// The objects for both machines are made of the same sources.
func TestArchitecturesAgree(t *testing.T) {
	for object := range Objects() {
		t.Run(object, func(t *testing.T) {
			x86, arm64 := readObject(t, object, "x86"), readObject(t, object, "arm64")
			same(t, "programs", x86.Programs, arm64.Programs, func(a, b *ebpf.ProgramSpec) bool {
				return a.Type == b.Type && a.AttachType == b.AttachType && a.SectionName == b.SectionName
			})
			same(t, "maps", x86.Maps, arm64.Maps, func(a, b *ebpf.MapSpec) bool {
				return strings.HasPrefix(a.Name, ".") ||
					a.Type == b.Type && a.KeySize == b.KeySize && a.ValueSize == b.ValueSize && a.MaxEntries == b.MaxEntries && a.Flags == b.Flags
			})
			same(t, "variables", x86.Variables, arm64.Variables, func(a, b *ebpf.VariableSpec) bool {
				return a.Size() == b.Size() && a.SectionName == b.SectionName && bytes.Equal(a.Value, b.Value)
			})
		})
	}
}

func readObject(t *testing.T, object, arch string) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(filepath.Join("..", "..", "bpf", object+"_"+arch+"_bpfel.o"))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func same[T any](t *testing.T, what string, a, b map[string]T, equal func(T, T) bool) {
	t.Helper()
	if x, y := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)); !slices.Equal(x, y) {
		t.Errorf("%s: %v on x86, %v on arm64", what, x, y)
		return
	}
	for name := range a {
		if !equal(a[name], b[name]) {
			t.Errorf("%s: %s differs: %v on x86, %v on arm64", what, name, a[name], b[name])
		}
	}
}
