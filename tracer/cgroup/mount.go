// Package cgroup knows the memory controller's hierarchy: where it is mounted,
// which directory bears which id, who lies below whom (also after it is gone),
// and what the memory files of one cgroup say, with one reader for version 1
// and version 2.
//
// An id is the kernfs id of a cgroup's directory: what `stat -c %i` prints and
// what the kernel's own tracepoints carry. Ids are unique within one hierarchy
// only; everything here speaks of the hierarchy that holds the memory
// controller, which on hybrid hosts is version 1 although version 2 is mounted
// beside it.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNoMemory is wrapped by what FindMount returns when no hierarchy with the
// memory controller could be found.
var ErrNoMemory = errors.New("no memory cgroup hierarchy")

// Mount is the hierarchy that holds the memory controller.
type Mount struct {
	// Root is the directory of the hierarchy's root cgroup, such as
	// /sys/fs/cgroup/memory or /sys/fs/cgroup.
	Root string
	// Version is 1 or 2.
	Version int
	// HierarchyID is the kernel's cgroup_root hierarchy_id, as cgroup
	// tracepoints carry it: 0 for version 2.
	HierarchyID int
	// Partial says that Root is not the hierarchy's own root but that of a
	// cgroup namespace: cgroups outside it cannot be seen.
	Partial bool
}

// FindMount finds the hierarchy that holds the memory controller.
//
// With an empty cgroupRoot it is looked up among the mounts: our own first, then
// those of procRoot's process 1. Otherwise cgroupRoot is the version 2 root, the
// version 1 memory hierarchy, or the directory that holds the latter (such as
// /host/sys/fs/cgroup). An empty procRoot means /proc; it is also where the
// hierarchy's id is read. Errors wrap ErrNoMemory where the controller is not
// there.
func FindMount(cgroupRoot, procRoot string) (Mount, error) {
	if procRoot == "" {
		procRoot = "/proc"
	}
	m, err := locate(cgroupRoot, procRoot)
	if err != nil {
		if disabled(procRoot) {
			return Mount{}, fmt.Errorf("%w: the kernel's memory controller is switched off: boot with cgroup_enable=memory (or without cgroup_disable=memory)", ErrNoMemory)
		}
		return Mount{}, err
	}
	if m.Version == 1 {
		if m.HierarchyID, err = hierarchyID(procRoot); err != nil {
			return Mount{}, err
		}
	}
	return m, nil
}

func locate(cgroupRoot, procRoot string) (Mount, error) {
	if cgroupRoot != "" {
		return locateBelow(filepath.Clean(cgroupRoot))
	}
	var partial *Mount
	var failed error
	for _, from := range []struct{ mountinfo, root string }{
		{filepath.Join(procRoot, "self/mountinfo"), "/"},
		// In a container that shares the host's pid namespace, the host's
		// mounts can be reached through its first process.
		{filepath.Join(procRoot, "1/mountinfo"), filepath.Join(procRoot, "1/root")},
	} {
		mounts, err := readMountinfo(from.mountinfo)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		for _, dir := range memoryMounts(mounts) {
			m, ok := probe(filepath.Join(from.root, dir))
			switch {
			case ok && !m.Partial:
				return m, nil
			case ok && partial == nil:
				partial = &m
			}
		}
	}
	if partial != nil {
		return *partial, nil
	}
	err := fmt.Errorf("%w: %s/self/mountinfo lists no cgroup mount with the memory controller: mount one (mount -t cgroup2 none /sys/fs/cgroup), or in a container make the host's /sys/fs/cgroup visible and name it as the cgroup root", ErrNoMemory, procRoot)
	if failed != nil {
		err = fmt.Errorf("%w (%w)", err, failed)
	}
	return Mount{}, err
}

// locateBelow finds the hierarchy in a directory that the user named.
func locateBelow(dir string) (Mount, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Mount{}, fmt.Errorf("cgroup root: %w: name the directory where the host's /sys/fs/cgroup is mounted", err)
	}
	if m, ok := probe(dir); ok {
		return m, nil
	}
	// A version 2 hierarchy's children are cgroups, not hierarchies.
	if !exists(filepath.Join(dir, "cgroup.controllers")) {
		tries := []string{"memory"}
		for _, e := range entries { // mounted together: "cpu,memory"
			if strings.Contains(e.Name(), ",") && hasController(e.Name(), "memory") {
				tries = append(tries, e.Name())
			}
		}
		for _, name := range append(tries, "unified") {
			if m, ok := probe(filepath.Join(dir, name)); ok {
				return m, nil
			}
		}
	}
	return Mount{}, fmt.Errorf("%w in %s: looked for memory in cgroup.controllers (version 2) and for memory.usage_in_bytes here or in memory/ (version 1): name the directory where the host's /sys/fs/cgroup is mounted", ErrNoMemory, dir)
}

// probe says whether dir is a directory of a hierarchy with the memory
// controller.
func probe(dir string) (Mount, bool) {
	if controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers")); err == nil {
		m := Mount{Root: dir, Version: 2, Partial: exists(filepath.Join(dir, "cgroup.events"))}
		return m, slices.Contains(strings.Fields(string(controllers)), "memory")
	}
	if exists(filepath.Join(dir, "memory.usage_in_bytes")) {
		m := Mount{Root: dir, Version: 1, Partial: !exists(filepath.Join(dir, "release_agent"))}
		return m, true
	}
	return Mount{}, false
}

// memoryMounts gives the directories that may hold the memory controller, most
// likely first: version 1 names its controllers in the mount's options, version
// 2 is taken by what its cgroup.controllers says.
func memoryMounts(mounts []mountPoint) []string {
	var dirs []string
	for _, whole := range []bool{true, false} {
		for _, fstype := range []string{"cgroup", "cgroup2"} {
			for _, m := range mounts {
				if m.fstype != fstype || (m.root == "/") != whole {
					continue
				}
				if fstype == "cgroup" && !hasController(m.options, "memory") {
					continue
				}
				dirs = append(dirs, m.dir)
			}
		}
	}
	return dirs
}

// hierarchyID reads the id of the version 1 memory hierarchy.
func hierarchyID(procRoot string) (int, error) {
	if f := controllerLine(procRoot); f != nil {
		if id, err := strconv.Atoi(f[1]); err == nil && id > 0 {
			return id, nil
		}
	}
	// The same number leads the line of any process.
	name := filepath.Join(procRoot, "self/cgroup")
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("id of the memory hierarchy: %w: mount the host's /proc there or name it as the proc root", err)
	}
	for line := range strings.Lines(string(data)) {
		id, controllers, _, ok := cgroupLine(line)
		if ok && id > 0 && hasController(controllers, "memory") {
			return id, nil
		}
	}
	return 0, fmt.Errorf("id of the memory hierarchy: neither %s/cgroups nor %s names it: check that the proc root is that of this host", procRoot, name)
}

// disabled says whether the kernel has the controller but was told not to use
// it.
func disabled(procRoot string) bool {
	f := controllerLine(procRoot)
	return f != nil && f[3] == "0"
}

// controllerLine gives the four fields of memory in /proc/cgroups (name,
// hierarchy, number of cgroups, enabled), or nil: newer kernels without version
// 1 have no such line.
func controllerLine(procRoot string) []string {
	data, err := os.ReadFile(filepath.Join(procRoot, "cgroups"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 4 && f[0] == "memory" {
			return f
		}
	}
	return nil
}

// hasController says whether a comma separated list names a controller.
func hasController(list, controller string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if name == controller {
			return true
		}
	}
	return false
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
