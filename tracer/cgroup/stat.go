package cgroup

import (
	"errors"
	"io/fs"
)

// Stat is what memory.stat counts over a cgroup's life. Sizes are bytes, all
// else counts pages or events since the cgroup was made. What this kernel does
// not count is nil: version 1 has no scan and steal counters.
type Stat struct {
	// Hierarchical says that the figures include all cgroups below, as version
	// 2 gives them; version 1's are the cgroup's own.
	Hierarchical bool

	Anon *uint64 // bytes
	File *uint64 // bytes, shmem included

	// Pages that came back after they were evicted. Kernels before 5.9 do not
	// tell the two apart and count neither here.
	RefaultAnon, RefaultFile *uint64
	// Those among them that were part of the working set: thrash.
	ActivateAnon, ActivateFile *uint64
	RestoreAnon, RestoreFile   *uint64

	Scan, ScanKswapd, ScanDirect    *uint64 // pages that reclaim looked at
	Steal, StealKswapd, StealDirect *uint64 // pages that it took

	Fault, MajorFault *uint64
	Swap              *uint64 // bytes in swap, version 1 only
}

// Stat reads the counters of memory.stat. The error is fs.ErrNotExist when there
// is no such cgroup, or it has no such file.
func (m Mount) Stat(path string) (Stat, error) {
	r := openDir(m.Dir(path))
	defer r.release()
	data, err := r.read("memory.stat")
	if err != nil {
		if here := r.present(); errors.Is(here, fs.ErrNotExist) {
			return Stat{}, here
		}
		return Stat{}, err
	}
	return parseStat(data, m.Version), nil
}

func parseStat(data []byte, version int) Stat {
	s := Stat{Hierarchical: version == 2}
	eachField(data, func(name []byte, v uint64) {
		if p := s.field(string(name), version); p != nil {
			*p = &v
		}
	})
	return s
}

// field says where a line of memory.stat goes, nil for those not kept.
func (s *Stat) field(name string, version int) **uint64 {
	if version == 2 {
		switch name {
		case "anon":
			return &s.Anon
		case "file":
			return &s.File
		}
	} else {
		switch name {
		case "rss":
			return &s.Anon
		case "cache":
			return &s.File
		case "swap":
			return &s.Swap
		}
	}
	switch name {
	case "workingset_refault_anon":
		return &s.RefaultAnon
	case "workingset_refault_file":
		return &s.RefaultFile
	case "workingset_activate_anon":
		return &s.ActivateAnon
	case "workingset_activate_file":
		return &s.ActivateFile
	case "workingset_restore_anon":
		return &s.RestoreAnon
	case "workingset_restore_file":
		return &s.RestoreFile
	case "pgscan":
		return &s.Scan
	case "pgscan_kswapd":
		return &s.ScanKswapd
	case "pgscan_direct":
		return &s.ScanDirect
	case "pgsteal":
		return &s.Steal
	case "pgsteal_kswapd":
		return &s.StealKswapd
	case "pgsteal_direct":
		return &s.StealDirect
	case "pgfault":
		return &s.Fault
	case "pgmajfault":
		return &s.MajorFault
	}
	return nil
}
