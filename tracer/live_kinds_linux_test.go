package tracer

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// What a victim's memory was for is read while its cgroup is short of memory, and
// told at its kill: here it fills page cache first, so that there is time.
func TestKinds(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		file := filepath.Join(scratch(t), "file")
		g := newGroup(t).limit(64 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM, FamilyReclaim}})
		g.runKilled("shm=8", "anon=24", "write="+file+",48", "read="+file+",65536,seq,48", "read="+file+",65536,seq,48", "hog")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		x.stop()
		kinds := k.Victim.Kinds
		if kinds == nil {
			t.Fatalf("nothing was read of %s", show(k.Victim))
		}
		if kinds.Anonymous < 20*mib || kinds.Anonymous > 64*mib || kinds.Shared < 7*mib || kinds.Shared > 9*mib || kinds.Libraries == 0 || kinds.ReadNS > int64(time.Second) || kinds.Source != event.SourceProcfs {
			t.Errorf("%s", show(kinds))
		}
	})
}
