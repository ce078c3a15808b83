package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/output/text"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// lookFlags are what rank and inspect have in common: one cgroup, looked at now.
type lookFlags struct {
	liveFlags // of which the selectors and the common ones are taken
	lines     int
	selector  tracer.Selector // zero: the node
}

func (f *lookFlags) add(fs *pflag.FlagSet, lines int, what string) {
	fs.StringArrayVarP(&f.cgroups, "cgroup", "c", nil, "the cgroup, by `ID|PATH`: below the cgroup mount or in full (default: the node)")
	fs.StringArrayVar(&f.containers, "container", nil, "the container, by `NAME|ID` or the beginning of its id (8 or more characters)")
	fs.StringArrayVar(&f.pods, "pod", nil, "the pod, by `[NS/]NAME` or its UID")
	fs.StringArrayVarP(&f.pids, "pid", "p", nil, "the cgroup of the process `PID`")
	fs.IntVarP(&f.lines, "lines", "n", lines, "list `N` "+what+"; 0 lists all")
	f.common.add(fs)
	_ = fs.MarkHidden("verbose") // nothing is attached
}

func (f *lookFlags) check(fs *pflag.FlagSet) error {
	if err := nothingLeft(fs); err != nil {
		return err
	}
	if err := f.common.check(); err != nil {
		return err
	}
	if f.lines < 0 {
		return usagef("-n, --lines: %d is no number of lines", f.lines)
	}
	asked, err := f.selected()
	if err != nil {
		return err
	}
	if len(asked) > 1 {
		return usagef("one cgroup at a time").hinted("for several that lie together, name the one above them")
	}
	if len(asked) == 1 {
		f.selector = asked[0]
	}
	return nil
}

// open finds the cgroup; "" is the node.
func (f *lookFlags) open(e *env) (*tracer.Look, string, error) {
	o := f.options()
	o.Warn = func(msg string) { e.say("%s", msg) }
	look, err := tracer.NewLook(o)
	if err != nil || f.selector == (tracer.Selector{}) {
		return look, "", err
	}
	path, err := look.Find(f.selector)
	return look, path, err
}

// shower gives the function that writes an event to stdout. In place, each takes
// the place of the one before on a terminal.
func (f *lookFlags) shower(e *env, inPlace bool) func(event.Event) error {
	if f.output == outputJSON {
		return shown(jsonl.New(e.stdout).Write)
	}
	columns, terminal := terminalWidth(e.stdout)
	out := io.Writer(e.stdout)
	if inPlace && terminal {
		out = &screen{out: e.stdout}
	}
	color := terminal && e.colors(f.noColor)
	return shown(text.New(out, text.Options{Color: color, Width: columns}).Write)
}

func shown(write func(event.Event) error) func(event.Event) error {
	return func(ev event.Event) error {
		switch err := write(ev); {
		case errors.Is(err, syscall.EPIPE):
			return errReaderGone
		case err != nil:
			return writeError(err)
		}
		return nil
	}
}

// screen writes each piece over the one before: home, every line cleared to its
// end, and what is below cleared too.
type screen struct {
	out  io.Writer
	used bool
}

func (s *screen) Write(p []byte) (int, error) {
	begin := "\x1b[H"
	if !s.used {
		begin, s.used = "\x1b[2J\x1b[H", true
	}
	b := append([]byte(begin), bytes.ReplaceAll(p, []byte("\n"), []byte("\x1b[K\n"))...)
	_, err := s.out.Write(append(b, "\x1b[J"...))
	return len(p), err
}

// again shows something once, or every so often until ^C.
func again(ctx context.Context, watch bool, every time.Duration, once func() error) error {
	for first := true; ; first = false {
		begin := time.Now()
		err := once()
		switch {
		case ctx.Err() != nil:
			return nil
		case !first && errors.Is(err, fs.ErrNotExist):
			return errGone
		case err != nil || !watch:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every - time.Since(begin)):
		}
	}
}

// errGone ends a watch.
var errGone = errors.New("the cgroup was removed")
