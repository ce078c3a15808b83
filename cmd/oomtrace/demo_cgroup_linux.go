package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
)

// demoGroup is a cgroup with a limit and a child without one, in which the
// worker runs: the limit that fires is that of the parent.
type demoGroup struct {
	mount   cgroup.Mount
	path    string // of the parent, below the mount
	child   string
	enabled bool // we handed the memory controller down from the root
}

func newDemoGroup(cgroupRoot, procRoot string) (*demoGroup, error) {
	mount, err := cgroup.FindMount(cmp.Or(cgroupRoot, "/sys/fs/cgroup"), procRoot)
	if err != nil {
		return nil, &tracer.Unsupported{Missing: []string{"demo: " + err.Error()}}
	}
	g := &demoGroup{mount: mount}
	g.name(os.Getpid())
	if err := g.make(); err != nil {
		_ = g.remove(time.Second)
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
			return nil, &tracer.Unsupported{
				Missing: []string{"demo: cannot make a cgroup with a memory limit: " + err.Error()},
				Remedy:  []string{"run it on the host itself, or in a container that may write to the host's cgroups (docker run --privileged --cgroupns=host)"},
			}
		}
		return nil, fmt.Errorf("demo: %w", err)
	}
	return g, nil
}

// name gives the cgroups of the demo of one process their names.
func (g *demoGroup) name(pid int) {
	g.path = "/oomtrace-demo-" + strconv.Itoa(pid)
	g.child = g.path + "/worker"
}

func (g *demoGroup) make() error {
	if g.mount.Version == 2 {
		if err := g.handDown(); err != nil {
			return err
		}
	}
	if err := os.Mkdir(g.dir(g.path), 0o755); err != nil {
		return err
	}
	limit := strconv.Itoa(demoLimit)
	if g.mount.Version == 2 {
		// No process lives in the parent, so its children may have controllers.
		if err := g.set(g.path, "cgroup.subtree_control", "+memory"); err != nil {
			return err
		}
		if err := g.set(g.path, "memory.max", limit); err != nil {
			return err
		}
		// Without swap the limit is final; kernels without swap lack the file.
		_ = g.set(g.path, "memory.swap.max", "0")
	} else {
		// Where it is not so anyway (before 5.11), the limit holds for the child.
		_ = g.set(g.path, "memory.use_hierarchy", "1")
		if err := g.set(g.path, "memory.limit_in_bytes", limit); err != nil {
			return err
		}
		_ = g.set(g.path, "memory.memsw.limit_in_bytes", limit)
		_ = g.set(g.path, "memory.swappiness", "0")
	}
	return os.Mkdir(g.dir(g.child), 0o755)
}

// handDown gives the root's children the memory controller, which they nearly
// always have.
func (g *demoGroup) handDown() error {
	has, err := os.ReadFile(filepath.Join(g.mount.Root, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(has)), "memory") {
		return nil
	}
	if err := g.set("/", "cgroup.subtree_control", "+memory"); err != nil {
		return err
	}
	g.enabled = true
	return nil
}

func (g *demoGroup) dir(path string) string { return g.mount.Dir(path) }

// procs is the file through which a process enters the child.
func (g *demoGroup) procs() string { return filepath.Join(g.dir(g.child), "cgroup.procs") }

func (g *demoGroup) set(path, file, value string) error {
	return os.WriteFile(filepath.Join(g.dir(path), file), []byte(value), 0)
}

// remove takes it all away again; a cgroup is busy for a moment after its last
// process has gone.
func (g *demoGroup) remove(patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for _, path := range []string{g.child, g.path} {
		for {
			err := unix.Rmdir(g.dir(path))
			if err == nil || err == unix.ENOENT {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("demo: remove cgroup %s: %w: rmdir it by hand", g.dir(path), err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	if g.enabled {
		g.enabled = false
		_ = g.set("/", "cgroup.subtree_control", "-memory")
	}
	return nil
}
