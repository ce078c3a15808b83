package hook

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

var everything = []string{"oom", "reclaim", "kswapd", "throttle", "cache", "memory", "cgroup", "stalls", "thrash", "kmsg", "profile"}

// chosen gives kind and first program of each purpose, "" where none is open.
func chosen(choices []Choice) map[string]string {
	out := make(map[string]string)
	for _, c := range choices {
		name := c.Family + "/" + c.Name
		switch {
		case c.Way == nil:
			out[name] = ""
		case len(c.Way.Programs) == 0:
			out[name] = c.Way.Kind
		default:
			out[name] = c.Way.Kind + " " + c.Way.Programs[0].Name
		}
	}
	return out
}

func find(t *testing.T, choices []Choice, family, name string) Choice {
	t.Helper()
	for _, c := range choices {
		if c.Family == family && c.Name == name {
			return c
		}
	}
	t.Fatalf("%s/%s is not planned", family, name)
	return Choice{}
}

// best is the plan where everything is there; the cases below differ from it.
var best = map[string]string{
	"cgroup/lifecycle":        "tp_btf mkdir",
	"oom/victim":              "tp_btf mark_victim_iter",
	"oom/decision":            "fentry fentry_out_of_memory",
	"oom/exit":                "tp_btf process_exit",
	"oom/memory freed":        "tp_btf memory_gone",
	"oom/limit written":       "fentry fentry_memory_max_write",
	"kmsg/kernel log":         "kmsg",
	"reclaim/memcg":           "tp_btf memcg_begin",
	"reclaim/domain":          "fentry fentry_try_to_free_mem_cgroup_pages",
	"reclaim/direct":          "tp_btf direct_begin",
	"reclaim/kswapd wait":     "fentry fentry_throttle_direct_reclaim",
	"reclaim/soft limit":      "tp_btf soft_begin",
	"reclaim/node":            "tp_btf node_begin",
	"reclaim/scan":            "tp_btf shrink_inactive",
	"kswapd/run":              "tp_btf kswapd_wake",
	"throttle/memory.high":    "fentry fentry_handle_over_high",
	"throttle/reclaim within": "tp_btf throttle_reclaim_begin",
	"stalls/wait":             "tp_btf throttled",
	"stalls/compaction":       "tp_btf compaction_begin",
	"cache/delete":            "tp_btf delete",
	"cache/add":               "tp_btf add",
	"cache/refault":           "fentry fentry_workingset_refault",
	"profile/page faults":     "perf_event fault_minor",
}

const left = "-" // not planned at all

