package hook

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func TestChoiceHook(t *testing.T) {
	for _, c := range []struct {
		kernel       *fake
		family, name string
		want         event.Hook
	}{
		{kernel618(), "oom", "decision", event.Hook{Family: "oom", Kind: "fentry", Hook: "out_of_memory,oom_kill_process,oom_evaluate_task"}},
		{kernel61arm64(), "oom", "decision", event.Hook{Family: "oom", Kind: "kprobe", Hook: "out_of_memory,oom_kill_process,oom_evaluate_task"}},
		{kernel618(), "oom", "victim", event.Hook{Family: "oom", Kind: "tp_btf", Hook: "mark_victim,signal_generate"}},
		{kernel510(), "throttle", "memory.high", event.Hook{Family: "throttle", Kind: "fentry", Hook: "mem_cgroup_handle_over_high"}},
		{kernel618(), "reclaim", "memcg", event.Hook{Family: "reclaim", Kind: "tp_btf", Hook: "mm_vmscan_memcg_reclaim_begin,mm_vmscan_memcg_reclaim_end,sched_process_exit"}},
		{locked(kernel71()), "reclaim", "domain", event.Hook{Family: "reclaim", Kind: "tp_btf", Hook: "mm_vmscan_memcg_reclaim_begin"}},
		{locked(kernel618()), "cache", "refault", event.Hook{Family: "cache", Kind: "cgroupfs", Hook: "memory.stat"}},
	} {
		t.Run(c.family+"/"+c.name+" "+c.want.Kind, func(t *testing.T) {
			choices := Plan(Table(), c.kernel, Request{Families: everything, CgroupVersion: 2})
			if got := find(t, choices, c.family, c.name).Hook(); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			s := &Session{Choices: choices}
			if !slices.Contains(s.Hooks(), c.want) {
				t.Errorf("the session's hooks lack it: %+v", s.Hooks())
			}
			if n := len(s.Hooks()) + len(s.Missing()); n != len(choices) {
				t.Errorf("%d hooks and missing, of %d choices", n, len(choices))
			}
		})
	}
}

func TestMissing(t *testing.T) {
	w := &Way{Kind: Tracepoint}
	got := Missing([]Choice{
		{Purpose: Purpose{Family: "a", Name: "open"}, Way: w, Passed: []string{"ignored"}},
		{Purpose: Purpose{Family: "b", Name: "essential"}, Passed: []string{"one", "two"}},
		{Purpose: Purpose{Family: "c", Name: "extra", Without: "what is lost"}, Passed: []string{"why"}},
	})
	want := []event.Missing{
		{Family: "b", What: "essential", Reason: "one; two"},
		{Family: "c", What: "what is lost", Reason: "why"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What is lost stands in headers and in what doctor says: a phrase, not a
// sentence. Each family rests on something that it cannot do without.
func TestTableText(t *testing.T) {
	families := []string{"cgroup", "oom", "kmsg", "reclaim", "kswapd", "throttle", "cache", "profile"}
	resting := []string{"stalls", "thrash"} // on reclaim and cache
	essential := make(map[string]bool)
	names := make(map[string]bool)
	for _, p := range Table() {
		id := p.Family + "/" + p.Name
		if names[id] {
			t.Errorf("%s twice", id)
		}
		names[id] = true
		essential[p.Family] = essential[p.Family] || p.Without == ""
		if p.Without != strings.TrimSpace(p.Without) || strings.HasSuffix(p.Without, ".") || strings.Contains(p.Without, "\n") {
			t.Errorf("%s: without %q", id, p.Without)
		}
		if first := p.Without; first != "" && first[:1] != strings.ToLower(first[:1]) {
			t.Errorf("%s: without %q begins with a capital letter", id, p.Without)
		}
		for _, f := range append(slices.Clone(p.For), p.Family) {
			if !slices.Contains(families, f) && !slices.Contains(resting, f) {
				t.Errorf("%s: no such family: %q", id, f)
			}
		}
		if slices.Contains(p.For, p.Family) {
			t.Errorf("%s: for its own family", id)
		}
	}
	for _, f := range families {
		if !essential[f] {
			t.Errorf("family %s can do without everything", f)
		}
	}
}

func TestBeginHasMemcg(t *testing.T) {
	for name, c := range map[string]struct {
		kernel *fake
		want   bool
	}{
		"6.18": {kernel618(), false},
		"7.1":  {kernel71(), true},
		"none": {&fake{}, false},
	} {
		if got := BeginHasMemcg(c.kernel); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestConstantsFollowTheKernel(t *testing.T) {
	for _, c := range []struct {
		name   string
		kernel *fake
		want   map[string]any
	}{
		{"5.10", kernel510(), map[string]any{"mark_has_task": false, "options_known": false, "gated": true, "begin_has_memcg": false}},
		{"6.1", kernel61arm64(), map[string]any{"options_known": true}},
		{"6.18", kernel618(), map[string]any{"mark_has_task": true, "options_known": true, "gated": false, "begin_has_memcg": false}},
		{"7.1", kernel71(), map[string]any{"begin_has_memcg": true}},
	} {
		got := Config{Hierarchy: 4, MinStallNS: 7}.constants(c.kernel)
		for name, want := range c.want {
			if got[name] != want {
				t.Errorf("%s: %s is %v", c.name, name, got[name])
			}
		}
		if got["hierarchy"] != int32(4) || got["min_stall"] != uint64(7) || got["nodes"].(uint32) < 1 {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestFirstLine(t *testing.T) {
	if got := firstLine(errors.New("one\ntwo")); got.Error() != "one" {
		t.Errorf("%q", got)
	}
	if got := firstLine(errors.New("one")); got.Error() != "one" {
		t.Errorf("%q", got)
	}
}
