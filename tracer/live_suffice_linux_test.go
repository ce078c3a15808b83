package tracer

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

// A file is read in order, round after round, in folios of all sizes: in each
// round each sampled page of it comes back, and what would have sufficed is the
// file, not what all rounds evicted.
func TestSufficient(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		const size = 32 // MiB
		file := filepath.Join(scratch(t), "file")
		top := newGroup(t)
		g := top.child("reader").limit(16 * mib)
		top.child("writer").run("write="+file+",32", "fadvise="+file)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyCache, FamilyThrash}, Cgroups: []Selector{{ID: g.id()}}})
		reader := g.start(slices.Repeat([]string{"read=" + file + ",65536,seq,32"}, 5000)...)
		waitFor(x, func(events []event.Event) (bool, bool) {
			sum, _ := traffic(events, g.path)
			return true, sum.Added > 4*size*mib/4096 && slices.ContainsFunc(events, func(e event.Event) bool {
				v, ok := e.(*event.Thrash)
				return ok && v.State == event.StateBegin
			})
		})
		if err := reader.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		events := x.stop()

		sum, _ := traffic(events, g.path)
		var came uint64
		for _, c := range ofCaches(events) {
			for _, b := range c.RefaultAfterNS {
				came += b.Count
			}
		}
		// The first round is no return, not all pages are read equally often, and where
		// two pages share a slot one is lost.
		want := (sum.Added - size*mib/4096) / tally.Sampling
		if off := want/16 + 4; came > want+off || came+off < want {
			t.Errorf("%d sampled pages came back, of %d that were added %d should have", came, sum.Added, want)
		}
		thrashes := of[*event.Thrash](events)
		end := thrashes[len(thrashes)-1]
		// The reader itself needs a few MiB.
		if end.State != event.StateEnd || end.Sufficient == nil || *end.Sufficient < (size-6)*mib || *end.Sufficient > (size+12)*mib {
			t.Errorf("a file of %d MiB: %s", size, show(end))
		}
	})
}