func TestPlan(t *testing.T) {
	kprobes := map[string]string{
		"oom/decision":         "kprobe kprobe_out_of_memory",
		"oom/limit written":    "kprobe kprobe_memory_max_write",
		"reclaim/domain":       "kprobe kprobe_try_to_free_mem_cgroup_pages",
		"reclaim/kswapd wait":  "kprobe kprobe_throttle_direct_reclaim",
		"throttle/memory.high": "kprobe kprobe_handle_over_high",
		"cache/refault":        "cgroupfs",
	}
	tracepoints := map[string]string{
		"oom/decision":            "",
		"oom/limit written":       "",
		"reclaim/domain":          "",
		"reclaim/kswapd wait":     "",
		"throttle/memory.high":    "",
		"throttle/reclaim within": left, // of no use without the other
		"cache/refault":           "cgroupfs",
	}
	with := func(base map[string]string, more map[string]string) map[string]string {
		out := maps.Clone(base)
		maps.Copy(out, more)
		return out
	}
	pages := map[string]string{
		"oom/victim":       "tp_btf mark_victim_walk",
		"oom/memory freed": "",
		"cache/delete":     "tp_btf delete_page",
		"cache/add":        "tp_btf add_page",
	}
	for _, c := range []struct {
		name    string
		kernel  *fake
		tier    string
		version int
		differs map[string]string
	}{
		{"6.18", kernel618(), "", 2, nil},
		{"6.18, kprobes at most", kernel618(), "kprobe", 2, kprobes},
		{"6.18, tracepoints at most", kernel618(), "tracepoint", 2, tracepoints},
		{"6.18 under lockdown", locked(kernel618()), "", 2, tracepoints},
		{"5.10", kernel510(), "", 2, pages},
		{"5.10, cgroup v1", kernel510(), "", 1, with(pages, map[string]string{"throttle/memory.high": "", "throttle/reclaim within": left, "oom/limit written": left, "oom/pause": "fentry fentry_oom_synchronize"})},
		{"6.18 under lockdown, cgroup v1", locked(kernel618()), "", 1, with(tracepoints, map[string]string{"oom/limit written": left, "oom/pause": "eventfd waiting_tasks"})},
		{"5.10 under lockdown", locked(kernel510()), "", 2, with(tracepoints, pages)},
		{"6.1 on arm64", kernel61arm64(), "", 2, with(kprobes, map[string]string{"oom/victim": "tp_btf mark_victim_walk"})},
		{"7.1", kernel71(), "", 2, nil},
		{"7.1, kprobes at most", kernel71(), "kprobe", 2, with(kprobes, map[string]string{"reclaim/domain": "tp_btf"})},
		{"7.1 under lockdown", locked(kernel71()), "", 2, with(tracepoints, map[string]string{"reclaim/domain": "tp_btf"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := chosen(Plan(Table(), c.kernel, Request{Families: everything, Tier: c.tier, CgroupVersion: c.version}))
			want := with(best, c.differs)
			maps.DeleteFunc(want, func(_, v string) bool { return v == left })
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if way, planned := got[name]; !planned || way != want[name] {
					t.Errorf("%s: %q (planned: %v), want %q", name, way, planned, want[name])
				}
				delete(got, name)
			}
			for name := range got {
				t.Errorf("%s is planned", name)
			}
		})
	}
}

// The plan keeps the table's order: lifecycle first, since what is learned of
// the cgroups stays true only from then on.
func TestPlanKeepsOrder(t *testing.T) {
	choices := Plan(Table(), kernel618(), Request{Families: everything, CgroupVersion: 2})
	var order []string
	for _, p := range Table() {
		if p.Cgroup == 1 {
			continue
		}
		order = append(order, p.Family+"/"+p.Name)
	}
	var got []string
	for _, c := range choices {
		got = append(got, c.Family+"/"+c.Name)
	}
	if !slices.Equal(got, order) {
		t.Errorf("planned %v, the table has %v", got, order)
	}
	if got[0] != "cgroup/lifecycle" {
		t.Errorf("%s comes first", got[0])
	}
	for _, c := range choices[1:] {
		if c.Family == familyCgroup {
			t.Errorf("%s/%s comes after other families", c.Family, c.Name)
		}
	}
}

func TestPlanWantsWhatFamiliesNeed(t *testing.T) {
	for _, c := range []struct {
		families []string
		want     []string
	}{
		{nil, nil},
		{[]string{"memory"}, nil},
		{[]string{"cgroup"}, nil},
		{[]string{"oom"}, []string{
			"kmsg/kernel log", "oom/decision", "oom/exit", "oom/limit written", "oom/memory freed", "oom/victim", "reclaim/direct", "reclaim/domain", "reclaim/memcg",
		}},
		{[]string{"reclaim"}, []string{
			"cache/delete", "reclaim/direct", "reclaim/domain", "reclaim/kswapd wait", "reclaim/memcg", "reclaim/node", "reclaim/scan", "reclaim/soft limit",
		}},
		{[]string{"kswapd"}, []string{"cache/delete", "kswapd/run", "reclaim/scan"}},
		{[]string{"throttle"}, []string{"throttle/memory.high", "throttle/reclaim within"}},
		{[]string{"cache"}, []string{
			"cache/add", "cache/delete", "cache/refault",
			"reclaim/direct", "reclaim/domain", "reclaim/memcg", "reclaim/node", "reclaim/soft limit",
		}},
		{[]string{"stalls"}, []string{
			"reclaim/direct", "reclaim/domain", "reclaim/kswapd wait", "reclaim/memcg", "reclaim/node", "reclaim/scan", "reclaim/soft limit",
			"stalls/compaction", "stalls/wait", "throttle/memory.high", "throttle/reclaim within",
		}},
		{[]string{"thrash"}, []string{
			"cache/add", "cache/delete", "reclaim/direct", "reclaim/domain", "reclaim/kswapd wait", "reclaim/memcg", "reclaim/node", "reclaim/soft limit",
			"throttle/memory.high", "throttle/reclaim within",
		}},
	} {
		t.Run(strings.Join(c.families, ","), func(t *testing.T) {
			got := slices.Sorted(maps.Keys(chosen(Plan(Table(), kernel618(), Request{Families: c.families, CgroupVersion: 2}))))
			want := slices.Sorted(slices.Values(append(slices.Clone(c.want), "cgroup/lifecycle")))
			if !slices.Equal(got, want) {
				t.Errorf("planned %v, want %v", got, want)
			}
		})
	}
}

