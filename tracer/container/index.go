package container

import (
	"cmp"
	"errors"
	"path"
	"strings"
	"time"
)

// index knows containers by their cgroups' paths, for those whose path bears no
// id: of runc, crun and containerd, where whoever starts a container may choose
// its cgroup.
type index struct {
	dirs    map[fileAt]listing
	paths   map[string]indexed
	partial error     // why a container may be missing; nil when none is
	at      time.Time // when it was brought up to date
}

type indexed struct {
	stamp stamp
	path  string // of the cgroup
	id    string
	facts facts
	after bool // it is written after the cgroup was made
}

// before says that a container had begun before a cgroup was made at its path: it
// was stopped, and that cgroup is another's.
func (e indexed) before(born time.Time) bool {
	return e.after && !born.IsZero() && e.stamp.mtime < born.Add(-coarse).UnixNano()
}

// listing is a directory in which each entry is a container's.
type listing struct {
	stamp stamp
	// young says that it had changed so shortly before it was listed that its time
	// of change may stay the same at the next.
	young bool
	known map[string]indexed // by entry
	other []string           // entries that have no readable state, or none yet
}

const (
	// fresh is for how long an index is taken to be up to date: many cgroups may
	// appear at once.
	fresh = time.Millisecond
	// coarse is more than file systems' times are apart.
	coarse = 100 * time.Millisecond
)

// refresh reads what is new in the roots and forgets what is gone. A directory
// that has not changed holds the same containers as before, whose cgroups stay
// what they were: so with thousands of them it is still only a few files.
func (x *index) refresh(places []place, below func(string) string, now time.Time) {
	if age := now.Sub(x.at); !x.at.IsZero() && age >= 0 && age < fresh {
		return
	}
	x.at, x.partial = now, nil
	before, changed := x.dirs, false
	x.dirs = make(map[fileAt]listing)
	for _, p := range places {
		files, err := p.stateFiles()
		x.note(err)
		for _, s := range files {
			at := fileAt{p.host, s.dir}
			old, ok := before[at]
			l, err := x.list(p.host, s, old, below, now)
			if err != nil {
				x.note(err)
				continue
			}
			changed = changed || !ok || l.stamp != old.stamp || old.young || len(l.other) != len(old.other)
			x.dirs[at] = l
		}
	}
	if !changed && len(x.dirs) == len(before) {
		return
	}
	x.paths = make(map[string]indexed)
	for _, l := range x.dirs {
		for _, e := range l.known {
			// A container that was stopped and not deleted leaves its state.
			if other, ok := x.paths[e.path]; e.path != "" && (!ok || other.stamp.mtime < e.stamp.mtime) {
				x.paths[e.path] = e
			}
		}
	}
}

// list brings a listing up to date.
func (x *index) list(h host, s stateFiles, old listing, below func(string) string, now time.Time) (listing, error) {
	stamp, err := h.stat(s.dir)
	if err != nil {
		return listing{}, err
	}
	l := listing{stamp: stamp, known: old.known}
	entries := old.other
	if stamp != old.stamp || old.young {
		l.young = now.UnixNano()-stamp.mtime < int64(coarse)
		l.known = make(map[string]indexed)
		if entries, err = h.list(s.dir); err != nil {
			return listing{}, err
		}
	}
	for _, id := range entries {
		e, err := s.renew(h, id, old.known[id], below)
		if err != nil {
			x.note(err)
			l.other = append(l.other, id)
			continue
		}
		l.known[id] = e
	}
	return l, nil
}

// note remembers why a container may be missing. A file that is not there is
// about to be written, or was just removed.
func (x *index) note(err error) {
	if err != nil && x.partial == nil && !errors.Is(err, errAbsent) {
		x.partial = err
	}
}

// stateFiles is a directory of containers' directories, each with a file that ties
// one to its cgroup.
type stateFiles struct {
	dir, file string
	read      func(dir, id string, below func(string) string) (indexed, error)
}

// renew reads a container's file unless it is the same as when e was read from it.
func (s stateFiles) renew(h host, id string, e indexed, below func(string) string) (indexed, error) {
	stamp, err := h.stat(s.dir + "/" + id + s.file)
	if err != nil || e.stamp == stamp {
		return e, err
	}
	e, err = s.read(s.dir+"/"+id, id, below)
	e.stamp = stamp
	return e, err
}

