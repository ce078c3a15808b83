package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/procfs"
)

// Look reads the memory of cgroups and processes from their files, as they are
// now: no eBPF, nothing attached. It is not safe for concurrent use.
type Look struct {
	t     *Tracer // for its names and selectors
	mount cgroup.Mount
	proc  procfs.Root
	page  uint64
	cpus  uint64

	history map[string][]reading // by cgroup, "" for the node
	tmpfs   map[string]bool      // devices, by what they are known to be
	cgroups map[string]standing  // by path
}

// standing is a cgroup with what it stands for.
type standing struct {
	id        uint64
	container *event.Container
}

// NewLook finds the hierarchy of the memory controller. Of the options only the
// roots count. The error is an *Unsupported where there is none.
func NewLook(o Options) (*Look, error) {
	o.fill()
	mount, err := cgroup.FindMount(o.CgroupRoot, o.ProcRoot)
	if err != nil {
		return nil, &Unsupported{Missing: []string{err.Error()}}
	}
	resolver := container.NewResolver(container.Options{ProcRoot: o.ProcRoot, Roots: o.RuntimeRoots, Below: mount.Normalize})
	names := newNames(cgroup.NewTree(mount, cgroup.Options{}), newIdentities(resolver, o.Warn), o.ProcRoot)
	t := &Tracer{opts: o, mount: mount, procRoot: o.ProcRoot, names: names}
	t.opts.Warn = func(string) {} // of what is not there yet: here it is an error
	proc := procfs.Root(o.ProcRoot)
	return &Look{
		t: t, mount: mount, proc: proc, page: uint64(os.Getpagesize()), cpus: uint64(max(proc.CPUs(), 1)),
		history: make(map[string][]reading), tmpfs: make(map[string]bool), cgroups: make(map[string]standing),
	}, nil
}

