// Package folded writes stacks as flame graphs take them in: a line for each
// stack, its frames from the outside in, separated by semicolons, and a number.
package folded

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

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

// Close writes the page faults, in estimated bytes, or where there are none the
// stalls, in nanoseconds: the host where there are several, container, thread, user stack, kernel stack, the
// latter's frames marked by "_[k]" as flame graphs colour them. A sample without
// any stack has its kind in brackets instead. Lines are sorted and each is
// different.
func (w *Writer) Close() error {
	lines := make(map[string]uint64)
	for _, s := range w.all.Samples(w.all.Main()) {
		lines[line(s)] += s.Value
	}
	out := bufio.NewWriter(w.out)
	for _, l := range slices.SortedFunc(maps.Keys(lines), cmp.Compare[string]) {
		out.WriteString(l)
		out.WriteByte(' ')
		out.WriteString(strconv.FormatUint(lines[l], 10))
		out.WriteByte('\n')
	}
	return out.Flush()
}

func line(s *stacks.Sample) string {
	parts := []string{frame(cmp.Or(s.Place, "?")), frame(cmp.Or(s.Comm, "?"))}
	if s.Host != "" {
		parts = append([]string{frame(s.Host)}, parts...)
	}
	for i := len(s.User) - 1; i >= 0; i-- {
		parts = append(parts, frame(stacks.UserFunction(&s.User[i])))
	}
	for i := len(s.Kernel) - 1; i >= 0; i-- {
		parts = append(parts, frame(stacks.KernelFunction(s.Kernel[i]))+"_[k]")
	}
	if len(s.User)+len(s.Kernel) == 0 {
		parts = append(parts, "["+frame(s.What)+"]")
	}
	return strings.Join(parts, ";")
}

// frame makes a name fit to stand between semicolons.
func frame(name string) string {
	return strings.ReplaceAll(string(term.Clean(name)), ";", ":")
}
