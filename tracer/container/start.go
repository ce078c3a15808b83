package container

import (
	"cmp"
	"path"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Start is how a cgroup began. What a low-level runtime's command line says of the
// container that it starts is known even when all that the runtime wrote is gone
// again.
type Start struct {
	Runtime string    // runc or crun; "" when neither was seen to start it
	ID      string    // likewise
	Bundle  string    // absolute, "" when it is not said
	Born    time.Time // when the cgroup was made; zero when that was not seen
}

// ParseStart reads the command line of a process that brought the first process
// into a cgroup; nil when it is not runc or crun starting a container.
func ParseStart(args []string) *Start {
	if len(args) < 3 {
		return nil
	}
	s := &Start{Runtime: path.Base(args[0]), ID: args[len(args)-1]}
	if s.Runtime != Runc && s.Runtime != Crun || !isOCIID(s.ID) {
		return nil
	}
	starts := false
	for i, arg := range args[1 : len(args)-1] {
		option, value, _ := strings.Cut(arg, "=")
		switch arg {
		case "run", "create", "restore":
			starts = true
		case "-b", "--bundle":
			value = args[i+2]
		}
		if (option == "-b" || option == "--bundle") && path.IsAbs(value) {
			s.Bundle = path.Clean(value)
		}
	}
	if !starts {
		return nil
	}
	return s
}

// isOCIID is runc's own rule for ids.
func isOCIID(s string) bool {
	if s == "" || len(s) > maxName || s == "." || s == ".." || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("_+-.", rune(c)) {
			return false
		}
	}
	return true
}

// facts reads the bundle that a container was started from. Its configuration
// must ask for the very cgroup: anybody can name another's bundle.
func (r *Resolver) startFacts(s *Start, cgroup string) (facts, bool) {
	if s.Bundle == "" {
		return facts{}, false
	}
	for _, h := range r.hosts() {
		c, err := place{host: h}.bundle(s.Bundle + "/config.json")
		if err != nil || r.below(expand(c.Linux.CgroupsPath)) != path.Clean("/"+cgroup) {
			continue
		}
		f := c.facts(s.ID)
		if strings.Contains(s.Bundle, tasksDirs[0]+"/") || strings.Contains(s.Bundle, tasksDirs[1]+"/") {
			f.runtime = cmp.Or(f.runtime, Containerd)
		}
		return f, true
	}
	return facts{}, false
}

// started names a container by the way it was started, where nothing else does.
func (r *Resolver) started(s *Start, cgroup string, found Identity) Identity {
	c := found.Container
	switch {
	case s == nil, s.ID == "", found.Complete && c != nil && c.Runtime != Systemd:
		return found
	case c == nil, c.Runtime == Systemd:
		// No path or file names it. The cgroup that was entered is the container's
		// own, whatever it lies in.
		c = &event.Container{ID: s.ID, Runtime: s.Runtime, Parent: around(path.Dir(path.Clean("/"+cgroup)), nil)}
		for p := c.Parent; p != nil; p = p.Parent {
			r.fill(p, cgroup)
		}
		if !isID(s.ID) {
			c.Name = s.ID
		}
	case c.ID != s.ID:
		return found // one that runs in the container
	}
	f, ok := r.startFacts(s, cgroup)
	if ok {
		f.inPod = &f.name // which the path has to bear out
		r.adopt(c, f, cgroup)
	}
	named := c.Name != "" || c.Pod != nil && c.Pod.Name != ""
	return Identity{Container: c, Complete: ok && named, Trouble: found.Trouble}
}
