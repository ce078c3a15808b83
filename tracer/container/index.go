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
	read    map[fileAt]indexed
	paths   map[string]indexed
	partial error     // why a container may be missing; nil when none is
	at      time.Time // when it was brought up to date
}

type indexed struct {
	stamp stamp
	path  string // of the cgroup
	id    string
	facts facts
}

// fresh is for how long an index is taken to be up to date: many cgroups may
// appear at once.
const fresh = time.Millisecond

// refresh reads what is new in the roots and forgets what is gone.
func (x *index) refresh(places []place, below func(string) string, now time.Time) {
	if age := now.Sub(x.at); !x.at.IsZero() && age >= 0 && age < fresh {
		return
	}
	x.at, x.partial = now, nil
	read := make(map[fileAt]indexed)
	x.paths = make(map[string]indexed)
	for _, p := range places {
		for _, s := range p.states() {
			at := fileAt{p.host, s.file}
			stamp, err := p.host.stat(s.file)
			if err != nil {
				x.note(err)
				continue
			}
			e, ok := x.read[at]
			if !ok || e.stamp != stamp {
				if e, err = s.read(p.host, below); err != nil {
					x.note(err)
					continue
				}
				e.stamp = stamp
			}
			read[at] = e
			if e.path != "" {
				x.paths[e.path] = e
			}
		}
	}
	x.read = read
}

// note remembers why a container may be missing. A file that is not there is
// about to be written, or was just removed.
func (x *index) note(err error) {
	if x.partial == nil && !errors.Is(err, errAbsent) {
		x.partial = err
	}
}

// state is a file that ties a container to its cgroup.
type state struct {
	file, id string
	read     func(h host, below func(string) string) (indexed, error)
}

// states lists those of one root.
func (p place) states() []state {
	var all []state
	switch p.Runtime {
	case Runc, Crun:
		file, read := "/state.json", p.runc
		if p.Runtime == Crun {
			file, read = "/status", p.crun
		}
		ids, _ := p.host.list(p.Dir)
		for _, id := range ids {
			all = append(all, state{p.Dir + "/" + id + file, id, func(h host, below func(string) string) (indexed, error) {
				return read(p.Dir+"/"+id, id, below)
			}})
		}
	case Containerd:
		tasks, _ := p.tasks()
		for _, t := range tasks {
			all = append(all, state{t.config(), t.id, func(h host, below func(string) string) (indexed, error) {
				c, err := p.bundle(t.config())
				if err != nil {
					return indexed{}, err
				}
				f := c.facts(t.id)
				f.runtime = cmp.Or(f.runtime, Containerd)
				return indexed{id: t.id, path: expand(c.Linux.CgroupsPath), facts: f}, nil
			}})
		}
	}
	return all
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
	e := indexed{id: id, facts: c.facts(id)}
	e.facts.runtime = cmp.Or(e.facts.runtime, Runc)
	if at := cmp.Or(s.Paths["memory"], s.Paths[""]); at != "" {
		e.path = below(at)
	}
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
	e := indexed{id: id}
	if s.Path != "" {
		e.path = below(s.Path)
	}
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