// A family that is blind is missing once, by what it cannot do without.
func TestPlanBlindFamily(t *testing.T) {
	k := kernel618()
	for _, tracepoint := range []string{"mark_victim", "mm_filemap_add_to_page_cache"} {
		delete(k.args, tracepoint)
	}
	choices := Plan(Table(), k, Request{Families: []string{"oom"}, CgroupVersion: 2})
	if c := find(t, choices, "oom", "victim"); c.Way != nil {
		t.Errorf("victim by %s", c.Way.name())
	}
	for _, c := range choices {
		if c.Family == "oom" && c.Name != "victim" {
			t.Errorf("oom/%s is planned, though no victim can be seen", c.Name)
		}
	}
	if missing := Missing(choices); len(missing) != 1 || missing[0].Family != "oom" || missing[0].What != "victim" ||
		!strings.Contains(missing[0].Reason, "tracepoint mark_victim: not in this kernel's BTF") {
		t.Errorf("missing %+v", missing)
	}
}

// A way that did not load or attach gives way to the next, and to no other.
func TestPlanRefused(t *testing.T) {
	for _, c := range []struct {
		family, name string
		kernel       *fake
		kinds        []string // of the ways, in the order in which they come up
	}{
		{"oom", "victim", kernel618(), []string{"mark_victim_iter", "mark_victim_walk"}},
		{"oom", "decision", kernel618(), []string{"fentry_out_of_memory", "kprobe_out_of_memory"}},
		{"reclaim", "domain", kernel618(), []string{"fentry_try_to_free_mem_cgroup_pages", "kprobe_try_to_free_mem_cgroup_pages"}},
		{"reclaim", "domain", kernel71(), []string{"fentry_try_to_free_mem_cgroup_pages", "tp_btf", "kprobe_try_to_free_mem_cgroup_pages"}},
		{"throttle", "memory.high", kernel510(), []string{"fentry_handle_over_high", "kprobe_handle_over_high"}},
		{"cache", "refault", kernel618(), []string{"fentry_workingset_refault", "cgroupfs"}},
		{"cache", "add", kernel618(), []string{"add"}},
	} {
		t.Run(c.family+"/"+c.name, func(t *testing.T) {
			r := Request{Families: everything, CgroupVersion: 2, Refused: make(map[string]error)}
			var reasons []string
			for i, want := range c.kinds {
				choice := find(t, Plan(Table(), c.kernel, r), c.family, c.name)
				if choice.Way == nil || choice.Way.name() != want {
					t.Fatalf("after %d refusals: %+v, want %s", i, choice.Way, want)
				}
				if missed := slices.DeleteFunc(slices.Clone(reasons), func(why string) bool { return slices.Contains(choice.Passed, why) }); len(missed) > 0 {
					t.Errorf("passed over for %q, not for %q", choice.Passed, missed)
				}
				reason := fmt.Sprintf("refusal %d", i)
				reasons = append(reasons, reason)
				r.Refused[choice.Key(choice.Way)] = errors.New(reason)
			}
			choices := Plan(Table(), c.kernel, r)
			gone := slices.IndexFunc(choices, func(x Choice) bool { return x.Family == c.family && x.Name == c.name })
			if gone >= 0 && choices[gone].Way != nil {
				t.Errorf("all ways are refused, but %s is taken", choices[gone].Way.name())
			}
			// The rest of the plan stands.
			got, before := chosen(choices), chosen(Plan(Table(), c.kernel, Request{Families: everything, CgroupVersion: 2}))
			for name, way := range before {
				if name != c.family+"/"+c.name && !blindBy(c.family, c.name, name) && got[name] != way {
					t.Errorf("%s: %q, was %q", name, got[name], way)
				}
			}
		})
	}
}

