// Package label gives processes, cgroups and files the short names by which
// people know them. Names come from untrusted places: escape them for the
// medium that they go to.
package label

import (
	"fmt"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Place names where a process lives, the most telling name first: a pod's
// container, a container, a systemd unit, else the cgroup's path. It is "" when
// nothing is known.
func Place(c *event.Container, g *event.Cgroup) string {
	if c != nil {
		switch {
		case c.Pod != nil && c.Pod.Name != "":
			return join(c.Pod.Namespace, c.Pod.Name, c.Name)
		case c.Name != "":
			return c.Name
		case c.Unit != "":
			return c.Unit
		case c.ID != "":
			return shortID(c.ID)
		}
	}
	switch {
	case g == nil:
		return ""
	case g.Path != "":
		return shortPath(g.Path)
	case g.ID != 0:
		return fmt.Sprintf("cgroup %d", g.ID)
	}
	return ""
}

// Called is Place with a word for what it is, for use within a sentence: "pod
// shop/web-0", "container web". Units and paths speak for themselves.
func Called(c *event.Container, g *event.Cgroup) string {
	name := Place(c, g)
	switch {
	case c == nil, name == "":
		return name
	case c.Name != "", c.ID != "" && c.Unit == "":
		return "container " + name
	case c.Pod != nil && c.Pod.Name != "":
		return "pod " + name
	}
	return name
}

// File names a file by its path, or by its inode where there is none.
func File(f *event.File) string {
	if f.Path != "" {
		return f.Path
	}
	return fmt.Sprintf("inode %d on %s", f.Inode, f.Dev)
}

func join(parts ...string) string {
	var known []string
	for _, p := range parts {
		if p != "" {
			known = append(known, p)
		}
	}
	return strings.Join(known, "/")
}

const shortLen = 12

func shortID(id string) string {
	if hexRun(id) >= 2*shortLen {
		return id[:shortLen]
	}
	return id
}

// shortPath cuts container ids (32 or 64 hex digits) inside a path to what
// people quote of them.
func shortPath(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); {
		n := hexRun(path[i:])
		switch {
		case n >= 32:
			b.WriteString(path[i:i+shortLen] + "…")
		case n > 0:
			b.WriteString(path[i : i+n])
		default:
			n = 1
			b.WriteByte(path[i])
		}
		i += n
	}
	return b.String()
}

func hexRun(s string) int {
	n := 0
	for n < len(s) && strings.IndexByte("0123456789abcdef", s[n]) >= 0 {
		n++
	}
	return n
}
