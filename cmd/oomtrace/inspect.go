package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
)

const inspectHelp = `Tells what the memory of a cgroup (or of the node) consists of: anonymous memory, page cache, shmem
and kernel, down to each process's heap, stacks, code and files; limits, settings and counters.
As another user than root it leaves out what it may not read, and says so. Traces nothing.

usage: oomtrace inspect [flags]

exit status: 0 done; 1 failed; 2 usage; 3 there are no memory cgroups.
`

// inspect says what memory consists of.
func inspect(_ context.Context, e *env, args []string) error {
	var f lookFlags
	var noSmaps bool
	flags := pflag.NewFlagSet("oomtrace inspect", pflag.ContinueOnError)
	f.add(flags, 10, "processes and children, the largest")
	flags.BoolVar(&noSmaps, "no-smaps", false, "do not look into processes, which holds their mmap lock for a moment: resident sizes only")
	switch wantsHelp, err := parse(flags, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(inspectHelp, flags)
	}
	if err := f.check(flags); err != nil {
		return err
	}
	look, path, err := f.open(e)
	if err != nil {
		return err
	}
	i, err := look.Inspect(path, tracer.InspectOptions{Processes: f.lines, Children: f.lines, NoSmaps: noSmaps})
	if err != nil {
		return missing(path, err)
	}
	return f.shower(e, false)(i)
}
