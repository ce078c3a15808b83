package hook

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// Every program for which this kernel has what it wants passes the verifier. A
// program of fentry is verified as one of a kprobe where trampolines are
// forbidden: its accesses to the kernel's structures are the same.
func TestProgramsVerify(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root: run `make test`")
	}
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	constants := Config{}.constants(k)
	for _, purpose := range Table() {
		for i := range purpose.Ways {
			w := &purpose.Ways[i]
			if w.Object == "" || w.Shape != nil && !w.Shape(k) {
				continue
			}
			for _, p := range w.Programs {
				switch {
				case p.Target == Iterator:
				case w.Kind == Tracepoint && k.Args(p.Target) < 0, w.Kind != Tracepoint && !k.HasFunc(p.Target):
					continue
				}
				t.Run(w.Object+"/"+p.Name, func(t *testing.T) { verify(t, k, w, p, constants) })
			}
		}
	}
}

func verify(t *testing.T, k *Kernel, w *Way, p Program, constants map[string]any) {
	spec, err := Objects()[w.Object]()
	if err != nil {
		t.Fatal(err)
	}
	stand := false // it stands in for the real one
	for name, ps := range spec.Programs {
		if name != p.Name {
			delete(spec.Programs, name)
			continue
		}
		if ps.Type == ebpf.Tracing && p.Target != Iterator {
			ps.AttachTo = p.Target
		}
		if stand = w.Kind == Fentry && p.Target != Iterator && k.Allowed(Fentry) != nil; stand {
			ps.Type, ps.AttachType, ps.AttachTo = ebpf.Kprobe, ebpf.AttachNone, ""
		}
	}
	for name, value := range constants {
		if v := spec.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := ebpf.NewCollection(spec)
	if err == nil {
		c.Close()
		return
	}
	if stand && strings.Contains(err.Error(), "invalid mem access 'scalar'") {
		t.Skip("follows its arguments' types, which only trampolines have")
	}
	var v *ebpf.VerifierError
	if errors.As(err, &v) {
		t.Log(strings.Join(v.Log[max(0, len(v.Log)-12):], "\n"))
	}
	t.Error(err)
}

// The arguments of fentry have types, which a kprobe's have not: what global
// functions take must not be one of them. A tracepoint that gives a cgroup (6.13)
// stands in where trampolines are forbidden.
func TestTypedArgument(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: run `make test`")
	}
	const program, gives = "fentry_try_to_free_mem_cgroup_pages", "memcg_flush_stats"
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	if !k.ArgIs(gives, 0, "mem_cgroup") {
		t.Skipf("this kernel has no tracepoint %s", gives)
	}
	spec, err := Objects()["reclaim"]()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != program })
	spec.Programs[program].AttachType, spec.Programs[program].AttachTo = ebpf.AttachTraceRawTp, gives
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
