package tracer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
)

// seed learns the cgroups and sets the filter, once their lifecycle is followed.
func (t *Tracer) seed(s *hook.Session) error {
	if err := t.names.tree.Scan(); err != nil {
		t.opts.Warn(err.Error())
	}
	watched, wanted := s.Maps["watched"], s.Maps["wanted_paths"]
	for _, sel := range t.opts.Cgroups {
		id, err := t.find(sel)
		if err != nil {
			return err
		}
		if sel.Path != "" {
			if path := t.mount.Normalize(sel.Path); len(path) < bpfPathLen {
				var key [bpfPathLen]byte
				copy(key[:], path)
				if err := wanted.Put(key, uint8(1)); err != nil {
					return fmt.Errorf("map wanted_paths: %w", err)
				}
			}
		}
		for _, id := range id {
			if err := t.watch(watched, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// bpfPathLen is PATH_LEN of the programs: longer paths cannot be waited for in
// the kernel.
const bpfPathLen = len(bpf.CoreRecCgroup{}.Path)

// watch adds a cgroup and all below it to the filter.
func (t *Tracer) watch(watched *ebpf.Map, id uint64) error {
	t.roots[id] = true
	if err := watched.Put(id, uint8(1)); err != nil {
		return fmt.Errorf("map watched: %w", err)
	}
	for below := range t.names.tree.Subtree(id) {
		if err := watched.Put(below, uint8(1)); err != nil {
			return fmt.Errorf("map watched: %w", err)
		}
	}
	return nil
}

// find gives the cgroups that a selector means now.
func (t *Tracer) find(sel Selector) ([]uint64, error) {
	tree := t.names.tree
	switch {
	case sel.ID != 0:
		if _, ok := tree.Resolve(sel.ID); !ok {
			return nil, &SelectorError{sel, fmt.Errorf("no memory cgroup with id %d below %s", sel.ID, t.mount.Root),
				"an id is the inode number of a cgroup's directory: stat -c %i DIR"}
		}
		return []uint64{sel.ID}, nil
	case sel.PID != 0:
		path, err := t.mount.PathOf(t.procRoot, sel.PID)
		if err != nil {
			return nil, &SelectorError{sel, err, ""}
		}
		id, ok := tree.ByPath(path)
		if !ok {
			return nil, &SelectorError{sel, fmt.Errorf("process %d is in cgroup %s, which is not below %s", sel.PID, path, t.mount.Root), ""}
		}
		return []uint64{id}, nil
	case sel.Path != "":
		if id, ok := tree.ByPath(t.mount.Normalize(sel.Path)); ok {
			return []uint64{id}, nil
		}
		return nil, nil // waited for
	}
	return t.named(sel), nil
}

// named gives the cgroups of a container or pod that is there now.
func (t *Tracer) named(sel Selector) []uint64 {
	ids := t.names.identities
	for id, path := range t.names.tree.All() {
		ids.settle(id, path)
	}
	var out []uint64
	for id, path := range t.names.tree.All() {
		c := ids.of(id, path)
		if isPod(c) { // its containers have told the name by now
			ids.renew(id)
			c = ids.of(id, path)
		}
		if t.matches(sel, path, c) {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		what, name := "container", sel.Container
		if sel.Pod != "" {
			what, name = "pod", sel.Pod
		}
		t.opts.Warn(fmt.Sprintf("no %s %s is running yet; it is traced as soon as it is known by that name", what, name))
	}
	return out
}

// isPod says whether a cgroup is that of a pod as a whole.
func isPod(c *event.Container) bool { return c != nil && c.Pod != nil && c.ID == "" && c.Name == "" }

// matches tells whether a cgroup is what a selector means, by its path and what
// it is known to stand for.
func (t *Tracer) matches(sel Selector, path string, c *event.Container) bool {
	switch {
	case sel.Path != "":
		return t.mount.Normalize(sel.Path) == path
	case c == nil:
		return false
	case sel.Container != "":
		return c.GoesBy(sel.Container)
	case sel.Pod != "":
		return c.InPod(sel.Pod)
	}
	return false
}

// follow adds a cgroup to the filter when it is one that was asked for.
func (t *Tracer) follow(id uint64, path string, c *event.Container) {
	if t.roots[id] {
		return
	}
	for _, sel := range t.opts.Cgroups {
		if t.matches(sel, path, c) {
			if err := t.watch(t.session.Maps["watched"], id); err != nil {
				t.opts.Warn(err.Error())
			}
			return
		}
	}
}

// inherit adds a cgroup that has appeared to the filter when it lies below one that
// is traced: it may have been made just before that one was known to be, when the
// kernel did not do so by itself.
func (t *Tracer) inherit(id uint64) {
	if t.roots[id] || !t.selected(id) {
		return
	}
	if err := t.session.Maps["watched"].Put(id, uint8(1)); err != nil {
		t.opts.Warn(fmt.Sprintf("map watched: %v", err))
	}
}

// sweep lets go of what the tree has forgotten.
func (t *Tracer) sweep() {
	t.names.sweep()
	maps.DeleteFunc(t.roots, func(id uint64, _ bool) bool {
		_, remembered := t.names.tree.Lookup(id)
		return !remembered
	})
}

// identified acts on what has become known of cgroups since they appeared.
func (t *Tracer) identified() error {
	ids := t.names.identities
	for news := ids.takeNews(); news != nil; news = ids.takeNews() {
		for _, id := range sortedKeys(news) {
			cg, c := t.names.cgroup(id)
			if cg == nil || cg.Path == "" {
				continue
			}
			if !isPod(c) && c != nil && c.Pod != nil && c.Pod.Name != "" {
				t.namePod(id, c.Pod.UID)
			}
			t.follow(id, cg.Path, c)
			if !news[id] {
				continue
			}
			at := t.clock.now()
			if i := slices.IndexFunc(t.departures, func(d departure) bool { return d.id == id }); i >= 0 {
				at = t.departures[i].at // it is told no later than its end, which follows
			}
			if err := t.tellCgroup(id, "identified", at); err != nil {
				return err
			}
		}
	}
	return nil
}

// namePod gives the cgroup of a container's pod the name that is known now.
func (t *Tracer) namePod(id uint64, uid string) {
	for {
		above, ok := t.names.tree.Parent(id)
		if !ok {
			return
		}
		if _, c := t.names.cgroup(above); isPod(c) && c.Pod.UID == uid {
			if c.Pod.Name == "" {
				t.names.identities.renew(above)
			}
			return
		}
		id = above
	}
}

// selected tells whether a cgroup is traced.
func (t *Tracer) selected(id uint64) bool {
	if len(t.opts.Cgroups) == 0 {
		return true
	}
	for ok := true; ok; id, ok = t.names.tree.Parent(id) {
		if t.roots[id] {
			return true
		}
	}
	return false
}

// undecided tells whether a kill that is not of traced cgroups may turn out to be:
// names are asked for, and those of its cgroups may still become known.
func (t *Tracer) undecided(in *incident) bool {
	byName := func(sel Selector) bool { return sel.Container != "" || sel.Pod != "" }
	if !slices.ContainsFunc(t.opts.Cgroups, byName) || slices.ContainsFunc(in.cgroups(), t.selected) {
		return false
	}
	for _, id := range in.cgroups() {
		for ok := true; ok; id, ok = t.names.tree.Parent(id) {
			if t.names.identities.open(id) {
				return true
			}
		}
	}
	return false
}
