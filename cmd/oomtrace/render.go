package main

import (
	"io"

	"github.com/oomtrace/oomtrace/output/folded"
	"github.com/oomtrace/oomtrace/output/pprof"
	"github.com/oomtrace/oomtrace/output/trace"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Outputs that have an end.
const (
	outputFolded = "folded"
	outputPprof  = "pprof"
	outputTrace  = "trace"
)

// renderer writes events in a form that has an end.
type renderer interface {
	Write(event.Event) error
	Close() error
}

// newRenderer gives what writes one of these outputs to w.
func newRenderer(format string, w io.Writer) renderer {
	switch format {
	case outputFolded:
		return folded.New(w)
	case outputTrace:
		return trace.New(w)
	}
	return pprof.New(w)
}

// sparesTerminal refuses what a terminal cannot show.
func (e *env) sparesTerminal(format string) error {
	if _, terminal := terminalWidth(e.stdout); format == outputPprof && terminal {
		return usagef("-o, --output: pprof is not for terminals").hinted("redirect it to a file, and open that with: go tool pprof -http=: FILE")
	}
	return nil
}