// stateFiles lists the directories of one root. The error is why some are missing.
func (p place) stateFiles() ([]stateFiles, error) {
	switch p.Runtime {
	case Runc:
		return []stateFiles{{p.Dir, "/state.json", p.runc}}, nil
	case Crun:
		return []stateFiles{{p.Dir, "/status", p.crun}}, nil
	case Containerd:
		dirs, err := p.namespaces()
		var all []stateFiles
		for _, dir := range dirs {
			all = append(all, stateFiles{dir, "/config.json", p.task})
		}
		return all, err
	}
	return nil, nil
}

// task reads the configuration that containerd starts a container with.
func (p place) task(dir, id string, _ func(string) string) (indexed, error) {
	c, err := p.bundle(dir + "/config.json")
	if err != nil {
		return indexed{}, err
	}
	f := c.facts(id)
	f.runtime = cmp.Or(f.runtime, Containerd)
	return indexed{id: id, path: expand(c.Linux.CgroupsPath), facts: f}, nil
}

// runc reads state.json, which runc puts in place whole, before the container's
// program starts.
func (p place) runc(dir, id string, below func(string) string) (indexed, error) {
	file := dir + "/state.json"
	b, err := p.host.read(file, maxState)
	if err != nil {
		return indexed{}, err
	}
	var s struct {
		ID     string            `json:"id"`
		Paths  map[string]string `json:"cgroup_paths"`
		Config struct {
			Labels []string `json:"labels"` // annotations as KEY=VALUE, and bundle=DIR
		} `json:"config"`
	}
	if err := parse(file, b, &s); err != nil {
		return indexed{}, err
	}
	c := bundle{Annotations: make(map[string]string)}
	for _, l := range s.Config.Labels {
		key, value, _ := strings.Cut(l, "=")
		c.Annotations[key] = value
	}
	at := cmp.Or(s.Paths["memory"], s.Paths[""])
	if at == "" {
		return indexed{}, errAbsent // not yet
	}
	e := indexed{id: id, path: below(at), facts: c.facts(id), after: true}
	e.facts.runtime = cmp.Or(e.facts.runtime, Runc)
	return e, nil
}

// crun reads the file status, and the configuration that crun keeps beside it.
func (p place) crun(dir, id string, below func(string) string) (indexed, error) {
	file := dir + "/status"
	b, err := p.host.read(file, maxState)
	if err != nil {
		return indexed{}, err
	}
	var s struct {
		Path   string `json:"cgroup-path"`
		Bundle string `json:"bundle"`
	}
	if err := parse(file, b, &s); err != nil {
		return indexed{}, err
	}
	if s.Path == "" {
		return indexed{}, errAbsent // not yet
	}
	e := indexed{id: id, path: below(s.Path), after: true}
	c, err := p.bundle(dir + "/config.json")
	if err != nil && s.Bundle != "" {
		c, err = p.bundle(path.Clean("/" + s.Bundle + "/config.json"))
	}
	if err != nil {
		c = new(bundle) // the id is known all the same
	}
	e.facts = c.facts(id)
	e.facts.runtime = cmp.Or(e.facts.runtime, Crun)
	return e, nil
}

// expand gives the path of the cgroup that a bundle asks for: a path, or the
// systemd driver's SLICE:PREFIX:NAME. A path that is not absolute lies below the
// runtime's own cgroup, which is not known.
func expand(cgroupsPath string) string {
	if strings.HasPrefix(cgroupsPath, "/") {
		return path.Clean(cgroupsPath)
	}
	f := strings.Split(cgroupsPath, ":")
	if len(f) != 3 || f[2] == "" {
		return ""
	}
	slice := cmp.Or(f[0], "system.slice")
	stem, ok := strings.CutSuffix(slice, ".slice")
	if !ok || strings.Contains(slice, "/") {
		return ""
	}
	at := ""
	if stem != "-" {
		for i := range len(stem) + 1 {
			if i == len(stem) || stem[i] == '-' {
				at += "/" + stem[:i] + ".slice"
			}
		}
	}
	name := f[2]
	if strings.HasSuffix(name, ".slice") {
		return at + "/" + name
	}
	if f[1] != "" {
		name = f[1] + "-" + name
	}
	return at + "/" + name + ".scope"
}
