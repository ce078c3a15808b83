package tracer

import (
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// What a victim's memory was for is read while its cgroup fills up, and told at
// its kill.
func TestKinds(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(64 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		g.runKilled("shm=8", "anon=20", "leak=256,20")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		x.stop()
		kinds := k.Victim.Kinds
		if kinds == nil {
			t.Fatalf("nothing was read of %s", show(k.Victim))
		}
		if kinds.Anonymous < 20*mib || kinds.Anonymous > 64*mib || kinds.Shared < 7*mib || kinds.Shared > 9*mib || kinds.Libraries == 0 || kinds.ReadNS > 0 || kinds.ReadNS < -int64(10*time.Second) || kinds.Source != event.SourceProcfs {
			t.Errorf("%s", show(kinds))
		}
	})
}
