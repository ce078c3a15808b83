package symbol

import (
	"debug/elf"
	"errors"
	"fmt"
)

// The table by which Go's runtime finds functions, since Go 1.18 and 1.20: a
// header of words,
//
//	magic, 0, 0, quantum, size of a word | functions | files | text | names | … | functions at
//
// and at its last offset pairs of 32 bits for each function: where it begins,
// relative to runtime.text, and where its record is, whose second field is the
// offset of its name. debug/gosym reads the same, but copies each name whole,
// and a file can be made in which names without end overlap a million times.
const (
	goMagic118 = 0xfffffff0
	goMagic120 = 0xfffffff1
)

var errGoTable = errors.New(".gopclntab: malformed")

// goTable takes the functions of a Go program from its runtime's own table,
// which is there when the symbols were stripped.
func (o *object) goTable(f *elf.File) error {
	section, text := f.Section(".gopclntab"), f.Section(".text")
	if section == nil {
		section = f.Section(".data.rel.ro.gopclntab")
	}
	if section == nil || text == nil {
		return nil
	}
	b, err := data(section)
	if err != nil {
		return err
	}
	if len(b) < 72 || b[7] != 8 {
		return errGoTable
	}
	u32 := func(at uint64) uint64 { return uint64(f.ByteOrder.Uint32(b[at:])) }
	word := func(i int) uint64 { return f.ByteOrder.Uint64(b[8+8*i:]) }
	if magic := u32(0); magic != goMagic118 && magic != goMagic120 {
		return fmt.Errorf(".gopclntab: magic %#x is of no Go from 1.18 on", magic)
	}
	// The header says where runtime.text is up to Go 1.25, if that is not left to
	// relocation; else it is where .text begins, unless C was linked in before.
	start := text.Addr
	if at := word(2); at >= text.Addr && at-text.Addr < text.Size {
		start = at
	}
	count, names, functions := word(0), word(3), word(7)
	size := uint64(len(b))
	if names >= size || functions >= size || count > (size-functions)/8 {
		return errGoTable
	}
	for i := range count {
		at := functions + 8*i
		entry, record := u32(at), functions+u32(at+4)
		next := entry
		if at+12 <= size {
			next = u32(at + 8)
		}
		if record+8 > size || next < entry {
			return errGoTable
		}
		name := names + u32(record+4)
		if name >= size {
			return errGoTable
		}
		if o.symbols.bytes() > maxTable {
			return fmt.Errorf("more than %d MiB of symbols", maxTable>>20)
		}
		o.symbols.add(start+entry, next-entry, cString(b[name:]))
		o.whole = true
	}
	return nil
}
