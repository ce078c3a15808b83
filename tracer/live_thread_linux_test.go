package tracer

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// A thread that reclaims keeps a slot for its episodes until it exits. One whose
// slot is another's is told of as well, down to what it was allocating when it ran
// out of memory.
func TestThreadSlots(t *testing.T) {
	for name, taken := range map[string]bool{"its own": false, "taken": true} {
		t.Run(name, func(t *testing.T) {
			bestTier(t, func(t *testing.T, tier string) { threadSlot(t, tier, taken) })
		})
	}
}

func threadSlot(t *testing.T, tier string, taken bool) {
	file := filepath.Join(scratch(t), "file")
	g := newGroup(t).limit(24 * mib)
	x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM, FamilyReclaim, FamilyCache}})
	g.run("write=" + file + ",32")
	worker, round, end := g.startRounds("rounds="+file+",4096,32", "hog")
	tid := uint32(worker.Process.Pid)
	claims := x.tracer.session.Maps["thread_claims"]
	slots := claims.MaxEntries()
	slot := tid % slots
	owner := tid
	if taken {
		owner = tid ^ slots
		if err := claims.Put(slot, owner); err != nil {
			t.Fatal(err)
		}
	}
	round()
	var got uint32
	if err := claims.Lookup(slot, &got); err != nil || got != owner {
		t.Errorf("slot %d of thread %d is claimed by %d (%v), want %d", slot, tid, got, err, owner)
	}
	end()
	if err := worker.Wait(); !killed(err) {
		t.Fatalf("not killed: %v", err)
	}
	kill := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		kills := killsBelow(events, g.path)
		return append(kills, nil)[0], len(kills) > 0
	})
	if kill.Trigger.GFPFlags == "" {
		t.Error("a kill without what was being allocated")
	}
	err := claims.Lookup(slot, &got)
	if released := errors.Is(err, ebpf.ErrKeyNotExist); released == taken {
		t.Errorf("after the thread's exit its slot is claimed by %d (%v)", got, err)
	}
	events := x.stop()
	if !slices.ContainsFunc(of[*event.Reclaim](events), func(r *event.Reclaim) bool { return r.Process.TID == int32(tid) && len(r.Evicted) > 0 }) {
		t.Error("the thread evicted nothing")
	}
	sum, _ := traffic(events, g.path)
	checkEvictions(t, g, events, sum)
}
