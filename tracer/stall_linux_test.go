package tracer

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// told gives the one event that a record led to.
func told[T event.Event](f *feed, record any) T {
	f.t.Helper()
	f.out = nil
	f.send(record)
	if len(f.out) != 1 {
		f.t.Fatalf("%d events", len(f.out))
	}
	e, ok := f.out[0].(T)
	if !ok {
		f.t.Fatalf("%T", f.out[0])
	}
	return e
}

func episode() bpf.CoreRecReclaim {
	return bpf.CoreRecReclaim{
		Head: head(bpf.CoreRecTypeREC_RECLAIM, 0), Task: task(20), Domain: 7, Duration: 5000, CpuNs: 3000, Scanned: 90, Reclaimed: 60,
		Gfp: 0xcc0, Order: 3, Kind: uint32(bpf.CoreReclaimKindRECLAIM_LIMIT), Priority: 12, Node: -1,
		EvictedCount: 2, EvictedOther: 4, Evicted: [8]bpf.CoreRecEvicted{
			{Owner: 8, Inode: 1, Dev: dev(8, 1), Pages: 10}, {Inode: 2, Dev: dev(8, 1), Pages: 50},
		},
	}
}

func TestReclaimEvent(t *testing.T) {
	f := newFeed(t)
	e := told[*event.Reclaim](f, episode())
	if want := time.Unix(0, int64(t0-5000)).UTC(); !e.Time.Equal(want) || e.DurationNS != 5000 {
		t.Errorf("begins at %v for %d ns, want %v", e.Time, e.DurationNS, want)
	}
	if e.Kind != event.ReclaimMemcgLimit || e.KindSource != "" || e.Process.PID != 20 || e.Cgroup.Path != "/limited/inner" || e.Domain.Path != "/limited" {
		t.Errorf("%+v", e)
	}
	if *e.CPUNS != 3000 || *e.Scanned != 90 || e.Reclaimed != 60 || *e.Order != 3 || *e.Priority != 12 || e.Node != nil || e.GFPFlags != "0xcc0" {
		t.Errorf("%+v", e)
	}
	if len(e.Evicted) != 2 || e.Evicted[0].Pages != 50 || e.Evicted[0].Cgroup != nil || e.Evicted[1].Cgroup.ID != 8 || e.EvictedOtherPages != 4 {
		t.Errorf("%+v", e.Evicted)
	}
	if !reflect.DeepEqual(*e.Evicted[1].File, event.File{Dev: "8:1", Inode: 1}) {
		t.Errorf("%+v", e.Evicted[1].File)
	}
}

// What is not known is absent.
func TestReclaimEventUnknown(t *testing.T) {
	r := episode()
	r.Domain, r.CpuNs, r.Scanned, r.Order, r.Priority = 0, unknown, unknown, -1, -1
	r.Certainty, r.EvictedCount = uint32(bpf.CoreCertaintyINFERRED), 0
	e := told[*event.Reclaim](newFeed(t), r)
	if e.Domain != nil || e.CPUNS != nil || e.Scanned != nil || e.Order != nil || e.Priority != nil || e.Evicted != nil || e.KindSource != event.SourceInferred {
		t.Errorf("%+v", e)
	}
}

func TestReclaimKinds(t *testing.T) {
	for kind, want := range map[bpf.CoreReclaimKind]string{
		bpf.CoreReclaimKindRECLAIM_LIMIT: event.ReclaimMemcgLimit, bpf.CoreReclaimKindRECLAIM_HIGH: event.ReclaimMemcgHigh,
		bpf.CoreReclaimKindRECLAIM_PROACTIVE: event.ReclaimMemcgProactive, bpf.CoreReclaimKindRECLAIM_SOFT: event.ReclaimMemcgSoft,
		bpf.CoreReclaimKindRECLAIM_DIRECT: event.ReclaimDirect, bpf.CoreReclaimKindRECLAIM_NODE: event.ReclaimNode,
	} {
		if got := reclaimKind(uint32(kind)); got != want {
			t.Errorf("%d: %s, want %s", kind, got, want)
		}
	}
}

func TestKswapdEvent(t *testing.T) {
	r := episode()
	r.Head.Type, r.Domain, r.Node = uint32(bpf.CoreRecTypeREC_KSWAPD), 0, 1
	f := newFeed(t)
	if e := told[*event.Kswapd](f, r); e.Node != 1 || e.DurationNS != 5000 || *e.Scanned != 90 || *e.Reclaimed != 60 || len(e.Evicted) != 2 {
		t.Errorf("%+v", e)
	}
	r.Scanned = unknown
	if e := told[*event.Kswapd](f, r); e.Scanned != nil || e.Reclaimed != nil {
		t.Errorf("without the scan's hook: %+v", e)
	}
	// With a filter, only runs that evicted from what is traced.
	f.opts.Cgroups, f.roots[7] = []Selector{{ID: 7}}, true
	told[*event.Kswapd](f, r)
	r.Evicted[0].Owner = 9
	f.out = nil
	f.send(r)
	if len(f.out) != 0 {
		t.Errorf("a run of no concern was told: %+v", f.out[0])
	}
}

