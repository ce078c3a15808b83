package report

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// faults adds up page faults by where in the program they happened: what grew
// there is what filled the memory.
func (b *builder) faults(e *event.Profile) {
	if len(e.UserStack) == 0 {
		return
	}
	frames := make([]string, len(e.UserStack))
	for i := range e.UserStack {
		frames[i] = frame(&e.UserStack[i])
	}
	key := e.Process.Comm + "\x00" + strings.Join(frames, "\x00")
	s := b.grown[key]
	if s == nil {
		if len(b.grown) == maxStacks {
			return
		}
		s = &Stack{Of: "faults", Frames: frames, Comm: e.Process.Comm}
		b.grown[key] = s
	}
	s.Bytes += e.Bytes
}

// frame is the name of a function, else where in which file it lies.
func frame(f *event.Frame) string {
	if f.Function != "" {
		return f.Function
	}
	return cmp.Or(f.Module, "?") + "+0x" + strconv.FormatUint(f.Offset, 16)
}
