package container

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Options of a Resolver; the zero value is good.
type Options struct {
	// ProcRoot is where the host's proc is mounted; empty means /proc. The
	// host's files are reached through the root of its first process, and where
	// that is closed or the same as ours, through ours.
	ProcRoot string
	// Roots are looked at beside those where runtimes keep their state unless
	// told otherwise.
	Roots []Root
	// Below makes a path below the memory controller's mount of the directory of
	// a cgroup, as runtimes write it. Nil takes /sys/fs/cgroup off.
	Below func(dir string) string
}

// Resolver finds out what cgroups stand for, with names from the runtimes' state
// on disk. It may be used from several goroutines.
type Resolver struct {
	places []place
	given  []Root
	below  func(string) string

	mu    sync.Mutex
	lists lists
	index index
	users map[string]*user // those with cgroups of their own, by uid
	pods  map[podAt]event.Pod
}

// user is whose rootless runtimes have roots of their own. What these say goes for
// the user's own cgroups alone.
type user struct {
	places []place
	index  index
}

// podAt is a pod of the machine's, or of a user's own Kubernetes.
type podAt struct{ user, uid string }

// maxPods bounds how many pods' names are remembered, and maxUsers of how many
// users the roots are.
const (
	maxPods  = 16384
	maxUsers = 1024
)

// NewResolver makes a resolver. That a root is not there, or not yet, is no
// error.
func NewResolver(o Options) *Resolver {
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	r := &Resolver{given: o.Roots, below: o.Below, users: make(map[string]*user), pods: make(map[podAt]event.Pod)}
	if r.below == nil {
		r.below = func(dir string) string { return path.Clean("/" + strings.TrimPrefix(dir, "/sys/fs/cgroup")) }
	}
	hosts := hosts(o.ProcRoot)
	roots := slices.Clone(o.Roots)
	for _, h := range hosts {
		roots = append(roots, h.configuredRoots()...)
	}
	for _, root := range append(roots, defaultRoots()...) {
		for _, h := range hosts {
			if p := (place{root, h}); !slices.Contains(r.places, p) {
				r.places = append(r.places, p)
			}
		}
	}
	return r
}

// Identity is what could be found out of a cgroup.
type Identity struct {
	// Container is nil for a cgroup that belongs to none.
	Container *event.Container
	// Complete says that there is no more to come: the names are known, or a
	// cgroup of this kind has none.
	Complete bool
	// Trouble is why names are missing that there should be; nil when Complete.
	Trouble error
}

// Resolve finds out what the cgroup at a path (below the memory controller's
// mount) stands for, now: runtimes may write what they know of a container a
// moment after its cgroup was made, and remove it with it. It reads a few small
// files. How its first process was started helps where it is known; start may be
// nil.
func (r *Resolver) Resolve(cgroup string, start *Start) Identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	var born time.Time
	if start != nil {
		born = start.Born
	}
	return r.started(start, cgroup, r.resolve(cgroup, born))
}

func (r *Resolver) resolve(cgroup string, born time.Time) Identity {
	c := FromPath(cgroup)
	if c == nil || c.Runtime == Systemd {
		return r.byPath(cgroup, c, born)
	}
	id := r.fill(c, cgroup)
	for p := c.Parent; p != nil; p = p.Parent {
		r.fill(p, cgroup)
	}
	if !id.Complete && c.Runtime == Unknown { // a name of runc's that looks like an id
		if by := r.byPath(cgroup, c, born); by.Complete {
			return by
		}
	}
	return id
}

// fill adds names to what a path says.
func (r *Resolver) fill(c *event.Container, cgroup string) Identity {
	if c.ID == "" { // a pod's own cgroup, or one whose path has the name
		if c.Pod != nil {
			r.namePod(c.Pod, cgroup)
		}
		return Identity{Container: c, Complete: true}
	}
	if _, ok := r.pods[podAt{userOf(cgroup), c.ID}]; ok && c.Runtime == Unknown { // podman's, which its containers have told
		c.ID, c.Runtime, c.Pod = "", "", &event.Pod{UID: c.ID}
		return Identity{Container: c, Complete: true}
	}
	f, err := r.byID(c.Runtime, c.ID, cgroup)
	if err != nil {
		if c.Pod != nil {
			r.namePod(c.Pod, cgroup)
		}
		if c.Name != "" { // Nomad's task
			return Identity{Container: c, Complete: true}
		}
		return Identity{Container: c, Trouble: err}
	}
	r.adopt(c, f, cgroup)
	return Identity{Container: c, Complete: true}
}

