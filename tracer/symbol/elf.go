package symbol

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

const (
	// maxSection bounds each section that is read, maxTable what is kept of one
	// file.
	maxSection = 256 << 20
	maxTable   = 64 << 20
	maxNotes   = 64 << 10
)

// object is what is kept of an ELF file.
type object struct {
	segments []segment
	buildID  string
	symbols  table
	// whole: it has a symbol table and not only the names that it exports.
	whole bool
}

// segment says where a part of the file is in the addresses that its symbols
// use.
type segment struct{ offset, size, address uint64 }

// address turns an offset in the file into one; false when no code is there.
func (o *object) address(offset uint64) (uint64, bool) {
	for _, s := range o.segments {
		if offset >= s.offset && offset-s.offset < s.size {
			return offset - s.offset + s.address, true
		}
	}
	return 0, false
}

// readObject reads segments, build id and the names of functions. The file is
// not trusted: the standard library's reader does not promise to bear anything,
// so its panics become errors here. With an error, what was read stays.
func readObject(r io.ReaderAt) (o *object, err error) {
	o = &object{}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed: %v", p)
		}
		o.symbols.sort()
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return o, err
	}
	for _, p := range f.Progs {
		switch {
		case p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0:
			// Mappings begin and end with pages.
			slack := p.Off & 0xfff
			o.segments = append(o.segments, segment{p.Off - slack, p.Filesz + slack, p.Vaddr - slack})
		case p.Type == elf.PT_NOTE:
			o.readNotes(p, p.Filesz, f.ByteOrder)
		}
	}
	// Go's linker leaves its note out of the segment.
	for _, s := range f.Sections {
		if s.Type == elf.SHT_NOTE && s.Flags&elf.SHF_COMPRESSED == 0 {
			o.readNotes(s, s.Size, f.ByteOrder)
		}
	}
	return o, o.readSymbols(f)
}

func (o *object) readNotes(r io.ReaderAt, size uint64, order binary.ByteOrder) {
	if o.buildID != "" {
		return
	}
	notes := make([]byte, min(size, maxNotes))
	n, _ := r.ReadAt(notes, 0)
	o.buildID = buildID(notes[:n], order)
}

// buildID finds the GNU build id in a segment of notes, "" when there is none.
func buildID(notes []byte, order binary.ByteOrder) string {
	const gnu = 3
	for len(notes) >= 12 {
		name, desc := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		begin := 12 + (name+3)&^3
		end := begin + desc
		if end > uint64(len(notes)) {
			return ""
		}
		if order.Uint32(notes[8:]) == gnu && name == 4 && string(notes[12:16]) == "GNU\x00" && desc > 0 && desc <= 64 {
			return hex.EncodeToString(notes[begin:end])
		}
		notes = notes[min((end+3)&^3, uint64(len(notes))):]
	}
	return ""
}

func (o *object) readSymbols(f *elf.File) error {
	var errs []error
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		n := len(o.symbols.at)
		if err := o.symbolTable(f, kind); err != nil {
			errs = append(errs, err)
		}
		if len(o.symbols.at) > n {
			o.whole = o.whole || kind == elf.SHT_SYMTAB
			if o.whole {
				return nil
			}
		}
	}
	if err := o.goTable(f); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// symbolTable takes the functions of .symtab or .dynsym: those that are known
// outside of their file first, for they are the better names where one has
// several.
func (o *object) symbolTable(f *elf.File, kind elf.SectionType) error {
	section := f.SectionByType(kind)
	if section == nil || int(section.Link) >= len(f.Sections) {
		return nil
	}
	symbols, err := data(section)
	if err != nil {
		return err
	}
	text, err := data(f.Sections[section.Link])
	if err != nil {
		return err
	}
	step := 24
	if f.Class == elf.ELFCLASS32 {
		step = 16
	}
	for _, local := range []bool{false, true} {
		for at := step; at+step <= len(symbols); at += step {
			var name uint32
			var info byte
			var section uint16
			var value, size uint64
			s := symbols[at : at+step]
			if name = f.ByteOrder.Uint32(s); f.Class == elf.ELFCLASS32 {
				value, size, info, section = uint64(f.ByteOrder.Uint32(s[4:])), uint64(f.ByteOrder.Uint32(s[8:])), s[12], f.ByteOrder.Uint16(s[14:])
			} else {
				info, section, value, size = s[4], f.ByteOrder.Uint16(s[6:]), f.ByteOrder.Uint64(s[8:]), f.ByteOrder.Uint64(s[16:])
			}
			typ := elf.ST_TYPE(info)
			if typ != elf.STT_FUNC && typ != elf.STT_GNU_IFUNC || elf.SectionIndex(section) == elf.SHN_UNDEF ||
				local != (elf.ST_BIND(info) == elf.STB_LOCAL) || uint64(name) >= uint64(len(text)) {
				continue
			}
			if o.symbols.bytes() > maxTable {
				return fmt.Errorf("more than %d MiB of symbols", maxTable>>20)
			}
			o.symbols.add(value, size, cString(text[name:]))
		}
	}
	return nil
}

func cString(b []byte) []byte {
	b = b[:min(len(b), maxName)]
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

func data(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS || s.Size > maxSection || s.FileSize > maxSection {
		return nil, fmt.Errorf("section %.64q has %d bytes, more than %d MiB", s.Name, s.Size, maxSection>>20)
	}
	return s.Data()
}
