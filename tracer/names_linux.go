package tracer

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// maxFiles bounds how many files' paths are remembered.
const maxFiles = 65536

type fileID struct {
	dev, generation uint32
	inode           uint64
}

// names turns the kernel's ids into what people know things by.
type names struct {
	tree       *cgroup.Tree
	identities *identities
	procRoot   string

	files      map[fileID]string // below the root of its file system
	mounts     map[uint32][]mountPoint
	mountsRead time.Time
	swept      time.Time
}

type mountPoint struct{ root, at string }

func newNames(tree *cgroup.Tree, identities *identities, procRoot string) *names {
	return &names{tree: tree, identities: identities, procRoot: procRoot, files: make(map[fileID]string)}
}

// cgroup names a memory cgroup; nil for id 0, which is none.
func (n *names) cgroup(id uint64) (*event.Cgroup, *event.Container) {
	if id == 0 {
		return nil, nil
	}
	cg, ok := n.tree.Resolve(id)
	if !ok {
		return &event.Cgroup{ID: id, Version: n.tree.Mount().Version}, nil
	}
	return &cg, n.identities.of(id, cg.Path)
}

// await gives the names of a cgroup a few milliseconds to be found.
func (n *names) await(id uint64) {
	if cg, ok := n.tree.Resolve(id); ok {
		n.identities.await(id, cg.Path)
	}
}

// sweep forgets now and then what the cgroups stood for that the tree has
// forgotten.
func (n *names) sweep() {
	if time.Since(n.swept) < time.Minute {
		return
	}
	n.swept = time.Now()
	n.identities.sweep(func(id uint64) bool {
		_, ok := n.tree.Lookup(id)
		return ok
	})
}

func (n *names) domain(id uint64) *event.Domain {
	cg, c := n.cgroup(id)
	if cg == nil {
		return nil
	}
	return &event.Domain{Cgroup: *cg, Container: c}
}

func process(t *bpf.CoreRecTask) event.Process {
	uid := int64(t.Uid)
	return event.Process{
		PID: int32(t.Tgid), TID: int32(t.Tid), PPID: int32(t.Ppid), Comm: decode.Text(t.Comm[:]), UID: &uid,
		StartTimeNS: int64(t.Start), ContainerPID: int32(t.ContainerPid),
	}
}

func (n *names) actor(t *bpf.CoreRecTask) event.Actor {
	a := event.Actor{Process: process(t)}
	a.Cgroup, a.Container = n.cgroup(t.Cgroup)
	return a
}

// named remembers the path of a file.
func (n *names) named(r *decode.File) {
	if len(n.files) >= maxFiles {
		for id := range n.files { // any: those in use are named again
			delete(n.files, id)
			if len(n.files) < maxFiles*3/4 {
				break
			}
		}
	}
	n.files[fileID{r.Dev, r.Generation, r.Inode}] = r.Path
}

// The kernel's dev_t: 12 bits of major above 20 of minor.
func major(dev uint32) uint32 { return dev >> 20 }
func minor(dev uint32) uint32 { return dev & (1<<20 - 1) }

func (n *names) file(dev, generation uint32, inode uint64) event.File {
	f := event.File{Dev: fmt.Sprintf("%d:%d", major(dev), minor(dev)), Inode: inode}
	path, ok := n.files[fileID{dev, generation, inode}]
	switch {
	case !ok:
	case strings.HasPrefix(path, "…"):
		f.Path = path
	default:
		f.Path = n.mounted(dev, path)
	}
	return f
}

// mounted puts the mount point before a path below a file system's root. Of
// several mounts the one that shows the largest part of the file system is
// taken, and of those the shortest. A path that no mount shows is given below
// the file system's root, marked so by a leading "…".
func (n *names) mounted(dev uint32, path string) string {
	// Devices of overlays and the like are used again for other mounts, so what
	// was read is believed for a while only.
	age := time.Since(n.mountsRead)
	if _, ok := n.mounts[dev]; !ok && age > time.Second || age > 10*time.Second {
		n.readMounts()
	}
	best := ""
	var of mountPoint
	for _, m := range n.mounts[dev] {
		rest, ok := below(path, m.root)
		if !ok {
			continue
		}
		if best == "" || len(m.root) < len(of.root) || len(m.root) == len(of.root) && len(m.at) < len(of.at) {
			best, of = filepath.Join(m.at, rest), m
		}
	}
	if best == "" {
		return "…" + path
	}
	return best
}

func below(path, root string) (string, bool) {
	if root == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, root)
	return rest, ok && (rest == "" || rest[0] == '/')
}

func (n *names) readMounts() {
	n.mountsRead = time.Now()
	n.mounts = make(map[uint32][]mountPoint)
	f, err := os.Open(filepath.Join(n.procRoot, "self", "mountinfo"))
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20) // an overlay of many layers has a long line
	for s.Scan() {
		field := strings.Fields(s.Text())
		if len(field) < 5 {
			continue
		}
		maj, min, ok := strings.Cut(field[2], ":")
		a, err1 := strconv.ParseUint(maj, 10, 12)
		b, err2 := strconv.ParseUint(min, 10, 20)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		dev := uint32(a)<<20 | uint32(b)
		n.mounts[dev] = append(n.mounts[dev], mountPoint{unescapeMount(field[3]), unescapeMount(field[4])})
	}
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
