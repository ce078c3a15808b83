package tracer

import (
	"encoding/binary"
	"maps"
	"testing"
)

// Kinds of types in BTF, by what follows their record of 12 bytes.
const (
	btfInt, btfPtr, btfArray, btfStruct, btfEnum = 1, 2, 3, 4, 6
	btfFunc, btfProto, btfVar, btfDatasec        = 12, 13, 14, 15
	btfDeclTag, btfTypeTag, btfEnum64            = 17, 18, 19
)

type member struct {
	name  string
	value uint32
}

// blob is BTF in the making.
type blob struct {
	types, names []byte
	offset       map[string]uint32
}

func newBlob() *blob { return &blob{names: []byte{0}, offset: make(map[string]uint32)} }

func (b *blob) name(s string) uint32 {
	if at, ok := b.offset[s]; ok || s == "" {
		return at
	}
	b.offset[s] = uint32(len(b.names))
	b.names = append(append(b.names, s...), 0)
	return b.offset[s]
}

// add appends a type with so many members and that many bytes after its record.
func (b *blob) add(kind, members uint32, rest ...byte) {
	b.types = binary.NativeEndian.AppendUint32(b.types, 0)
	b.types = binary.NativeEndian.AppendUint32(b.types, kind<<24|members)
	b.types = binary.NativeEndian.AppendUint32(b.types, 4)
	b.types = append(b.types, rest...)
}

func (b *blob) enum(members ...member) {
	var rest []byte
	for _, m := range members {
		rest = binary.NativeEndian.AppendUint32(rest, b.name(m.name))
		rest = binary.NativeEndian.AppendUint32(rest, m.value)
	}
	b.add(btfEnum, uint32(len(members)), rest...)
}

// others adds one type of every other kind, each to be stepped over.
func (b *blob) others() {
	b.add(btfInt, 0, make([]byte, 4)...)
	b.add(btfPtr, 0)
	b.add(btfArray, 0, make([]byte, 12)...)
	b.add(btfStruct, 3, make([]byte, 3*12)...)
	b.enum(member{"SOMETHING", 1}, member{"___GFP_LATER_BIT", 9})
	b.add(btfFunc, 1) // its "members" are the linkage
	b.add(btfProto, 2, make([]byte, 2*8)...)
	b.add(btfVar, 0, make([]byte, 4)...)
	b.add(btfDatasec, 2, make([]byte, 2*12)...)
	b.add(btfDeclTag, 0, make([]byte, 4)...)
	b.add(btfTypeTag, 0)
	b.add(btfEnum64, 2, make([]byte, 2*12)...)
}

func (b *blob) bytes() []byte {
	var out []byte
	out = binary.NativeEndian.AppendUint16(out, 0xeb9f)
	out = append(out, 1, 0)
	for _, v := range []int{24, 0, len(b.types), len(b.types), len(b.names)} {
		out = binary.NativeEndian.AppendUint32(out, uint32(v))
	}
	return append(append(out, b.types...), b.names...)
}

// gfpBlob is the enumeration of 6.18, in part, in the midst of other types.
func gfpBlob() []byte {
	b := newBlob()
	b.others()
	b.enum(
		member{"___GFP_DMA_BIT", 0}, member{"___GFP_HIGHMEM_BIT", 1}, member{"___GFP_MOVABLE_BIT", 3},
		member{"___GFP_HIGH_BIT", 5}, member{"___GFP_IO_BIT", 6}, member{"___GFP_FS_BIT", 7}, member{"___GFP_ZERO_BIT", 8},
		member{"___GFP_DIRECT_RECLAIM_BIT", 10}, member{"___GFP_KSWAPD_RECLAIM_BIT", 11}, member{"___GFP_NOWARN_BIT", 13},
		member{"___GFP_COMP_BIT", 18}, member{"___GFP_HARDWALL_BIT", 20}, member{"___GFP_ACCOUNT_BIT", 22},
		member{"___GFP_LAST_BIT", 26}, member{"___GFP_ABSURD_BIT", 32}, member{"NOT_OF_IT", 4},
	)
	b.others()
	return b.bytes()
}

