package symbol

import (
	"sort"

	"github.com/ianlancetaylor/demangle"
)

// maxName bounds a symbol's name, mangled and not.
const maxName = 1024

// table names addresses of one file. It is made for files with very many
// functions: four numbers each, and one text with all names.
type table struct {
	at    []uint64
	size  []uint32 // 0: not known, it goes to the next
	name  []uint32 // where the name begins in text
	long  []uint16
	text  []byte
	clean map[uint32]string // names that were asked for, demangled
}

func (t *table) add(at, size uint64, name []byte) {
	if len(name) == 0 || uint64(len(t.text)) > 1<<31 {
		return
	}
	name = name[:min(len(name), maxName)]
	t.at = append(t.at, at)
	t.size = append(t.size, uint32(min(size, 1<<32-1)))
	t.name = append(t.name, uint32(len(t.text)))
	t.long = append(t.long, uint16(len(name)))
	t.text = append(t.text, name...)
}

// Len, Less and Swap order it by address. Of several functions at one address
// the one that was added first comes first.
func (t *table) Len() int { return len(t.at) }
func (t *table) Less(i, j int) bool {
	return t.at[i] < t.at[j] || t.at[i] == t.at[j] && t.name[i] < t.name[j]
}
func (t *table) Swap(i, j int) {
	t.at[i], t.at[j] = t.at[j], t.at[i]
	t.size[i], t.size[j] = t.size[j], t.size[i]
	t.name[i], t.name[j] = t.name[j], t.name[i]
	t.long[i], t.long[j] = t.long[j], t.long[i]
}

func (t *table) sort() { sort.Sort(t) }

// bytes is what the table takes.
func (t *table) bytes() int { return len(t.at)*18 + cap(t.text) }

// lookup names the function that an address lies in, "" when it is in none.
func (t *table) lookup(a uint64) string {
	i := sort.Search(len(t.at), func(i int) bool { return t.at[i] > a }) - 1
	// Of aliases at one address the first is taken; parts of functions with a name
	// of their own may lie within others.
	for steps := 0; i >= 0 && steps < 4; steps++ {
		first := i
		for first > 0 && t.at[first-1] == t.at[i] && i-first < 16 {
			first--
		}
		for j := first; j <= i; j++ {
			if t.size[j] == 0 && a-t.at[j] < 1<<20 || a-t.at[j] < uint64(t.size[j]) {
				return t.demangled(j)
			}
		}
		i = first - 1
	}
	return ""
}

func (t *table) demangled(i int) string {
	if name, ok := t.clean[t.name[i]]; ok {
		return name
	}
	name := string(t.text[t.name[i] : t.name[i]+uint32(t.long[i])])
	// Parameters say little beside the name, and make stacks unreadable.
	name = demangle.Filter(name, demangle.NoParams, demangle.NoEnclosingParams, demangle.MaxLength(10))
	if t.clean == nil {
		t.clean = make(map[uint32]string)
	}
	t.clean[t.name[i]] = name
	return name
}
