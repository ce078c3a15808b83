package procfs

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path"
	"strings"
)

// Kinds is an address space by what its memory is for, as PSS in bytes: pages
// that several processes map count once over all of them.
type Kinds struct {
	// Heap is what malloc takes from brk, and mappings that an allocator has
	// named so (glibc since 2.39 and Go since 1.25 do, on kernels since 5.17 with
	// CONFIG_ANON_VMA_NAME). Allocators also map memory without a name: Anonymous.
	Heap uint64
	// Stack is the first thread's, and mappings named as stacks. Those of other
	// threads have no name in most programs: they are Anonymous.
	Stack uint64
	// Libraries is all that is mapped of files with code: the executable and its
	// shared objects, their data included, also where they are on a tmpfs.
	Libraries uint64
	Files     uint64 // other mapped files
	Anonymous uint64 // private memory without a name
	Shmem     uint64 // tmpfs, memfd, System V and shared anonymous memory
	Other     uint64 // devices, the kernel's own pages (vdso)
	// Swap is what is in swap, likewise.
	Swap uint64
	// Mappings is how many there are.
	Mappings int
}

// PSS is the sum of the kinds that are in memory.
func (k *Kinds) PSS() uint64 {
	return k.Heap + k.Stack + k.Libraries + k.Files + k.Anonymous + k.Shmem + k.Other
}

// maxPaths bounds how many files of one process are told apart. Of more, those
// that come later are judged by their names and permissions alone.
const maxPaths = 1 << 16

// Kinds reads what an address space consists of, from smaps. tmpfs tells whether
// a device ("major:minor") is a tmpfs; nil where that is not known, and then only
// files whose names tell are taken for shmem. Errors are those of Smaps.
func (r Root) Kinds(pid int, tmpfs func(dev string) bool) (Kinds, error) {
	var k Kinds
	files := make(map[fileKey]*mapped)
	err := r.Smaps(pid, func(m *Mapping) {
		k.Mappings++
		k.Swap += m.SwapPSS
		if into := k.unfiled(m); into != nil {
			*into += m.PSS
			return
		}
		key := fileKey{m.Dev, m.Inode}
		f := files[key]
		if f == nil {
			f = &mapped{code: shared(m.Path), tmpfs: tmpfs != nil && tmpfs(m.Dev)}
			if len(files) < maxPaths {
				files[key] = f
			}
		}
		f.pss += m.PSS
		f.code = f.code || m.Perms[2] == 'x'
		if len(files) >= maxPaths && files[key] != f {
			k.file(f)
		}
	})
	for _, f := range files {
		k.file(f)
	}
	return k, err
}

type fileKey struct {
	dev   string
	inode uint64
}

// mapped is what a process maps of one file.
type mapped struct {
	pss         uint64
	code, tmpfs bool
}

func (k *Kinds) file(f *mapped) {
	switch {
	case f.code:
		k.Libraries += f.pss
	case f.tmpfs:
		k.Shmem += f.pss
	default:
		k.Files += f.pss
	}
}

// shared tells a shared object by its name: libc.so.6, ld-2.36.so.
func shared(name string) bool {
	base := path.Base(strings.TrimSuffix(name, " (deleted)"))
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
}

// unfiled says where a mapping counts that is of no file which others could open by
// a path; nil for those that are.
func (k *Kinds) unfiled(m *Mapping) *uint64 {
	switch name := m.Path; {
	case name == "":
		return &k.Anonymous
	case name == "[heap]":
		return &k.Heap
	case name == "[stack]", strings.HasPrefix(name, "[stack:"):
		return &k.Stack
	case strings.HasPrefix(name, "[anon_shmem:"):
		return &k.Shmem
	case strings.HasPrefix(name, "[anon:"):
		return k.named(name)
	case strings.HasPrefix(name, "["):
		return &k.Other
	case strings.HasPrefix(name, "/memfd:"), strings.HasPrefix(name, "/SYSV"), name == "/dev/zero (deleted)", strings.HasPrefix(name, "/dev/shm/"):
		return &k.Shmem
	case strings.HasPrefix(name, "/dev/"), !strings.HasPrefix(name, "/"):
		return &k.Other // a device, or anon_inode:
	}
	return nil
}

// named sorts a mapping by the name that its program gave it.
func (k *Kinds) named(name string) *uint64 {
	name = strings.ToLower(name)
	switch {
	case strings.Contains(name, "stack"):
		return &k.Stack
	case strings.Contains(name, "malloc"), strings.Contains(name, "heap"):
		return &k.Heap
	}
	return &k.Anonymous
}

// Tmpfs gives the devices ("major:minor") that are a tmpfs in the mount namespace
// of a process.
func (r Root) Tmpfs(pid int) (map[string]bool, error) {
	name := r.Dir(pid) + "/mountinfo"
	f, err := os.Open(name)
	if err != nil {
		return nil, gone(name, err)
	}
	defer f.Close()
	devs, err := parseTmpfs(f)
	return devs, gone(name, err)
}

func parseTmpfs(in io.Reader) (map[string]bool, error) {
	devs := make(map[string]bool)
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxFile) // an overlay of many layers has a long line
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(f) > 2 && len(kind) > 0 && (kind[0] == "tmpfs" || kind[0] == "devtmpfs") {
			devs[f[2]] = true
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return devs, nil
	}
	return devs, s.Err()
}
