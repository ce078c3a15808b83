package tracer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
	"github.com/oomtrace/oomtrace/tracer/symbol"
)

// feed is a tracer that is given records by hand.
type feed struct {
	*Tracer
	t   *testing.T
	out []event.Event
}

func newFeed(t *testing.T) *feed {
	f := &feed{Tracer: unattached(t, 2, fakeRoot(t, map[string]string{"meminfo": "MemTotal: 4096000 kB\nSwapTotal: 0 kB\n"})), t: t}
	f.incidents, f.session, f.gfp = make(map[uint64]*incident), new(hook.Session), new(gfp)
	f.opts.Warn = func(msg string) { t.Error(msg) }
	f.symbols = func() *symbol.Kernel { return new(symbol.Kernel) }
	f.counters.init()
	f.Tracer.sink = func(e event.Event) error {
		f.out = append(f.out, e)
		return nil
	}
	f.names.tree.Add(7, "/limited")
	f.names.tree.Add(8, "/limited/inner")
	return f
}

func (f *feed) send(record any) {
	f.t.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, record); err != nil {
		f.t.Fatal(err)
	}
	if err := f.handle(b.Bytes()); err != nil {
		f.t.Fatal(err)
	}
}

// settleAt lets incidents be written and ended, and gives what came of it.
func (f *feed) settleAt(now uint64) (kills []*event.OOMKill, ends []*event.OOMEnd) {
	f.t.Helper()
	f.out = nil
	if _, err := f.settleIncidents(now, false); err != nil {
		f.t.Fatal(err)
	}
	for _, e := range f.out {
		switch e := e.(type) {
		case *event.OOMKill:
			kills = append(kills, e)
		case *event.OOMEnd:
			ends = append(ends, e)
		default:
			f.t.Errorf("%T", e)
		}
	}
	return kills, ends
}

const (
	incidentID = 0xabc
	t0         = uint64(time.Hour) // when the first victim is marked
)

func head(kind bpf.CoreRecType, after time.Duration) bpf.CoreRecHead {
	return bpf.CoreRecHead{Type: uint32(kind), Time: t0 + uint64(after)}
}

func task(tgid uint32) bpf.CoreRecTask { return bpf.CoreRecTask{Tgid: tgid, Tid: tgid, Cgroup: 8} }

// victim is a process that held 2000 pages, marked so long after the first.
func victim(tgid uint32, after time.Duration, flags bpf.CoreOomFlags) bpf.CoreRecOomMark {
	return bpf.CoreRecOomMark{
		Head: head(bpf.CoreRecTypeREC_OOM_MARK, after), Incident: incidentID, Trigger: task(1), Victim: task(tgid),
		Mm: bpf.CoreRecMm{Known: 1, TotalVm: 9000, Anon: 2000, Pgtables: 2 * 4096, Adj: 100}, Domain: 7,
		Memory:     bpf.CoreRecCounters{Usage: 8192, Max: 8192, Watermark: 8192, SwapMax: 1<<51 - 1, Kmem: unknown},
		Constraint: 3, Flags: uint32(flags), Order: 0,
	}
}

func exit(tgid uint32, after time.Duration, usage uint64) bpf.CoreRecOomExit {
	return bpf.CoreRecOomExit{Head: head(bpf.CoreRecTypeREC_OOM_EXIT, after), Incident: incidentID, Tgid: tgid, Usage: usage}
}

func done(candidates uint32) bpf.CoreRecOomDone {
	return bpf.CoreRecOomDone{Head: head(bpf.CoreRecTypeREC_OOM_DONE, 0), Incident: incidentID, Candidates: candidates}
}

func reasons(killed []event.Killed) []string {
	var out []string
	for _, k := range killed {
		out = append(out, k.Reason)
	}
	return out
}

