package hook

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Config says what to attach and the constants that the programs are loaded
// with.
type Config struct {
	Request
	Hierarchy   int  // of the memory controller, 0 for cgroup v2
	Filtered    bool // only cgroups in the map `watched`, and below `wanted_paths`
	WantReclaim bool
	WantKswapd  bool
	CountCache  bool
	// WantThrottle sends sleeps for memory.high one by one, WantStalls counts all
	// stalls in histograms.
	WantThrottle bool
	WantStalls   bool
	// SampleRefaults follows a sample of evicted pages until they come back.
	SampleRefaults bool
	Stacks         bool
	MinStallNS     uint64
	RingBytes      int
	Period         uint64 // of sampled events: one in so many is looked at
	// Seed is called when the cgroups' lifecycle is followed and nothing else is
	// attached yet: what it learns of the cgroups then stays true. May be nil,
	// and may be called again after a refusal.
	Seed func(*Session) error
}

// Session is a set of attached programs.
type Session struct {
	Maps     map[string]*ebpf.Map
	Programs map[string]*ebpf.Program
	Choices  []Choice

	links   []io.Closer
	looks   map[string]*link.Iter
	objects []*ebpf.Collection
}

// Objects names the eBPF objects and how each is read.
func Objects() map[string]func() (*ebpf.CollectionSpec, error) {
	return map[string]func() (*ebpf.CollectionSpec, error){
		"core": bpf.LoadCore, "lifecycle": bpf.LoadLifecycle, "oom": bpf.LoadOom,
		"reclaim": bpf.LoadReclaim, "throttle": bpf.LoadThrottle, "cache": bpf.LoadCache, "pause": bpf.LoadPause, "stall": bpf.LoadStall,
		"profile": bpf.LoadProfile,
	}
}

// Attach plans, loads and attaches. A way that the kernel refuses gives way to
// the next; the error is for a purpose that its family cannot do without.
func Attach(cfg Config, k *Kernel) (*Session, error) {
	// Kernels before 5.11 account maps against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w (needs CAP_SYS_RESOURCE on this kernel)", err)
	}
	if cfg.Refused == nil {
		cfg.Refused = make(map[string]error)
	}
	s := &Session{Maps: make(map[string]*ebpf.Map), Programs: make(map[string]*ebpf.Program), looks: make(map[string]*link.Iter)}
	for {
		s.Choices = Plan(Table(), k, cfg.Request)
		again, err := s.attach(cfg, k)
		if err != nil {
			s.Close()
			return nil, err
		}
		if !again {
			return s, nil
		}
	}
}

// refusal is a way that did not work out.
type refusal struct {
	key string
	err error
}

func (r *refusal) Error() string { return r.err.Error() }

// attach makes one attempt at the whole plan. It reports true when a way was
// refused and the plan has to be made again.
func (s *Session) attach(cfg Config, k *Kernel) (bool, error) {
	var refused *refusal
	err := s.load(cfg, k)
	if err == nil {
		err = s.link(cfg)
	}
	if errors.As(err, &refused) {
		cfg.Refused[refused.key] = refused.err
		s.detach()
		return true, nil
	}
	return false, err
}

// object is an eBPF object with those of its programs that are wanted.
type object struct {
	name     string
	spec     *ebpf.CollectionSpec
	programs map[string]Program
	kinds    map[string]string // of programs
	owners   map[string]string // likewise: keys of the ways that they are for
}

func (s *Session) load(cfg Config, k *Kernel) error {
	readers, constants := Objects(), cfg.constants(k)
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		o := &object{name: name, programs: make(map[string]Program), kinds: make(map[string]string), owners: make(map[string]string)}
		for _, c := range s.Choices {
			if c.Way == nil || c.Way.Object != name {
				continue
			}
			for _, prog := range c.Way.Programs {
				o.programs[prog.Name] = prog
				o.kinds[prog.Name] = c.Way.Kind
				o.owners[prog.Name] = c.Key(c.Way)
			}
		}
		if len(o.programs) == 0 && name != "core" { // that one has maps alone
			continue
		}
		if err := o.read(cfg, constants, readers[name]); err != nil {
			return err
		}
		if err := s.makeMaps(o.spec.Maps); err != nil {
			return fmt.Errorf("load object %s: %w", name, err)
		}
		if err := s.loadObject(o, k.types); err != nil {
			return o.refusal(err)
		}
	}
	return nil
}

