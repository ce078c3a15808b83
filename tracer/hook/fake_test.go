package hook

import "errors"

// fake is a kernel by what it has.
type fake struct {
	funcs map[string]bool
	args  map[string][]string // tracepoint: the structures that its arguments point to, "" for numbers
	deny  map[string]error    // by kind
}

func (f *fake) HasFunc(name string) bool { return f.funcs[name] }

func (f *fake) Args(tracepoint string) int {
	args, ok := f.args[tracepoint]
	if !ok {
		return -1
	}
	return len(args)
}

func (f *fake) ArgIs(tracepoint string, index int, structure string) bool {
	args := f.args[tracepoint]
	return index < len(args) && args[index] == structure
}

func (f *fake) Allowed(kind string) error { return f.deny[kind] }

var (
	errLocked     = errors.New("kernel lockdown (integrity) forbids it")
	errTrampoline = errors.New("not supported")
)

// kernel618 has all that oomtrace looks for.
func kernel618() *fake {
	f := &fake{funcs: make(map[string]bool), args: make(map[string][]string), deny: make(map[string]error)}
	for _, name := range []string{
		"out_of_memory", "oom_kill_process", "oom_evaluate_task", "try_to_free_mem_cgroup_pages", "throttle_direct_reclaim",
		"__mem_cgroup_handle_over_high", "workingset_refault", "user_proactive_reclaim",
		"memory_max_write", "mem_cgroup_oom_synchronize",
		"bpf_iter_task_new", "bpf_iter_task_next", "bpf_iter_task_destroy",
	} {
		f.funcs[name] = true
	}
	for _, purpose := range Table() {
		for _, w := range purpose.Ways {
			for _, p := range w.Programs {
				if w.Kind == Tracepoint {
					f.args[p.Target] = []string{""}
				}
			}
		}
	}
	f.args["mark_victim"] = []string{"task_struct", ""}
	f.args["mm_filemap_add_to_page_cache"] = []string{"folio"}
	f.args["mm_filemap_delete_from_page_cache"] = []string{"folio"}
	f.args["mm_vmscan_memcg_reclaim_begin"] = []string{"", ""}
	return f
}

// kernel510: pages instead of folios, mark_victim(pid), no open-coded iterators.
func kernel510() *fake {
	f := kernel618()
	for _, name := range []string{
		"user_proactive_reclaim", "bpf_iter_task_new", "bpf_iter_task_next", "bpf_iter_task_destroy", "__mem_cgroup_handle_over_high",
	} {
		delete(f.funcs, name)
	}
	f.funcs["mem_cgroup_handle_over_high"] = true
	delete(f.args, "exit_mmap")
	f.args["mark_victim"] = []string{""}
	f.args["mm_filemap_add_to_page_cache"] = []string{"page"}
	f.args["mm_filemap_delete_from_page_cache"] = []string{"page"}
	return f
}

// kernel61arm64 has folios but no trampolines, which arm64 got with 6.4.
func kernel61arm64() *fake {
	f := kernel510()
	f.args["exit_mmap"] = []string{"mm_struct"}
	f.args["mm_filemap_add_to_page_cache"] = []string{"folio"}
	f.args["mm_filemap_delete_from_page_cache"] = []string{"folio"}
	f.funcs["memory_reclaim"] = true
	f.deny[Fentry] = errTrampoline
	return f
}

// kernel71: the tracepoint names the cgroup that is shrunk.
func kernel71() *fake {
	f := kernel618()
	f.args["mm_vmscan_memcg_reclaim_begin"] = []string{"", "", "mem_cgroup"}
	return f
}

// locked is a kernel under lockdown: neither fentry nor kprobes.
func locked(f *fake) *fake {
	f.deny[Fentry], f.deny[Kprobe] = errLocked, errLocked
	return f
}
