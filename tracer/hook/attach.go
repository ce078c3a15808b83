package hook

import (
	"errors"
	"fmt"
	"io"
	"maps"
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

	types   *btf.Cache // of the kernel, decoded once for all objects
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
func Attach(cfg Config, p Prober) (*Session, error) {
	// Kernels before 5.11 account maps against RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK: %w (needs CAP_SYS_RESOURCE on this kernel)", err)
	}
	if cfg.Refused == nil {
		cfg.Refused = make(map[string]error)
	}
	s := &Session{Maps: make(map[string]*ebpf.Map), Programs: make(map[string]*ebpf.Program), looks: make(map[string]*link.Iter), types: btf.NewCache()}
	for {
		s.Choices = Plan(Table(), p, cfg.Request)
		again, err := s.attach(cfg, p)
		if err != nil {
			s.Close()
			return nil, err
		}
		if !again {
			s.types = nil
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
func (s *Session) attach(cfg Config, p Prober) (bool, error) {
	var refused *refusal
	err := s.load(cfg, p)
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

func (s *Session) load(cfg Config, p Prober) error {
	readers := Objects()
	if err := s.loadObject(cfg, p, "core", readers["core"], nil); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(readers)) {
		keep := make(map[string]Program)
		kinds := make(map[string]string)
		owners := make(map[string]string)
		for _, c := range s.Choices {
			if c.Way == nil || c.Way.Object != name {
				continue
			}
			for _, prog := range c.Way.Programs {
				keep[prog.Name] = prog
				kinds[prog.Name] = c.Way.Kind
				owners[prog.Name] = c.Key(c.Way)
			}
		}
		if len(keep) == 0 {
			continue
		}
		err := s.loadObject(cfg, p, name, readers[name], keep)
		if err == nil {
			continue
		}
		// The error names the program; the others of the object are not to
		// blame, so only this one's way is closed.
		for prog, key := range owners {
			if strings.Contains(err.Error(), "program "+prog+":") {
				return &refusal{key, fmt.Errorf("%s %s: %w", kinds[prog], keep[prog].Target, firstLine(err))}
			}
		}
		return err
	}
	return nil
}

// numaNodes counts the possible NUMA nodes: "0" or "0-3".
func numaNodes() int {
	text, err := os.ReadFile("/sys/devices/system/node/possible")
	if err != nil {
		return 1
	}
	_, last, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	n, _ := strconv.Atoi(last)
	return n + 1
}

func firstLine(err error) error {
	var v *ebpf.VerifierError
	if errors.As(err, &v) && len(v.Log) > 1 {
		return fmt.Errorf("the verifier refused it: %s", strings.TrimSpace(v.Log[len(v.Log)-2]))
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

func (s *Session) loadObject(cfg Config, p Prober, name string, read func() (*ebpf.CollectionSpec, error), keep map[string]Program) error {
	spec, err := read()
	if err != nil {
		return fmt.Errorf("read object %s: %w", name, err)
	}
	for prog, ps := range spec.Programs {
		want, ok := keep[prog]
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
	for key, value := range cfg.constants(p) {
		v, ok := spec.Variables[key]
		if !ok {
			continue
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("object %s: set %s: %w", name, key, err)
		}
	}
	opts := ebpf.CollectionOptions{MapReplacements: make(map[string]*ebpf.Map), Cache: s.types}
	for m := range spec.Maps {
		if shared, ok := s.Maps[m]; ok && !strings.HasPrefix(m, ".") {
			opts.MapReplacements[m] = shared
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return fmt.Errorf("load object %s: %w", name, err)
	}
	s.objects = append(s.objects, coll)
	for m, loaded := range coll.Maps {
		if _, ok := s.Maps[m]; ok || strings.HasPrefix(m, ".") {
			continue
		}
		if s.Maps[m], err = loaded.Clone(); err != nil {
			return fmt.Errorf("map %s: %w", m, err)
		}
	}
	maps.Copy(s.Programs, coll.Programs)
	return nil
}

// large names the maps that take megabytes, and whether what they are for is
// wanted.
func (cfg Config) large() map[string]bool {
	return map[string]bool{
		"stalls": cfg.WantStalls, "evictions": cfg.SampleRefaults, "refaults": cfg.SampleRefaults,
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
		"nodes":           uint32(numaNodes()),
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
	for _, l := range s.links {
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
