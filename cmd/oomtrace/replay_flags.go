package main

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	cgroups    []string
	containers []string
	pods       []string
	events     []string
	minStall   time.Duration
	from, to   string
	speed      float64
	form       string
	noColor    bool

	filter capture.Filter
}

func (f *replayFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.cgroups, "cgroup", "c", nil, "a cgroup and all below it, by `ID|PATH`; repeatable")
	fs.StringArrayVar(&f.containers, "container", nil, "a container, by `NAME|ID` or the beginning of its id (8 or more characters); repeatable")
	fs.StringArrayVar(&f.pods, "pod", nil, "a pod, by `[NAMESPACE/]NAME` or UID; repeatable")
	fs.StringArrayVarP(&f.events, "event", "e", nil, "`LIST` of what to show, by family or type of event (default all that there is)")
	fs.DurationVar(&f.minStall, "min-stall", 0, "leave out stalls that are shorter than `DURATION` (default 1ms for text, 0 for json)")
	fs.StringVar(&f.from, "from", "", "leave out what was over before `TIME`: RFC 3339, or 2026-03-01 12:00:05 in local time")
	fs.StringVar(&f.to, "to", "", "leave out what began after `TIME`")
	fs.Float64Var(&f.speed, "speed", 0, "replay at `N` times the speed of then: 1 is real time (default as fast as can be)")
	fs.StringVarP(&f.form, "output", "o", outputText, "`FORMAT` of stdout: "+strings.Join(replayOutputs(), ", "))
	fs.BoolVar(&f.noColor, "no-color", false, "no colours on a terminal either; NO_COLOR in the environment does the same")
	fs.BoolP("help", "h", false, "show this")
}

func (f *replayFlags) check(fs *pflag.FlagSet) error {
	if err := oneOf("-o, --output", f.form, replayOutputs()...); err != nil {
		return err
	}
	switch {
	case fs.NArg() == 0:
		return usagef("replay needs a capture").hinted("oomtrace -w FILE writes one; oomtrace replay - reads stdin")
	case slices.Contains(fs.Args(), ""):
		return usagef("the name of a file is empty")
	case count(fs.Args(), "-") > 1:
		return usagef("stdin can be read only once")
	case f.minStall < 0:
		return usagef("--min-stall: %v is less than nothing", f.minStall)
	case fs.Changed("speed") && (math.IsNaN(f.speed) || math.IsInf(f.speed, 0) || f.speed <= 0):
		return usagef("--speed: %v is no speed", f.speed).hinted("1 is real time, 10 ten times as fast; without it, as fast as can be")
	}
	f.filter.MinStall = f.minStall
	if !fs.Changed("min-stall") && f.form == outputText {
		f.filter.MinStall = textMinStall
	}
	var err error
	if f.filter.From, err = moment("--from", f.from); err != nil {
		return err
	}
	if f.filter.To, err = moment("--to", f.to); err != nil {
		return err
	}
	if !f.filter.To.IsZero() && f.filter.To.Before(f.filter.From) {
		return usagef("--to is before --from")
	}
	if f.filter.Types, err = eventTypes(f.events); err != nil {
		return err
	}
	return f.places()
}

func count(args []string, arg string) int {
	n := 0
	for _, a := range args {
		if a == arg {
			n++
		}
	}
	return n
}

// moment reads a time as people write it.
func moment(flag, arg string) (time.Time, error) {
	if arg == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, arg); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, arg, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s: %q is no time", flag, arg).hinted("a time looks like 2026-03-01T12:00:05Z, or 2026-03-01 12:00:05 for local time")
}

// typesOf gives the types of events that belong to a family.
func typesOf(family string) []string {
	if family == tracer.FamilyOOM {
		return []string{event.TypeOOMKill, event.TypeOOMEnd, event.TypeOOMPause}
	}
	return []string{family}
}

// eventTypes reads lists of families and types. A type need not be one that this
// version knows; nil means all.
func eventTypes(lists []string) ([]string, error) {
	var out []string
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			switch name = strings.TrimSpace(name); name {
			case "":
				return nil, unknownEvent("")
			case "all":
				return nil, nil
			}
			out = append(out, typesOf(name)...)
		}
	}
	return out, nil
}

// places reads the flags that pick cgroups, as those of a live trace.
func (f *replayFlags) places() error {
	live := liveFlags{cgroups: f.cgroups, containers: f.containers, pods: f.pods}
	selectors, err := live.selected()
	if err != nil {
		return err
	}
	for _, s := range selectors {
		switch {
		case s.ID != 0:
			f.filter.IDs = append(f.filter.IDs, s.ID)
		case s.Path != "":
			// Whichever version the host had.
			v1 := cgroup.Mount{Root: "/sys/fs/cgroup/memory", Version: 1}.Normalize(s.Path)
			v2 := cgroup.Mount{Root: "/sys/fs/cgroup", Version: 2}.Normalize(s.Path)
			f.filter.Cgroups = append(f.filter.Cgroups, v1, v2)
		case s.Container != "":
			f.filter.Containers = append(f.filter.Containers, s.Container)
		case s.Pod != "":
			f.filter.Pods = append(f.filter.Pods, s.Pod)
		}
	}
	return nil
}
