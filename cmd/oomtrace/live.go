package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
)

// textMinStall hides stalls from a person that nobody would have noticed.
const textMinStall = time.Millisecond

// live is the default command: it traces until it is told to stop.
func live(ctx context.Context, e *env, args []string) error {
	var f liveFlags
	fs := pflag.NewFlagSet("oomtrace", pflag.ContinueOnError)
	f.add(fs)
	wantsHelp, err := parse(fs, args)
	switch {
	case err != nil:
		return err
	case wantsHelp:
		return e.showLiveHelp(fs)
	case f.version:
		return e.showVersion()
	}
	if err := f.check(fs); err != nil {
		return err
	}

	o := f.options()
	o.Families, o.Cgroups, o.Interval, o.Stacks = f.families, f.selectors, f.interval, f.stack
	view := view{
		common: f.common, capture: f.write, duration: f.duration, count: f.count, readyFile: f.readyFile,
	}
	o.MinStall, view.hide = f.stalls()
	return e.trace(ctx, o, view, func() { e.sayAwaited(o) })
}

// stalls says below which duration the kernel side drops stalls, and below which
// stdout alone hides them.
func (f *liveFlags) stalls() (drop, hide time.Duration) {
	switch {
	case f.minStallSet:
		return f.minStall, 0
	case f.output != outputText:
		return 0, 0
	case f.write != "":
		return 0, textMinStall
	}
	return textMinStall, 0
}

// sayAwaited tells which cgroups do not exist yet: it is as often a typing
// error as it is meant.
func (e *env) sayAwaited(o tracer.Options) {
	mount, err := cgroup.FindMount(cmp.Or(o.CgroupRoot, "/sys/fs/cgroup"), o.ProcRoot)
	if err != nil {
		return
	}
	for _, s := range o.Cgroups {
		if s.Path == "" {
			continue
		}
		path := mount.Normalize(s.Path)
		if _, err := os.Stat(mount.Dir(path)); os.IsNotExist(err) {
			e.say("cgroup %s is not there yet; its directory will be %s", path, mount.Dir(path))
		}
	}
}

// sayHooks tells what is attached.
func (e *env) sayHooks(t source) {
	h := t.Header()
	if h == nil {
		return
	}
	for _, hook := range h.Hooks {
		e.say("%s: %s %s", hook.Family, hook.Kind, hook.Hook)
	}
	for _, m := range h.Missing {
		what := m.Family
		if m.What != "" {
			what += fmt.Sprintf(" (%s)", m.What)
		}
		e.say("%s: missing: %s", what, m.Reason)
	}
}