// adopt takes over what a runtime's state says. The pod must be the one that the
// path names, where it names one: labels can be written by anybody.
func (r *Resolver) adopt(c *event.Container, f facts, cgroup string) {
	if f.inPod != nil {
		if c.Pod != nil && c.Pod.UID == f.pod.UID {
			f.name = *f.inPod
		} else {
			f.pod = event.Pod{}
		}
	}
	if f.runtime != "" {
		c.Runtime = f.runtime
	}
	if f.name != "" {
		c.Name = f.name
	}
	c.Image = f.image
	switch {
	case f.pod == (event.Pod{}):
		if c.Pod != nil { // the container is in one of the pod's
			r.namePod(c.Pod, cgroup)
		}
	case c.Pod == nil:
		pod := f.pod
		c.Pod = &pod
	case f.pod.UID == "" || f.pod.UID == c.Pod.UID:
		c.Pod.Name, c.Pod.Namespace = f.pod.Name, f.pod.Namespace
	}
	if c.Pod == nil || c.Pod.UID == "" || c.Pod.Name == "" && c.Runtime != Podman {
		return
	}
	at := podAt{userOf(cgroup), c.Pod.UID}
	if _, ok := r.pods[at]; !ok && len(r.pods) >= maxPods {
		clear(r.pods) // those that are running are named again
	}
	r.pods[at] = *c.Pod
}

// namePod names a pod by what one of its containers has told.
func (r *Resolver) namePod(p *event.Pod, cgroup string) {
	if known, ok := r.pods[podAt{userOf(cgroup), p.UID}]; ok {
		*p = known
	}
}

// byID looks in all roots that a container of a runtime may be found in.
func (r *Resolver) byID(runtime, id, cgroup string) (facts, error) {
	if strings.ContainsRune(id, '/') || id == "." || id == ".." {
		return facts{}, errAbsent
	}
	var failed error
	var looked []string
	for _, p := range slices.Concat(r.places, r.user(cgroup).places) {
		if !mayHold(p.Runtime, runtime) {
			continue
		}
		f, err := p.byID(id, cgroup, &r.lists)
		switch {
		case err == nil && (f.name != "" || f.pod.Name != "" || f.runtime == Containerd):
			return f, nil
		case err != nil && !errors.Is(err, errAbsent):
			failed = err
		}
		if !slices.Contains(looked, p.Dir) {
			looked = append(looked, p.Dir)
		}
	}
	if failed == nil {
		failed = fmt.Errorf("nothing of container %.12s in %s; if its state is elsewhere, name the directory (--runtime-root NAME=DIR)", id, strings.Join(looked, ", "))
	}
	return facts{}, failed
}

// mayHold tells whether the root of one runtime may have a container that by its
// path is of another: docker and CRI-O run on containerd's and podman's.
func mayHold(root, runtime string) bool {
	switch {
	case root == Runc || root == Crun:
		return false // found by the path of the cgroup
	case runtime == Unknown:
		return true
	case root == runtime, runtime == CRIO && root == Podman:
		return true
	}
	return false
}

// userOf gives the uid of the user in whose slice a cgroup is, "" for none.
func userOf(cgroup string) string {
	rest, ok := strings.CutPrefix(path.Clean("/"+cgroup), "/user.slice/user-")
	uid, _, below := strings.Cut(rest, ".slice/")
	if !ok || !below || strings.Trim(uid, "0123456789") != "" {
		return ""
	}
	return uid
}

// user gives the user in whose slice a cgroup is, one without roots for none.
func (r *Resolver) user(cgroup string) *user {
	uid := userOf(cgroup)
	known, ok := r.users[uid]
	if ok || uid == "" {
		return cmp.Or(known, new(user))
	}
	if len(r.users) >= maxUsers {
		clear(r.users)
	}
	u := new(user)
	for _, h := range r.hosts() {
		for _, root := range rootlessRoots(uid, h.home(uid)) {
			u.places = append(u.places, place{root, h})
		}
	}
	r.users[uid] = u
	return u
}

// hosts gives each file system once.
func (r *Resolver) hosts() []host {
	var all []host
	for _, p := range r.places {
		if !slices.Contains(all, p.host) {
			all = append(all, p.host)
		}
	}
	return all
}

// byPath looks for a container whose cgroup is at a path or above it, for paths
// that name none. other is what the path says otherwise, born when the cgroup was
// made.
func (r *Resolver) byPath(cgroup string, other *event.Container, born time.Time) Identity {
	none := Identity{Container: other, Complete: true}
	if _, name := cut(cgroup); name == "" || unitType(name) != "" && !strings.HasSuffix(name, ".scope") || strings.HasSuffix(name, ".slice") {
		return none // a unit of systemd's, which is never a container's own
	}
	user, now := r.user(cgroup), time.Now()
	r.index.refresh(r.places, r.below, now)
	user.index.refresh(user.places, r.below, now)
	for at := path.Clean("/" + cgroup); at != "/"; at = path.Dir(at) {
		e, ok := r.index.paths[at]
		if !ok {
			e, ok = user.index.paths[at]
		}
		if !ok || at == path.Clean("/"+cgroup) && e.before(born) {
			continue
		}
		c := &event.Container{ID: e.id, Runtime: e.facts.runtime, Pod: podAbove(path.Dir(at), e.facts.runtime)}
		f := e.facts
		f.inPod = &f.name // anybody may write such a file: a pod has to be in the path
		r.adopt(c, f, cgroup)
		if above := path.Dir(at); above != "/" {
			if p := r.resolve(above, time.Time{}).Container; p != nil && p.Runtime != Systemd && p.Runtime != "" {
				c.Parent = p
			}
		}
		return Identity{Container: c, Complete: true}
	}
	// One may be about to be written.
	return Identity{Container: other, Trouble: cmp.Or(r.index.partial, user.index.partial)}
}
