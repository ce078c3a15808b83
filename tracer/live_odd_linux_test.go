package tracer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Kills that come fast, in cgroups that are gone the moment they are over: each
// is told, once, with the path that there was.
func TestKillsInRemovedCgroups(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		kills := 200
		if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
			kills = 53 // guests are slow
		}
		top := newGroup(t)
		if top.m.Version == 2 {
			top.set("cgroup.subtree_control", "+memory")
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		home := newGroupNamed(t, "-home")
		var out bytes.Buffer
		cmd := exec.Command("/proc/self/exe", "work", filepath.Join(home.dir(), "cgroup.procs"), fmt.Sprintf("massacre=%s,%d,4", top.dir(), kills))
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		waitFor(x, func(events []event.Event) (bool, bool) { return true, len(killsBelow(events, top.path)) >= kills })
		got := killsBelow(x.stop(), top.path)
		told := make(map[string]*event.OOMKill)
		for _, k := range got {
			name := strings.TrimPrefix(k.Victim.Cgroup.Path, top.path+"/")
			if told[name] != nil {
				t.Errorf("%s is told twice", name)
			}
			told[name] = k
		}
		made := 0
		for line := range strings.Lines(out.String()) {
			var pid int32
			var name string
			if _, err := fmt.Sscan(line, &pid, &name); err != nil {
				t.Fatal(err)
			}
			made++
			k := told[name]
			if k == nil {
				t.Errorf("%s is not told", name)
				continue
			}
			if k.Victim.PID != pid || k.Domain.Cgroup == nil || k.Domain.Cgroup.Path != top.path+"/"+name || k.Trigger.Cgroup == nil || k.Trigger.Cgroup.Path != k.Domain.Cgroup.Path {
				t.Errorf("%s: victim %d, want %d, domain %s, trigger %s", name, k.Victim.PID, pid, show(k.Domain.Cgroup), show(k.Trigger.Actor))
			}
			if len(k.Candidates) != 1 || len(k.Killed) != 1 {
				t.Errorf("%s: %d candidates, %d killed", name, len(k.Candidates), len(k.Killed))
			}
		}
		if made != kills || len(got) != kills {
			t.Errorf("%d kills made, %d told", made, len(got))
		}
	})
}

// A child that is killed while its parent lives on is an incident as any other.
func TestChildKilled(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(48 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		parent := g.start("brood=1,200", "wait")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		if int(k.Victim.PPID) != parent.Process.Pid || k.Victim.PID == k.Victim.PPID || len(k.Killed) != 1 || k.Killed[0].PID != k.Victim.PID || k.Group {
			t.Errorf("victim %s of %d, killed %s", show(k.Victim.Process), parent.Process.Pid, show(k.Killed))
		}
		waitFor(x, func(events []event.Event) (bool, bool) { return true, len(of[*event.OOMEnd](events)) > 0 })
		if s := state(t, parent); s == "Z" || s == "X" {
			t.Errorf("the parent is in state %s", s)
		}
		if n := len(killsBelow(x.stop(), g.path)); n != 1 {
			t.Errorf("%d kills", n)
		}
	})
}

// A group of many processes is one incident.
func TestLargeGroup(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		const members = 50
		g := newGroup(t).limit(96 * mib)
		if g.m.Version == 1 {
			t.Skip("cgroup v1 has no memory.oom.group")
		}
		g.set("memory.oom.group", "1")
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		leader := g.runKilled(fmt.Sprintf("brood=%d,1", members), "hog")
		end := waitFor(x, func(events []event.Event) (*event.OOMEnd, bool) {
			e := of[*event.OOMEnd](events)
			return firstOf(e), len(e) > 0
		})
		kills := killsBelow(x.stop(), g.path)
		if len(kills) != 1 {
			t.Fatalf("%d incidents", len(kills))
		}
		k := kills[0]
		seen := make(map[int32]bool)
		for _, v := range append(slices.Clone(k.Killed), end.Killed...) {
			if seen[v.PID] {
				t.Errorf("%d is told twice", v.PID)
			}
			seen[v.PID] = true
			if v.PID != leader && v.PPID != leader {
				t.Errorf("%s is of another family", show(v))
			}
		}
		if len(k.Killed) != members+1 || !k.Group || k.Victim.PID != leader || len(k.Candidates) != members+1 {
			t.Errorf("%d killed and %d later, %d candidates, group %v, victim %d of %d", len(k.Killed), len(end.Killed), len(k.Candidates), k.Group, k.Victim.PID, leader)
		}
		if len(end.Survivors) > 0 {
			t.Errorf("survivors %s", show(end.Survivors))
		}
	})
}

