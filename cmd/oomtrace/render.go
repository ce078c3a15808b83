package main

import (
	"context"
	"errors"
	"io"
	"syscall"

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

// rendered tells whether an output is one of these.
func rendered(format string) bool {
	return format == outputFolded || format == outputPprof || format == outputTrace
}

// stackRenderer is one of these outputs.
type stackRenderer interface {
	renderer
	// From says which host the events are of that follow, where there are several.
	From(host string)
}

// newRenderer gives what writes one of these outputs to w.
func newRenderer(format string, w io.Writer) stackRenderer {
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

// latencyRendered writes stalls one by one, where the report has sums.
func (e *env) latencyRendered(ctx context.Context, f *latencyFlags, names []string) error {
	if err := e.sparesTerminal(f.form); err != nil {
		return err
	}
	if len(names) > 0 {
		return e.latencyOf(ctx, f, newReplayRendered, names)
	}
	out := newRenderer(f.form, e.stdout)
	return finish(out, e.latencyLive(ctx, f, view{render: out.Write}))
}

// finish writes what is left. Whoever was told of an error of the events still
// gets what could be read of them.
func finish(out renderer, err error) error {
	if err != nil && !errors.Is(err, errReported) {
		return err
	}
	if closing := out.Close(); closing != nil {
		return outputFailed(closing)
	}
	return err
}

func outputFailed(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return errReaderGone
	}
	return writeError(err)
}
