// Package pprof writes profile.proto, which `go tool pprof` and all that speak
// its format open: where threads stalled, and which code brought memory in.
package pprof

import (
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/oomtrace/oomtrace/output/stacks"
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Writer adds events up and writes them at the end. It is not safe for
// concurrent use.
type Writer struct {
	out io.Writer
	all stacks.Collector
}

// New returns a Writer on w.
func New(w io.Writer) *Writer { return &Writer{out: w} }

// From says which host the events are of that follow, where there are several.
func (w *Writer) From(host string) { w.all.Host = host }

// Write takes an event.
func (w *Writer) Write(e event.Event) error {
	w.all.Add(e)
	return nil
}

// Close writes the profile, compressed. Its values are stalls in count and
// nanoseconds, and page faults in count and bytes: those of the two that the
// events hold, both when they hold both. Labels of a sample: container, pod,
// cgroup, comm, kind, and host where there are several.
func (w *Writer) Close() error {
	b := builder{
		functions: make(map[string]*profile.Function), locations: make(map[location]*profile.Location),
		mappings: make(map[module]*profile.Mapping),
	}
	p := &b.profile
	if !w.all.Begin.IsZero() {
		p.TimeNanos = w.all.Begin.UnixNano()
	}
	p.DurationNanos = max(int64(w.all.End.Sub(w.all.Begin)), 0)
	faults := w.all.Has(stacks.Faults)
	if stalls := w.all.Has(stacks.Stalls); stalls || !faults {
		p.PeriodType, p.Period = &profile.ValueType{Type: "stalls", Unit: "count"}, 1
		p.DefaultSampleType = "stalled"
		b.add(w.all.Samples(stacks.Stalls), "stalls", "stalled", "nanoseconds")
	}
	if faults {
		p.PeriodType, p.Period = &profile.ValueType{Type: "faults", Unit: "count"}, amount(w.all.Period)
		p.DefaultSampleType = "memory"
		b.add(w.all.Samples(stacks.Faults), "faults", "memory", "bytes")
	}
	for _, s := range p.Sample {
		s.Value = append(s.Value, make([]int64, len(p.SampleType)-len(s.Value))...)
	}
	// pprof takes the first for the program that was profiled.
	slices.SortStableFunc(p.Mapping, func(a, b *profile.Mapping) int {
		return strings.Compare(bracket(a.File), bracket(b.File))
	})
	for _, m := range p.Mapping {
		m.Limit = m.Start + (m.Limit-m.Start+0xfff)&^0xfff
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	return p.Write(w.out)
}

// bracket gives "[" for what is no file, "" for others.
func bracket(name string) string {
	if strings.HasPrefix(name, "[") {
		return "["
	}
	return ""
}

type module struct{ file, buildID string }

type location struct {
	module
	function string
	offset   uint64
}

// builder makes each function, location and mapping once.
type builder struct {
	profile   profile.Profile
	functions map[string]*profile.Function
	locations map[location]*profile.Location
	mappings  map[module]*profile.Mapping
}

func (b *builder) add(samples []*stacks.Sample, count, value, unit string) {
	p := &b.profile
	before := len(p.SampleType)
	p.SampleType = append(p.SampleType, &profile.ValueType{Type: count, Unit: "count"}, &profile.ValueType{Type: value, Unit: unit})
	for _, s := range samples {
		sample := &profile.Sample{Value: append(make([]int64, before), amount(s.Count), amount(s.Value)), Label: labels(s)}
		for _, f := range s.Kernel {
			sample.Location = append(sample.Location, b.kernel(f))
		}
		for i := range s.User {
			sample.Location = append(sample.Location, b.user(&s.User[i]))
		}
		if len(sample.Location) == 0 {
			sample.Location = append(sample.Location, b.location(location{function: "[" + s.What + "]"}, nil))
		}
		p.Sample = append(p.Sample, sample)
	}
}

func amount(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func labels(s *stacks.Sample) map[string][]string {
	out := make(map[string][]string)
	put := func(key, value string) {
		if value != "" {
			out[key] = []string{clean(value)}
		}
	}
	put("host", s.Host)
	put("container", s.Place)
	if s.Container != nil && s.Container.Pod != nil {
		pod := s.Container.Pod
		name := pod.UID
		if pod.Name != "" {
			name = strings.TrimPrefix(pod.Namespace+"/"+pod.Name, "/")
		}
		put("pod", name)
	}
	if s.Cgroup != nil {
		put("cgroup", s.Cgroup.Path)
	}
	put("comm", s.Comm)
	put("kind", s.What)
	return out
}

// kernel makes a location of a kernel function. Its address is not told, and
// differs with each boot.
func (b *builder) kernel(frame string) *profile.Location {
	return b.location(location{function: stacks.KernelFunction(frame), module: module{file: "[kernel.kallsyms]"}}, nil)
}

func (b *builder) user(f *event.Frame) *profile.Location {
	at := location{module{f.Module, f.BuildID}, f.Function, f.Offset}
	if f.Module == "" && f.Function == "" { // in no file: there is nothing but the address
		at.function = stacks.UserFunction(f)
	}
	return b.location(at, &f.Offset)
}

// location makes a place in a module. Modules are laid out one behind the other,
// each from its file's beginning: where a process had it is of no use to another.
func (b *builder) location(at location, offset *uint64) *profile.Location {
	if l := b.locations[at]; l != nil {
		return l
	}
	l := &profile.Location{ID: uint64(len(b.profile.Location) + 1)}
	if at.file != "" {
		l.Mapping = b.mapping(at.module, at.function != "")
		if offset != nil {
			// No file is that long, but an event may say what it likes.
			l.Address = l.Mapping.Start + min(*offset, spacing-0x1000)
			l.Mapping.Limit = max(l.Mapping.Limit, l.Address+1)
		}
	}
	if at.function != "" {
		l.Line = []profile.Line{{Function: b.function(at.function)}}
	}
	b.locations[at] = l
	b.profile.Location = append(b.profile.Location, l)
	return l
}

const spacing = 1 << 40

func (b *builder) mapping(of module, named bool) *profile.Mapping {
	m := b.mappings[of]
	if m == nil {
		id := uint64(len(b.profile.Mapping) + 1)
		m = &profile.Mapping{ID: id, Start: id * spacing, Limit: id*spacing + 1, File: clean(of.file), BuildID: clean(of.buildID), HasFunctions: true}
		b.mappings[of] = m
		b.profile.Mapping = append(b.profile.Mapping, m)
	}
	m.HasFunctions = m.HasFunctions && named
	return m
}

// clone is what compilers append to the name of a function that they took apart.
// pprof shows no more of a name than what follows its last dots: "isra.0".
var clone = regexp.MustCompile(`(\.(isra|constprop|part|cold|lto_priv|llvm)(\.[0-9]+)*)+$`)

func (b *builder) function(name string) *profile.Function {
	f := b.functions[name]
	if f == nil {
		f = &profile.Function{ID: uint64(len(b.profile.Function) + 1), Name: clean(clone.ReplaceAllString(name, "")), SystemName: clean(name)}
		b.functions[name] = f
		b.profile.Function = append(b.profile.Function, f)
	}
	return f
}

// clean escapes what a terminal that pprof writes to would act on.
func clean(s string) string { return string(term.Clean(s)) }
