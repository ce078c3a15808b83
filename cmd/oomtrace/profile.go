package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	profiletext "github.com/oomtrace/oomtrace/output/profile"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

const profileHelp = `Samples page faults with the stacks that led to them: which code paths brought memory into which
container. Figures are estimates: each fault counts as one page. Memory that comes by read and
write into the page cache, and the kernel's own, makes no page faults. See docs/profile.md.

usage: oomtrace profile [flags]     until ^C, or for as long as -d says

  oomtrace profile -c /docker/ID -d 30s
  oomtrace profile -p PID -d 30s -o pprof > memory.pb.gz && go tool pprof -top memory.pb.gz

exit status: as without a command; oomtrace --help tells.
`

func profile(ctx context.Context, e *env, args []string) error {
	var f liveFlags
	var period int64
	f.formats = []string{outputText, outputJSON, outputFolded, outputPprof}
	fs := pflag.NewFlagSet("oomtrace profile", pflag.ContinueOnError)
	f.addWhich(fs)
	fs.Int64Var(&period, "period", tracer.DefaultPeriod, "of `N` page faults on a CPU look at one; 1 looks at all")
	fs.DurationVarP(&f.duration, "duration", "d", 0, "stop `DURATION` after every hook is attached")
	fs.DurationVarP(&f.interval, "interval", "i", 10*time.Second, "`DURATION` between profile events")
	fs.StringVarP(&f.write, "write", "w", "", "also write a capture to `FILE`")
	fs.StringVar(&f.readyFile, "ready-file", "", "create `FILE` when every hook is attached")
	f.common.add(fs)
	fs.Lookup("output").Usage = "`FORMAT` of stdout: text, json with one object a line, folded for flame graphs, or pprof"
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(profileHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	if period <= 0 {
		return usagef("--period: %d is not a number of page faults", period).hinted("1 looks at every one, and costs most")
	}

	o := f.options()
	o.Families, o.Cgroups, o.Interval, o.Period = []string{tracer.FamilyProfile}, f.selectors, f.interval, uint64(period)
	var out renderer
	switch f.output {
	case outputText:
		columns, _ := terminalWidth(e.stdout)
		out = profiletext.New(e.stdout, profiletext.Options{Width: columns})
	case outputJSON:
		out = endless{jsonl.New(e.stdout)}
	default:
		if err := e.sparesTerminal(f.output); err != nil {
			return err
		}
		out = newRenderer(f.output, e.stdout)
	}
	v := view{common: f.common, capture: f.write, duration: f.duration, readyFile: f.readyFile, render: out.Write}
	return finish(out, e.trace(ctx, o, v, func() { e.sayAwaited(o) }))
}

// endless is a renderer that writes each event at once.
type endless struct{ *jsonl.Writer }

func (endless) Close() error { return nil }
