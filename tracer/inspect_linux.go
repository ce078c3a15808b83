package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Inspect tells what the memory of the cgroup at a path consists of, or that of
// the node ("" or "/"). Of other users' processes smaps needs CAP_SYS_PTRACE; what
// could not be read is in Unread. Reading it takes each process's mmap lock for a
// moment, about 1 ms for each 100 MiB of small pages. The error is fs.ErrNotExist
// when the cgroup is not there (any more).
func (l *Look) Inspect(path string, o InspectOptions) (*event.Inspect, error) {
	asked := path
	path, err := l.accounted(path)
	if err != nil {
		return nil, err
	}
	e := &event.Inspect{Meta: event.Meta{Type: event.TypeInspect, Time: time.Now().UTC()}}
	e.Cgroup, e.Container = l.named(path)
	if path == "" {
		err = l.inspectNode(e)
	} else {
		err = l.inspectCgroup(e, path)
	}
	if err != nil {
		return nil, err
	}
	if e.Limits, err = l.limits(path); err != nil {
		return nil, err
	}
	tasks, err := l.tasks(path)
	if err != nil {
		return nil, err
	}
	l.inspectProcesses(e, tasks, o)
	l.children(e, cmp.Or(path, "/"), o.Children)
	if asked != "" && asked != "/" && path != asked {
		e.Unread = append(e.Unread, event.Unread{What: "memory of " + asked, Reason: "the memory controller is not on there; this is the cgroup that its memory is charged to"})
	}
	return e, nil
}

func (l *Look) inspectCgroup(e *event.Inspect, path string) error {
	var err error
	if e.Memory, err = l.mount.Read(path); err != nil {
		return fmt.Errorf("memory of cgroup %s: %w", path, err)
	}
	lists, kernel, err := l.mount.Detail(path)
	if err != nil {
		return fmt.Errorf("memory of cgroup %s: %w", path, err)
	}
	e.Lists, e.Kernel = &lists, &kernel
	settings, err := l.mount.Settings(path)
	if err != nil {
		return fmt.Errorf("settings of cgroup %s: %w", path, err)
	}
	if settings.Swappiness == nil {
		if n, err := l.proc.Swappiness(); err == nil {
			settings.Swappiness = &n
		}
	}
	e.Settings = &settings
	e.Events = l.mount.Events(path)
	e.Pressure = l.mount.Pressure(path)
	return nil
}

func (l *Look) inspectNode(e *event.Inspect) error {
	m, err := l.proc.Meminfo()
	if err != nil {
		return fmt.Errorf("memory of the node: %w", err)
	}
	f := &e.Memory
	f.Source = event.SourceProcfs
	f.Limit = m.Total
	if m.Total != nil && m.Free != nil {
		f.Usage = fresh(sub(*m.Total, *m.Free))
	}
	f.Anon, f.Shmem, f.FileMapped, f.FileDirty, f.FileWriteback = m.Anon, m.Shmem, m.Mapped, m.Dirty, m.Writeback
	if m.Cached != nil {
		f.File = fresh(*m.Cached + value(m.Buffers))
	}
	f.ActiveFile, f.InactiveFile, f.Unevictable = m.ActiveFile, m.InactiveFile, m.Unevictable
	f.SlabReclaimable, f.SlabUnreclaimable = m.SlabReclaimable, m.SlabUnreclaimable
	f.PageTables, f.KernelStack = m.PageTables, m.KernelStack
	if m.SlabReclaimable != nil && m.SlabUnreclaimable != nil {
		f.Kernel = fresh(*m.SlabReclaimable + *m.SlabUnreclaimable + value(m.PageTables) + value(m.KernelStack) + value(m.Percpu) + value(m.SecPageTables))
	}
	f.SwapLimit = m.SwapTotal
	if m.SwapTotal != nil && m.SwapFree != nil {
		f.SwapUsage = fresh(sub(*m.SwapTotal, *m.SwapFree))
	}
	f.Derive()
	f.Available = m.Available // the kernel's own estimate
	e.Lists = &event.Lists{ActiveAnon: m.ActiveAnon, InactiveAnon: m.InactiveAnon, ActiveFile: m.ActiveFile, InactiveFile: m.InactiveFile, Unevictable: m.Unevictable}
	e.Kernel = &event.KernelParts{Percpu: m.Percpu, SecPageTables: m.SecPageTables, Zswap: m.Zswap, Hugetlb: m.Hugetlb}
	if n, err := l.proc.Swappiness(); err == nil {
		e.Settings = &event.Settings{Swappiness: &n}
	}
	if data, err := os.ReadFile(filepath.Join(string(l.proc), "pressure", "memory")); err == nil {
		e.Pressure = cgroup.ParsePressure(data)
	}
	return nil
}

