// Package hook decides where oomtrace looks, loads the eBPF programs for it and
// attaches them.
//
// What can be attached is data (Table): for every purpose the ways to serve it,
// best first. A way is chosen by what the kernel's BTF and a trial say, never by
// a version number, and a fallback is taken only when the better way is not
// there or not allowed. What is left without any way is said (Missing).
package hook

import (
	"fmt"
	"slices"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Kinds of hooks, as they stand in headers.
const (
	Fentry     = "fentry" // fexit too
	Kprobe     = "kprobe" // kretprobe too
	Tracepoint = "tp_btf"
	PerfEvent  = "perf_event"
	Cgroupfs   = "cgroupfs" // no hook: the cgroup's own files
	Eventfd    = "eventfd"  // cgroup v1's notifications
	Kmsg       = "kmsg"     // the kernel's log
)

// Program names one program of an object and the kernel function or tracepoint
// that it is attached to.
type Program struct {
	Name   string
	Target string
	Return bool // at the function's return
}

// Iterator is the target of programs that are not hooked: they look at all
// tasks when they are read (Session.Look).
const Iterator = "task"

// Way is one way to serve a purpose: all of its programs, or none.
type Way struct {
	Kind     string
	Object   string
	Programs []Program
	// Shape further tells which kernels the way is for; nil is all of them. Lacks
	// says what the others have not.
	Shape func(Prober) bool
	Lacks string
}

// Purpose is something to be seen, with the ways to see it.
type Purpose struct {
	Family string
	Name   string
	// Cgroup is the version of cgroups that has it, 0 for both.
	Cgroup int
	// For lists the families that need it besides its own.
	For  []string
	Ways []Way
	// Without says what is lost when no way is open; empty when the family
	// cannot do without.
	Without string
}

// Internal families: identity is always followed.
const familyCgroup = "cgroup"

func tp(object string, pairs ...string) Way {
	w := Way{Kind: Tracepoint, Object: object}
	for i := 0; i+1 < len(pairs); i += 2 {
		w.Programs = append(w.Programs, Program{Name: pairs[i], Target: pairs[i+1]})
	}
	return w
}

func (w Way) when(shape func(Prober) bool, lacks string) Way {
	w.Shape, w.Lacks = shape, lacks
	return w
}

func hasFolio(p Prober) bool { return p.ArgIs("mm_filemap_add_to_page_cache", 0, "folio") }
func hasPage(p Prober) bool  { return p.ArgIs("mm_filemap_add_to_page_cache", 0, "page") }
func hasIter(p Prober) bool {
	return p.HasFunc("bpf_iter_task_new") && p.HasFunc("bpf_iter_task_next") && p.HasFunc("bpf_iter_task_destroy")
}

func function(kind, object string, programs ...Program) Way {
	return Way{Kind: kind, Object: object, Programs: programs}
}

func overHigh(target string) []Way {
	return []Way{
		function(Fentry, "throttle", Program{"fentry_handle_over_high", target, false}, Program{"fexit_handle_over_high", target, true}),
		function(Kprobe, "throttle", Program{"kprobe_handle_over_high", target, false}, Program{"kretprobe_handle_over_high", target, true}),
	}
}

func pause(kind, entry, exit string) Way {
	const target = "mem_cgroup_oom_synchronize"
	return function(kind, "pause", Program{entry, target, false}, Program{exit, target, true}, Program{"waiting_tasks", Iterator, false})
}

const waitsForKswapd = "throttle_direct_reclaim"

// Table is all that oomtrace attaches.
func Table() []Purpose {
	high, highOld := overHigh("__mem_cgroup_handle_over_high"), overHigh("mem_cgroup_handle_over_high")
	return []Purpose{
		{Family: familyCgroup, Name: "lifecycle", Ways: []Way{
			tp("lifecycle", "mkdir", "cgroup_mkdir", "rmdir", "cgroup_rmdir", "release", "cgroup_release",
				"rename", "cgroup_rename", "attach_task", "cgroup_attach_task", "forked", "sched_process_fork"),
		}},

		{Family: "oom", Name: "victim", Ways: []Way{
			tp("oom", "mark_victim_iter", "mark_victim", "signal_generate", "signal_generate").when(hasIter, "no task iterator (6.7)"),
			tp("oom", "mark_victim_walk", "mark_victim", "signal_generate", "signal_generate"),
		}},
		{Family: "oom", Name: "decision",
			Without: "the kernel's own scores and the moments of invocation and selection; domain and candidates come from tracepoints",
			Ways: []Way{
				function(Fentry, "oom",
					Program{"fentry_out_of_memory", "out_of_memory", false},
					Program{"fentry_oom_kill_process", "oom_kill_process", false},
					Program{"fexit_oom_evaluate_task", "oom_evaluate_task", true},
					Program{"fexit_out_of_memory", "out_of_memory", true}),
				function(Kprobe, "oom",
					Program{"kprobe_out_of_memory", "out_of_memory", false},
					Program{"kprobe_oom_kill_process", "oom_kill_process", false},
					Program{"kprobe_oom_evaluate_task", "oom_evaluate_task", false},
					Program{"kretprobe_out_of_memory", "out_of_memory", true}),
			}},
		{Family: "oom", Name: "exit", Without: "when the victim is gone", Ways: []Way{
			tp("oom", "process_exit", "sched_process_exit"),
		}},
		{Family: "oom", Name: "memory freed", Without: "the very moment memory was free; the cgroup's usage is looked at every 50 ms", Ways: []Way{
			tp("oom", "memory_gone", "exit_mmap"),
		}},
		{Family: "oom", Name: "limit written", Cgroup: 2, Without: "kills by a write to memory.max, from the kernel itself; they are inferred from where the writer lives",
			Ways: []Way{
				function(Fentry, "oom", Program{"fentry_memory_max_write", "memory_max_write", false}, Program{"fexit_memory_max_write", "memory_max_write", true}),
				function(Kprobe, "oom", Program{"kprobe_memory_max_write", "memory_max_write", false}, Program{"kretprobe_memory_max_write", "memory_max_write", true}),
			}},
		{Family: "oom", Name: "pause", Cgroup: 1, Without: "tasks that wait while their cgroup's OOM killer is off (memory.oom_control)", Ways: []Way{
			pause(Fentry, "fentry_oom_synchronize", "fexit_oom_synchronize"),
			pause(Kprobe, "kprobe_oom_synchronize", "kretprobe_oom_synchronize"),
			function(Eventfd, "pause", Program{"waiting_tasks", Iterator, false}),
		}},

		{Family: "kmsg", Name: "kernel log", For: []string{"oom"}, Ways: []Way{{Kind: Kmsg}}},

		{Family: "reclaim", Name: "memcg", For: []string{"oom", "stalls", "thrash", "cache"}, Ways: []Way{
			tp("reclaim", "memcg_begin", "mm_vmscan_memcg_reclaim_begin", "memcg_end", "mm_vmscan_memcg_reclaim_end",
				"thread_exit", "sched_process_exit"),
		}},
		{Family: "reclaim", Name: "domain", For: []string{"oom", "stalls", "thrash", "cache"},
			Without: "which cgroup is being shrunk, from the kernel itself; it is inferred from the counters of the task's ancestors, and unknown for memory.reclaim",
			Ways: []Way{
				function(Fentry, "reclaim", Program{"fentry_try_to_free_mem_cgroup_pages", "try_to_free_mem_cgroup_pages", false}),
				{Kind: Tracepoint, Shape: BeginHasMemcg, Lacks: "mm_vmscan_memcg_reclaim_begin does not name the cgroup (7.1)"},
				function(Kprobe, "reclaim", Program{"kprobe_try_to_free_mem_cgroup_pages", "try_to_free_mem_cgroup_pages", false}),
			}},
		{Family: "reclaim", Name: "direct", For: []string{"oom", "stalls", "thrash", "cache"}, Ways: []Way{
			tp("reclaim", "direct_begin", "mm_vmscan_direct_reclaim_begin", "direct_end", "mm_vmscan_direct_reclaim_end"),
		}},
		{Family: "reclaim", Name: "kswapd wait", For: []string{"stalls", "thrash"},
			Without: "waits for kswapd before direct reclaim (throttle_direct_reclaim); pgscan_direct_throttle of /proc/vmstat has their number",
			Ways: []Way{
				function(Fentry, "stall", Program{"fentry_throttle_direct_reclaim", waitsForKswapd, false}, Program{"fexit_throttle_direct_reclaim", waitsForKswapd, true}),
				function(Kprobe, "stall", Program{"kprobe_throttle_direct_reclaim", waitsForKswapd, false}, Program{"kretprobe_throttle_direct_reclaim", waitsForKswapd, true}),
			}},
		{Family: "reclaim", Name: "soft limit", For: []string{"stalls", "thrash", "cache"}, Without: "soft-limit reclaim", Ways: []Way{
			tp("reclaim", "soft_begin", "mm_vmscan_memcg_softlimit_reclaim_begin", "soft_end", "mm_vmscan_memcg_softlimit_reclaim_end"),
		}},
		{Family: "reclaim", Name: "node", For: []string{"stalls", "thrash", "cache"}, Without: "reclaim of one NUMA node", Ways: []Way{
			tp("reclaim", "node_begin", "mm_vmscan_node_reclaim_begin", "node_end", "mm_vmscan_node_reclaim_end"),
		}},
		{Family: "reclaim", Name: "scan", For: []string{"kswapd", "stalls"}, Without: "scanned_pages and priority", Ways: []Way{
			tp("reclaim", "shrink_inactive", "mm_vmscan_lru_shrink_inactive"),
		}},
		{Family: "kswapd", Name: "run", Ways: []Way{
			tp("reclaim", "kswapd_wake", "mm_vmscan_kswapd_wake", "kswapd_sleep", "mm_vmscan_kswapd_sleep"),
		}},

		{Family: "throttle", Name: "memory.high", For: []string{"stalls", "thrash"}, Ways: []Way{high[0], high[1], highOld[0], highOld[1]}},
		{Family: "throttle", Name: "reclaim within", For: []string{"stalls", "thrash"}, Without: "the reclaim that precedes the sleep is counted as sleep", Ways: []Way{
			tp("throttle", "throttle_reclaim_begin", "mm_vmscan_memcg_reclaim_begin", "throttle_reclaim_end", "mm_vmscan_memcg_reclaim_end"),
		}},

		{Family: "stalls", Name: "wait", Without: "sleeps within reclaim", Ways: []Way{
			tp("stall", "throttled", "mm_vmscan_throttled"),
		}},
		{Family: "stalls", Name: "compaction", Without: "compaction", Ways: []Way{
			tp("stall", "compaction_begin", "mm_compaction_begin", "compaction_end", "mm_compaction_end"),
		}},

		{Family: "cache", Name: "delete", For: []string{"reclaim", "kswapd", "thrash"}, Without: "what reclaim evicts", Ways: []Way{
			tp("cache", "delete", "mm_filemap_delete_from_page_cache").when(hasFolio, "no folios in it (5.16)"),
			tp("cache", "delete_page", "mm_filemap_delete_from_page_cache").when(hasPage, "no pages in it (to 5.15)"),
		}},
		{Family: "cache", Name: "add", For: []string{"thrash"}, Ways: []Way{
			tp("cache", "add", "mm_filemap_add_to_page_cache").when(hasFolio, "no folios in it (5.16)"),
			tp("cache", "add_page", "mm_filemap_add_to_page_cache").when(hasPage, "no pages in it (to 5.15)"),
		}},
		{Family: "cache", Name: "refault", Ways: []Way{
			function(Fentry, "cache", Program{"fentry_workingset_refault", "workingset_refault", false}),
			{Kind: Cgroupfs},
		}},

		{Family: "profile", Name: "page faults", Ways: []Way{
			function(PerfEvent, "profile", Program{"fault_minor", faultsMinor, false}, Program{"fault_major", faultsMajor, false}),
		}},
	}
}

// BeginHasMemcg tells whether the begin tracepoints of reclaim name the cgroup
// (7.1), with gfp and order the other way round.
func BeginHasMemcg(p Prober) bool { return p.Args("mm_vmscan_memcg_reclaim_begin") == 3 }

// Request says what is to be planned.
type Request struct {
	Families      []string
	Tier          string // "", "kprobe" or "tracepoint"
	CgroupVersion int
	// Refused holds ways that were tried and did not load or attach, with the
	// reason; see Choice.Key.
	Refused map[string]error
}

// Choice is a purpose with the way that was chosen for it, and what was passed
// over before.
type Choice struct {
	Purpose
	Way *Way // nil: none is open
	// Passed says why the better ways were not taken.
	Passed []string
}

// Key names one way of a purpose. Ways may differ by their programs alone, or
// by the targets alone.
func (p Purpose) Key(w *Way) string {
	key := p.Family + "/" + p.Name + "/" + w.Kind
	for _, prog := range w.Programs {
		key += "/" + prog.Name + "@" + prog.Target
	}
	return key
}

func (r Request) wants(p Purpose) bool {
	return p.Family == familyCgroup || slices.Contains(r.Families, p.Family) ||
		slices.ContainsFunc(p.For, func(f string) bool { return slices.Contains(r.Families, f) })
}

// Plan picks a way for each purpose that is wanted. It only asks the prober.
func Plan(table []Purpose, p Prober, r Request) []Choice {
	var out []Choice
	for _, purpose := range table {
		if !r.wants(purpose) || purpose.Cgroup != 0 && r.CgroupVersion != 0 && purpose.Cgroup != r.CgroupVersion {
			continue
		}
		c := Choice{Purpose: purpose}
		if purpose.Family == "throttle" && r.CgroupVersion == 1 {
			c.Passed = append(c.Passed, "cgroup v1 has no memory.high")
			out = append(out, c)
			continue
		}
		for i := range purpose.Ways {
			w := &purpose.Ways[i]
			if why := closed(p, r, purpose, w); why != "" {
				if !slices.Contains(c.Passed, why) {
					c.Passed = append(c.Passed, why)
				}
				continue
			}
			c.Way = w
			break
		}
		out = append(out, c)
	}
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(c Choice) bool { return c.Without != "" && blind(all, c.Family) })
}

