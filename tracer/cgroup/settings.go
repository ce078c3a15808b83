package cgroup

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Settings gives what steers reclaim and the OOM killer in one cgroup, its limits
// aside. Files that this version or kernel does not have leave their field nil,
// as do bounds that are not set. The error is fs.ErrNotExist when there is no
// such cgroup (any more).
func (m Mount) Settings(path string) (event.Settings, error) {
	var s event.Settings
	r := openDir(m.Dir(path))
	defer r.release()
	a := new(arena)
	if m.Version == 2 {
		var group *uint64
		err := r.values(a,
			target{"memory.min", &s.Min}, target{"memory.low", &s.Low}, target{"memory.high", &s.High},
			target{"memory.swap.high", &s.SwapHigh}, target{"memory.zswap.max", &s.ZswapMax}, target{"memory.oom.group", &group},
		)
		s.OOMGroup = truth(group)
		return s, errors.Join(err, r.present())
	}
	var swappiness *uint64
	err := r.values(a, target{"memory.soft_limit_in_bytes", &s.SoftLimit}, target{"memory.swappiness", &swappiness})
	if s.SoftLimit != nil && *s.SoftLimit >= noLimit {
		s.SoftLimit = nil
	}
	if swappiness != nil {
		n := int(min(*swappiness, 1000))
		s.Swappiness = &n
	}
	if data, err := r.read("memory.oom_control"); err == nil {
		eachField(data, func(name []byte, v uint64) {
			switch string(name) {
			case "oom_kill_disable":
				s.OOMKillDisable = truth(&v)
			case "under_oom":
				s.UnderOOM = truth(&v)
			}
		})
	}
	return s, errors.Join(err, r.present())
}

func truth(v *uint64) *bool {
	if v == nil {
		return nil
	}
	b := *v != 0
	return &b
}

// Events counts what has happened to a cgroup (and on version 2 to those below
// it) since it was made: the lines of memory.events by their names, or on version
// 1 how often limits were hit (fail_count, swap_fail_count for memory and swap
// together, kernel_fail_count) and, since 4.13, oom_kill.
func (m Mount) Events(path string) map[string]uint64 {
	r := openDir(m.Dir(path))
	defer r.release()
	out := make(map[string]uint64)
	if m.Version == 2 {
		if data, err := r.read("memory.events"); err == nil {
			eachField(data, func(name []byte, v uint64) { out[string(name)] = v })
		}
		return out
	}
	for file, name := range map[string]string{
		"memory.failcnt": "fail_count", "memory.memsw.failcnt": "swap_fail_count", "memory.kmem.failcnt": "kernel_fail_count",
	} {
		if data, err := r.read(file); err == nil {
			if v, ok := parseUint(data); ok {
				out[name] = v
			}
		}
	}
	if data, err := r.read("memory.oom_control"); err == nil {
		eachField(data, func(name []byte, v uint64) {
			if string(name) == "oom_kill" {
				out["oom_kill"] = v
			}
		})
	}
	return out
}

// Detail is what memory.stat tells beyond Read: the LRU lists and, on version 2,
// further parts. Everything below the cgroup is included.
func (m Mount) Detail(path string) (event.Lists, event.KernelParts, error) {
	var l event.Lists
	var k event.KernelParts
	r := openDir(m.Dir(path))
	defer r.release()
	a := new(arena)
	err := r.stat(func(name []byte, v uint64) {
		key, total := strings.CutPrefix(string(name), "total_")
		if total != (m.Version == 1) {
			return
		}
		if p := detail(key, &l, &k); p != nil {
			*p = a.keep(v)
		}
	})
	return l, k, err
}

