package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/container"
)

// Outputs of the live trace.
const (
	outputText = "text"
	outputJSON = "json"
)

// common are the flags that every command takes.
type common struct {
	output     string
	noColor    bool
	verbose    bool
	cgroupRoot string
	procRoot   string
	runtimes   []string
	formats    []string // of stdout; nil: text and json
	tier       string

	runtimeRoots []container.Root
}

func (c *common) add(fs *pflag.FlagSet) {
	fs.StringVarP(&c.output, "output", "o", outputText, "`FORMAT` of stdout: text, or json with one object a line")
	fs.StringVar(&c.cgroupRoot, "cgroup-root", "", "`DIR` where the host's cgroups are mounted (default /sys/fs/cgroup)")
	fs.StringVar(&c.procRoot, "proc-root", "", "`DIR` where the host's proc is mounted, such as /host/proc (default /proc)")
	fs.StringArrayVar(&c.runtimes, "runtime-root", nil, "`NAME=DIR` where a container runtime keeps its state, beside the usual places: docker=/data/docker; repeatable")
	fs.BoolVar(&c.noColor, "no-color", false, "no colours on a terminal either; NO_COLOR in the environment does the same")
	fs.BoolVarP(&c.verbose, "verbose", "v", false, "tell on stderr what is attached where")
	fs.BoolP("help", "h", false, "show this")
	// For tests: see no better than older or locked kernels do.
	fs.StringVar(&c.tier, "tier", "best", "`TIER` that caps the hooks: best, kprobe or tracepoint")
	_ = fs.MarkHidden("tier")
}

func (c *common) check() error {
	formats := c.formats
	if formats == nil {
		formats = []string{outputText, outputJSON}
	}
	if err := oneOf("-o, --output", c.output, formats...); err != nil {
		return err
	}
	for _, arg := range c.runtimes {
		root, err := container.ParseRoot(arg)
		if err != nil {
			return usagef("--runtime-root: %v", err)
		}
		c.runtimeRoots = append(c.runtimeRoots, root)
	}
	return oneOf("--tier", c.tier, "best", tracer.TierKprobe, tracer.TierTracepoint)
}

// options are the tracer's as far as the common flags say.
func (c *common) options() tracer.Options {
	o := tracer.Options{CgroupRoot: c.cgroupRoot, ProcRoot: c.procRoot, RuntimeRoots: c.runtimeRoots, Tier: c.tier, Version: version()}
	if c.tier == "best" {
		o.Tier = tracer.TierBest
	}
	return o
}

func oneOf(flag, value string, choices ...string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	u := usagef("%s: unknown value %q", flag, value)
	if near := nearest(value, choices); near != "" {
		return u.hinted("did you mean %s?", near)
	}
	return u.hinted("it takes %s", strings.Join(choices, ", "))
}

// liveFlags are the flags of the live trace.
type liveFlags struct {
	common
	cgroups    []string
	containers []string
	pods       []string
	pids       []string
	events     []string
	minStall   time.Duration
	interval   time.Duration
	stack      bool
	write      string
	duration   time.Duration
	count      int64
	readyFile  string
	version    bool

	minStallSet bool
	families    []string
	selectors   []tracer.Selector
}

// addWhich adds the flags that pick cgroups.
func (f *liveFlags) addWhich(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.cgroups, "cgroup", "c", nil, "a cgroup and all below it, by `ID|PATH`: below the cgroup mount or in full, also when it is yet to come; repeatable")
	fs.StringArrayVar(&f.containers, "container", nil, "a container, by `NAME|ID` or the beginning of its id (8 or more characters), also when it is yet to come; repeatable")
	fs.StringArrayVar(&f.pods, "pod", nil, "a pod, by `[NS/]NAME` or its UID, also when it is yet to come; repeatable")
	fs.StringArrayVarP(&f.pids, "pid", "p", nil, "the cgroup of the process `PID`; repeatable")
}

func (f *liveFlags) add(fs *pflag.FlagSet) {
	f.addWhich(fs)
	fs.StringArrayVarP(&f.events, "event", "e", nil, "`LIST` of what to trace: "+strings.Join(tracer.Families(), ", ")+", or all (default "+strings.Join(tracer.DefaultFamilies(), ",")+")")
	fs.DurationVar(&f.minStall, "min-stall", 0, "leave out stalls that are shorter than `DURATION` (default 1ms for text, 0 for json and captures)")
	fs.DurationVarP(&f.interval, "interval", "i", time.Second, "`DURATION` between cache and memory events")
	fs.BoolVar(&f.stack, "stack", false, "kernel stacks of stalls and triggers, user stacks of stalls")
	fs.StringVarP(&f.write, "write", "w", "", "also write a capture to `FILE`: the events as JSON lines, compressed (zstdcat FILE | jq)")
	fs.DurationVarP(&f.duration, "duration", "d", 0, "stop `DURATION` after every hook is attached")
	fs.Int64VarP(&f.count, "count", "n", 0, "stop after `N` events; header, lost and summary do not count")
	fs.StringVar(&f.readyFile, "ready-file", "", "create `FILE` when every hook is attached")
	f.common.add(fs)
	fs.BoolVar(&f.version, "version", false, "show version, commit, Go version and event schema")
}