// Find gives the path of the cgroup that a selector means. A container or pod may
// have several, of which the uppermost is taken. The error is a *SelectorError
// when there is none, or several that do not lie in each other.
func (l *Look) Find(sel Selector) (string, error) {
	if sel.Path != "" {
		path := l.mount.Normalize(sel.Path)
		if _, err := cgroup.ID(l.mount.Dir(path)); err != nil {
			return "", &SelectorError{sel, fmt.Errorf("no memory cgroup %s below %s", path, l.mount.Root), ""}
		}
		return path, nil
	}
	if err := l.t.names.tree.Scan(); err != nil {
		l.t.opts.Warn(err.Error())
	}
	ids, err := l.t.find(sel)
	if err != nil {
		return "", err
	}
	var paths []string
	for _, id := range ids {
		if cg, ok := l.t.names.tree.Lookup(id); ok {
			paths = append(paths, cg.Path)
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	if len(paths) == 0 {
		return "", &SelectorError{sel, fmt.Errorf("no cgroup of a container or pod %q", cmp.Or(sel.Container, sel.Pod)), "cgroups are found by --cgroup and --pid too"}
	}
	for _, p := range paths[1:] {
		if !event.Within(p, paths[0]) {
			return "", &SelectorError{sel, fmt.Errorf("%q means several cgroups: %s and %s", cmp.Or(sel.Container, sel.Pod), paths[0], p), "name one of them with --cgroup"}
		}
	}
	return paths[0], nil
}

// accounted gives the cgroup whose memory files tell of a path: itself or, where
// the controller is not on, one above. "" is the node, as is the hierarchy's root;
// the root of a cgroup namespace is not.
func (l *Look) accounted(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	at, err := l.mount.Controlled(path)
	if at == "/" && !l.mount.Partial {
		return "", err
	}
	return at, err
}

// named gives a cgroup as events have it; nil for the node.
func (l *Look) named(path string) (*event.Cgroup, *event.Container) {
	if path == "" {
		return nil, nil
	}
	id, err := cgroup.ID(l.mount.Dir(path))
	if err != nil {
		return nil, nil
	}
	known, ok := l.cgroups[path]
	if !ok || known.id != id {
		ids := l.t.names.identities
		ids.settle(id, path)
		known = standing{id, ids.of(id, path)}
		l.cgroups[path] = known
	}
	return &event.Cgroup{ID: id, Path: path, Version: l.mount.Version}, known.container
}

// held is a process with the memory that it holds, as /proc shows it.
type held struct {
	pid    int
	path   string // of its memory cgroup; "" when it cannot be told
	stat   procfs.Stat
	status procfs.Status
}

// tasks reads the processes of a cgroup and all below it ("": of the node) that
// have memory of their own. Those that go away meanwhile are left out.
func (l *Look) tasks(path string) ([]held, error) {
	pids, err := l.proc.PIDs()
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	deep := path == "" || l.mount.Hierarchical(path)
	var out []held
	for _, pid := range pids {
		// The OOM killer goes by the cgroup of a process's first thread, as this
		// file does; cgroup.procs of version 1 lists it for every thread.
		at, err := l.mount.PathOf(string(l.proc), pid)
		if err != nil {
			at = ""
			if path != "" || errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if path != "" && at != path && !(deep && event.Within(at, path)) {
			continue
		}
		tk := held{pid: pid, path: at}
		if tk.stat, err = l.proc.Stat(pid); err != nil || tk.stat.KernelThread() {
			continue
		}
		if tk.status, err = l.proc.Status(pid); err == nil && tk.status.Size != nil {
			out = append(out, tk)
		}
	}
	return out, nil
}

// actor names a process and where it lives.
func (l *Look) actor(tk *held) event.Actor {
	uid := tk.status.UID
	a := event.Actor{Process: event.Process{
		PID: int32(tk.pid), PPID: int32(tk.stat.PPID), Comm: tk.stat.Comm, UID: &uid,
		StartTimeNS: tk.stat.StartNS, ContainerPID: int32(tk.status.ContainerPID),
	}}
	a.Cgroup, a.Container = l.named(tk.path)
	return a
}

// memory is what the OOM killer weighs of it.
func (tk *held) memory() event.TaskMemory {
	s := &tk.status
	return event.TaskMemory{TotalVM: s.Size, AnonRSS: s.Anon, FileRSS: s.File, ShmemRSS: s.Shmem, Swap: s.Swap, PageTables: s.PageTables}
}

// limits reads the bounds that hold for a cgroup: its own and those above, the
// node's last. The tightest is marked.
func (l *Look) limits(path string) ([]event.Limit, error) {
	node, err := l.node()
	if err != nil {
		return nil, err
	}
	out := []event.Limit{node}
	above := []string{}
	if path != "" {
		above = l.mount.Above(path)
	}
	for _, at := range slices.Backward(above) { // what swap is left is inherited
		bound, err := l.bound(at, out[len(out)-1].SwapLeft)
		if err != nil {
			return nil, err
		}
		out = append(out, bound)
	}
	slices.Reverse(out)
	var tightest *event.Limit
	for i := range out {
		if h := out[i].Headroom; h != nil && (tightest == nil || *h < *tightest.Headroom) {
			tightest = &out[i]
		}
	}
	if tightest != nil {
		tightest.Tightest = true
	}
	return out, nil
}

func (l *Look) node() (event.Limit, error) {
	m, err := l.proc.Meminfo()
	if err != nil {
		return event.Limit{}, fmt.Errorf("memory of the node: %w", err)
	}
	b := event.Limit{Limit: m.Total, SwapLeft: m.SwapFree}
	if m.Total == nil || m.Free == nil || m.Available == nil {
		return b, nil
	}
	b.Usage = fresh(sub(*m.Total, *m.Free))
	// What the kernel calls available, beyond what is free.
	b.Reclaimable = fresh(sub(*m.Available, *m.Free))
	b.Headroom = fresh(*m.Available + value(m.SwapFree))
	return b, nil
}

// bound reads one cgroup's limit. Above it so much swap is left.
func (l *Look) bound(path string, swapLeft *uint64) (event.Limit, error) {
	f, err := l.mount.Read(path)
	if err != nil {
		return event.Limit{}, fmt.Errorf("memory of cgroup %s: %w", path, err)
	}
	s, err := l.mount.Settings(path)
	if err != nil {
		return event.Limit{}, fmt.Errorf("settings of cgroup %s: %w", path, err)
	}
	b := event.Limit{Limit: f.Limit, High: s.High, Usage: f.Usage, SwapLeft: swapLeft}
	b.Cgroup, b.Container = l.named(path)
	left := value(swapLeft)
	if f.SwapLimit != nil {
		left = min(left, sub(*f.SwapLimit, value(f.SwapUsage)))
	}
	if l.swappiness(&s) == 0 {
		left = 0 // reclaim of a cgroup leaves anonymous memory alone then
	}
	b.SwapLeft = &left
	if f.ActiveFile != nil && f.InactiveFile != nil {
		b.Reclaimable = fresh(*f.ActiveFile + *f.InactiveFile + value(f.SlabReclaimable))
	}
	if f.Limit != nil && f.Usage != nil {
		b.Headroom = fresh(sub(*f.Limit, sub(*f.Usage, value(b.Reclaimable))) + left)
	}
	return b, nil
}

// swappiness is the cgroup's own on v1, the node's on v2; 60, the kernel's
// default, where it cannot be read.
func (l *Look) swappiness(s *event.Settings) int {
	if s.Swappiness != nil {
		return *s.Swappiness
	}
	n, err := l.proc.Swappiness()
	if err != nil {
		return 60
	}
	return n
}

func fresh[T any](v T) *T { return &v }

func value(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

func sub(a, b uint64) uint64 { return a - min(a, b) }
