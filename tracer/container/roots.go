package container

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Root is a directory in which a runtime keeps what it knows of its containers.
type Root struct {
	// Runtime is docker, containerd, cri-o, podman, runc or crun.
	Runtime string
	// Dir is the data root of docker (/var/lib/docker), the state directory of
	// containerd (/run/containerd), a storage or run root of podman and cri-o
	// (/var/lib/containers/storage), the --root of runc and crun (/run/runc): a
	// path as the host has it.
	Dir string
}

// Runtimes lists those whose state can be read, in the order of Options.Roots.
func Runtimes() []string { return []string{Docker, Containerd, CRIO, Podman, Runc, Crun} }

// ParseRoot reads NAME=DIR.
func ParseRoot(s string) (Root, error) {
	name, dir, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		return Root{}, fmt.Errorf("%q is not NAME=DIR, such as docker=/data/docker", s)
	case !slices.Contains(Runtimes(), name):
		return Root{}, fmt.Errorf("no runtime is called %q: it takes %s", name, strings.Join(Runtimes(), ", "))
	case !filepath.IsAbs(dir):
		return Root{}, fmt.Errorf("%s: %q is no absolute path", name, dir)
	}
	return Root{name, filepath.Clean(dir)}, nil
}

// defaultRoots are where runtimes keep their state unless told otherwise: by
// themselves, in k3s and rke2, and in snaps.
func defaultRoots() []Root {
	return []Root{
		{Docker, "/var/lib/docker"},
		{Docker, "/var/snap/docker/common/var-lib-docker"},
		{Containerd, "/run/containerd"},
		{Containerd, "/run/docker/containerd/daemon"}, // one that dockerd starts
		{Containerd, "/run/k3s/containerd"},
		{Containerd, "/var/snap/microk8s/common/run/containerd"},
		{CRIO, "/run/containers/storage"},
		{CRIO, "/var/lib/containers/storage"},
		{Podman, "/var/lib/containers/storage"},
		{Runc, "/run/runc"},
		{Crun, "/run/crun"},
	}
}

// rootlessRoots are those of a user's own containers.
func rootlessRoots(uid, home string) []Root {
	run := "/run/user/" + uid
	roots := []Root{{Runc, run + "/runc"}, {Crun, run + "/crun"}}
	if home != "" {
		roots = append(roots,
			Root{Podman, home + "/.local/share/containers/storage"},
			Root{Docker, home + "/.local/share/docker"},
		)
	}
	return append(roots, Root{Containerd, run + "/containerd"})
}

// place is a root as it can be reached from here.
type place struct {
	Root
	host host
}

// Found is a runtime's root that is there.
type Found struct {
	Root
	// Containers is how many the runtime keeps there, running or not; nil when
	// Err is why they cannot be listed.
	Containers *int
	Err        string
}

// Survey looks for the roots of runtimes. Those that are not there are left out,
// unless they were asked for.
func (r *Resolver) Survey() []Found {
	var found []Found
	asked := make(map[Root]bool) // and whether it was found
	for _, p := range r.places {
		n, err := p.count()
		f := Found{Root: p.Root}
		switch {
		case errors.Is(err, errAbsent):
			if _, ok := asked[p.Root]; !ok && slices.Contains(r.given, p.Root) {
				asked[p.Root] = false
			}
			continue
		case err != nil:
			f.Err = err.Error()
		default:
			f.Containers = &n
		}
		asked[p.Root] = true
		found = append(found, f)
	}
	for _, root := range r.given {
		if !asked[root] {
			found = append(found, Found{Root: root, Err: "there is no such directory"})
		}
	}
	return found
}

// count tells how many containers a root holds.
func (p place) count() (int, error) {
	switch p.Runtime {
	case Docker:
		names, err := p.host.list(p.Dir + "/containers")
		return len(names), err
	case Containerd:
		if _, err := p.host.list(p.Dir); err != nil {
			return 0, err
		}
		dirs, err := p.namespaces()
		n := 0
		for _, dir := range dirs {
			ids, _ := p.host.list(dir)
			n += len(ids)
		}
		return n, err
	case CRIO, Podman:
		drivers, err := p.drivers()
		n := 0
		for _, dir := range drivers {
			names, _ := p.host.list(dir)
			n += len(slices.DeleteFunc(names, func(name string) bool { return !isID(name) }))
		}
		return n, err
	}
	names, err := p.host.list(p.Dir)
	return len(names), err
}