// inspectProcesses reads what processes hold.
func (l *Look) inspectProcesses(e *event.Inspect, tasks []held, o InspectOptions) {
	p := &event.ProcessMemory{}
	refused := 0
	for i := range tasks {
		tk := &tasks[i]
		s := &tk.status
		one := event.ProcessKinds{Actor: l.actor(tk), RSS: s.RSS(), PageTables: s.PageTables, Threads: tk.stat.Threads}
		if !o.NoSmaps {
			switch err := l.kinds(&one.MemoryKind, tk.pid); {
			case errors.Is(err, fs.ErrPermission):
				refused++
				one.Unread = "permission denied"
			case err != nil: // it has exited meanwhile
				continue
			default:
				p.Read++
				p.Sum.Add(&one.MemoryKind)
			}
		}
		p.Total++
		p.Threads += one.Threads
		p.RSS, p.PageTables = event.Sum(p.RSS, one.RSS), event.Sum(p.PageTables, one.PageTables)
		p.Largest = append(p.Largest, one)
	}
	slices.SortStableFunc(p.Largest, func(a, b event.ProcessKinds) int {
		return cmp.Compare(value(cmp.Or(b.PSS, b.RSS)), value(cmp.Or(a.PSS, a.RSS)))
	})
	if o.Processes > 0 && len(p.Largest) > o.Processes {
		p.Largest = p.Largest[:o.Processes]
	}
	e.Processes = p
	if refused > 0 {
		e.Unread = append(e.Unread, event.Unread{What: "smaps of processes", Count: refused, Reason: "permission denied: needs CAP_SYS_PTRACE in the process's user namespace"})
	}
}

// kinds reads what one process holds.
func (l *Look) kinds(k *event.MemoryKind, pid int) error {
	sum, err := l.proc.Rollup(pid)
	if err != nil {
		return err
	}
	kinds, err := l.proc.Kinds(pid, func(dev string) bool { return l.isTmpfs(pid, dev) })
	if err != nil {
		return err
	}
	*k = event.MemoryKind{
		PSS: sum.PSS, Anon: sum.PSSAnon, File: sum.PSSFile, Shmem: sum.PSSShmem, Swap: sum.SwapPSS,
		Heap: &kinds.Heap, Stack: &kinds.Stack, Libraries: &kinds.Libraries, Mapped: &kinds.Files,
		Anonymous: &kinds.Anonymous, Shared: &kinds.Shmem, Other: &kinds.Other,
	}
	return nil
}

// isTmpfs tells whether a device is a tmpfs, from the mounts of the process that
// maps it: nobody else need have them.
func (l *Look) isTmpfs(pid int, dev string) bool {
	is, known := l.tmpfs[dev]
	if !known {
		devs, _ := l.proc.Tmpfs(pid)
		for d := range devs {
			l.tmpfs[d] = true
		}
		is = devs[dev]
		l.tmpfs[dev] = is
	}
	return is
}

// children lists what the cgroups right below use.
func (l *Look) children(e *event.Inspect, path string, most int) {
	paths, err := l.mount.Children(path)
	if err != nil {
		return
	}
	for _, at := range paths {
		f, err := l.mount.Read(at)
		if err != nil || f.Usage == nil { // removed, or without the controller
			continue
		}
		c := event.ChildUsage{Usage: f.Usage, Limit: f.Limit}
		if cg, container := l.named(at); cg != nil {
			c.Cgroup, c.Container = *cg, container
			e.Children = append(e.Children, c)
		}
	}
	slices.SortStableFunc(e.Children, func(a, b event.ChildUsage) int { return cmp.Compare(*b.Usage, *a.Usage) })
	if most == 0 || len(e.Children) <= most {
		return
	}
	rest := event.ChildrenOther{Cgroups: len(e.Children) - most}
	for _, c := range e.Children[most:] {
		rest.Usage += *c.Usage
	}
	e.Children, e.ChildrenOther = e.Children[:most], &rest
}
