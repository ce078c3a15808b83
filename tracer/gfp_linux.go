package tracer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// gfp names allocation flags. Bits differ between kernels; since 6.9 the
// kernel's BTF names them. Without names the number stands alone.
type gfp struct {
	bits map[string]uint32
	list []gfpName // composites first, in the order in which they are tried
}

type gfpName struct {
	name string
	mask uint32
}

// The composites of include/linux/gfp_types.h, the largest first.
var gfpComposites = []struct {
	name string
	of   []string
}{
	{"GFP_HIGHUSER_MOVABLE", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS", "HARDWALL", "HIGHMEM", "MOVABLE"}},
	{"GFP_HIGHUSER", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS", "HARDWALL", "HIGHMEM"}},
	{"GFP_USER", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS", "HARDWALL"}},
	{"GFP_KERNEL_ACCOUNT", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS", "ACCOUNT"}},
	{"GFP_KERNEL", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO", "FS"}},
	{"GFP_NOFS", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM", "IO"}},
	{"GFP_NOIO", []string{"DIRECT_RECLAIM", "KSWAPD_RECLAIM"}},
	{"GFP_ATOMIC", []string{"KSWAPD_RECLAIM", "HIGH"}},
	{"GFP_NOWAIT", []string{"KSWAPD_RECLAIM"}},
}

func newGFP() *gfp {
	g := &gfp{bits: make(map[string]uint32)}
	if raw, err := os.ReadFile("/sys/kernel/btf/vmlinux"); err == nil {
		g.bits = gfpBits(raw)
	}
	for _, c := range gfpComposites {
		var mask uint32
		for _, bit := range c.of {
			if g.bits[bit] == 0 {
				mask = 0
				break
			}
			mask |= g.bits[bit]
		}
		if mask != 0 {
			g.list = append(g.list, gfpName{c.name, mask})
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(g.bits), func(a, b string) int { return cmp.Compare(g.bits[a], g.bits[b]) }) {
		g.list = append(g.list, gfpName{"__GFP_" + name, g.bits[name]})
	}
	return g
}

// gfpBits finds the enumeration of the flags' bit numbers in a kernel's raw BTF.
// It has no name to look it up by, and decoding every type to find it takes
// longer than all the rest of starting up; so this walks the type section by
// its records' sizes alone.
func gfpBits(raw []byte) map[string]uint32 {
	bits := make(map[string]uint32)
	order := binary.NativeEndian
	if len(raw) < 24 || order.Uint16(raw) != 0xeb9f {
		return bits
	}
	section := func(at int) []byte {
		head, off, size := uint64(order.Uint32(raw[4:])), uint64(order.Uint32(raw[at:])), uint64(order.Uint32(raw[at+4:]))
		if head+off+size > uint64(len(raw)) {
			return nil
		}
		return raw[head+off : head+off+size]
	}
	types, names := section(8), section(16)
	at := bytes.Index(names, []byte("\x00___GFP_DMA_BIT\x00"))
	if at < 0 {
		return bits
	}
	name := func(off uint32) string {
		if int(off) >= len(names) {
			return ""
		}
		end := bytes.IndexByte(names[off:], 0)
		return string(names[off:][:max(end, 0)])
	}
	const enum = 6
	perMember := map[uint32]int{4: 12, 5: 12, enum: 8, 13: 8, 15: 12, 19: 12}
	fixed := map[uint32]int{1: 4, 3: 12, 14: 4, 17: 4}
	for len(types) >= 12 {
		info := order.Uint32(types[4:])
		kind, members := info>>24&0x1f, int(info&0xffff)
		size := 12 + fixed[kind] + perMember[kind]*members
		if size > len(types) {
			break
		}
		if kind == enum && members > 0 && order.Uint32(types[12:]) == uint32(at+1) {
			for m := range members {
				value := order.Uint32(types[12+8*m+4:])
				bit, ok := strings.CutSuffix(strings.TrimPrefix(name(order.Uint32(types[12+8*m:])), "___GFP_"), "_BIT")
				if ok && value < 32 && bit != "LAST" {
					bits[bit] = 1 << value
				}
			}
			break
		}
		types = types[size:]
	}
	return bits
}

// String gives flags as the kernel's log does: 0xcc0(GFP_KERNEL).
func (g *gfp) String(flags uint32) string {
	number := fmt.Sprintf("%#x", flags)
	if len(g.bits) == 0 {
		return number
	}
	var names []string
	rest := flags
	composite := false
	for _, n := range g.list {
		whole := strings.HasPrefix(n.name, "GFP_")
		if rest&n.mask != n.mask || whole && composite {
			continue
		}
		composite = composite || whole
		names = append(names, n.name)
		rest &^= n.mask
	}
	if rest != 0 {
		names = append(names, fmt.Sprintf("%#x", rest))
	}
	return number + "(" + strings.Join(names, "|") + ")"
}
