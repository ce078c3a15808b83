package symbol

import (
	"slices"
	"sort"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	// maxImages bounds how many processes' mappings are kept, maxMappings how many
	// of one.
	maxImages   = 4096
	maxMappings = 8192
	// maxTables bounds what the symbols of all files together take, in bytes.
	maxTables = 128 << 20
	// again is how long the mappings of a process are believed when an address is
	// in none of them.
	again = time.Second
)

// Image is what a process executes: exec makes another of it.
type Image struct {
	PID int32
	MM  uint64 // the kernel's address of its mm_struct
}

// mapping is a part of a process's memory that holds code.
type mapping struct {
	start, end uint64
	offset     uint64 // in the file, of start
	id         fileID
	path       string // as the process calls it; "" for none
	module     *module
}

// image is a process's code.
type image struct {
	mappings []mapping // by address
	read     time.Time
}

// Users names addresses of processes. Mappings have to be learned while the
// process lives; what was learned is kept when it is gone. Not safe for
// concurrent use.
type Users struct {
	procRoot string
	images   map[Image]*image
	modules  map[moduleKey]*module
	tables   int // bytes of symbols in all modules
	round    uint64
}

// NewUsers names addresses of the processes below a proc file system.
func NewUsers(procRoot string) *Users {
	return &Users{procRoot: procRoot, images: make(map[Image]*image), modules: make(map[moduleKey]*module)}
}

// Learn reads the mappings of a process and opens the files in them, unless that
// was done before.
func (u *Users) Learn(of Image) { u.image(of) }

func (u *Users) image(of Image) *image {
	im := u.images[of]
	if im != nil {
		return im
	}
	if len(u.images) >= maxImages {
		for old := range u.images { // any: those in use are learned again
			delete(u.images, old)
			if len(u.images) < maxImages*3/4 {
				break
			}
		}
		u.dropUnused()
	}
	im = &image{}
	u.images[of] = im
	u.read(of, im)
	return im
}

// read takes the mappings of a process into an image. What it had mapped before
// stays; when nothing of that is there any more, the process is another.
func (u *Users) read(of Image, im *image) {
	im.read = time.Now()
	now := u.mappings(of.PID)
	if len(now) == 0 {
		return
	}
	if len(im.mappings) == 0 {
		im.mappings = now
		return
	}
	same := func(a mapping) bool {
		b := im.find(a.start)
		return b != nil && b.start == a.start && b.id == a.id && b.path == a.path && (a.path != "" || a.end == b.end)
	}
	if !slices.ContainsFunc(now, func(m mapping) bool { return m.id.inode != 0 && same(m) }) {
		return
	}
	for _, old := range im.mappings {
		if !slices.ContainsFunc(now, func(m mapping) bool { return m.start < old.end && old.start < m.end }) {
			now = append(now, old)
		}
	}
	slices.SortFunc(now, func(a, b mapping) int {
		if a.start < b.start {
			return -1
		}
		return 1
	})
	im.mappings = now
}

// find gives the mapping that an address lies in.
func (im *image) find(address uint64) *mapping {
	i := sort.Search(len(im.mappings), func(i int) bool { return im.mappings[i].end > address })
	if i == len(im.mappings) || im.mappings[i].start > address {
		return nil
	}
	return &im.mappings[i]
}

// Stack names the frames of a user stack, innermost first. It ends before a
// caller that is not within code of the process.
func (u *Users) Stack(of Image, addresses []uint64) []event.Frame {
	if len(addresses) == 0 {
		return nil
	}
	im := u.image(of)
	var out []event.Frame
	for i, a := range addresses {
		if i > 0 && a > 0 {
			a-- // where it returns to may be another function already
		}
		m := im.find(a)
		if m == nil && time.Since(im.read) >= again {
			u.read(of, im) // a library was loaded since
			m = im.find(a)
		}
		// Where code keeps no frame pointers, what is followed in their place leads
		// astray: to what is no code.
		if m == nil && i > 0 && len(im.mappings) > 0 {
			break
		}
		out = append(out, u.frame(m, a))
	}
	return out
}

func (u *Users) frame(m *mapping, address uint64) event.Frame {
	if m == nil {
		return event.Frame{Offset: address}
	}
	f := event.Frame{Module: m.path, Offset: address - m.start + m.offset}
	if m.path == "" {
		f.Offset = address
	}
	if m.module != nil {
		f.BuildID = m.module.buildID
		f.Function = u.name(m.module, f.Offset)
	}
	return f
}