// blind tells whether nothing that a family cannot do without is open: then what
// else it could see is of no use.
func blind(choices []Choice, family string) bool {
	essential := false
	for _, c := range choices {
		if c.Family == family && c.Without == "" {
			if c.Way != nil {
				return false
			}
			essential = true
		}
	}
	return essential
}

// closed says why a way is not open, "" when it is.
func closed(p Prober, r Request, purpose Purpose, w *Way) string {
	if err := r.Refused[purpose.Key(w)]; err != nil {
		return err.Error()
	}
	if w.Kind == Fentry && r.Tier != "" || w.Kind == Kprobe && r.Tier == "tracepoint" {
		return fmt.Sprintf("%s: left out by the tier %q that was asked for", w.Kind, r.Tier)
	}
	if w.Shape != nil && !w.Shape(p) {
		return fmt.Sprintf("%s: %s", w.name(), w.Lacks)
	}
	for _, prog := range w.Programs {
		switch {
		case prog.Target == Iterator:
		case w.Kind == PerfEvent: // a matter of trying
		case w.Kind == Tracepoint && p.Args(prog.Target) < 0:
			return fmt.Sprintf("tracepoint %s: not in this kernel's BTF", prog.Target)
		case w.Kind != Tracepoint && !p.HasFunc(prog.Target):
			return fmt.Sprintf("function %s: not in this kernel", prog.Target)
		}
	}
	if err := p.Allowed(w.Kind); err != nil {
		return fmt.Sprintf("%s: %v", w.Kind, err)
	}
	return ""
}

func (w *Way) name() string {
	if len(w.Programs) == 0 {
		return w.Kind
	}
	return w.Programs[0].Name
}

// Hook says which hook a choice uses, in the words of the header.
func (c Choice) Hook() event.Hook {
	h := event.Hook{Family: c.Family, Kind: c.Way.Kind}
	switch {
	case c.Way.Kind == Eventfd:
		h.Hook = "memory.oom_control"
	case len(c.Way.Programs) > 0:
		seen := map[string]bool{}
		for _, p := range c.Way.Programs {
			if !seen[p.Target] && p.Target != Iterator {
				if seen[p.Target] = true; h.Hook != "" {
					h.Hook += ","
				}
				h.Hook += p.Target
			}
		}
	case c.Way.Kind == Kmsg:
		h.Hook = kernelLog
	case c.Way.Kind == Cgroupfs:
		h.Hook = "memory.stat"
	default:
		h.Hook = "mm_vmscan_memcg_reclaim_begin"
	}
	return h
}