func TestIncident(t *testing.T) {
	f := newFeed(t)
	for tgid, anon := range map[uint32]uint64{20: 2000, 21: 5, 22: 900} {
		f.send(bpf.CoreRecOomCandidate{
			Head: head(bpf.CoreRecTypeREC_OOM_CANDIDATE, -1), Incident: incidentID, Task: task(tgid), Mm: bpf.CoreRecMm{Known: 1, Anon: anon},
		})
	}
	f.send(victim(20, 0, bpf.CoreOomFlagsOOM_FIRST|bpf.CoreOomFlagsOOM_MORE))
	f.send(done(5))
	if kills, _ := f.settleAt(t0 + uint64(settle) - 1); kills != nil {
		t.Fatal("written before its companions could come")
	}
	kills, ends := f.settleAt(t0 + uint64(settle))
	if len(kills) != 1 || len(ends) != 0 {
		t.Fatalf("%d kills, %d ends", len(kills), len(ends))
	}
	e := kills[0]
	if e.Incident != "abc" || e.Victim.PID != 20 || e.Trigger.PID != 1 || e.Group || !slices.Equal(reasons(e.Killed), []string{"chosen"}) {
		t.Errorf("%+v", e)
	}
	if d := e.Domain; d.Constraint != event.ConstraintMemcg || d.Cgroup.Path != "/limited" || *d.TotalPages != 8192 {
		t.Errorf("%+v", d)
	}
	// 2000 pages, 2 of page tables, 100 thousandths of 8192.
	if *e.Victim.Badness != 2002+100*8 || *e.Victim.AnonRSS != 2000<<12 || *e.Victim.PageTables != 2<<12 || e.Victim.Cgroup.Path != "/limited/inner" {
		t.Errorf("%+v", e.Victim)
	}
	var order []int32
	for _, c := range e.Candidates {
		order = append(order, c.PID)
	}
	if !slices.Equal(order, []int32{20, 22, 21}) || e.CandidatesMissing != 2 {
		t.Errorf("candidates %v, %d missing", order, e.CandidatesMissing)
	}
	if kills, ends := f.settleAt(t0 + uint64(time.Second)); kills != nil || ends != nil {
		t.Error("told again")
	}

	f.send(exit(20, 5*time.Millisecond, 8000))
	f.send(exit(0, 9*time.Millisecond, 6192))
	f.names.tree.Remove(7) // nobody can ask for its usage any more
	_, ends = f.settleAt(t0 + uint64(2*time.Second))
	if len(ends) != 1 {
		t.Fatalf("%d ends", len(ends))
	}
	end := ends[0]
	if end.Incident != "abc" || *end.Timeline.ExitedNS != 5e6 || *end.Timeline.FreedNS != 5e6 || *end.Freed != 2000<<12 || end.Survivors != nil {
		t.Errorf("%+v", end)
	}
	if len(f.incidents) != 0 {
		t.Error("the incident is kept")
	}
}

// A group is told when all its members are killed, and a kernel that is slow to
// kill them gets more time for the next.
func TestIncidentGroup(t *testing.T) {
	const group = bpf.CoreOomFlagsOOM_GROUP
	f := newFeed(t)
	f.send(victim(20, 0, group))
	for _, tgid := range []uint32{20, 21} {
		f.send(bpf.CoreRecOomCandidate{Head: head(bpf.CoreRecTypeREC_OOM_CANDIDATE, 0), Incident: incidentID, Task: task(tgid)})
	}
	f.send(done(2))
	if kills, _ := f.settleAt(t0 + uint64(groupSlow-1)); len(kills) != 0 {
		t.Error("written before the second was killed")
	}
	f.send(victim(21, 150*time.Millisecond, group))
	if kills, _ := f.settleAt(t0 + uint64(150*time.Millisecond+settle)); len(kills) != 1 || len(kills[0].Killed) != 2 {
		t.Errorf("all are killed: %s", show(kills))
	}

	f = newFeed(t)
	f.send(victim(20, 0, group))
	f.send(victim(21, 100*time.Millisecond, group))
	if kills, _ := f.settleAt(t0 + uint64(100*time.Millisecond+4*100*time.Millisecond-1)); len(kills) != 0 {
		t.Error("written before a third could be killed")
	}
	f.send(victim(22, 550*time.Millisecond, group))
	if kills, _ := f.settleAt(t0 + uint64(550*time.Millisecond+giveUp)); len(kills) != 1 || len(kills[0].Killed) != 3 {
		t.Errorf("slowly: %s", show(kills))
	}
}

// One invocation is one event, whoever is killed in it, each process once.
func TestIncidentKillsMany(t *testing.T) {
	const group, shared = bpf.CoreOomFlagsOOM_GROUP, bpf.CoreOomFlagsOOM_SHARED
	also := func(tgid uint32) any {
		return bpf.CoreRecOomKilled{Head: head(bpf.CoreRecTypeREC_OOM_KILLED, 1), Incident: incidentID, Task: task(tgid)}
	}
	for _, c := range []struct {
		name    string
		records []any
		reasons []string
		group   bool
	}{
		{"one", []any{victim(20, 0, 0)}, []string{"chosen"}, false},
		{"a group", []any{victim(20, 0, group), victim(21, 1, group), victim(22, 2, group)}, []string{"chosen", "group", "group"}, true},
		{"a group that is told late", []any{victim(20, 0, 0), victim(21, 1, group)}, []string{"chosen", "group"}, true},
		{"marked twice", []any{victim(20, 0, 0), victim(20, 1, 0)}, []string{"chosen"}, false},
		{"a shared memory", []any{victim(20, 0, shared), also(21), also(21), also(20)}, []string{"chosen", "shared_mm"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(t)
			for _, r := range c.records {
				f.send(r)
			}
			kills, _ := f.settleAt(t0 + uint64(giveUp))
			if len(kills) != 1 {
				t.Fatalf("%d kills", len(kills))
			}
			if got := reasons(kills[0].Killed); !slices.Equal(got, c.reasons) || kills[0].Group != c.group {
				t.Errorf("killed %v, group %v; want %v, %v", got, kills[0].Group, c.reasons, c.group)
			}
			if kills[0].Victim.PID != 20 {
				t.Errorf("the victim is %d", kills[0].Victim.PID)
			}
		})
	}
}

