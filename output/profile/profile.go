// Package profile tells a person which code brought memory into which container:
// the functions and the stacks whose page faults did.
package profile

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/output/stacks"
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Options say how to render.
type Options struct {
	// Width is how many columns a line may take; 0 means 100.
	Width int
	// Functions and Stacks bound what is told of a container; 0 means 12 and 5.
	Functions, Stacks int
}

// Writer adds events up and writes a summary at the end. It is not safe for
// concurrent use.
type Writer struct {
	out io.Writer
	opt Options
	all stacks.Collector
	buf bytes.Buffer
}

// New returns a Writer on w.
func New(w io.Writer, opt Options) *Writer {
	opt.Width = cmp.Or(opt.Width, 100)
	opt.Functions, opt.Stacks = cmp.Or(opt.Functions, 12), cmp.Or(opt.Stacks, 5)
	return &Writer{out: w, opt: opt}
}

// Write takes an event.
func (w *Writer) Write(e event.Event) error {
	w.all.Add(e)
	return nil
}

// Close writes the profile.
func (w *Writer) Close() error {
	if !w.all.Has(stacks.Faults) {
		w.line("no page fault was sampled")
	} else {
		w.line("%s page faults looked at in %s, one in %d: figures are estimates of what was faulted in",
			unit.Count(w.all.Sampled), unit.Duration(w.all.End.Sub(w.all.Begin)), w.all.Period)
	}
	if w.all.Lost > 0 {
		w.line("LOST %s samples or records: the figures are too low", unit.Count(w.all.Lost))
	}
	places := make(map[string]*place)
	for _, s := range w.all.Samples(stacks.Faults) {
		p := places[s.Place]
		if p == nil {
			p = &place{name: s.Place, functions: make(map[string]*function), stacks: make(map[string]*stack)}
			places[s.Place] = p
		}
		p.add(s)
	}
	var all []*place
	for _, p := range places {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *place) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.name, b.name))
	})
	for _, p := range all {
		w.place(p)
	}
	_, err := w.out.Write(w.buf.Bytes())
	return err
}

// place is one container.
type place struct {
	name           string
	bytes          uint64
	minor, major   uint64
	functions      map[string]*function
	stacks         map[string]*stack
	unnamed, naked uint64 // bytes of stacks with frames without names; without frames
}

// function is where a page was touched (flat), or what called that (total).
type function struct {
	name        string
	flat, total uint64
}

type stack struct {
	comm   string
	frames []string // from where the page was touched outwards
	bytes  uint64
}

func (p *place) add(s *stacks.Sample) {
	p.bytes += s.Value
	if s.What == event.FaultMajor {
		p.major += s.Count
	} else {
		p.minor += s.Count
	}
	frames := make([]string, 0, len(s.Kernel)+len(s.User))
	for _, f := range s.Kernel {
		frames = append(frames, stacks.KernelFunction(f)+" [kernel]")
	}
	named := true
	for i := range s.User {
		named = named && s.User[i].Function != ""
		frames = append(frames, stacks.UserFunction(&s.User[i]))
	}
	if len(frames) == 0 {
		p.naked += s.Value
		return
	}
	if !named {
		p.unnamed += s.Value
	}
	seen := make(map[string]bool, len(frames)) // recursion counts once
	for i, name := range frames {
		f := p.functions[name]
		if f == nil {
			f = &function{name: name}
			p.functions[name] = f
		}
		if i == 0 {
			f.flat += s.Value
		}
		if !seen[name] {
			seen[name] = true
			f.total += s.Value
		}
	}
	key := s.Comm + "\x00" + strings.Join(frames, "\x00")
	if p.stacks[key] == nil {
		p.stacks[key] = &stack{comm: s.Comm, frames: frames}
	}
	p.stacks[key].bytes += s.Value
}

func (w *Writer) line(format string, args ...any) {
	text := term.Text(fmt.Sprintf(format, args...))
	w.buf.WriteString(string(term.Cut(text, w.opt.Width)) + "\n")
}

const indent = 9 // columns of "1023 MiB" and a space

func (w *Writer) place(p *place) {
	w.line("")
	w.line("%s  %s, %s minor and %s major faults", term.Elide(term.Clean(cmp.Or(p.name, "?")), max(w.opt.Width-50, 16)),
		unit.Bytes(p.bytes), unit.Count(p.minor), unit.Count(p.major))
	if p.naked > 0 {
		w.line("  %s of it without a stack", unit.Percent(p.naked, p.bytes))
	}
	if p.unnamed > 0 {
		w.line("  %s of it through code without names: stripped, generated at run time, or of a process already gone", unit.Percent(p.unnamed, p.bytes))
	}
	if len(p.functions) == 0 {
		return
	}
	functions := make([]*function, 0, len(p.functions))
	for _, f := range p.functions {
		functions = append(functions, f)
	}
	slices.SortFunc(functions, func(a, b *function) int {
		return cmp.Or(cmp.Compare(b.flat, a.flat), cmp.Compare(b.total, a.total), cmp.Compare(a.name, b.name))
	})
	// The share of callees is left out where names need the room.
	narrow := w.opt.Width < 60
	total := "  " + fmt.Sprintf("%*s", indent+5, "with callees")
	if narrow {
		total = ""
	}
	w.line("  %*s%s  %s", indent+5, "touched by it", total, "function")
	for _, f := range functions[:min(len(functions), w.opt.Functions)] {
		if !narrow {
			total = fmt.Sprintf("  %*s %4s", indent, amount(f.total), unit.Percent(f.total, p.bytes))
		}
		w.line("  %*s %4s%s  %s", indent, amount(f.flat), unit.Percent(f.flat, p.bytes), total,
			term.Elide(term.Clean(f.name), max(w.opt.Width-20-len(total), 4)))
	}
	if more := len(functions) - w.opt.Functions; more > 0 {
		w.line("  …and %s more", unit.Count(uint64(more)))
	}
	paths := make([]*stack, 0, len(p.stacks))
	for _, s := range p.stacks {
		paths = append(paths, s)
	}
	slices.SortFunc(paths, func(a, b *stack) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), slices.Compare(a.frames, b.frames), cmp.Compare(a.comm, b.comm))
	})
	for _, s := range paths[:min(len(paths), w.opt.Stacks)] {
		w.line("  %*s %4s  in %s", indent, amount(s.bytes), unit.Percent(s.bytes, p.bytes), term.Clean(s.comm))
		for _, f := range s.frames {
			w.line("  %*s %4s    %s", indent, "", "", term.Elide(term.Clean(f), max(w.opt.Width-22, 4)))
		}
	}
	if more := len(paths) - w.opt.Stacks; more > 0 {
		w.line("  …and %s more stack%s", unit.Count(uint64(more)), map[bool]string{true: "s"}[more > 1])
	}
}

func amount(bytes uint64) string {
	if bytes == 0 {
		return "0"
	}
	return unit.Bytes(bytes)
}
