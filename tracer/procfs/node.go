package procfs

import (
	"bytes"
	"strconv"
	"strings"
)

// Meminfo is what we need of /proc/meminfo, in bytes.
type Meminfo struct {
	Total     *uint64 // MemTotal: RAM that the kernel manages
	Free      *uint64
	Available *uint64 // MemAvailable: free and what reclaim can take back
	Cached    *uint64 // page cache, shmem included
	Buffers   *uint64
	Shmem     *uint64
	Mapped    *uint64
	Dirty     *uint64
	Writeback *uint64

	ActiveAnon, InactiveAnon, ActiveFile, InactiveFile, Unevictable *uint64

	Anon              *uint64 // AnonPages
	SlabReclaimable   *uint64 // SReclaimable
	SlabUnreclaimable *uint64 // SUnreclaim
	KernelStack       *uint64
	PageTables        *uint64
	SecPageTables     *uint64 // since 6.1
	Percpu            *uint64
	VmallocUsed       *uint64
	Hugetlb           *uint64 // since 4.19

	SwapTotal, SwapFree, SwapCached *uint64
	Zswap                           *uint64 // since 5.19: RAM that compressed pages take
}

// Meminfo reads the node's own figures.
func (r Root) Meminfo() (Meminfo, error) {
	data, err := read(r.name("meminfo"))
	if err != nil {
		return Meminfo{}, err
	}
	return parseMeminfo(data), nil
}

func parseMeminfo(data []byte) Meminfo {
	var m Meminfo
	into := map[string]**uint64{
		"MemTotal": &m.Total, "MemFree": &m.Free, "MemAvailable": &m.Available, "Cached": &m.Cached,
		"Buffers": &m.Buffers, "Shmem": &m.Shmem, "Mapped": &m.Mapped, "Dirty": &m.Dirty, "Writeback": &m.Writeback,
		"Active(anon)": &m.ActiveAnon, "Inactive(anon)": &m.InactiveAnon, "Active(file)": &m.ActiveFile,
		"Inactive(file)": &m.InactiveFile, "Unevictable": &m.Unevictable, "AnonPages": &m.Anon,
		"SReclaimable": &m.SlabReclaimable, "SUnreclaim": &m.SlabUnreclaimable, "KernelStack": &m.KernelStack,
		"PageTables": &m.PageTables, "SecPageTables": &m.SecPageTables, "Percpu": &m.Percpu, "VmallocUsed": &m.VmallocUsed,
		"Hugetlb": &m.Hugetlb, "SwapTotal": &m.SwapTotal, "SwapFree": &m.SwapFree, "SwapCached": &m.SwapCached, "Zswap": &m.Zswap,
	}
	for line := range bytes.Lines(data) {
		name, value, ok := bytes.Cut(line, []byte{':'})
		if p := into[string(name)]; ok && p != nil {
			*p = kilobytes(value)
		}
	}
	return m
}

// CPUs counts the processors that are online, from /proc/stat; 0 when it cannot
// be read.
func (r Root) CPUs() int {
	data, err := read(r.name("stat"))
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "cpu"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			n++
		}
	}
	return n
}

// Swappiness is the node's vm.swappiness.
func (r Root) Swappiness() (int, error) {
	name := r.name("sys", "vm", "swappiness")
	data, err := read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, malformed(name)
	}
	return n, nil
}