// How long is waited for what may belong to it.
func TestIncidentSettles(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags bpf.CoreOomFlags
		done  bool
		after time.Duration
	}{
		{"nothing more is known of", 0, false, settle},
		{"the kernel has left the OOM killer", bpf.CoreOomFlagsOOM_CONTROL | bpf.CoreOomFlagsOOM_MORE, true, 0},
		{"candidates are to come", bpf.CoreOomFlagsOOM_MORE, false, giveUp},
		{"they have come", bpf.CoreOomFlagsOOM_MORE, true, settle},
		{"members of a group", bpf.CoreOomFlagsOOM_GROUP, true, groupSlow},
		{"others with its memory", bpf.CoreOomFlagsOOM_SHARED, false, settleMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(t)
			f.send(victim(20, 0, c.flags))
			if c.done {
				f.send(done(0))
			}
			if c.after > 0 {
				next, err := f.settleIncidents(t0+uint64(c.after)-1, false)
				if err != nil || len(f.out) != 0 || next != t0+uint64(c.after) {
					t.Errorf("before: %d events, next %d, %v", len(f.out), next-t0, err)
				}
			}
			if kills, _ := f.settleAt(t0 + uint64(c.after)); len(kills) != 1 {
				t.Errorf("%d kills", len(kills))
			}
		})
	}
}

func TestIncidentWithoutVictim(t *testing.T) {
	f := newFeed(t)
	f.send(bpf.CoreRecOomCandidate{Head: head(bpf.CoreRecTypeREC_OOM_CANDIDATE, 0), Incident: incidentID})
	if kills, ends := f.settleAt(t0 + uint64(giveUp)); kills != nil || ends != nil || len(f.incidents) != 1 {
		t.Errorf("%v, %v", kills, ends)
	}
	if kills, ends := f.settleAt(t0 + uint64(giveUp) + 1); kills != nil || ends != nil || len(f.incidents) != 0 {
		t.Errorf("%v, %v, %d kept", kills, ends, len(f.incidents))
	}
}

// After 30 s the end tells what is still missing, and who was killed too late
// for the event of the kill.
func TestIncidentSurvivors(t *testing.T) {
	f := newFeed(t)
	f.procRoot = t.TempDir()
	stat := f.procRoot + "/20/stat" // of a process that lives
	if err := errors.Join(os.Mkdir(f.procRoot+"/20", 0o755), os.WriteFile(stat, []byte("20 (x) D 1 20 20 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0"), 0o644)); err != nil {
		t.Fatal(err)
	}
	f.send(victim(20, 0, 0))
	if kills, _ := f.settleAt(t0 + uint64(settle)); len(kills) != 1 {
		t.Fatalf("%d kills", len(kills))
	}
	f.send(victim(21, time.Second, 0))
	f.send(exit(21, 2*time.Second, unknown))
	if _, ends := f.settleAt(t0 + uint64(waitForEnd) - 1); ends != nil {
		t.Fatalf("%+v", ends[0])
	}
	_, ends := f.settleAt(t0 + uint64(waitForEnd))
	if len(ends) != 1 {
		t.Fatalf("%d ends", len(ends))
	}
	e := ends[0]
	if len(e.Survivors) != 1 || e.Survivors[0].PID != 20 || len(e.Killed) != 1 || e.Killed[0].PID != 21 || e.Timeline.ExitedNS != nil || e.Freed != nil {
		t.Errorf("%+v", e)
	}
}

// A victim whose exit was not told is no survivor.
func TestIncidentExitNotTold(t *testing.T) {
	f := newFeed(t)
	f.procRoot = t.TempDir()
	f.send(victim(20, 0, 0))
	f.settleAt(t0 + uint64(settle))
	f.names.tree.Remove(7) // nobody can ask for its usage any more
	_, ends := f.settleAt(t0 + uint64(lookEvery))
	if len(ends) != 1 || ends[0].Survivors != nil || ends[0].Timeline.ExitedNS != nil {
		t.Errorf("%s", show(ends))
	}
}

// A kill is told when its domain, its victim or its trigger is traced.
func TestIncidentFilter(t *testing.T) {
	for id, want := range map[uint64]int{7: 1, 8: 1, 9: 0} {
		f := newFeed(t)
		f.names.tree.Add(9, "/other")
		f.opts.Cgroups, f.roots[id] = []Selector{{ID: id}}, true
		f.send(victim(20, 0, 0))
		f.names.tree.Remove(7)
		f.send(exit(20, 1, 1))
		if kills, ends := f.settleAt(t0 + uint64(giveUp)); len(kills) != want || len(ends) != want || len(f.incidents) != 0 {
			t.Errorf("filter %d: %d kills, %d ends, %d kept; want %d", id, len(kills), len(ends), len(f.incidents), want)
		}
	}
}
