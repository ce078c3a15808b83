package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnsupported = 3
	exitInterrupted = 130 // a second ^C
)

// source is a stream of events; *tracer.Tracer is the one that counts.
type source interface {
	Header() *event.Header
	Run(context.Context, tracer.Sink) error
	Close() error
}

type (
	opener   func(tracer.Options) (source, error)
	examiner func(tracer.Options) *tracer.Examination
)

// env is all that a command sees of the process around it.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	open           opener
	examine        examiner

	mu    sync.Mutex
	undos []func()
}

// say writes a line for the person to stderr.
func (e *env) say(format string, args ...any) {
	var b strings.Builder
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		b.WriteString("oomtrace: " + string(term.Clean(strings.TrimRight(line, "\n"))) + "\n")
	}
	_, _ = io.WriteString(e.stderr, b.String())
}

// print writes text to stdout. A reader that went away is no failure.
func (e *env) print(text string) error {
	if _, err := io.WriteString(e.stdout, text); err != nil && !errors.Is(err, syscall.EPIPE) {
		return writeError(err)
	}
	return nil
}

// colors tells whether a terminal is to be given colours.
func (e *env) colors(off bool) bool {
	return !off && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}

func writeError(err error) error { return fmt.Errorf("write to stdout: %w", cause(err)) }

// whenAbandoned registers what must be undone even when a second ^C ends the
// program at once. It has to be quick, and safe to be called twice.
func (e *env) whenAbandoned(undo func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.undos = append(e.undos, undo)
}

func (e *env) abandon() {
	e.mu.Lock()
	undos := e.undos
	e.mu.Unlock()
	for _, undo := range undos {
		undo()
	}
}

// usageError is a mistake on the command line.
type usageError struct {
	msg  string
	hint string // one line, may be empty
	see  string // whose --help to see: "oomtrace", "oomtrace doctor"
}

func (u *usageError) Error() string { return u.msg }

func usagef(format string, args ...any) *usageError {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

func (u *usageError) hinted(format string, args ...any) *usageError {
	u.hint = fmt.Sprintf(format, args...)
	return u
}

// errReported is a failure about which the person has been told already.
var errReported = errors.New("reported")

// errReaderGone ends a command early and quietly: nobody reads stdout any more.
var errReaderGone = errors.New("the reader of stdout is gone")

// fail tells why a command ended and gives the exit code.
func (e *env) fail(err error) int {
	var usage *usageError
	var selector *tracer.SelectorError
	var unsupported *tracer.Unsupported
	switch {
	case err == nil, errors.Is(err, errReaderGone):
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &usage):
		e.say("%s", usage.msg)
		if usage.hint != "" {
			e.say("%s", usage.hint)
		}
		e.say("see '%s --help'", usage.see)
		return exitUsage
	case errors.As(err, &selector):
		e.say("%v", selector.Err)
		if selector.Hint != "" {
			e.say("%s", selector.Hint)
		}
		e.say("see 'oomtrace --help'")
		return exitUsage
	case errors.As(err, &unsupported):
		e.say("%s", strings.Join(unsupported.Missing, "; "))
		for _, remedy := range unsupported.Remedy {
			e.say("%s", remedy)
		}
		return exitUnsupported
	}
	e.say("%v", err)
	return exitFailed
}

// cause strips the operation and path off an error of a file that is named
// already.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
