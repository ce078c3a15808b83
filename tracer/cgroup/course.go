package cgroup

import (
	"bytes"
	"os"
)

// Reading is the part of a cgroup's composition that tells where its memory is
// going, everything below it included, in bytes. It costs two files.
type Reading struct {
	Usage, Anon, Shmem uint64
	// Cache is what is on the lists of file memory: page cache without shmem and
	// without what is locked.
	Cache uint64
	Swap  uint64 // 0 also where swap is not accounted
	// Refaulted counts pages of files that came back after their eviction, since
	// the cgroup was made; nil where memory.stat has no such line.
	Refaulted *uint64
}

// Watch reads what changes as a cgroup fills. The error is fs.ErrNotExist when
// there is no such cgroup (any more).
func (m Mount) Watch(path string) (Reading, error) {
	var o Reading
	usage, err := m.Usage(path)
	if err != nil {
		return o, err
	}
	o.Usage = usage
	r := openDir(m.Dir(path))
	defer r.release()
	err = r.stat(func(name []byte, v uint64) {
		switch string(name) {
		case "total_rss", "anon":
			o.Anon = v
		case "total_shmem":
			o.Shmem = v
		case "shmem":
			if m.Version == 2 {
				o.Shmem = v
			}
		case "total_active_file", "total_inactive_file":
			o.Cache += v
		case "active_file", "inactive_file":
			if m.Version == 2 {
				o.Cache += v
			}
		case "total_swap":
			o.Swap = v
		case "total_workingset_refault_file":
			o.Refaulted = &v
		case "workingset_refault_file":
			if m.Version == 2 {
				o.Refaulted = &v
			}
		}
	})
	if err == nil && m.Version == 2 {
		var a arena
		swap, err := r.value("memory.swap.current", &a)
		if err != nil {
			return o, err
		}
		if swap != nil {
			o.Swap = *swap
		}
	}
	return o, err
}

// Limit reads a cgroup's own memory limit, in bytes; nil when it has none. The
// error is fs.ErrNotExist when there is no such cgroup.
func (m Mount) Limit(path string) (*uint64, error) {
	name := "memory.limit_in_bytes"
	if m.Version == 2 {
		name = "memory.max"
	}
	r := openDir(m.Dir(path))
	defer r.release()
	data, err := r.read(name)
	if err != nil {
		return nil, err
	}
	v, ok := parseUint(data)
	if !ok || v >= noLimit {
		return nil, nil
	}
	return &v, nil
}

// Threads counts the threads in a cgroup itself, not those below it.
func (m Mount) Threads(path string) (uint64, error) {
	name := "tasks"
	if m.Version == 2 {
		name = "cgroup.threads"
	}
	data, err := os.ReadFile(m.Dir(path) + "/" + name) // it comes in pieces when it is long
	if err != nil {
		return 0, err
	}
	return uint64(bytes.Count(data, []byte{'\n'})), nil
}
