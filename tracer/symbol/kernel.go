// Package symbol names the frames of stacks: of the kernel from /proc/kallsyms,
// of processes from the ELF files that they have mapped.
//
// Files of processes are not to be trusted. They are opened below the process's
// own root, never on file systems that another process answers for, read within
// bounds, and whatever is wrong with one costs its names alone: frames then keep
// module and offset.
package symbol

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Kernel names addresses of the running kernel, from /proc/kallsyms. Where that
// hides its addresses (kptr_restrict, or no CAP_SYSLOG) the addresses themselves
// are given.
type Kernel struct {
	at   []uint64
	name []string
}

// LoadKernel reads the kernel's symbols. What it returns is usable with an error
// too.
func LoadKernel(procRoot string) (*Kernel, error) {
	f, err := os.Open(filepath.Join(procRoot, "kallsyms"))
	if err != nil {
		return &Kernel{}, err
	}
	defer f.Close()
	type entry struct {
		at   uint64
		name string
	}
	var all []entry
	for s := bufio.NewScanner(f); s.Scan(); {
		// address type name [module]
		field := bytes.Fields(s.Bytes())
		if len(field) < 3 {
			continue
		}
		at, err := strconv.ParseUint(string(field[0]), 16, 64)
		if err != nil || at == 0 {
			continue
		}
		name := string(field[2])
		if len(field) > 3 {
			name += " " + string(field[3])
		}
		all = append(all, entry{at, name})
	}
	slices.SortStableFunc(all, func(a, b entry) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	s := &Kernel{at: make([]uint64, len(all)), name: make([]string, len(all))}
	for i, e := range all {
		s.at[i], s.name[i] = e.at, e.name
	}
	return s, nil
}

// Known tells whether any address can be named.
func (s *Kernel) Known() bool { return len(s.at) > 0 }

// Stack names the frames of a stack, less those of the tracing itself: how many
// those are differs between kernels.
func (s *Kernel) Stack(addresses []uint64) []string {
	out := make([]string, len(addresses))
	first := 0
	for i, a := range addresses {
		out[i] = s.lookup(a)
		if i < 5 && slices.ContainsFunc(tracingFrames, func(f string) bool { return strings.HasPrefix(out[i], f) }) {
			first = i + 1
		}
	}
	return out[first:]
}

var tracingFrames = []string{"bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_prog_"}

func (s *Kernel) lookup(a uint64) string {
	i := sort.Search(len(s.at), func(i int) bool { return s.at[i] > a }) - 1
	if i < 0 || a-s.at[i] > 1<<20 {
		return fmt.Sprintf("%#x", a)
	}
	return fmt.Sprintf("%s+%#x", s.name[i], a-s.at[i])
}
