package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/oomtrace/oomtrace/bpf"
)

// wire gives a structure's bytes, as the kernel side sends them. Structures
// have no implicit padding, so encoding them field by field is the same.
func wire(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fill sets every field, each to another value, so that none can be mistaken
// for its neighbour.
func fill(v reflect.Value, n *uint64) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				fill(v.Field(i), n)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Uint8:
		*n++
		v.SetUint(uint64('a' + *n%26))
	case reflect.Uint32, reflect.Uint64:
		*n++
		v.SetUint(*n)
	case reflect.Int32, reflect.Int64:
		*n++
		v.SetInt(-int64(*n))
	default:
		panic(v.Kind())
	}
}

func filled[T any](kind bpf.CoreRecType) T {
	var t T
	var n uint64 = 1000
	v := reflect.ValueOf(&t).Elem()
	fill(v, &n)
	v.FieldByName("Head").FieldByName("Type").SetUint(uint64(kind))
	return t
}

type sample struct {
	name     string
	kind     bpf.CoreRecType
	bytes    []byte
	optional int // bytes at the end that need not be there
	want     any // a pointer to the structure
	got      func(Record) any
}

func samples(t testing.TB) []sample {
	itself := func(r Record) any { return r }
	of := func(name string, kind bpf.CoreRecType, v any, got func(Record) any) sample {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		return sample{name, kind, wire(t, v), 0, p.Interface(), got}
	}
	all := []sample{
		of("reclaim", bpf.CoreRecTypeREC_RECLAIM, filled[bpf.CoreRecReclaim](bpf.CoreRecTypeREC_RECLAIM), func(r Record) any { return r.(*Reclaim).CoreRecReclaim }),
		of("kswapd", bpf.CoreRecTypeREC_KSWAPD, filled[bpf.CoreRecReclaim](bpf.CoreRecTypeREC_KSWAPD), func(r Record) any { return r.(*Reclaim).CoreRecReclaim }),
		of("mark", bpf.CoreRecTypeREC_OOM_MARK, filled[bpf.CoreRecOomMark](bpf.CoreRecTypeREC_OOM_MARK), func(r Record) any { return r.(*Mark).CoreRecOomMark }),
		of("throttle", bpf.CoreRecTypeREC_THROTTLE, filled[bpf.CoreRecThrottle](bpf.CoreRecTypeREC_THROTTLE), itself),
		of("pressure", bpf.CoreRecTypeREC_PRESSURE, filled[bpf.CoreRecPressure](bpf.CoreRecTypeREC_PRESSURE), itself),
		of("pause", bpf.CoreRecTypeREC_PAUSE, filled[bpf.CoreRecPause](bpf.CoreRecTypeREC_PAUSE), itself),
		of("candidate", bpf.CoreRecTypeREC_OOM_CANDIDATE, filled[bpf.CoreRecOomCandidate](bpf.CoreRecTypeREC_OOM_CANDIDATE), itself),
		of("killed", bpf.CoreRecTypeREC_OOM_KILLED, filled[bpf.CoreRecOomKilled](bpf.CoreRecTypeREC_OOM_KILLED), itself),
		of("done", bpf.CoreRecTypeREC_OOM_DONE, filled[bpf.CoreRecOomDone](bpf.CoreRecTypeREC_OOM_DONE), itself),
		of("exit", bpf.CoreRecTypeREC_OOM_EXIT, filled[bpf.CoreRecOomExit](bpf.CoreRecTypeREC_OOM_EXIT), itself),
		of("cgroup", bpf.CoreRecTypeREC_CGROUP, filled[bpf.CoreRecCgroup](bpf.CoreRecTypeREC_CGROUP), func(r Record) any { return r.(*Cgroup).CoreRecCgroup }),
		of("image", bpf.CoreRecTypeREC_IMAGE, filled[bpf.CoreRecImage](bpf.CoreRecTypeREC_IMAGE), itself),
		of("file", bpf.CoreRecTypeREC_FILE, filled[bpf.CoreRecFile](bpf.CoreRecTypeREC_FILE), func(r Record) any { return r.(*File).CoreRecFile }),
	}
	for i := range 2 {
		var r bpf.CoreRecReclaim
		all[i].optional = int(unsafe.Sizeof(r) - unsafe.Offsetof(r.Stack))
	}
	for i := range all {
		if all[i].name == "cgroup" {
			all[i].optional = 8 + len(bpf.CoreRecCgroup{}.Args)
		}
	}
	all[2].optional = 8 * len(bpf.CoreRecOomMark{}.Stack)
	return all
}

