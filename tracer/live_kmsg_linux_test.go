package tracer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// The lines of the kernel's log name the kill that they are of. The kernel limits
// how many reports it writes, but not the line that names the victim, so kills
// are made until one was reported in full.
func TestKernelLog(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyOOM, FamilyKmsg}})
		if x.tracer.log == nil {
			t.Fatal("the kernel's log cannot be read")
		}
		whole := false
		for i := 0; !whole && i < 50; i++ {
			g := newGroup(t).limit(16 * mib)
			pid := g.runKilled("comm=logged", "hog")
			k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
				k := killsBelow(events, g.path)
				return firstOf(k), len(k) > 0
			})
			g.remove()
			if k.Source != event.SourceBPF || k.Victim.PID != pid {
				t.Errorf("victim %d, want %d, source %s", k.Victim.PID, pid, k.Source)
			}
			lines := waitFor(x, func(events []event.Event) ([]*event.Kmsg, bool) {
				l := slices.DeleteFunc(of[*event.Kmsg](events), func(m *event.Kmsg) bool { return m.Incident != k.Incident })
				return l, slices.ContainsFunc(l, func(m *event.Kmsg) bool { return strings.Contains(m.Text, "Killed process ") })
			})
			for i, l := range lines {
				if i > 0 && l.Sequence <= lines[i-1].Sequence || l.Level == "" || l.Text == "" {
					t.Errorf("line %s", show(l))
				}
			}
			whole = strings.Contains(lines[0].Text, " invoked oom-killer: ")
			if !whole {
				continue
			}
			if d := lines[0].Time.Sub(k.Time).Abs(); d > patience {
				t.Errorf("line at %v, kill at %v", lines[0].Time, k.Time)
			}
			told := slices.Contains(k.FromKmsg, "trigger.gfp_flags") && k.Trigger.Order != nil && strings.HasPrefix(k.Trigger.GFPFlags, "GFP_KERNEL")
			late := os.Getenv("OOMTRACE_TEST_GLOBAL") != "" && k.FromKmsg == nil // an emulated guest may not read it in time
			if told != (tier == TierTracepoint) && !late {
				t.Errorf("from the log: %q, trigger %s", k.FromKmsg, show(k.Trigger))
			}
		}
		if !whole {
			t.Error("50 kills, none reported in full")
		}
		// Each kill is told once: none again from the log.
		seen := make(map[int32]bool)
		for _, k := range of[*event.OOMKill](x.stop()) {
			if k.Victim.Comm != "logged" {
				continue
			}
			if seen[k.Victim.PID] || k.Source != event.SourceBPF {
				t.Errorf("told again: %s", show(k))
			}
			seen[k.Victim.PID] = true
		}
	})
}

// Lines of kills in other cgroups are theirs.
func TestKernelLogOfOthers(t *testing.T) {
	top := newGroup(t)
	ours, theirs := top.child("ours").limit(16*mib), top.child("theirs").limit(16*mib)
	x := startTrace(t, Options{Families: []string{FamilyOOM, FamilyKmsg}, Cgroups: []Selector{{Path: ours.path}}})
	foreign := theirs.runKilled("comm=theirs", "hog")
	ours.runKilled("comm=ours", "hog")
	waitFor(x, func(events []event.Event) (bool, bool) { return true, len(of[*event.OOMEnd](events)) > 0 })
	for _, l := range of[*event.Kmsg](x.stop()) {
		if strings.Contains(l.Text, "theirs") || strings.Contains(l.Text, fmt.Sprintf("Killed process %d ", foreign)) {
			t.Errorf("line %s", show(l))
		}
	}
}