// Nobody may be killed: that is told, though not each of the thousands of times
// that the kernel finds it so.
func TestNobodyToKill(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		if g := newGroupNamed(t, "-may"); exec.Command("/proc/self/exe", "work", filepath.Join(g.dir(), "cgroup.procs"), "adj=-1000").Run() != nil {
			t.Skip("no process can be exempt here: oom_score_adj -1000 needs CAP_SYS_RESOURCE")
		}
		g := newGroup(t).limit(16 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		file := filepath.Join("/dev/shm", strings.TrimPrefix(g.path, "/"))
		defer os.Remove(file)
		cmd := g.start("adj=-1000", "comm=immortal", "stubborn="+file)
		without := func(events []event.Event) []*event.OOMKill {
			return slices.DeleteFunc(of[*event.OOMKill](events), func(k *event.OOMKill) bool { return k.Domain.Cgroup == nil || k.Domain.Cgroup.Path != g.path })
		}
		got := waitFor(x, func(events []event.Event) ([]*event.OOMKill, bool) {
			k := without(events)
			return k, len(k) >= 2
		})
		for _, k := range got {
			if k.Killed == nil || len(k.Killed) != 0 || k.Victim.PID != 0 || k.Domain.Cgroup.ID != g.id() || k.Domain.Constraint != event.ConstraintMemcg {
				t.Errorf("%s", show(k))
			}
			if k.Verdict == nil || !strings.HasPrefix(k.Verdict.Evidence[0], "Nobody could be killed") {
				t.Errorf("verdict %s", show(k.Verdict))
			}
			if k.Domain.Memory == nil || k.Domain.Memory.Usage == nil || *k.Domain.Memory.Usage < 12*mib {
				t.Errorf("memory %s", show(k.Domain.Memory))
			}
			if k.Timeline.InvokedNS == nil { // nothing but the count of OOM events, or the log, told
				if k.Source != event.SourceInferred && k.Source != event.SourceKmsg {
					t.Errorf("source %s", k.Source)
				}
				continue
			}
			if int(k.Trigger.PID) != cmd.Process.Pid || k.Trigger.InvokedBy != event.InvokedByAllocation {
				t.Errorf("trigger %s", show(k.Trigger))
			}
		}
		if c := got[0].Candidates; got[0].Source == event.SourceBPF && (len(c) != 1 || c[0].Unkillable != "oom_score_adj" || c[0].Badness != nil || int(c[0].PID) != cmd.Process.Pid) {
			t.Errorf("candidates %s", show(c))
		}
		if got[1].Repeated == 0 || got[1].Time.Sub(got[0].Time) < tellFirst/4 { // their times are of what told of them, which may come late
			t.Errorf("the second after %v, repeated %d", got[1].Time.Sub(got[0].Time), got[1].Repeated)
		}
		_ = cmd.Process.Kill()
		events := x.stop()
		for _, e := range of[*event.OOMEnd](events) {
			if e.Incident == got[0].Incident {
				t.Error("an end of what had no victim")
			}
		}
	})
}

