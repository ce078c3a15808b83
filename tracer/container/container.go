// Package container says what a cgroup stands for in the eyes of a person: a
// container, a pod or a systemd unit.
//
// FromPath knows only what the path itself says, by the shapes that runtimes and
// systemd give their cgroups. A Resolver adds names and images, which stand in
// the runtimes' state on disk. No runtime's API is asked.
package container

import (
	"cmp"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Runtimes as they stand in event.Container. Runc and Crun are for containers
// that were started with these alone; their cgroups' paths do not say so.
const (
	Docker     = "docker"
	Containerd = "containerd"
	CRIO       = "cri-o"
	Podman     = "podman"
	Runc       = "runc"
	Crun       = "crun"
	LXC        = "lxc"
	Nspawn     = "nspawn"
	Systemd    = "systemd"
	Unknown    = "unknown" // a container, but whose cannot be told
)

// FromPath says what the cgroup at a path (below the memory controller's mount)
// belongs to, nil when that is no container, pod or unit by any known shape.
//
// The innermost container counts, also for cgroups below it: what runs in a
// container under its own systemd is the container. A pod's own cgroup gives a
// Container with nothing but its Pod. Systemd units are what is left: the
// innermost service, scope, socket, mount or swap outside of any container. The
// container around a container is its Parent.
//
// Runtime is never guessed: where only an id can be recognised it is "unknown".
// The path may hold any bytes; so may names that were unescaped from it.
func FromPath(path string) *event.Container {
	var unit string
	for p := path; p != ""; {
		above, name := cut(p)
		if uid, ok := podUID(above, name); ok {
			return &event.Container{Pod: &event.Pod{UID: uid}, Parent: around(above, nil)}
		}
		if c, ok := match(above, name); ok {
			found := c // so that only what is found is allocated
			if found.Pod == nil {
				found.Pod = podAbove(above, found.Runtime)
			}
			found.Parent = around(above, found.Pod)
			return &found
		}
		if unit == "" && isUnit(name) {
			unit = name
		}
		p = above
	}
	if unit == "" {
		return nil
	}
	return &event.Container{Name: unitName(unit), Runtime: Systemd, Unit: unit}
}

// around gives the container that the cgroup at a path lies in: a pod, such as
// that which the cgroup is of, or unit is none.
func around(path string, pod *event.Pod) *event.Container {
	for path != "" {
		above, name := cut(path)
		if c, ok := match(above, name); ok && (pod == nil || name != pod.UID) {
			c.Pod = cmp.Or(c.Pod, podAbove(above, c.Runtime))
			c.Parent = around(above, c.Pod)
			return &c
		}
		path = above
	}
	return nil
}

// cut takes the last name off a path; slashes that stand together are one.
func cut(path string) (above, name string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	return strings.TrimRight(path[:i+1], "/"), path[i+1:]
}

// match recognises a container by its cgroup's name and what stands above it.
func match(above, name string) (event.Container, bool) {
	for _, shape := range shapes {
		if c, ok := shape(above, name); ok {
			return c, true
		}
	}
	return event.Container{}, false
}

// shapes in the order in which they are tried: what a name says by itself comes
// before what can only be told from its parent.
var shapes = [...]func(above, name string) (event.Container, bool){
	mismatch,
	prefixed,
	lxc,
	machine,
	nomad,
	ecs,
	containerdNamespace,
	bare,
}
