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
// themselves, in k3s, rke2 and k0s, and in snaps.
func defaultRoots() []Root {
	return []Root{
		{Docker, "/var/lib/docker"},
		{Docker, "/var/snap/docker/common/var-lib-docker"},
		{Containerd, "/run/containerd"},
		{Containerd, "/run/docker/containerd/daemon"}, // one that dockerd starts
		{Containerd, "/run/k3s/containerd"},
		{Containerd, "/run/k0s/containerd"},
		{Containerd, "/var/snap/microk8s/common/run/containerd"},
		{CRIO, "/run/containers/storage"},
		{CRIO, "/var/lib/containers/storage"},
		{Podman, "/var/lib/containers/storage"},
		{Podman, "/run/containers/storage"}, // with transient_store
		{Runc, "/run/runc"},
		{Crun, "/run/crun"},
	}
}

// rootlessRoots are those of a user's own containers.
func rootlessRoots(uid, home string) []Root {
	run := "/run/user/" + uid
	roots := []Root{{Runc, run + "/runc"}, {Crun, run + "/crun"}, {Podman, run + "/containers"}}
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
// and of podman and CRI-O, which share theirs, whichever has never used it; unless
// they were asked for.
func (r *Resolver) Survey() []Found {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Found
	asked := make(map[Root]bool) // and whether it was found
	for _, p := range r.places {
		n, err := p.count(&r.lists)
		f := Found{Root: p.Root}
		given := slices.Contains(r.given, p.Root)
		switch {
		case errors.Is(err, errAbsent):
			if _, ok := asked[p.Root]; !ok && given {
				asked[p.Root] = false
			}
			continue
		case errors.Is(err, errUnused) && !given:
			continue
		case err != nil && !errors.Is(err, errUnused):
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

// Missing gives the roots that were asked for and are not there, or not yet.
func (r *Resolver) Missing() []Root {
	return slices.DeleteFunc(slices.Clone(r.given), func(root Root) bool {
		return slices.ContainsFunc(r.places, func(p place) bool {
			if p.Root != root {
				return false
			}
			_, err := p.host.stat(p.Dir)
			return !errors.Is(err, errAbsent)
		})
	})
}

// errUnused says that a directory is there, and the runtime has nothing in it.
var errUnused = errors.New("not used")

// count tells how many containers a root holds.
func (p place) count(lists *lists) (int, error) {
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
		return p.stored(lists)
	}
	names, err := p.host.list(p.Dir)
	return len(names), err
}

// stored counts the containers of podman or CRI-O in a storage that both may use.
func (p place) stored(lists *lists) (n int, err error) {
	drivers, err := p.drivers()
	for _, dir := range drivers {
		if p.Runtime == Podman {
			for _, file := range storageLists {
				found, err := lists.read(p.host, dir+file)
				if err != nil && !errors.Is(err, errAbsent) {
					return 0, err
				}
				n += len(found)
			}
			continue
		}
		names, _ := p.host.list(dir)
		for _, id := range names {
			if c, err := p.bundle(dir + "/" + id + "/userdata/config.json"); err == nil && c.facts(id).runtime == CRIO {
				n++
			}
		}
	}
	if n > 0 || err != nil {
		return n, err
	}
	if _, err := p.host.stat(p.Dir + "/libpod"); p.Runtime == Podman && err == nil {
		return 0, nil // podman's own directory
	}
	return 0, errUnused
}
