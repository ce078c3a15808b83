package text

import (
	"github.com/oomtrace/oomtrace/output/stacks"
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// profile is one line for the faults of one stack: how much they are estimated
// to have brought in, and where they were. A profile as a whole has renderers of
// its own.
func (w *Writer) profile(e *event.Profile) {
	const in = body + 8
	l := w.at(e.Time).put(plain, "profile").to(in).put(plain, term.Elide(place(e.Container, e.Cgroup), placeWide)).to(in + placeWide + 2)
	l.put(plain, "~"+size(e.Bytes)).put(dim, " by "+process(&e.Process, 24)+", "+term.Clean(e.Fault)+" faults")
	switch {
	case len(e.Stack) > 0:
		l.put(dim, " in "+term.Clean(stacks.KernelFunction(e.Stack[0]))+" [kernel]")
	case len(e.UserStack) > 0:
		l.put(dim, " in "+term.Clean(stacks.UserFunction(&e.UserStack[0])))
	}
	l.end()
}
