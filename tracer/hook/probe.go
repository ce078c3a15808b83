package hook

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Prober answers what the running kernel has.
type Prober interface {
	// HasFunc tells whether the kernel has a function of this name.
	HasFunc(name string) bool
	// Args gives how many arguments a tracepoint hands to its programs, -1 when
	// there is no such tracepoint.
	Args(tracepoint string) int
	// ArgIs tells whether an argument is a pointer to this structure.
	ArgIs(tracepoint string, index int, structure string) bool
	// Allowed tries whether programs of this kind may be loaded at all; the
	// error says why not.
	Allowed(kind string) error
}

// Kernel is the running kernel, seen through its BTF. Needs CONFIG_DEBUG_INFO_BTF
// (5.4; all distributions since 2020).
type Kernel struct {
	types *btf.Cache // decoded once, for all that is loaded
	spec  *btf.Spec
	mu    sync.Mutex
	may   map[string]error
}

// ErrNoBTF means that the kernel does not describe its structures.
var ErrNoBTF = errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux); oomtrace needs one built with CONFIG_DEBUG_INFO_BTF=y")

// NewKernel reads the running kernel's BTF.
func NewKernel() (*Kernel, error) {
	types := btf.NewCache()
	spec, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBTF, err)
	}
	return &Kernel{types: types, spec: spec, may: make(map[string]error)}, nil
}

// HasFunc implements Prober.
func (k *Kernel) HasFunc(name string) bool {
	var f *btf.Func
	return k.spec.TypeByName(name, &f) == nil
}

func (k *Kernel) tracepoint(name string) *btf.FuncProto {
	var t *btf.Typedef
	if k.spec.TypeByName("btf_trace_"+name, &t) != nil {
		return nil
	}
	ptr, ok := t.Type.(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, _ := ptr.Target.(*btf.FuncProto)
	return proto
}

// Args implements Prober.
func (k *Kernel) Args(name string) int {
	proto := k.tracepoint(name)
	if proto == nil {
		return -1
	}
	return len(proto.Params) - 1 // the first is the tracepoint's own
}

// ArgIs implements Prober.
func (k *Kernel) ArgIs(name string, index int, structure string) bool {
	proto := k.tracepoint(name)
	if proto == nil || index+1 >= len(proto.Params) {
		return false
	}
	ptr, ok := btf.UnderlyingType(proto.Params[index+1].Type).(*btf.Pointer)
	if !ok {
		return false
	}
	s, ok := btf.UnderlyingType(ptr.Target).(*btf.Struct)
	return ok && s.Name == structure
}

// Allowed implements Prober.
func (k *Kernel) Allowed(kind string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err, known := k.may[kind]
	if !known {
		err = tryKind(kind, k.types)
		k.may[kind] = err
	}
	return err
}

// Where the kernel says that perf can make kprobes.
const kprobePMU = "/sys/bus/event_source/devices/kprobe/type"

// tryKind loads (and for kprobes attaches) a program that does nothing.
func tryKind(kind string, types *btf.Cache) error {
	spec := &ebpf.ProgramSpec{
		Name:         "oomtrace_probe",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "GPL",
	}
	switch kind {
	case Kmsg:
		return tryLog()
	case Fentry:
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceFEntry, "out_of_memory"
	case Kprobe:
		if _, err := os.Stat(kprobePMU); err != nil {
			return errors.New("this kernel has no kprobes (CONFIG_KPROBE_EVENTS)")
		}
		spec.Type = ebpf.Kprobe
	case Tracepoint:
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceRawTp, "mark_victim"
	default:
		return nil
	}
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{spec.Name: spec}},
		ebpf.CollectionOptions{Cache: types})
	if err != nil {
		err = cmp.Or(errors.Unwrap(err), err) // without the program's name, which tells nothing
	} else {
		defer coll.Close()
		prog := coll.Programs[spec.Name]
		var l link.Link
		switch kind {
		case Fentry:
			l, err = link.AttachTracing(link.TracingOptions{Program: prog})
		case Kprobe:
			l, err = link.Kprobe("out_of_memory", prog, nil)
		}
		if l != nil {
			l.Close()
		}
	}
	if err == nil {
		return nil
	}
	if mode := Lockdown(); mode != "" && kind != Tracepoint {
		return fmt.Errorf("kernel lockdown (%s) forbids it", mode)
	}
	if errors.Is(err, os.ErrPermission) {
		return errors.New("not permitted: kernel lockdown or missing capabilities")
	}
	var v *ebpf.VerifierError
	if errors.As(err, &v) && len(v.Log) > 0 {
		return errors.New(v.Log[len(v.Log)-1])
	}
	return errors.New(strings.SplitN(err.Error(), "\n", 2)[0])
}

const kernelLog = "/dev/kmsg"

func tryLog() error {
	f, err := os.OpenFile(kernelLog, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: needs CAP_SYSLOG (kernel.dmesg_restrict)", err)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Lockdown gives the kernel's lockdown mode, "" when it is off or not to be
// told (securityfs is often not mounted).
func Lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(text), "[")
	mode, _, closed := strings.Cut(rest, "]")
	if !ok || !closed || mode == "none" {
		return ""
	}
	return mode
}
