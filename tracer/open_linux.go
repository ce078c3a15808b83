package tracer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
	"github.com/oomtrace/oomtrace/tracer/symbol"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

// Tracer is attached to the kernel from Open to Close.
type Tracer struct {
	opts     Options
	mount    cgroup.Mount
	names    *names
	session  *hook.Session
	reader   *ringbuf.Reader
	clock    clock
	gfp      *gfp
	symbols  func() *symbol.Kernel
	users    *symbol.Users
	cache    *tally.Cache
	profile  *tally.Profile
	page     uint64
	procRoot string
	header   *event.Header

	roots      map[uint64]bool // of the cgroups that are traced; empty: all
	departures []departure
	incidents  map[uint64]*incident
	scores     scores
	kinds      kinds
	log        *logReader // nil: may not be read
	pauses     pauses
	barren     map[uint64]*barren  // by domain
	lastKills  map[uint64]lastKill // by domain
	victims    map[uint32]victimOf // of late
	samples    map[uint64]sample
	window     *window           // nil unless kills are told
	pressures  map[uint64]uint64 // domain: when it was last under pressure
	stats      map[uint64]cgroup.Stat
	histograms histograms
	recent     map[uint64]uint64 // cgroups with page-cache traffic of late, and until when they count as such
	forgotten  uint64            // when counters of cgroups long gone were freed last
	counters   counters
	polls      bool // the kernel side was told that the reader looks by itself
	lastRecord time.Time
	drained    uint64 // CLOCK_MONOTONIC up to which every record has been read
	sink       Sink
	running    sync.Mutex // held by Run
	began      time.Time
	lastCache  uint64 // CLOCK_MONOTONIC of the last cache events
	lastSample uint64 // likewise of the last profile events
}

