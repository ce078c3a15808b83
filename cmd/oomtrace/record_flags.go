package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/capture/recorder"
)

// recordFlags are the flags of record.
type recordFlags struct {
	liveFlags
	dir           string
	keepText      string
	incidentsText string
	triggersText  []string
	before, after time.Duration
	profile       bool

	keep, incidentBytes int64
	incidents           int
	triggers            []recorder.Trigger
}

// recordMinStall leaves out stalls that are too short to matter, and too many to
// keep: their sums are in stalls events.
const recordMinStall = 100 * time.Microsecond

func (f *recordFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.dir, "dir", "/var/lib/oomtrace", "`DIR` to record into; made when it is not there")
	fs.StringVar(&f.keepText, "keep", "512MiB", "`SIZE` that the ring may take")
	fs.StringVar(&f.incidentsText, "keep-incidents", "100,256MiB", "`N|SIZE` of incidents to keep, or both with a comma between; the oldest go first")
	fs.DurationVar(&f.before, "before", 2*time.Minute, "`DURATION` before an incident that its file holds")
	fs.DurationVar(&f.after, "after", 10*time.Second, "`DURATION` after it")
	fs.StringArrayVar(&f.triggersText, "trigger", nil, "`LIST` of what makes an incident: kill, pause, thrash, stall>DURATION; repeatable (default kill,pause,thrash)")
	fs.StringArrayVarP(&f.cgroups, "cgroup", "c", nil, "a cgroup and all below it, by `ID|PATH`; repeatable")
	fs.StringArrayVar(&f.liveFlags.containers, "container", nil, "a container, by `NAME|ID` or the beginning of its id (8 or more characters); repeatable")
	fs.StringArrayVar(&f.pods, "pod", nil, "a pod, by `[NAMESPACE/]NAME` or UID; repeatable")
	fs.StringArrayVarP(&f.events, "event", "e", nil, "`LIST` of what to record: "+strings.Join(tracer.Families(), ", ")+" (default all)")
	fs.DurationVar(&f.minStall, "min-stall", recordMinStall, "leave out stalls that are shorter than `DURATION`")
	fs.DurationVarP(&f.interval, "interval", "i", time.Second, "`DURATION` between cache and memory events")
	fs.BoolVar(&f.stack, "stack", false, "kernel stacks of stalls and triggers")
	fs.BoolVar(&f.profile, "profile", false, "also sampled page faults with their stacks: which code brought the memory in")
	fs.StringVar(&f.readyFile, "ready-file", "", "create `FILE` when every hook is attached")
	f.common.add(fs)
	// Nothing goes to stdout.
	_ = fs.MarkHidden("output")
	_ = fs.MarkHidden("no-color")
}

func (f *recordFlags) check(fs *pflag.FlagSet) error {
	if len(f.events) == 0 {
		f.events = []string{"all"}
	}
	if err := f.liveFlags.check(fs); err != nil {
		return err
	}
	var err error
	if f.keep, err = parseSize(f.keepText); err != nil || f.keep < recorder.MinKeep {
		return usagef("--keep: %q is no size of 1MiB or more", f.keepText).hinted("a size has a unit: 64MiB, 2GiB")
	}
	if f.incidents, f.incidentBytes, err = incidentBudget(f.incidentsText); err != nil {
		return err
	}
	switch {
	case f.dir == "":
		return usagef("--dir: the name is empty")
	case f.before < 0 || f.after < 0:
		return usagef("--before and --after are not less than nothing")
	case f.after > time.Hour || f.before > 24*time.Hour:
		return usagef("--before and --after: the longest are 24h and 1h").hinted("the ring itself can be replayed: oomtrace replay DIR")
	}
	if len(f.triggersText) == 0 {
		f.triggersText = []string{recorder.Kill, recorder.Pause, recorder.Thrash}
	}
	for _, list := range f.triggersText {
		for text := range strings.SplitSeq(list, ",") {
			t, err := trigger(strings.TrimSpace(text))
			if err != nil {
				return err
			}
			f.triggers = append(f.triggers, t)
		}
	}
	return nil
}

func (f *recordFlags) recorder(say func(string, ...any)) recorder.Options {
	return recorder.Options{
		Dir: f.dir, Keep: f.keep, KeepIncidents: f.incidents, KeepIncidentBytes: f.incidentBytes,
		Before: f.before, After: f.after, Triggers: f.triggers, Say: say,
	}
}

func trigger(text string) (recorder.Trigger, error) {
	simple := []string{recorder.Kill, recorder.Pause, recorder.Thrash}
	if slices.Contains(simple, text) {
		return recorder.Trigger{Kind: text}, nil
	}
	if over, ok := strings.CutPrefix(text, recorder.Stall+">"); ok {
		d, err := time.ParseDuration(over)
		if err != nil || d < 0 {
			return recorder.Trigger{}, usagef("--trigger: %q is no duration", over).hinted("for example: --trigger 'stall>500ms'")
		}
		return recorder.Trigger{Kind: recorder.Stall, Over: d}, nil
	}
	return recorder.Trigger{}, usagef("--trigger: unknown value %q", text).hinted("it takes %s and stall>DURATION", strings.Join(simple, ", "))
}

// incidentBudget reads "100", "64MiB" or both.
func incidentBudget(text string) (count int, bytes int64, err error) {
	count, bytes = math.MaxInt32, math.MaxInt64
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if n, err := strconv.ParseInt(part, 10, 32); err == nil && n > 0 {
			count = int(n)
			continue
		}
		if bytes, err = parseSize(part); err != nil || bytes < recorder.MinKeep {
			return 0, 0, usagef("--keep-incidents: %q is neither a number nor a size of 1MiB or more", part).hinted("for example: --keep-incidents 100,256MiB")
		}
	}
	return count, bytes, nil
}

// parseSize reads a size as people write it: 512MiB, 512M, 1.5GiB, 1048576.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTiBbkmgt")
	power, ok := map[string]int{"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}[strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text[len(number):]), "b"), "i")]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || !(n >= 0) || n*math.Pow(1024, float64(power)) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return int64(n * math.Pow(1024, float64(power))), nil
}

func size(n int64) string { return unit.Bytes(uint64(n)) }