func TestThrottleEvent(t *testing.T) {
	e := told[*event.Throttle](newFeed(t), bpf.CoreRecThrottle{Head: head(bpf.CoreRecTypeREC_THROTTLE, 0), Task: task(20), Domain: 7, Duration: 2e6})
	if !e.Time.Equal(time.Unix(0, int64(t0-2e6))) || e.DurationNS != 2e6 || e.Domain.Path != "/limited" || e.Cgroup.Path != "/limited/inner" {
		t.Errorf("%+v", e)
	}
}

// Every record that is read is counted for its family, so that sent = received
// + lost can hold.
func TestRecordsAreCounted(t *testing.T) {
	f := newFeed(t)
	f.send(episode())
	f.send(bpf.CoreRecPressure{Head: head(bpf.CoreRecTypeREC_PRESSURE, 0), Domain: 99})
	f.send(bpf.CoreRecThrottle{Head: head(bpf.CoreRecTypeREC_THROTTLE, 0)})
	f.send(victim(20, 0, 0))
	f.send(exit(20, 1, 1))
	f.send(bpf.CoreRecFile{Head: head(bpf.CoreRecTypeREC_FILE, 0)})
	f.send(bpf.CoreRecCgroup{Head: head(bpf.CoreRecTypeREC_CGROUP, 0)})
	warned := 0
	f.opts.Warn = func(string) { warned++ }
	f.send(head(bpf.CoreRecTypeREC_THROTTLE, 0)) // cut short
	want := make([]uint64, bpf.CoreFamilyFAMILY_COUNT)
	want[bpf.CoreFamilyFAMILY_RECLAIM], want[bpf.CoreFamilyFAMILY_THROTTLE], want[bpf.CoreFamilyFAMILY_OOM] = 2, 2, 2
	want[bpf.CoreFamilyFAMILY_CACHE], want[bpf.CoreFamilyFAMILY_CGROUP] = 1, 1
	if !slices.Equal(f.counters.received, want) || warned != 1 {
		t.Errorf("received %v, want %v; %d warnings", f.counters.received, want, warned)
	}
}

func TestCgroupEvents(t *testing.T) {
	f := newFeed(t)
	f.opts.Families = []string{FamilyCgroup}
	change := func(change bpf.CoreCgroupChange, path string) bpf.CoreRecCgroup {
		r := bpf.CoreRecCgroup{Head: head(bpf.CoreRecTypeREC_CGROUP, 0), Id: 30, Change: uint32(change)}
		copy(r.Path[:], path)
		return r
	}
	if e := told[*event.CgroupChange](f, change(bpf.CoreCgroupChangeCGROUP_MKDIR, dockerPath)); e.State != "appeared" || e.Cgroup.Path != dockerPath || e.Container == nil || e.Container.ID != dockerID {
		t.Errorf("%+v", e)
	}
	if e := told[*event.CgroupChange](f, change(bpf.CoreCgroupChangeCGROUP_ATTACH, "")); e.State != "identified" || e.Cgroup.ID != 30 {
		t.Errorf("%+v", e)
	}
	f.out = nil
	f.send(change(bpf.CoreCgroupChangeCGROUP_RMDIR, ""))
	if next, err := f.settleDepartures(t0, false); err != nil || next != t0+uint64(namesCome) || len(f.out) != 0 {
		t.Errorf("nobody has looked for its name yet: told %d, again at %d, %v", len(f.out), next, err)
	}
	if next, err := f.settleDepartures(t0+uint64(namesCome), false); err != nil || next != 0 || len(f.out) != 1 {
		t.Fatalf("told %d, again at %d, %v", len(f.out), next, err)
	}
	if e, ok := f.out[0].(*event.CgroupChange); !ok || e.State != "gone" || e.Cgroup.Path != dockerPath {
		t.Errorf("%+v", f.out[0])
	}
	if f.names.tree.Alive(30) {
		t.Error("it is alive")
	}
	f.opts.Families = nil
	f.out = nil
	f.send(change(bpf.CoreCgroupChangeCGROUP_MKDIR, "/b"))
	if len(f.out) != 0 || !f.names.tree.Alive(30) {
		t.Errorf("not asked for: %d events", len(f.out))
	}
}
