package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/pflag"
)

const rankHelp = `Tells whom the kernel would kill if memory ran out now, and why: every process of a cgroup (or the
node) by the kernel's own arithmetic, the limit that would be reached first, how much is left below
it, and when it is reached at the present pace. Needs no root and traces nothing.

usage: oomtrace rank [flags]

exit status: 0 done; 1 failed; 2 usage; 3 there are no memory cgroups.
`

// rank says who would be killed next.
func rank(ctx context.Context, e *env, args []string) error {
	var f lookFlags
	var watch bool
	var interval time.Duration
	flags := pflag.NewFlagSet("oomtrace rank", pflag.ContinueOnError)
	flags.BoolVar(&watch, "watch", false, "again and again until ^C; json has one object a round")
	flags.DurationVarP(&interval, "interval", "i", time.Second, "`DURATION` over which growth is measured, and between the rounds of --watch; 0 measures none")
	f.add(flags, 15, "processes")
	switch wantsHelp, err := parse(flags, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(rankHelp, flags)
	}
	if interval < 0 || watch && interval < 100*time.Millisecond {
		return usagef("-i, --interval: %v is too short", interval).hinted("with --watch the shortest is 100ms")
	}
	if err := f.check(flags); err != nil {
		return err
	}
	look, path, err := f.open(e)
	if err != nil {
		return err
	}
	show := f.shower(e, watch)
	return again(ctx, watch, interval, func() error {
		r, err := look.Rank(ctx, path, interval)
		if err != nil {
			return missing(path, err)
		}
		if f.lines > 0 && len(r.Processes) > f.lines {
			r.Processes = r.Processes[:f.lines]
		}
		return show(r)
	})
}

// missing says which cgroup it was that is not there any more.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && path != "" {
		return fmt.Errorf("cgroup %s is gone (%w)", path, err)
	}
	return err
}
