package tracer

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
)

// groupSlow is how long the rest of a group is waited for. A kernel whose console
// is slow writes a line of each member before it kills the next; where that takes
// longer still, four times the longest pause so far is waited.
const groupSlow = 200 * time.Millisecond

// groupSettles is how long an incident stays open in which a group is killed
// (memory.oom.group): with tracepoints alone nothing says that the last member
// was marked.
func (t *Tracer) groupSettles(in *incident) time.Duration {
	if in.done && t.groupKilled(in) {
		return settle
	}
	return min(max(groupSlow, 4*time.Duration(in.gap)), giveUp)
}

// groupKilled tells whether all candidates that belong to the group are killed.
func (t *Tracer) groupKilled(in *incident) bool {
	if in.groupRoot == "" {
		in.groupRoot = t.groupRoot(in)
	}
	for i := range in.candidates {
		c := &in.candidates[i]
		if in.tgids[c.Task.Tgid] || c.Mm.Unkillable != uint32(bpf.CoreUnkillableKILLABLE) {
			continue
		}
		if cg, ok := t.names.tree.Lookup(c.Task.Cgroup); ok && within(cg.Path, in.groupRoot) {
			return false
		}
	}
	return len(in.candidates) > 0 && uint32(len(in.candidates)) == in.walked
}

// groupRoot is the cgroup that is killed as a whole: from the domain down to the
// victim's own the first that has memory.oom.group set.
func (t *Tracer) groupRoot(in *incident) string {
	domain, _ := t.names.tree.Lookup(in.first.Domain)
	victim, _ := t.names.tree.Lookup(in.first.Victim.Cgroup)
	root := victim.Path
	for at := victim.Path; within(at, domain.Path) && at != "/" && at != "."; at = filepath.Dir(at) {
		if set, err := os.ReadFile(filepath.Join(t.mount.Dir(at), "memory.oom.group")); err == nil && strings.TrimSpace(string(set)) == "1" {
			root = at
		}
	}
	return root
}

func within(path, root string) bool {
	_, ok := below(path, root)
	return ok
}