func detail(name string, l *event.Lists, k *event.KernelParts) **uint64 {
	switch name {
	case "active_anon":
		return &l.ActiveAnon
	case "inactive_anon":
		return &l.InactiveAnon
	case "active_file":
		return &l.ActiveFile
	case "inactive_file":
		return &l.InactiveFile
	case "unevictable":
		return &l.Unevictable
	case "percpu":
		return &k.Percpu
	case "vmalloc":
		return &k.Vmalloc
	case "sec_pagetables":
		return &k.SecPageTables
	case "zswap":
		return &k.Zswap
	case "zswapped":
		return &k.Zswapped
	case "anon_thp", "rss_huge":
		return &k.AnonHuge
	case "hugetlb":
		return &k.Hugetlb
	}
	return nil
}

// Pressure reads what PSI says of a cgroup's memory: version 2 alone, since 4.20,
// where PSI is switched on. nil where there is none.
func (m Mount) Pressure(path string) *event.Pressure {
	if m.Version != 2 {
		return nil
	}
	r := openDir(m.Dir(path))
	defer r.release()
	data, err := r.read("memory.pressure")
	if err != nil {
		return nil
	}
	return ParsePressure(data)
}

// ParsePressure reads the lines of a PSI file, such as
//
//	some avg10=0.12 avg60=0.05 avg300=0.00 total=15792
//
// It gives nil when there is none of them. The kernel counts total in µs.
func ParsePressure(data []byte) *event.Pressure {
	var p event.Pressure
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 5 {
			continue
		}
		var s event.Stalled
		err := errors.Join(share(f[1], "avg10=", &s.Avg10), share(f[2], "avg60=", &s.Avg60), share(f[3], "avg300=", &s.Avg300))
		total, ok := strings.CutPrefix(f[4], "total=")
		us, err2 := strconv.ParseInt(total, 10, 53)
		if err != nil || !ok || err2 != nil || us < 0 {
			continue
		}
		s.TotalNS = us * 1000
		switch f[0] {
		case "some":
			p.Some = &s
		case "full":
			p.Full = &s
		}
	}
	if p.Some == nil && p.Full == nil {
		return nil
	}
	return &p
}

func share(text, name string, into *float64) error {
	v, err := strconv.ParseFloat(strings.TrimPrefix(text, name), 64)
	if err != nil || v < 0 || v > 1000 || v != v {
		return errors.New("no share of time")
	}
	*into = v
	return nil
}

// Controlled gives the cgroup in which the memory of a path's processes is
// accounted: itself, or the nearest one above that has the memory controller on.
func (m Mount) Controlled(path string) (string, error) {
	if _, err := ID(m.Dir(path)); err != nil {
		return "", err
	}
	for path != "/" && !exists(m.Dir(path)+"/memory.stat") {
		path = parentPath(path)
	}
	return path, nil
}

// Above lists a cgroup and those above it whose limits hold for it too, itself
// first. The hierarchy's root, which has no limit, is left out; that of a cgroup
// namespace is a cgroup like any other. On version 1 without memory.use_hierarchy (before
// 5.11) a cgroup's memory is not charged to the one above.
func (m Mount) Above(path string) []string {
	var out []string
	for path != "/" {
		out = append(out, path)
		path = parentPath(path)
		if m.Version == 1 && !m.Hierarchical(path) {
			return out
		}
	}
	if m.Partial {
		out = append(out, "/")
	}
	return out
}

// Hierarchical tells whether memory of the cgroups below one is charged to it
// too: always on version 2, and on version 1 since 5.11.
func (m Mount) Hierarchical(path string) bool {
	if m.Version == 2 {
		return true
	}
	r := openDir(m.Dir(path))
	defer r.release()
	data, err := r.read("memory.use_hierarchy")
	return err != nil || string(bytes.TrimSpace(data)) != "0"
}

// Children lists the cgroups right below one, by path.
func (m Mount) Children(path string) ([]string, error) {
	names, err := subdirectories(m.Dir(path))
	if err != nil && vanished(err) {
		return nil, fs.ErrNotExist
	}
	slices.Sort(names)
	var out []string
	for _, name := range names {
		out = append(out, strings.TrimSuffix(path, "/")+"/"+name)
	}
	return out, err
}
