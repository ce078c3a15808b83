package tracer

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// newPausable is a cgroup whose OOM killer is off.
func newPausable(t *testing.T, limit uint64) *group {
	t.Helper()
	g := newGroup(t)
	if g.m.Version == 2 {
		t.Skip("cgroup v2 has no memory.oom_control: its OOM killer cannot be switched off")
	}
	g.limit(limit)
	g.set("memory.oom_control", "1")
	return g
}

// pausesOf gives the pauses of a cgroup with a state.
func pausesOf(events []event.Event, g *group, state string) []*event.OOMPause {
	return slices.DeleteFunc(of[*event.OOMPause](events), func(p *event.OOMPause) bool {
		return p.Cgroup.Path != g.path || p.State != state
	})
}

func waitPause(x *trace, g *group, state string) *event.OOMPause {
	x.t.Helper()
	return waitFor(x, func(events []event.Event) (*event.OOMPause, bool) {
		p := pausesOf(events, g, state)
		return firstOf(p), len(p) > 0
	})
}

// checkPause checks what must be true of every pause with one process in it.
func checkPause(t *testing.T, x *trace, g *group, cmd *exec.Cmd, ended string, end func()) *event.OOMPause {
	t.Helper()
	b := waitPause(x, g, event.PauseBegin)
	if len(b.Processes) != 1 || int(b.Processes[0].PID) != cmd.Process.Pid || b.Processes[0].Comm != "waiter" || b.Cgroup.ID != g.id() {
		t.Errorf("begin: %s", show(b))
	}
	if since := time.Since(b.Time); since < 0 || since > patience || b.Limit == nil || b.Usage == nil || *b.Usage > *b.Limit+mib || b.DurationNS != nil || b.Ended != "" {
		t.Errorf("begin: %s", show(b))
	}
	const atLeast = 300 * time.Millisecond
	time.Sleep(time.Until(b.Time.Add(atLeast))) // so that there is a duration to be measured
	before := time.Now()
	end()
	e := waitPause(x, g, event.PauseEnd)
	if e.Ended != ended || !e.Time.Equal(b.Time) || e.DurationNS == nil || len(e.Processes) != 1 || e.Processes[0].PID != b.Processes[0].PID {
		t.Fatalf("end: %s, want %s", show(e), ended)
	}
	// Where looks tell, they come every 20 ms; the machine may be busy.
	over := b.Time.Add(time.Duration(*e.DurationNS))
	if over.Before(before.Add(-10*time.Millisecond)) || over.After(before.Add(2*time.Second)) {
		t.Errorf("over at %v, ended at %v", over, before)
	}
	want := event.SourceBPF
	if x.tracer.pauseWay() == "eventfd" {
		want = event.SourceCgroupfs
	}
	if b.Source != want || e.Source != want {
		t.Errorf("sources %s, %s, want %s", b.Source, e.Source, want)
	}
	return e
}

// Each way in which a pause can end.
func TestPause(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		newPausable(t, 32*mib) // skips
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		kills := func(g *group) []*event.OOMKill {
			x.mu.Lock()
			defer x.mu.Unlock()
			return killsBelow(x.events, g.path)
		}
		t.Run("killer enabled", func(t *testing.T) {
			g := newPausable(t, 32*mib)
			cmd := g.start("comm=waiter", "hog")
			e := checkPause(t, x, g, cmd, event.PauseKillerEnabled, func() { g.set("memory.oom_control", "0") })
			if err := cmd.Wait(); !killed(err) {
				t.Errorf("the process that waited: %v", err)
			}
			if k := kills(g); len(k) != 1 || k[0].Incident != e.Incident {
				t.Errorf("%d kills, incident %q of the pause", len(k), e.Incident)
			}
		})
		t.Run("limit raised", func(t *testing.T) {
			g := newPausable(t, 32*mib)
			cmd := g.start("comm=waiter", "anon=40", "wait")
			e := checkPause(t, x, g, cmd, event.PauseLimitRaised, func() { g.limit(128 * mib) })
			if *e.Limit != 128*mib {
				t.Errorf("limit %d", *e.Limit)
			}
			if k := kills(g); len(k) != 0 {
				t.Errorf("%d kills", len(k))
			}
		})
		t.Run("killed", func(t *testing.T) {
			g := newPausable(t, 32*mib)
			cmd := g.start("comm=waiter", "hog")
			killer := &exec.Cmd{}
			e := checkPause(t, x, g, cmd, event.PauseKilled, func() {
				killer = exec.Command("/bin/sh", "-c", "kill -9 "+strconv.Itoa(cmd.Process.Pid))
				if out, err := killer.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			})
			by := e.Processes[0].KilledBy
			if by == nil || int(by.PID) != killer.Process.Pid || by.Comm != "sh" {
				t.Errorf("killed by %s, want sh[%d]", show(by), killer.Process.Pid)
			}
			if k := kills(g); len(k) != 0 {
				t.Errorf("a kill by a person is told as the kernel's: %s", show(k))
			}
		})
		t.Run("memory freed", func(t *testing.T) {
			g := newPausable(t, 64*mib)
			holder := g.start("anon=32", "wait")
			for *g.figures().Usage < 32*mib {
			}
			cmd := g.start("comm=waiter", "anon=40", "wait")
			checkPause(t, x, g, cmd, event.PauseMemoryFreed, func() { _ = holder.Process.Kill() })
			if k := kills(g); len(k) != 0 {
				t.Errorf("%d kills", len(k))
			}
		})
		x.stop()
	})
}

// state is a process's, as /proc has it.
func state(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

// waitsForMemory tells whether a process's first thread waits where the kernel has
// tasks wait whose OOM killer is off. A D alone may be for the disk.
func waitsForMemory(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	stack, err := os.ReadFile(fmt.Sprintf("/proc/%d/stack", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(stack), "mem_cgroup_oom_synchronize")
}

// Tasks that waited before the trace began are found, also where the limit is
// that of a cgroup above and several wait.
func TestPauseUnderWay(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		top := newPausable(t, 64*mib)
		a, b := top.child("a").start("comm=a", "hog"), top.child("b").start("comm=b", "hog")
		for deadline := time.Now().Add(patience); !waitsForMemory(t, a) || !waitsForMemory(t, b); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("they do not both wait")
			}
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		begun := waitPause(x, top, event.PauseBegin)
		if begun.Cgroup.ID != top.id() || len(begun.Processes) != 2 {
			t.Errorf("begin: %s", show(begun))
		}
		top.limit(1 << 40)
		waitPause(x, top, event.PauseEnd)
		end := firstOf(pausesOf(x.stop(), top, event.PauseEnd))
		var pids []int32
		for _, p := range end.Processes {
			pids = append(pids, p.PID)
		}
		want := []int32{int32(a.Process.Pid), int32(b.Process.Pid)}
		slices.Sort(want)
		if !slices.Equal(pids, want) || end.Ended != event.PauseLimitRaised {
			t.Errorf("end: %s, want %v", show(end), want)
		}
	})
}
