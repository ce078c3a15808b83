// Package container says what a cgroup stands for in the eyes of a person: a
// container, a pod or a systemd unit.
//
// FromPath knows only what the path itself says, by the shapes that runtimes and
// systemd give their cgroups. Names and images, which stand in the runtimes'
// state on disk, are to be added to what it returns.
package container

import (
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Runtimes as they stand in event.Container. Which low-level runtime (runc,
// crun) made a cgroup cannot be seen from its path.
const (
	Docker     = "docker"
	Containerd = "containerd"
	CRIO       = "cri-o"
	Podman     = "podman"
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
// innermost service, scope, socket, mount or swap outside of any container.
//
// Runtime is never guessed: where only an id can be recognised it is "unknown".
// The path may hold any bytes; so may names that were unescaped from it.
func FromPath(path string) *event.Container {
	var unit string
	for p := path; p != ""; {
		above, name := cut(p)
		if uid, ok := podUID(above, name); ok {
			return &event.Container{Pod: &event.Pod{UID: uid}}
		}
		if c, ok := match(above, name); ok {
			found := c // so that only what is found is allocated
			if found.Pod == nil {
				found.Pod = podAbove(above)
			}
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