// blindBy tells whether a purpose goes with one that its family rests on.
func blindBy(family, name, purpose string) bool {
	for _, p := range Table() {
		if p.Family == family && p.Name == name && p.Without != "" {
			return false
		}
	}
	return strings.HasPrefix(purpose, family+"/")
}

func TestPlanSaysWhy(t *testing.T) {
	noHigh := kernel618()
	delete(noHigh.funcs, "__mem_cgroup_handle_over_high")
	for _, c := range []struct {
		what         string
		kernel       *fake
		tier         string
		version      int
		family, name string
		passed       []string
	}{
		{"nothing was passed over", kernel618(), "", 2, "oom", "decision", nil},
		{"the tier", kernel618(), "tracepoint", 2, "oom", "decision", []string{
			`fentry: left out by the tier "tracepoint" that was asked for`, `kprobe: left out by the tier "tracepoint" that was asked for`,
		}},
		{"the tier, once", kernel618(), "kprobe", 2, "oom", "decision", []string{`fentry: left out by the tier "kprobe" that was asked for`}},
		{"lockdown", locked(kernel618()), "", 2, "oom", "decision", []string{
			"fentry: kernel lockdown (integrity) forbids it", "kprobe: kernel lockdown (integrity) forbids it",
		}},
		{"no trampolines", kernel61arm64(), "", 2, "oom", "decision", []string{"fentry: not supported"}},
		{"cgroup v1", kernel618(), "", 1, "throttle", "memory.high", []string{"cgroup v1 has no memory.high"}},
		{"no function", noHigh, "", 2, "throttle", "memory.high", []string{
			"function __mem_cgroup_handle_over_high: not in this kernel", "function mem_cgroup_handle_over_high: not in this kernel",
		}},
		{"no tracepoint", kernel510(), "", 2, "oom", "memory freed", []string{"tracepoint exit_mmap: not in this kernel's BTF"}},
		{"another shape", kernel510(), "", 2, "cache", "add", []string{"add: no folios in it (5.16)"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			choices := Plan(Table(), c.kernel, Request{Families: everything, Tier: c.tier, CgroupVersion: c.version})
			choice := find(t, choices, c.family, c.name)
			if !slices.Equal(choice.Passed, c.passed) {
				t.Errorf("passed over for %q, want %q", choice.Passed, c.passed)
			}
			at := slices.IndexFunc(Missing(choices), func(m event.Missing) bool { return m.Family == c.family && m.What == choice.lost() })
			if (at >= 0) != (choice.Way == nil) {
				t.Errorf("way %v, said to be missing: %v", choice.Way, at >= 0)
			}
			if at >= 0 && Missing(choices)[at].Reason != strings.Join(c.passed, "; ") {
				t.Errorf("reason %q", Missing(choices)[at].Reason)
			}
		})
	}
}

func TestCountNodes(t *testing.T) {
	for list, want := range map[string]uint32{"0": 1, "0-1": 2, "0-1023": 1024, "0,2": math.MaxUint16, "0-1,4": math.MaxUint16, "1": math.MaxUint16, "": math.MaxUint16} {
		if got := countNodes(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
}
