// Package decode turns the records that the eBPF programs send into Go values.
// Records come from the kernel, but are checked like anything else that comes
// from outside: a short or unknown one is an error, never a panic.
package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/oomtrace/oomtrace/bpf"
)

// ErrShort means that a record ends before its structure does.
var ErrShort = errors.New("record too short")

// ErrUnknown means that a record's type is none that this version knows.
var ErrUnknown = errors.New("unknown record type")

// Record is one of the pointers below to a generated structure, or *Reclaim,
// *Mark, *Cgroup or *File.
type Record any

// Reclaim is an episode of reclaim or a run of kswapd.
type Reclaim struct {
	*bpf.CoreRecReclaim
	Evicted []bpf.CoreRecEvicted
	// Addresses, innermost first; nil when not asked for.
	Stack, UserStack []uint64
}

// Mark is a victim being marked.
type Mark struct {
	*bpf.CoreRecOomMark
	Stack []uint64
}

// Cgroup is a change of a cgroup.
type Cgroup struct {
	*bpf.CoreRecCgroup
	Path string
	// Args is the command line of the process that brought the first process
	// into it; nil when it is another change, or longer than what was sent.
	Args []string
}

// File names a file of the page cache.
type File struct {
	*bpf.CoreRecFile
	// Path is below the root of its file system; it begins with "…/" when
	// directories above are not known.
	Path string
}

// Decode reads one record. What it returns points into b where it can, and is
// valid as long as b is.
func Decode(b []byte) (Record, error) {
	head, err := view[bpf.CoreRecHead](b, 0)
	if err != nil {
		return nil, err
	}
	switch bpf.CoreRecType(head.Type) {
	case bpf.CoreRecTypeREC_RECLAIM, bpf.CoreRecTypeREC_KSWAPD:
		r, whole, err := withStack[bpf.CoreRecReclaim](b, unsafe.Offsetof(bpf.CoreRecReclaim{}.Stack))
		if err != nil {
			return nil, err
		}
		out := &Reclaim{CoreRecReclaim: r, Evicted: r.Evicted[:min(int(r.EvictedCount), len(r.Evicted))]}
		if whole {
			out.Stack, out.UserStack = Addresses(r.Stack[:]), Addresses(r.UserStack[:])
		}
		return out, nil
	case bpf.CoreRecTypeREC_OOM_MARK:
		r, whole, err := withStack[bpf.CoreRecOomMark](b, unsafe.Offsetof(bpf.CoreRecOomMark{}.Stack))
		if err != nil {
			return nil, err
		}
		out := &Mark{CoreRecOomMark: r}
		if whole {
			out.Stack = Addresses(r.Stack[:])
		}
		return out, nil
	case bpf.CoreRecTypeREC_CGROUP:
		const args = unsafe.Sizeof(bpf.CoreRecCgroup{}) - unsafe.Offsetof(bpf.CoreRecCgroup{}.ArgsBytes)
		r, err := view[bpf.CoreRecCgroup](b, args)
		if err != nil {
			return nil, err
		}
		c := &Cgroup{CoreRecCgroup: r, Path: Text(r.Path[:])}
		if len(b) >= int(unsafe.Sizeof(*r)) && r.ArgsBytes != 0 && int(r.ArgsBytes) <= len(r.Args) {
			c.Args = strings.Split(strings.TrimSuffix(string(r.Args[:r.ArgsBytes]), "\x00"), "\x00")
		}
		return c, nil
	case bpf.CoreRecTypeREC_FILE:
		r, err := view[bpf.CoreRecFile](b, 0)
		if err != nil {
			return nil, err
		}
		return &File{r, path(r)}, nil
	case bpf.CoreRecTypeREC_THROTTLE:
		return record[bpf.CoreRecThrottle](b)
	case bpf.CoreRecTypeREC_PRESSURE:
		return record[bpf.CoreRecPressure](b)
	case bpf.CoreRecTypeREC_PAUSE:
		return record[bpf.CoreRecPause](b)
	case bpf.CoreRecTypeREC_IMAGE:
		return record[bpf.CoreRecImage](b)
	case bpf.CoreRecTypeREC_OOM_CANDIDATE:
		return record[bpf.CoreRecOomCandidate](b)
	case bpf.CoreRecTypeREC_OOM_KILLED:
		return record[bpf.CoreRecOomKilled](b)
	case bpf.CoreRecTypeREC_OOM_DONE:
		return record[bpf.CoreRecOomDone](b)
	case bpf.CoreRecTypeREC_OOM_EXIT:
		return record[bpf.CoreRecOomExit](b)
	}
	return nil, fmt.Errorf("%w %d", ErrUnknown, head.Type)
}

