package tracer

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

// maxChildren bounds the cgroups below a domain that are looked at.
const maxChildren = 256

// surroundings are what a verdict needs to know beside the event, read when the
// victim is marked.
type surroundings struct {
	branch *oom.Child
	others []oom.Child
	ids    []uint64 // of the others, in their order
	node   *oom.Node
}

// lookAround reads them. The machine's memory matters for its own OOM, and its
// swap for a cgroup that has some in it; the cgroups right below the domain where
// the victim was in one of them, which the mark itself has.
func (t *Tracer) lookAround(m *bpf.CoreRecOomMark, f *event.Figures) (s surroundings) {
	if m.Domain == 0 || f != nil && f.SwapUsage != nil && *f.SwapUsage > 0 {
		s.node = readNode(t.procRoot)
	}
	if m.Domain == 0 {
		return s
	}
	if m.Branch != 0 {
		s.branch = &oom.Child{Usage: m.BranchUsage * t.page}
		if !t.noLimit(m.BranchMax) {
			limit := m.BranchMax * t.page
			s.branch.Limit = &limit
		}
		for id, path := range t.names.tree.Children(m.Domain) {
			if id == m.Branch {
				continue
			}
			usage, err := t.mount.Usage(path)
			if err != nil {
				continue // removed meanwhile
			}
			limit, err := t.mount.Limit(path)
			if err != nil {
				continue
			}
			if len(s.others) == maxChildren {
				s.others, s.ids = nil, nil // a part of them would mislead
				break
			}
			s.others = append(s.others, oom.Child{Path: path, Usage: usage, Limit: limit})
			s.ids = append(s.ids, id)
		}
	}
	return s
}

// judge fills in why a kill happened.
func (t *Tracer) judge(in *incident, e *event.OOMKill) {
	m := in.first
	// Containers that had no name at the mark may have one by now.
	if b := in.around.branch; b != nil {
		cg, c := t.names.cgroup(m.Branch)
		b.Path, b.Container = cg.Path, c
	}
	for i, id := range in.around.ids {
		_, in.around.others[i].Container = t.names.cgroup(id)
	}
	c := oom.Case{
		Kill: e, PageBytes: t.page, SinceBoot: sinceBoot(m.Head.Time),
		Branch: in.around.branch, Others: in.around.others, Node: in.around.node,
	}
	if m.Domain != 0 {
		c.Window = t.window.before(m.Domain, m.Head.Time)
	}
	e.Window = oom.Summary(&c)
	e.Verdict = oom.Judge(&c)
}

// sinceBoot converts a moment of CLOCK_MONOTONIC to CLOCK_BOOTTIME, which goes on
// while the machine sleeps; 0 where the clocks cannot be read.
func sinceBoot(monotonic uint64) time.Duration {
	var mono, boot unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(int64(monotonic) + boot.Nano() - mono.Nano())
}

// readNode reads the machine's memory from /proc/meminfo; nil when it cannot be.
func readNode(procRoot string) *oom.Node {
	f, err := os.Open(filepath.Join(procRoot, "meminfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	n := &oom.Node{}
	into := map[string]*uint64{
		"MemTotal:": &n.Total, "SwapTotal:": &n.SwapTotal, "SwapFree:": &n.SwapFree, "AnonPages:": &n.Anon, "Shmem:": &n.Shmem,
		"SUnreclaim:": &n.Unreclaimable, "PageTables:": &n.PageTables, "KernelStack:": &n.KernelStack,
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if len(field) < 2 || into[field[0]] == nil {
			continue
		}
		if kib, err := strconv.ParseUint(field[1], 10, 54); err == nil {
			*into[field[0]] = kib << 10
		}
	}
	if n.Total == 0 {
		return nil
	}
	return n
}