func TestGFPBits(t *testing.T) {
	want := map[string]uint32{
		"DMA": 1, "HIGHMEM": 2, "MOVABLE": 8, "HIGH": 0x20, "IO": 0x40, "FS": 0x80, "ZERO": 0x100,
		"DIRECT_RECLAIM": 0x400, "KSWAPD_RECLAIM": 0x800, "NOWARN": 0x2000, "COMP": 1 << 18, "HARDWALL": 1 << 20, "ACCOUNT": 1 << 22,
	}
	if got := gfpBits(gfpBlob()); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestGFPBitsNotThere(t *testing.T) {
	older := newBlob()
	older.others()
	foreign := gfpBlob()
	foreign[0], foreign[1] = foreign[1], foreign[0]
	notFirst := newBlob()
	notFirst.enum(member{"OTHER", 0}, member{"___GFP_DMA_BIT", 1})
	outside := gfpBlob()
	binary.NativeEndian.PutUint32(outside[20:], 1<<31) // names that end beyond the blob
	for name, raw := range map[string][]byte{
		"empty": nil, "a header's beginning": gfpBlob()[:23], "before 6.9": older.bytes(), "other byte order": foreign,
		"not the enumeration's first": notFirst.bytes(), "sections outside": outside, "no types": newBlob().bytes(),
	} {
		if got := gfpBits(raw); got == nil || len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGFPBitsTruncated(t *testing.T) {
	raw := gfpBlob()
	for n := range raw {
		gfpBits(raw[:n:n])
	}
}

// The running kernel's own, since 6.9: those that never changed their bit.
func TestGFPOfThisKernel(t *testing.T) {
	g := newGFP()
	if len(g.bits) == 0 {
		return // before 6.9, or without BTF
	}
	if g.bits["DMA"] != 1 || g.bits["HIGHMEM"] != 2 || g.bits["DMA32"] != 4 || g.bits["IO"] != 0x40 || g.bits["FS"] != 0x80 {
		t.Errorf("%v", g.bits)
	}
	if got := g.String(0xcc0); got != "0xcc0(GFP_KERNEL)" {
		t.Error(got)
	}
}

func FuzzGFP(f *testing.F) {
	raw := gfpBlob()
	f.Add(raw)
	f.Add(raw[:len(raw)-10])
	f.Add([]byte{})
	for _, at := range []int{4, 8, 12, 16, 20, 28, 60, 100} {
		broken := append([]byte(nil), raw...)
		binary.NativeEndian.PutUint32(broken[at:], ^uint32(0))
		f.Add(broken)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for name, bit := range gfpBits(raw) {
			if bit == 0 || bit&(bit-1) != 0 {
				t.Fatalf("%s is %#x, not one bit", name, bit)
			}
		}
	})
}

func TestGFPString(t *testing.T) {
	g := &gfp{bits: gfpBits(gfpBlob()), list: []gfpName{
		{"GFP_HIGHUSER_MOVABLE", 0x100cca}, {"GFP_HIGHUSER", 0x100cc2}, {"GFP_USER", 0x100cc0},
		{"GFP_KERNEL_ACCOUNT", 0x400cc0}, {"GFP_KERNEL", 0xcc0}, {"GFP_NOFS", 0xc40}, {"GFP_NOIO", 0xc00},
		{"__GFP_HIGHMEM", 2}, {"__GFP_MOVABLE", 8}, {"__GFP_IO", 0x40}, {"__GFP_ZERO", 0x100}, {"__GFP_COMP", 1 << 18},
	}}
	for flags, want := range map[uint32]string{
		0:        "0x0()",
		0xcc0:    "0xcc0(GFP_KERNEL)",
		0xdc0:    "0xdc0(GFP_KERNEL|__GFP_ZERO)",
		0x400cc0: "0x400cc0(GFP_KERNEL_ACCOUNT)",
		0x100cca: "0x100cca(GFP_HIGHUSER_MOVABLE)",
		0x140cca: "0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP)",
		0x100cc8: "0x100cc8(GFP_USER|__GFP_MOVABLE)",
		0x100cc2: "0x100cc2(GFP_HIGHUSER)",
		0xc40:    "0xc40(GFP_NOFS)",
		0xc00:    "0xc00(GFP_NOIO)",
		0x40:     "0x40(__GFP_IO)",
	} {
		if got := g.String(flags); got != want {
			t.Errorf("%#x: %s, want %s", flags, got, want)
		}
	}
	if got := new(gfp).String(0xcc0); got != "0xcc0" {
		t.Errorf("without names: %s", got)
	}
}