// Family gives the family whose counters a record belongs to.
func Family(t uint32) bpf.CoreFamily {
	switch bpf.CoreRecType(t) {
	case bpf.CoreRecTypeREC_KSWAPD:
		return bpf.CoreFamilyFAMILY_KSWAPD
	case bpf.CoreRecTypeREC_RECLAIM, bpf.CoreRecTypeREC_PRESSURE:
		return bpf.CoreFamilyFAMILY_RECLAIM
	case bpf.CoreRecTypeREC_THROTTLE:
		return bpf.CoreFamilyFAMILY_THROTTLE
	case bpf.CoreRecTypeREC_FILE:
		return bpf.CoreFamilyFAMILY_CACHE
	case bpf.CoreRecTypeREC_CGROUP:
		return bpf.CoreFamilyFAMILY_CGROUP
	case bpf.CoreRecTypeREC_IMAGE:
		return bpf.CoreFamilyFAMILY_PROFILE
	}
	return bpf.CoreFamilyFAMILY_OOM
}

// Waits reads what the program that looks at waiting tasks has written: one
// record behind the other.
func Waits(b []byte) ([]*bpf.CoreRecPause, error) {
	const size = int(unsafe.Sizeof(bpf.CoreRecPause{}))
	var out []*bpf.CoreRecPause
	for ; len(b) > 0; b = b[size:] {
		r, err := view[bpf.CoreRecPause](b, 0)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

// view reads a T from the front of b, of which the last `optional` bytes may be
// missing from b.
func view[T any](b []byte, optional uintptr) (*T, error) {
	var t T
	size := unsafe.Sizeof(t)
	if uintptr(len(b)) < size-optional {
		return nil, fmt.Errorf("%w: %d bytes, %T has %d", ErrShort, len(b), t, size)
	}
	if uintptr(len(b)) >= size && uintptr(unsafe.Pointer(&b[0]))%unsafe.Alignof(t) == 0 {
		return (*T)(unsafe.Pointer(&b[0])), nil
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), size), b)
	return &t, nil
}

func record[T any](b []byte) (Record, error) {
	t, err := view[T](b, 0)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// withStack reads a structure that ends with stacks, from the offset on, which
// are only sent when they were asked for; it tells whether they are there.
func withStack[T any](b []byte, offset uintptr) (r *T, whole bool, err error) {
	var t T
	size := unsafe.Sizeof(t)
	r, err = view[T](b, size-offset)
	return r, uintptr(len(b)) >= size, err
}

// Addresses gives a stack without the zeros behind it.
func Addresses(stack []uint64) []uint64 {
	if end := slices.Index(stack, 0); end >= 0 {
		stack = stack[:end]
	}
	return stack
}

// Text gives a C string that may lack its end.
func Text(b []uint8) string {
	if end := slices.Index(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

func path(r *bpf.CoreRecFile) string {
	var parts []string
	for i := min(int(r.Count), len(r.Directories)) - 1; i >= 0; i-- {
		parts = append(parts, Text(r.Directories[i][:]))
	}
	joined := strings.Join(append(parts, Text(r.Name[:])), "/")
	if r.Truncated != 0 {
		return "…/" + joined
	}
	return "/" + joined
}
