package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build makes a Go program, and gives it with what flags ask of the linker.
func build(t testing.TB, ldflags string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	text := "package main\n\n//go:noinline\nfunc known(n int) int { return n + len(arg) }\n\nvar arg = []int{1}\n\nfunc main() { println(known(1)) }\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-ldflags", ldflags, "-o", out, source)
	cmd.Env = append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, text)
	}
	return out
}

func open(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A stripped Go program has the same functions at the same places as one with
// symbols, from its runtime's own table.
func TestGoTable(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			name := build(t, "", "GOARCH="+arch)
			file, err := elf.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			symbols, err := file.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			stripped, err := readObject(open(t, build(t, "-s -w -buildid=", "GOARCH="+arch)))
			if err != nil || !stripped.whole {
				t.Fatalf("%v, whole: %v", err, stripped.whole)
			}
			if f := file.Section(".gopclntab"); f == nil {
				t.Fatal("no .gopclntab to compare with")
			}
			found := 0
			for _, s := range symbols {
				if s.Name != "main.known" && s.Name != "main.main" && s.Name != "runtime.mallocgc" && s.Name != "fmt.Println" {
					continue
				}
				found++
				for _, at := range []uint64{s.Value, s.Value + s.Size/2, s.Value + s.Size - 1} {
					if got := stripped.symbols.lookup(at); got != s.Name {
						t.Errorf("%#x: %q, want %q", at, got, s.Name)
					}
				}
			}
			if found < 3 {
				t.Errorf("only %d of the functions are in the symbol table", found)
			}
		})
	}
}

func TestReadObjectSymbols(t *testing.T) {
	o, err := readObject(open(t, build(t, "-B 0x0123456789abcdef")))
	if err != nil || !o.whole {
		t.Fatalf("%v, whole: %v", err, o.whole)
	}
	if o.buildID != "0123456789abcdef" {
		t.Errorf("build id %q", o.buildID)
	}
	if len(o.segments) == 0 {
		t.Fatal("no segment with code")
	}
	s := o.segments[0]
	if a, ok := o.address(s.offset + 16); !ok || a != s.address+16 {
		t.Errorf("%#x, %v", a, ok)
	}
	if _, ok := o.address(math.MaxUint64); ok {
		t.Error("an address far behind the file")
	}
}

func TestTableLookup(t *testing.T) {
	var tab table
	tab.add(0x1000, 0x100, []byte("outer"))
	tab.add(0x1000, 0x100, []byte("alias"))
	tab.add(0x1040, 0x10, []byte("inner"))
	tab.add(0x2000, 0, []byte("_ZN4shop4CartIcE4fillEl"))
	tab.add(0x3000, 0x10, []byte("_RNvC6_123foo3bar"))
	tab.add(0x4000, 0x10, []byte(strings.Repeat("x", 5000)))
	tab.add(0x5000, 0x10, nil)
	tab.sort()
	for at, want := range map[uint64]string{
		0xfff: "", 0x1000: "outer", 0x103f: "outer", 0x1040: "inner", 0x1050: "outer", 0x10ff: "outer", 0x1100: "",
		0x2000: "shop::Cart<char>::fill", 0x2fff: "shop::Cart<char>::fill", 0x3001: "123foo::bar", 0x3010: "shop::Cart<char>::fill",
		0x4000: strings.Repeat("x", maxName), 0x5000: "",
	} {
		if at == 0x3010 || at == 0x5000 {
			continue // what of unknown size ends with is not sure
		}
		if got := tab.lookup(at); got != want {
			t.Errorf("%#x: %.40q, want %.40q", at, got, want)
		}
	}
}

func TestBuildID(t *testing.T) {
	note := func(name string, typ uint32, desc string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
		b = binary.LittleEndian.AppendUint32(b, typ)
		pad := func(s string) []byte { return append([]byte(s), make([]byte, (4-len(s)%4)%4)...) }
		return append(append(b, pad(name)...), pad(desc)...)
	}
	gnu := note("GNU\x00", 3, "\x12\x34\x56")
	for name, c := range map[string]struct {
		notes []byte
		want  string
	}{
		"none":         {nil, ""},
		"alone":        {gnu, "123456"},
		"behind":       {append(note("Go\x00\x00", 4, "some text"), gnu...), "123456"},
		"another kind": {note("GNU\x00", 1, "abcd"), ""},
		"cut":          {gnu[:13], ""},
		"too long":     {note("GNU\x00", 3, strings.Repeat("x", 65)), ""},
		"a lie":        {append(binary.LittleEndian.AppendUint64(nil, math.MaxUint64), make([]byte, 40)...), ""},
	} {
		if got := buildID(c.notes, binary.LittleEndian); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// No file brings it down, or makes it take much memory.
func FuzzReadObject(f *testing.F) {
	text, err := os.ReadFile(build(f, "-s -w"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text[:4096], uint16(0), uint32(0))
	f.Add([]byte("\x7fELF"), uint16(0), uint32(0))
	for _, at := range []uint16{40, 42, 54, 56, 58, 60, 62, 64, 72, 96, 104} {
		f.Add([]byte(nil), at, uint32(math.MaxUint32))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, value uint32) {
		if len(b) == 0 { // a whole program with one thing wrong in it
			b = bytes.Clone(text)
			binary.LittleEndian.PutUint32(b[min(int(at), len(b)-4):], value)
		}
		o, _ := readObject(bytes.NewReader(b))
		if o.symbols.bytes() > maxTable+maxTable/2 {
			t.Fatalf("%d bytes of symbols", o.symbols.bytes())
		}
		for _, a := range []uint64{0, 0x401000, math.MaxUint64} {
			o.address(a)
			o.symbols.lookup(a)
		}
	})
}

// The table of a Go program may say anything.
func FuzzGoTable(f *testing.F) {
	name := build(f, "-s -w")
	text, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	file, err := elf.Open(name)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	section := file.Section(".gopclntab")
	for _, at := range []uint32{0, 4, 8, 16, 24, 32, 64, 72, 4096, uint32(section.Size / 2), uint32(section.Size - 8)} {
		f.Add(at, uint64(math.MaxUint64))
		f.Add(at, uint64(section.Size-1))
	}
	f.Fuzz(func(t *testing.T, at uint32, value uint64) {
		b := bytes.Clone(text)
		binary.LittleEndian.PutUint64(b[section.Offset+uint64(at)%(section.Size-8):], value)
		o, _ := readObject(bytes.NewReader(b))
		if o.symbols.bytes() > maxTable+maxTable/2 {
			t.Fatalf("%d bytes of symbols", o.symbols.bytes())
		}
	})
}
