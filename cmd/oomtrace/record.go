package main

import (
	"cmp"
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/capture/recorder"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const recordHelp = `A flight recorder: traces all the time, keeps what it saw within a budget of disk space, and puts the
time before and after every kill into a file of its own, which replay and zstdcat read anywhere.
SIGUSR1 keeps the time around now. Runs until ^C or SIGTERM; needs root, or what doctor names.

usage: oomtrace record [flags]

DIR/ring holds the last of everything, DIR/incidents the incidents. When the disk is full or cannot be
written that is said once, losses are counted, and recording goes on as soon as it can.

exit status: 0 done; 1 failed, or another recorder is at work in DIR; 2 usage; 3 this kernel or these
privileges do not allow it.
`

// memoryInterval is how dense the memory of what fills up is recorded: a leak
// may take no more than seconds to its kill.
const memoryInterval = 250 * time.Millisecond

// record traces into a ring on disk.
func record(ctx context.Context, e *env, args []string) (err error) {
	var f recordFlags
	fs := pflag.NewFlagSet("oomtrace record", pflag.ContinueOnError)
	f.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(recordHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	o := f.options()
	o.Families, o.Cgroups, o.Interval, o.Stacks, o.MinStall = f.families, f.selectors, f.interval, f.stack, f.minStall
	if f.profile {
		o.Families = append(o.Families, tracer.FamilyProfile)
	}
	o.MemoryInterval = min(memoryInterval, f.interval)
	o.Warn = func(msg string) { e.say("%s", msg) }

	// From here on, for it would end the process.
	pins := make(chan os.Signal, 1)
	signal.Notify(pins, syscall.SIGUSR1)
	defer signal.Stop(pins)
	rec, err := recorder.Open(f.recorder(e.say))
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, rec.Close()) }()
	src, err := e.open(o)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, src.Close()) }()
	if f.verbose {
		e.sayHooks(src)
	}
	e.sayAwaited(o)
	var ready *readyFile
	if f.readyFile != "" {
		if ready, err = newReadyFile(f.readyFile); err != nil {
			return err
		}
		defer ready.abort()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			select {
			case <-pins:
				rec.Pin("signal")
			case <-ctx.Done():
				return
			}
		}
	}()
	return src.Run(ctx, func(ev event.Event) error {
		if err := rec.Write(ev); err != nil {
			e.say("%v", err) // one event that cannot be written as JSON
		}
		if ev.Head().Type != event.TypeHeader {
			return nil
		}
		e.say("recording into %s: %s of everything, and %v before to %v after each incident", f.dir, size(f.keep), f.before, f.after)
		if ready == nil {
			return nil
		}
		return ready.publish()
	})
}
