package main

import (
	"context"

	"github.com/spf13/pflag"
)

// workerCommand is the hidden command that the demo's victim runs.
const workerCommand = "demo-worker"

const demoHelp = `Makes a cgroup with a limit of 48 MiB and a child below it, as a container runtime would. In the
child a process writes a file of twice the limit, reads it again and again so that its page cache
thrashes, and then leaks memory until the kernel kills it. All of that is traced. Everything that
was made is removed again. Needs root.

usage: oomtrace demo [flags]

exit status: 0 when the kill was seen; 1 when not; 3 when this kernel or these privileges do not
allow it.
`

func demo(ctx context.Context, e *env, args []string) error {
	var c common
	fs := pflag.NewFlagSet("oomtrace demo", pflag.ContinueOnError)
	c.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(demoHelp, fs)
	}
	if err := nothingLeft(fs); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	return e.demonstrate(ctx, c)
}
