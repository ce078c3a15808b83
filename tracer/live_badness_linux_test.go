package tracer

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
)

// needFentry skips where the kernel's own scores cannot be read.
func needFentry(t *testing.T) {
	t.Helper()
	needRoot(t)
	k, err := hook.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Allowed(hook.Fentry); err != nil {
		t.Skip("the kernel's own scores are read by fentry: " + err.Error())
	}
}

// The badness that we compute is the kernel's, to the point, of every process
// whose score it lets us read: with oom_score_adj above and below zero, shared
// memory, page tables, and swap where the machine is ours.
func TestBadness(t *testing.T) {
	needFentry(t)
	g := newGroup(t).limit(128 * mib)
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		file := filepath.Join(scratch(t), "swap")
		if err := makeSwap(file, 64*mib); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := swapoff(file); err != nil {
				t.Error(err)
			}
		})
		if g.m.Version == 2 {
			g.set("memory.swap.max", strconv.Itoa(48*mib))
		} else {
			g.set("memory.memsw.limit_in_bytes", strconv.Itoa(176*mib))
		}
	}
	x := startTrace(t, Options{Families: []string{FamilyOOM}})
	for _, words := range [][]string{
		{"adj=0", "anon=1", "wait"}, {"shm=4", "wait"}, {"tables=200", "anon=4", "wait"}, {"adj=200", "anon=8", "wait"},
		{"adj=300", "shm=6", "anon=6", "wait"},
	} {
		cmd := g.start(words...)
		for state(t, cmd) == "R" || residentOf(t, cmd.Process.Pid) < mib {
		}
	}
	g.runKilled("adj=600", "hog")
	k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		k := killsBelow(events, g.path)
		return firstOf(k), len(k) > 0
	})
	x.stop()
	read := 0
	for _, c := range k.Candidates {
		if c.BadnessSource == event.SourceBPF {
			read++
		}
	}
	s := x.tracer.scores
	t.Logf("%d candidates, %d scores read: by sums %d, by common parts %d, by both %d", len(k.Candidates), read, s.sums, s.common, s.both)
	if s.none != 0 || read == 0 || s.sums+s.common+s.both != read || s.sums > 0 && s.common > 0 {
		t.Errorf("%d of %d scores are not what we compute: %s", s.none, read, show(k.Candidates))
	}
	if len(k.Candidates) != 6 || k.Victim.BadnessSource != event.SourceBPF || *k.Candidates[0].Badness != *k.Victim.Badness {
		t.Errorf("victim %s, candidates %s", show(k.Victim), show(k.Candidates))
	}
}

func residentOf(t *testing.T, pid int) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRss:")
	n, err := strconv.ParseUint(strings.Fields(rest + " x")[0], 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// RSS figures are exact where each CPU keeps a part of its own, not as stale as
// those parts: what the page tables of a quiet process say.
func TestExactRSS(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spec.AnyTypeByName("mm_rss_stat"); err == nil {
			t.Skip("to 6.1 threads keep parts of the counters, and nobody can add them up")
		}
		g := newGroup(t).limit(48 * mib)
		quiet := []int{}
		for _, word := range []string{"anon=3", "shm=2", "brood=3,1"} {
			done := filepath.Join(t.TempDir(), "done")
			cmd := g.start(word, "write="+done+",0", "wait")
			g.until(word+" is still at work", func() bool {
				_, err := os.Stat(done)
				return err == nil && state(t, cmd) != "R"
			})
			quiet = append(quiet, cmd.Process.Pid)
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		g.runKilled("hog")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		x.stop()
		for _, pid := range quiet {
			want := residentOf(t, pid)
			for _, c := range k.Candidates {
				if int(c.PID) == pid && *c.RSS() != want {
					t.Errorf("%d: %d resident, its page tables have %d", pid, *c.RSS(), want)
				}
			}
		}
	})
}

// A child in vfork is spared: it has its parent's memory and would free nothing.
func TestVfork(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		g := newGroup(t).limit(48 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		pid := g.runKilled("vforker", "hog")
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		x.stop()
		spared := 0
		for _, c := range k.Candidates {
			// With tracepoints candidates are looked at when the victim has been
			// signalled: its wait may be over.
			if c.PPID == pid && (c.Unkillable == "vfork" && c.Badness == nil || k.Timeline.SelectedNS == nil) {
				spared++
			}
		}
		if k.Victim.PID != pid || spared != 1 || len(k.Candidates) != 2 {
			t.Errorf("victim %d, want %d, candidates %s", k.Victim.PID, pid, show(k.Candidates))
		}
	})
}

// Whoever turns swap off asks to be killed first, should there be no room for
// what comes back.
func TestSwapoff(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip("turns swap off for the whole machine: only in a guest (make test-guests)")
	}
	bestTier(t, func(t *testing.T, tier string) {
		file := filepath.Join(scratch(t), "swap")
		if err := makeSwap(file, 96*mib); err != nil {
			t.Fatal(err)
		}
		off := false
		t.Cleanup(func() {
			if !off {
				_ = swapoff(file)
			}
		})
		g := newGroup(t)
		if g.m.Version == 2 {
			g.set("memory.max", strconv.Itoa(32*mib))
		} else {
			g.set("memory.limit_in_bytes", strconv.Itoa(32*mib))
		}
		big := g.start("anon=80", "wait")
		for state(t, big) == "R" || *g.figures().SwapUsage < 40*mib {
		}
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM}})
		pid := g.runKilled("swapoff=" + file)
		k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, g.path)
			return firstOf(k), len(k) > 0
		})
		x.stop()
		if k.Victim.PID != pid || k.Victim.Badness == nil || *k.Victim.Badness != math.MaxInt64 || k.Candidates[0].PID != pid {
			t.Errorf("victim %s, want %d", show(k.Victim), pid)
		}
		_ = big.Process.Kill()
		_ = big.Wait()
		off = swapoff(file) == nil
	})
}