func (o *Options) fill() {
	if len(o.Families) == 0 {
		o.Families = DefaultFamilies()
	}
	if o.Period == 0 {
		o.Period = DefaultPeriod
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	if o.CgroupRoot == "" {
		o.CgroupRoot = "/sys/fs/cgroup"
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
}

func (o *Options) wants(family string) bool { return slices.Contains(o.Families, family) }

// Open attaches to the kernel. What it misses for good is an *Unsupported, a
// cgroup that does not exist a *SelectorError. Needs kernel 5.10 with BTF and
// CAP_BPF and CAP_PERFMON.
func Open(o Options) (*Tracer, error) {
	o.fill()
	if err := privileges(); err != nil {
		return nil, err
	}
	kernel, err := hook.NewKernel()
	if err != nil {
		return nil, &Unsupported{Missing: []string{err.Error()}}
	}
	mount, err := cgroup.FindMount(o.CgroupRoot, o.ProcRoot)
	if err != nil {
		return nil, &Unsupported{Missing: []string{err.Error()}}
	}
	t := &Tracer{
		opts: o, mount: mount, page: uint64(os.Getpagesize()), procRoot: o.ProcRoot,
		gfp:   newGFP(),
		users: symbol.NewUsers(o.ProcRoot),
		roots: make(map[uint64]bool), incidents: make(map[uint64]*incident), samples: make(map[uint64]sample),
		pressures: make(map[uint64]uint64), stats: make(map[uint64]cgroup.Stat), recent: make(map[uint64]uint64),
		began: time.Now(),
	}
	resolver := container.NewResolver(container.Options{ProcRoot: o.ProcRoot, Roots: o.RuntimeRoots, Below: mount.Normalize})
	for _, root := range resolver.Missing() {
		o.Warn(fmt.Sprintf("runtime root %s=%s: there is no such directory; it is looked at when there is", root.Runtime, root.Dir))
	}
	t.names = newNames(cgroup.NewTree(mount, cgroup.Options{}), newIdentities(resolver, o.Warn), o.ProcRoot)
	t.counters.init()
	t.symbols = sync.OnceValue(func() *symbol.Kernel {
		s, err := symbol.LoadKernel(o.ProcRoot)
		if err != nil || !s.Known() {
			o.Warn("kernel functions in stacks stay without names: /proc/kallsyms hides its addresses (kernel.kptr_restrict, CAP_SYSLOG)")
		}
		return s
	})
	if o.Stacks || o.wants(FamilyProfile) {
		t.symbols() // takes a while; not when there are records to be read
	}
	t.clock.measure()

	cfg := hook.Config{
		Request:   hook.Request{Families: o.Families, Tier: o.Tier, CgroupVersion: mount.Version},
		Hierarchy: mount.HierarchyID, Filtered: len(o.Cgroups) > 0,
		WantReclaim: o.wants(FamilyReclaim), WantKswapd: o.wants(FamilyKswapd), CountCache: o.wants(FamilyCache),
		WantThrottle: o.wants(FamilyThrottle), WantStalls: o.wants(FamilyStalls) || o.wants(FamilyThrash),
		SampleRefaults: o.wants(FamilyCache) || o.wants(FamilyThrash),
		Stacks:         o.Stacks, MinStallNS: uint64(max(o.MinStall, 0)), RingBytes: o.RingBytes, Period: o.Period,
		Seed: t.seed,
	}
	t.session, err = hook.Attach(cfg, kernel)
	if err != nil {
		var s *SelectorError
		if errors.As(err, &s) {
			return nil, err
		}
		if errors.Is(err, os.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) {
			return nil, &Unsupported{Missing: []string{err.Error()}, Remedy: []string{"`oomtrace doctor` tells what this kernel allows"}}
		}
		return nil, err
	}
	if err := t.usable(); err != nil {
		t.session.Close()
		return nil, err
	}
	t.reader, err = ringbuf.NewReader(t.session.Maps["events"])
	if err != nil {
		t.session.Close()
		return nil, fmt.Errorf("ring buffer: %w", err)
	}
	t.names.identities.wake = func() { _ = t.reader.Flush() }
	go t.names.identities.run()
	t.openLog()
	if o.wants(FamilyCache) {
		t.cache = tally.NewCache(t.session.Maps)
		t.seedStats()
	}
	if t.sees(FamilyProfile, "page faults") {
		if t.profile, err = tally.NewProfile(t.session.Maps); err != nil {
			t.reader.Close()
			t.session.Close()
			return nil, err
		}
	}
	t.histograms = newHistograms(o, t.session.Maps)
	if o.wants(FamilyOOM) {
		t.openWindow()
	}
	t.header = t.makeHeader()
	debug.FreeOSMemory() // the kernel's BTF, by far the largest thing in memory
	return t, nil
}

// usable checks that at least one of the families that were asked for can be
// seen.
func (t *Tracer) usable() error {
	var missing []string
	open := t.opts.wants(FamilyMemory) || t.opts.wants(FamilyCgroup)
	for _, c := range t.session.Choices {
		switch {
		case !slices.ContainsFunc(t.opts.Families, func(f string) bool { return RestsOn(f) == c.Family }):
		case c.Way != nil && c.Without == "":
			open = true
		case c.Way == nil && c.Without == "":
			missing = append(missing, fmt.Sprintf("%s: %s", c.Family, strings.Join(c.Passed, ", ")))
		}
	}
	if open {
		return nil
	}
	return &Unsupported{Missing: missing, Remedy: []string{"`oomtrace doctor` tells what this kernel allows"}}
}

// sees tells whether a purpose of the attach plan is served by a hook.
func (t *Tracer) sees(family, purpose string) bool {
	return slices.ContainsFunc(t.session.Choices, func(c hook.Choice) bool {
		return c.Family == family && c.Name == purpose && c.Way != nil && c.Way.Kind != hook.Cgroupfs
	})
}

func (t *Tracer) makeHeader() *event.Header {
	h := &event.Header{
		Meta: event.Meta{Type: event.TypeHeader, Time: time.Now().UTC()}, Schema: event.Schema, Version: t.opts.Version,
		Arch: runtime.GOARCH, PageBytes: int(t.page), CgroupVersion: t.mount.Version,
		Hooks: t.session.Hooks(), Missing: t.session.Missing(),
	}
	h.Host, _ = os.Hostname()
	h.Kernel = release()
	if id, err := os.ReadFile(filepath.Join(t.procRoot, "sys/kernel/random/boot_id")); err == nil {
		h.BootID = strings.TrimSpace(string(id))
	}
	return h
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Header is the first event of the stream: what is seen, and how.
func (t *Tracer) Header() *event.Header { return t.header }

// Session gives access to the attached programs and their maps, for benchmarks.
func (t *Tracer) Session() *hook.Session { return t.session }

// Close detaches from the kernel. A Run that is still under way ends with an
// error.
func (t *Tracer) Close() error {
	t.names.identities.close()
	err := t.reader.Close()
	if t.log != nil {
		t.log.close()
	}
	t.running.Lock()
	defer t.running.Unlock()
	t.session.Close()
	if t.profile != nil {
		t.profile.Close()
	}
	return err
}