// refusal says which way is closed by an error of loading it. That names the program; the others
// of the object are not to blame.
func (o *object) refusal(err error) error {
	for prog, key := range o.owners {
		if strings.Contains(err.Error(), "program "+prog+":") {
			return &refusal{key, fmt.Errorf("%s %s: %w", o.kinds[prog], o.programs[prog].Target, firstLine(err))}
		}
	}
	return err
}

// numaNodes counts the possible NUMA nodes.
func numaNodes() uint32 {
	text, err := os.ReadFile("/sys/devices/system/node/possible")
	if err != nil {
		return 1 // a kernel without NUMA
	}
	return countNodes(strings.TrimSpace(string(text)))
}

// countNodes reads "0" or "0-3". Programs look at nodes one after the other, up to
// the first that is missing: a list with gaps is more than they can look at.
func countNodes(list string) uint32 {
	if list == "0" {
		return 1
	}
	rest, ok := strings.CutPrefix(list, "0-")
	last, err := strconv.ParseUint(rest, 10, 16)
	if !ok || err != nil {
		return math.MaxUint16
	}
	return uint32(last) + 1
}

func firstLine(err error) error {
	var v *ebpf.VerifierError
	if errors.As(err, &v) && len(v.Log) > 1 {
		return fmt.Errorf("the verifier refused it: %s", strings.TrimSpace(v.Log[len(v.Log)-2]))
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// read reads an object and makes it what this configuration wants.
func (o *object) read(cfg Config, constants map[string]any, read func() (*ebpf.CollectionSpec, error)) error {
	spec, err := read()
	if err != nil {
		return fmt.Errorf("read object %s: %w", o.name, err)
	}
	o.spec = spec
	for prog, ps := range spec.Programs {
		want, ok := o.programs[prog]
		if !ok {
			delete(spec.Programs, prog)
			continue
		}
		if ps.Type == ebpf.Tracing && want.Target != Iterator {
			ps.AttachTo = want.Target
		}
	}
	if cfg.RingBytes > 0 {
		spec.Maps["events"].MaxEntries = uint32(cfg.RingBytes)
	}
	for m, wanted := range cfg.large() {
		if ms := spec.Maps[m]; ms != nil && !wanted {
			ms.MaxEntries = 1
		}
	}
	for key, value := range constants {
		v, ok := spec.Variables[key]
		if !ok {
			continue
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("object %s: set %s: %w", o.name, key, err)
		}
	}
	return nil
}

// makeMaps makes those of an object's maps that no other has brought: all objects
// share them, but for their constants.
func (s *Session) makeMaps(specs map[string]*ebpf.MapSpec) error {
	for name, spec := range specs {
		if _, ok := s.Maps[name]; ok || strings.HasPrefix(name, ".") {
			continue
		}
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		s.Maps[name] = m
	}
	return nil
}

// loadObject loads an object. Not two at once: they share the kernel's types, which
// are decoded as they are needed.
func (s *Session) loadObject(o *object, types *btf.Cache) error {
	opts := ebpf.CollectionOptions{MapReplacements: make(map[string]*ebpf.Map), Cache: types}
	for m := range o.spec.Maps {
		if shared, ok := s.Maps[m]; ok {
			opts.MapReplacements[m] = shared
		}
	}
	loaded, err := ebpf.NewCollectionWithOptions(o.spec, opts)
	if err != nil {
		return fmt.Errorf("load object %s: %w", o.name, err)
	}
	s.objects = append(s.objects, loaded)
	maps.Copy(s.Programs, loaded.Programs)
	return nil
}

// large names the maps that take megabytes, and whether what they are for is
// wanted.
func (cfg Config) large() map[string]bool {
	return map[string]bool{
		"stalls": cfg.WantStalls, "evictions": cfg.SampleRefaults, "refaults": cfg.SampleRefaults, "watched": cfg.Filtered,
	}
}

// constants are what the programs are loaded with. An object has those of them
// that its programs read.
func (cfg Config) constants(p Prober) map[string]any {
	return map[string]any{
		"filtered": cfg.Filtered, "want_stacks": cfg.Stacks, "min_stall": cfg.MinStallNS,
		"want_reclaim": cfg.WantReclaim, "want_kswapd": cfg.WantKswapd, "count_cache": cfg.CountCache,
		"want_throttle": cfg.WantThrottle, "want_stalls": cfg.WantStalls, "sample_refaults": cfg.SampleRefaults,
		"want_paths": true, "hierarchy": int32(cfg.Hierarchy),
		"begin_has_memcg": BeginHasMemcg(p),
		"options_known":   p.HasFunc("user_proactive_reclaim") || p.HasFunc("memory_reclaim"),
		"mark_has_task":   p.ArgIs("mark_victim", 0, "task_struct"),
		"nodes":           numaNodes(),
		"cpus":            uint32(ebpf.MustPossibleCPU()),
		"gated":           !p.HasFunc("__mem_cgroup_handle_over_high"),
	}
}

func (s *Session) link(cfg Config) error {
	seed := cfg.Seed
	for i := range s.Choices {
		c := &s.Choices[i]
		if c.Family != familyCgroup && seed != nil {
			if err := seed(s); err != nil {
				return err
			}
			seed = nil
		}
		if c.Way == nil {
			continue
		}
		for _, prog := range c.Way.Programs {
			l, err := cfg.attachProgram(c.Way.Kind, prog, s.Programs[prog.Name])
			if err != nil {
				return &refusal{c.Key(c.Way), fmt.Errorf("attach %s to %s: %w", c.Way.Kind, prog.Target, firstLine(err))}
			}
			if it, ok := l.(*link.Iter); ok {
				s.looks[prog.Name] = it
			}
			s.links = append(s.links, l)
		}
	}
	return nil
}

func (cfg Config) attachProgram(kind string, prog Program, p *ebpf.Program) (io.Closer, error) {
	switch {
	case prog.Target == Iterator:
		return link.AttachIter(link.IterOptions{Program: p})
	case kind == PerfEvent:
		return attachSoftware(prog.Target, p, cfg.Period)
	case kind == Kprobe && prog.Return:
		return link.Kretprobe(prog.Target, p, nil)
	case kind == Kprobe:
		return link.Kprobe(prog.Target, p, nil)
	default:
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
}

// Hooks lists what is attached.
func (s *Session) Hooks() []event.Hook {
	var out []event.Hook
	for _, c := range s.Choices {
		if c.Way != nil {
			out = append(out, c.Hook())
		}
	}
	return out
}

// Missing lists what no way was open for, and why.
func (s *Session) Missing() []event.Missing { return Missing(s.Choices) }

// Missing lists the choices that have no way.
func Missing(choices []Choice) []event.Missing {
	var out []event.Missing
	for _, c := range choices {
		if c.Way == nil {
			out = append(out, event.Missing{Family: c.Family, What: c.lost(), Reason: strings.Join(c.Passed, "; ")})
		}
	}
	return out
}

func (c Choice) lost() string {
	if c.Without == "" {
		return c.Name
	}
	return c.Without
}

// Look runs an iterator's program over all tasks and gives what it wrote.
func (s *Session) Look(program string) ([]byte, error) {
	it := s.looks[program]
	if it == nil {
		return nil, fmt.Errorf("iterator %s: %w", program, os.ErrClosed)
	}
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("iterator %s: %w", program, err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (s *Session) detach() {
	// The last first: what page cache is evicted by an episode whose hooks are gone
	// already would be nobody's.
	for _, l := range slices.Backward(s.links) {
		l.Close()
	}
	for _, c := range s.objects {
		c.Close()
	}
	s.links, s.objects = nil, nil
	clear(s.Programs)
	clear(s.looks)
}

// Detach removes the programs from their hooks and leaves the maps readable.
func (s *Session) Detach() { s.detach() }

// Close detaches and frees everything.
func (s *Session) Close() {
	s.detach()
	for _, m := range s.Maps {
		m.Close()
	}
	clear(s.Maps)
}
