package tracer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
		// Whole reports, and kills whose missing facts were found in theirs: on a
		// busy machine it may be read when the kill is told already.
		whole, told := false, false
		for end := time.Now().Add(patience); time.Now().Before(end) && !(whole && (told || tier != TierTracepoint)); {
			g := newGroup(t).limit(16 * mib)
			pid := g.runKilled("comm=logged", "hog")
			k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
				k := slices.DeleteFunc(killsBelow(events, g.path), func(k *event.OOMKill) bool { return k.Victim.PID != pid })
				return firstOf(k), len(k) > 0
			})
			g.remove()
			if k.Source != event.SourceBPF {
				t.Errorf("source %s", k.Source)
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
			if !strings.Contains(lines[0].Text, " invoked oom-killer: ") {
				continue
			}
			whole = true
			if d := lines[0].Time.Sub(k.Time).Abs(); d > patience {
				t.Errorf("line at %v, kill at %v", lines[0].Time, k.Time)
			}
			if k.FromKmsg == nil {
				continue
			}
			told = slices.Contains(k.FromKmsg, "trigger.gfp_flags") && k.Trigger.Order != nil && strings.HasPrefix(k.Trigger.GFPFlags, "GFP_KERNEL")
			if !told || tier != TierTracepoint {
				t.Errorf("from the log: %q, trigger %s", k.FromKmsg, show(k.Trigger))
			}
		}
		if !whole || tier == TierTracepoint && !told {
			t.Errorf("a kill reported in full: %v, one completed from that: %v", whole, told)
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