func TestSamplesAreAllTypes(t *testing.T) {
	seen := make(map[bpf.CoreRecType]bool)
	for _, s := range samples(t) {
		seen[s.kind] = true
		if size := int(reflect.TypeOf(s.want).Elem().Size()); len(s.bytes) != size {
			t.Errorf("%s: %d bytes encoded, the structure has %d: it has implicit padding", s.name, len(s.bytes), size)
		}
	}
	for kind := bpf.CoreRecTypeREC_RECLAIM; kind <= bpf.CoreRecTypeREC_IMAGE; kind++ {
		if !seen[kind] {
			t.Errorf("no sample of record type %d", kind)
		}
	}
}

func TestDecodeRoundTrip(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			// In every alignment, and with what may follow a record.
			buffer := make([]byte, len(s.bytes)+16)
			for offset := range 8 {
				b := buffer[offset : offset+len(s.bytes)]
				copy(b, s.bytes)
				r, err := Decode(b)
				if err != nil {
					t.Fatalf("offset %d: %v", offset, err)
				}
				if got := s.got(r); !reflect.DeepEqual(got, s.want) {
					t.Errorf("offset %d: %+v, want %+v", offset, got, s.want)
				}
				if r, err = Decode(buffer[offset : offset+len(s.bytes)+8]); err != nil || !reflect.DeepEqual(s.got(r), s.want) {
					t.Errorf("offset %d, longer: %+v, %v", offset, r, err)
				}
			}
		})
	}
}

func TestDecodeShort(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			for n := range s.bytes {
				b := slices.Clone(s.bytes[:n:n])
				r, err := Decode(b)
				if n < len(s.bytes)-s.optional {
					if !errors.Is(err, ErrShort) || r != nil {
						t.Fatalf("%d of %d bytes: %v, %v", n, len(s.bytes), r, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%d of %d bytes, the stack is optional: %v", n, len(s.bytes), err)
				}
			}
		})
	}
}

func TestDecodeUnknown(t *testing.T) {
	for _, kind := range []uint32{0, uint32(bpf.CoreRecTypeREC_IMAGE) + 1, 1 << 31, ^uint32(0)} {
		b := wire(t, bpf.CoreRecHead{Type: kind})
		if r, err := Decode(b); !errors.Is(err, ErrUnknown) || r != nil {
			t.Errorf("type %d: %v, %v", kind, r, err)
		}
	}
}

func TestDecodeStack(t *testing.T) {
	full := make([]uint64, len(bpf.CoreRecReclaim{}.Stack))
	for i := range full {
		full[i] = 0xffffffff81000000 + uint64(i)
	}
	for _, c := range []struct {
		name string
		sent []uint64 // nil: not sent
		want []uint64
	}{
		{"not sent", nil, nil},
		{"empty", []uint64{}, []uint64{}},
		{"short", full[:3], full[:3]},
		{"full", full, full},
		{"ends at the first zero", []uint64{7, 0, 9}, []uint64{7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reclaim := bpf.CoreRecReclaim{Head: bpf.CoreRecHead{Type: uint32(bpf.CoreRecTypeREC_RECLAIM)}, Domain: 5}
			mark := bpf.CoreRecOomMark{Head: bpf.CoreRecHead{Type: uint32(bpf.CoreRecTypeREC_OOM_MARK)}, Flags: 5}
			copy(reclaim.Stack[:], c.sent)
			copy(reclaim.UserStack[:], c.sent)
			copy(mark.Stack[:], c.sent)
			a, b := wire(t, reclaim), wire(t, mark)
			if c.sent == nil {
				a = a[:unsafe.Offsetof(reclaim.Stack)]
				b = b[:unsafe.Offsetof(mark.Stack)]
			}
			r, err := Decode(a)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.(*Reclaim); got.Domain != 5 || !reflect.DeepEqual(got.Stack, c.want) || !reflect.DeepEqual(got.UserStack, c.want) {
				t.Errorf("reclaim: stacks %#x and %#x, want %#x", got.Stack, got.UserStack, c.want)
			}
			if r, err = Decode(b); err != nil {
				t.Fatal(err)
			}
			if got := r.(*Mark); got.Flags != 5 || !reflect.DeepEqual(got.Stack, c.want) {
				t.Errorf("mark: stack %#x, want %#x", got.Stack, c.want)
			}
		})
	}
}

func TestDecodeEvicted(t *testing.T) {
	room := len(bpf.CoreRecReclaim{}.Evicted)
	for _, c := range []struct {
		count uint32
		want  int
	}{{0, 0}, {1, 1}, {uint32(room), room}, {uint32(room) + 1, room}, {1 << 31, room}, {^uint32(0), room}} {
		v := filled[bpf.CoreRecReclaim](bpf.CoreRecTypeREC_RECLAIM)
		v.EvictedCount = c.count
		r, err := Decode(wire(t, v))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.(*Reclaim).Evicted; !slices.Equal(got, v.Evicted[:c.want]) {
			t.Errorf("count %d: %d evicted, want %d", c.count, len(got), c.want)
		}
	}
}

