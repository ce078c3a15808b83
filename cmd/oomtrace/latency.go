package main

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/output/latency"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const latencyHelp = `Tells where time goes in reclaim: whose tasks stalled, how long and why, at what times, which threads,
whose page cache was evicted by whom, and whether it came straight back. Traces live until ^C or for
the time of -d, or reads captures (of oomtrace -w with -e stalls,reclaim,throttle,cache,thrash). The
times of a container's tasks are added up, so its share of wall time can be above 100 %.

usage: oomtrace latency [flags]                 live; needs root, or what doctor names
       oomtrace latency [flags] FILE...         over captures or -o json, also compressed; - for stdin

exit status: 0 done, also after ^C; 1 failed; 2 usage; 3 this kernel or these privileges do not allow it.
`

// shortestThreadStall is below which a live stall has no event of its own: the
// histograms count it all the same, the lists of threads and files do not.
const shortestThreadStall = 100 * time.Microsecond

// latencyFlags are the flags of latency.
type latencyFlags struct {
	liveFlags
	form string
	sort string
	top  int
}

func (f *latencyFlags) add(fs *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.liveFlags.add(all)
	all.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "output", "event", "count", "stack", "version":
			return
		case "min-stall":
			flag.Usage = "stalls that are shorter than `DURATION` are in the histograms, but not in the lists of threads and files (default 100µs live)"
		case "interval":
			flag.Usage = "`DURATION` between readings of the histograms"
		}
		fs.AddFlag(flag)
	})
	fs.StringVarP(&f.form, "output", "o", outputText, "`FORMAT` of stdout: text, json (one object), html (one page that needs nothing else), folded (stacks for flame graphs), pprof, or trace (for ui.perfetto.dev)")
	fs.StringVar(&f.sort, "sort", latency.SortKeys()[0], "sort containers by `KEY`: "+strings.Join(latency.SortKeys(), ", "))
	fs.IntVar(&f.top, "top", 10, "list at most `N` containers, threads and files")
}

func (f *latencyFlags) check(fs *pflag.FlagSet) error {
	if err := oneOf("-o, --output", f.form, outputText, outputJSON, outputHTML, outputFolded, outputPprof, outputTrace); err != nil {
		return err
	}
	if err := oneOf("--sort", f.sort, latency.SortKeys()...); err != nil {
		return err
	}
	f.output = outputText // of the flags of a live trace; that one is not shown
	if f.top < 1 {
		return usagef("--top: %d is no length of a list", f.top)
	}
	if fs.NArg() > 0 {
		for _, name := range []string{"pid", "write", "duration", "interval", "ready-file", "tier", "cgroup-root", "proc-root"} {
			if flag := fs.Lookup(name); flag != nil && flag.Changed {
				return usagef("--%s is for live tracing, and %q is a capture", name, fs.Arg(0))
			}
		}
		if slices.Contains(fs.Args(), "") {
			return usagef("the name of a file is empty")
		}
		if count(fs.Args(), "-") > 1 {
			return usagef("stdin can be read only once")
		}
	}
	// What is left are the flags of both.
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.VisitAll(func(flag *pflag.Flag) { flags.AddFlag(flag) })
	if err := f.liveFlags.check(flags); err != nil {
		return err
	}
	if !f.minStallSet && fs.NArg() == 0 && !rendered(f.form) {
		f.minStall = shortestThreadStall
	}
	return nil
}

// latencyReport is the command latency.
func latencyReport(ctx context.Context, e *env, args []string) error {
	var f latencyFlags
	fs := pflag.NewFlagSet("oomtrace latency", pflag.ContinueOnError)
	f.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(latencyHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	if rendered(f.form) {
		return e.latencyRendered(ctx, &f, fs.Args())
	}
	c := latency.New()
	var failed error
	if fs.NArg() > 0 {
		failed = e.latencyOf(ctx, &f, func(*player, bool) replayOutput { return latencyOutput{c} }, fs.Args())
		if failed != nil && (c.Empty() || !errors.Is(failed, errReported)) {
			return failed
		}
	} else if err := e.latencyLive(ctx, &f, view{mute: true, saw: c.Live}); err != nil {
		return err
	}
	r := c.Report(latency.Options{Sort: f.sort, Top: f.top})
	if fs.NArg() > 0 && len(r.Containers) == 0 {
		e.say("a capture has what it was asked for: stalls take -e stalls,reclaim,throttle,cache,thrash")
	}
	if err := e.showLatency(&f, r); err != nil {
		return err
	}
	return failed
}

// latencyLive traces; where events go is in v.
func (e *env) latencyLive(ctx context.Context, f *latencyFlags, v view) error {
	o := f.options()
	o.Families = []string{
		tracer.FamilyOOM, tracer.FamilyReclaim, tracer.FamilyKswapd, tracer.FamilyThrottle, tracer.FamilyCache, tracer.FamilyStalls, tracer.FamilyThrash,
	}
	o.Cgroups, o.Interval, o.MinStall = f.selectors, f.interval, f.minStall
	if rendered(f.form) {
		o.Stacks = true
		if f.form == outputTrace {
			o.Families = append(o.Families, tracer.FamilyMemory)
		}
	}
	v.common, v.capture, v.duration, v.readyFile = f.common, f.write, f.duration, f.readyFile
	return e.trace(ctx, o, v, func() {
		e.sayAwaited(o)
		if f.duration == 0 {
			e.say("tracing until ^C, then comes the report")
		}
	})
}

// latencyOf gives captures to an output.
func (e *env) latencyOf(ctx context.Context, f *latencyFlags, output func(*player, bool) replayOutput, names []string) error {
	replay := &replayFlags{cgroups: f.cgroups, containers: f.containers, pods: f.pods, form: f.form}
	if !rendered(f.form) {
		replay.form = outputText // of whole events
	}
	replay.filter.MinStall = f.minStall
	if err := replay.places(); err != nil {
		return err
	}
	p := &player{env: e, replayFlags: replay, output: output}
	return p.run(ctx, names)
}

// latencyOutput is the output of a replay that becomes a report.
type latencyOutput struct{ *latency.Collector }

func (o latencyOutput) put(from *input, r *capture.Record) error {
	if ev, err := r.Event(); err == nil { // else it is told by now
		o.From(from.index, from.host)
		o.Add(ev)
	}
	return nil
}

func (latencyOutput) close() error { return nil }

func (e *env) showLatency(f *latencyFlags, r *latency.Report) error {
	var b bytes.Buffer
	var err error
	switch f.form {
	case outputJSON:
		enc := stdjson.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err = enc.Encode(r)
	case outputHTML:
		err = latency.WriteHTML(&b, r)
	default:
		columns, terminal := terminalWidth(e.stdout)
		color := terminal && e.colors(f.noColor)
		err = latency.WriteText(&b, r, latency.TextOptions{Color: color, Width: columns})
	}
	if err != nil {
		return err
	}
	if _, err := e.stdout.Write(b.Bytes()); errors.Is(err, syscall.EPIPE) {
		return errReaderGone
	} else if err != nil {
		return writeError(err)
	}
	return nil
}

// muted is an outlet for events that a command makes something else of.
func muted() *outlet { return &outlet{write: func(event.Event) error { return nil }} }