// check validates what was given; errors are the person's mistakes.
func (f *liveFlags) check(fs *pflag.FlagSet) error {
	if err := nothingLeft(fs); err != nil {
		return err
	}
	if err := f.common.check(); err != nil {
		return err
	}
	f.minStallSet = fs.Changed("min-stall")
	switch {
	case f.minStall < 0:
		return usagef("--min-stall: %v is less than nothing", f.minStall)
	case f.interval < 10*time.Millisecond:
		return usagef("-i, --interval: %v is too short", f.interval).hinted("the shortest is 10ms")
	case fs.Changed("duration") && f.duration <= 0:
		return usagef("-d, --duration: %v is no time to trace", f.duration).hinted("leave it out to trace until ^C")
	case fs.Changed("count") && f.count <= 0:
		return usagef("-n, --count: %d is not a number of events to wait for", f.count).hinted("leave it out to trace until ^C")
	case fs.Changed("write") && f.write == "":
		return usagef("-w, --write: the name of the file is empty")
	case f.write == "-":
		return usagef("-w, --write: a capture goes to a file").hinted("for the events on stdout: -o json, and for a capture on stdout: oomtrace -o json | zstd")
	case fs.Changed("ready-file") && f.readyFile == "":
		return usagef("--ready-file: the name of the file is empty")
	}
	var err error
	if f.families, err = families(f.events); err != nil {
		return err
	}
	f.selectors, err = f.selected()
	return err
}

// families reads lists of event families; nil means the default ones.
func families(lists []string) ([]string, error) {
	asked := make(map[string]bool)
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			switch {
			case name == "all":
				for _, f := range tracer.Families() {
					asked[f] = true
				}
			case slices.Contains(tracer.Families(), name):
				asked[name] = true
			default:
				return nil, unknownEvent(name)
			}
		}
	}
	var out []string
	for _, f := range tracer.Families() {
		if asked[f] {
			out = append(out, f)
		}
	}
	return out, nil
}

func unknownEvent(name string) error {
	choices := append(tracer.Families(), "all")
	if name == "" {
		return usagef("-e, --event: a name in the list is empty").hinted("it takes %s, separated by commas", strings.Join(choices, ", "))
	}
	u := usagef("-e, --event: unknown event %q", name)
	if near := nearest(name, choices); near != "" {
		return u.hinted("did you mean %s?", near)
	}
	return u.hinted("it takes %s", strings.Join(choices, ", "))
}

// selected reads the flags that pick cgroups.
func (f *liveFlags) selected() ([]tracer.Selector, error) {
	var out []tracer.Selector
	for _, arg := range f.cgroups {
		s, err := cgroupSelector(arg)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	for _, arg := range f.containers {
		name := strings.TrimPrefix(arg, "/") // docker's own notation has it
		if name == "" {
			return nil, usagef("--container: the name is empty")
		}
		out = append(out, tracer.Selector{Container: name})
	}
	for _, arg := range f.pods {
		s, err := podSelector(arg)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	for _, arg := range f.pids {
		pid, err := strconv.ParseInt(arg, 10, 32)
		if err != nil || pid <= 0 {
			return nil, usagef("-p, --pid: %q is no process id", arg).hinted("to trace by name: oomtrace -p $(pidof -s NAME)")
		}
		out = append(out, tracer.Selector{PID: int(pid)})
	}
	return out, nil
}

func cgroupSelector(arg string) (tracer.Selector, error) {
	switch {
	case strings.Trim(arg, "/") == "" && !strings.HasPrefix(arg, "/"):
		return tracer.Selector{}, usagef("-c, --cgroup: the path is empty")
	case strings.ContainsAny(arg, "\x00\n"):
		return tracer.Selector{}, usagef("-c, --cgroup: %q is no path of a cgroup", arg)
	case strings.Trim(arg, "0123456789") != "":
		return tracer.Selector{Path: arg}, nil
	}
	id, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || id == 0 {
		return tracer.Selector{}, usagef("-c, --cgroup: %s is no cgroup's id", arg).
			hinted("an id is what `stat -c %%i DIR` prints for the cgroup's directory; a path that looks like a number needs a slash: /%s", arg)
	}
	return tracer.Selector{ID: id}, nil
}

// podSelector takes [NAMESPACE/]NAME or a UID.
func podSelector(arg string) (tracer.Selector, error) {
	namespace, name, qualified := strings.Cut(arg, "/")
	if !qualified {
		namespace, name = "", arg
	}
	if name == "" || qualified && namespace == "" || strings.Contains(name, "/") {
		return tracer.Selector{}, usagef("--pod: %q is neither a UID nor [NAMESPACE/]NAME", arg)
	}
	return tracer.Selector{Pod: arg}, nil
}