func TestDecodePath(t *testing.T) {
	depth, length := len(bpf.CoreRecFile{}.Directories), len(bpf.CoreRecFile{}.Directories[0])
	deep := make([]string, depth)
	for i := range deep {
		deep[i] = "d"
	}
	for _, c := range []struct {
		name      string
		file      string
		dirs      []string // nearest first
		count     uint32
		truncated bool
		want      string
	}{
		{"at the root", "f", nil, 0, false, "/f"},
		{"nearest first", "f", []string{"c", "b", "a"}, 3, false, "/a/b/c/f"},
		{"only those counted", "f", []string{"c", "b", "a"}, 2, false, "/b/c/f"},
		{"cut", "f", []string{"c", "b"}, 2, true, "…/b/c/f"},
		{"cut to the name", "f", nil, 0, true, "…/f"},
		{"as deep as it goes", "f", deep, uint32(depth), false, "/" + strings.Repeat("d/", depth) + "f"},
		{"count out of bounds", "f", deep, ^uint32(0), true, "…/" + strings.Repeat("d/", depth) + "f"},
		{"names without end", strings.Repeat("n", 256), []string{strings.Repeat("x", length)}, 1, false, "/" + strings.Repeat("x", length) + "/" + strings.Repeat("n", 256)},
		{"any bytes", "\xff\x1b[31m\n", nil, 0, false, "/\xff\x1b[31m\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := bpf.CoreRecFile{Head: bpf.CoreRecHead{Type: uint32(bpf.CoreRecTypeREC_FILE)}, Count: c.count}
			if c.truncated {
				v.Truncated = 1
			}
			copy(v.Name[:], c.file)
			for i, d := range c.dirs {
				copy(v.Directories[i][:], d)
			}
			r, err := Decode(wire(t, v))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.(*File).Path; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{"": "", "\x00": "", "a\x00b": "a", "abc": "abc", "a\x00": "a"} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCgroupPath(t *testing.T) {
	v := bpf.CoreRecCgroup{Head: bpf.CoreRecHead{Type: uint32(bpf.CoreRecTypeREC_CGROUP)}}
	copy(v.Path[:], "/a/b\x00left over from before")
	r, err := Decode(wire(t, v))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.(*Cgroup).Path; got != "/a/b" || r.(*Cgroup).Args != nil {
		t.Errorf("%q, %q", got, r.(*Cgroup).Args)
	}
}

// A command line is only believed when all of it was sent.
func TestCgroupArgs(t *testing.T) {
	for _, c := range []struct {
		args  string
		bytes uint32
		want  []string
	}{
		{"runc\x00run\x00web\x00left over", 13, []string{"runc", "run", "web"}},
		{"runc\x00run\x00web", 12, []string{"runc", "run", "web"}},
		{"runc\x00\x00web\x00", 10, []string{"runc", "", "web"}},
		{"runc", 0, nil},
		{"runc\x00run", uint32(len(bpf.CoreRecCgroup{}.Args)) + 1, nil},
		{"runc\x00run", ^uint32(0), nil},
	} {
		v := bpf.CoreRecCgroup{Head: bpf.CoreRecHead{Type: uint32(bpf.CoreRecTypeREC_CGROUP)}, ArgsBytes: c.bytes}
		copy(v.Args[:], c.args)
		r, err := Decode(wire(t, v))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.(*Cgroup).Args; !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestFamily(t *testing.T) {
	want := map[bpf.CoreRecType]bpf.CoreFamily{
		bpf.CoreRecTypeREC_RECLAIM: bpf.CoreFamilyFAMILY_RECLAIM, bpf.CoreRecTypeREC_PRESSURE: bpf.CoreFamilyFAMILY_RECLAIM,
		bpf.CoreRecTypeREC_KSWAPD: bpf.CoreFamilyFAMILY_KSWAPD, bpf.CoreRecTypeREC_THROTTLE: bpf.CoreFamilyFAMILY_THROTTLE,
		bpf.CoreRecTypeREC_IMAGE:  bpf.CoreFamilyFAMILY_PROFILE,
		bpf.CoreRecTypeREC_CGROUP: bpf.CoreFamilyFAMILY_CGROUP, bpf.CoreRecTypeREC_FILE: bpf.CoreFamilyFAMILY_CACHE,
	}
	for kind := bpf.CoreRecTypeREC_RECLAIM; kind <= bpf.CoreRecTypeREC_IMAGE; kind++ {
		family, known := want[kind]
		if !known {
			family = bpf.CoreFamilyFAMILY_OOM
		}
		if got := Family(uint32(kind)); got != family {
			t.Errorf("type %d: family %d, want %d", kind, got, family)
		}
	}
}