// A limit that is set below what is in use kills on v2, at once and for the
// writer; v1 refuses.
func TestLimitWritten(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(1 << 40)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		victim := g.startStopped(40*mib, "comm=tenant", "anon=40", "wait")
		if g.m.Version == 1 {
			err := os.WriteFile(filepath.Join(g.dir(), "memory.limit_in_bytes"), fmt.Append(nil, 16*mib), 0)
			if !errors.Is(err, syscall.EBUSY) {
				t.Errorf("write: %v", err)
			}
			x.fence()
			if kills := killsBelow(x.stop(), g.path); len(kills) != 0 {
				t.Errorf("%s", show(kills))
			}
			return
		}
		g.set("memory.max", fmt.Sprint(16*mib))
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		source := ""
		if tier == TierTracepoint {
			source = event.SourceInferred
		}
		if int(k.Victim.PID) != victim.Process.Pid || k.Domain.Cgroup == nil || k.Domain.Cgroup.ID != g.id() || int(k.Trigger.PID) != os.Getpid() ||
			k.Trigger.InvokedBy != event.InvokedByLimitWrite || k.Trigger.InvokedBySource != source {
			t.Errorf("victim %d domain %s trigger %s", k.Victim.PID, show(k.Domain.Cgroup), show(k.Trigger))
		}
		x.stop()
	})
}

// fence waits until a kill of later has been told: then all before it has been.
func (x *trace) fence() {
	x.t.Helper()
	g := newGroupNamed(x.t, "-fence").limit(16 * mib)
	g.runKilled("hog")
	waitFor(x, func(events []event.Event) (bool, bool) { return true, len(killsBelow(events, g.path)) > 0 })
}

// Whoever else sends SIGKILL is not the kernel's OOM killer, also when memory is
// short.
func TestOthersKill(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(32 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM, FamilyReclaim}})
		file := filepath.Join(scratch(t), "file")
		// From without and from within, while the cgroup reclaims.
		cmd := g.start("write="+file+",64", "anon=16", "threads=1,read="+file+",65536,seq,64", "wait")
		waitFor(x, func(events []event.Event) (bool, bool) {
			return true, slices.ContainsFunc(of[*event.Reclaim](events), func(r *event.Reclaim) bool { return r.Cgroup != nil && r.Cgroup.Path == g.path })
		})
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); !killed(err) {
			t.Errorf("%v", err)
		}
		inside := g.start("anon=8", "wait")
		killer := g.start(fmt.Sprintf("kill=%d", inside.Process.Pid))
		if err := inside.Wait(); !killed(err) {
			t.Errorf("%v", err)
		}
		_ = killer.Wait()
		if g.m.Version == 2 && exists(filepath.Join(g.dir(), "cgroup.kill")) { // 5.14
			all := g.start("brood=5,1", "wait")
			for entered := 0; entered < 6; {
				procs, err := os.ReadFile(filepath.Join(g.dir(), "cgroup.procs"))
				if err != nil {
					t.Fatal(err)
				}
				entered = strings.Count(string(procs), "\n")
			}
			g.set("cgroup.kill", "1")
			if err := all.Wait(); !killed(err) {
				t.Errorf("%v", err)
			}
		}
		x.fence()
		if kills := killsBelow(x.stop(), g.path); len(kills) != 0 {
			t.Errorf("%s", show(kills))
		}
	})
}

// SysRq-f kills the worst of the node on request.
func TestSysrq(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip("kills some process of the whole machine: only in a guest (make test-guests)")
	}
	eachTier(t, func(t *testing.T, tier string) {
		g := newGroup(t)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		victim := g.start("adj=1000", "anon=40", "wait")
		for *g.figures().Usage < 40*mib {
		}
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("f"), 0); err != nil {
			t.Fatal(err)
		}
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		if int(k.Victim.PID) != victim.Process.Pid || k.Domain.Constraint != event.ConstraintGlobal ||
			k.Trigger.InvokedBy != event.InvokedBySysrq || (tier == TierTracepoint) != (k.Trigger.InvokedBySource != "") {
			t.Errorf("victim %d, domain %s, trigger %s", k.Victim.PID, show(k.Domain), show(k.Trigger))
		}
		x.stop()
	})
}
