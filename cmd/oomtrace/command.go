package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// command is one of the things that oomtrace does.
type command struct {
	name    string
	summary string // empty: not shown in the help
	run     func(ctx context.Context, e *env, args []string) error
}

func commands() []command {
	return []command{
		{"doctor", "what this kernel and these privileges allow, hook by hook", doctor},
		{"demo", "make a small cgroup, let it run out of memory, and trace that", demo},
		{"latency", "where time goes in reclaim, and who evicts whose page cache", latencyReport},
		{"record", "flight recorder: bounded disk, keeps the minutes before every kill", record},
		{"replay", "read captures back as if live: any host's, without root", replay},
		{"profile", "which code brings memory into containers, by sampling page faults", profile},
		{"explain", "tell of the OOM kills in a kernel log; no root, no tracing", explain},
		{"report", "tell the story of one kill, out of a capture or a kernel log", reportCommand},
		{"rank", "whom the kernel would kill next, and why", rank},
		{"inspect", "what a cgroup's memory consists of", inspect},
		{workerCommand, "", demoWorker},
	}
}

// planned are commands that other versions have.
func planned() []string {
	return []string{"top", "agent"}
}

// run is the whole program: it gives the exit code.
func run(ctx context.Context, args []string, e *env) int {
	return e.fail(dispatch(ctx, e, args))
}

func dispatch(ctx context.Context, e *env, args []string) error {
	name, see := "", "oomtrace"
	do := live
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
		if name == "help" {
			return help(ctx, e, args)
		}
		i := slices.IndexFunc(commands(), func(c command) bool { return c.name == name })
		if i < 0 {
			err := unknownCommand(name)
			err.see = see
			return err
		}
		do, see = commands()[i].run, see+" "+name
	}
	err := do(ctx, e, args)
	var usage *usageError
	if errors.As(err, &usage) && usage.see == "" {
		usage.see = see
	}
	return err
}

// help is --help for those who type it as a word.
func help(ctx context.Context, e *env, args []string) error {
	if len(args) > 0 && args[0] != "help" {
		return dispatch(ctx, e, []string{args[0], "--help"})
	}
	return dispatch(ctx, e, []string{"--help"})
}

func unknownCommand(name string) *usageError {
	if slices.Contains(planned(), name) {
		return usagef("the command %s is not in this version", name)
	}
	u := usagef("unknown command %q", name)
	var known []string
	for _, c := range commands() {
		if c.summary != "" {
			known = append(known, c.name)
		}
	}
	near := nearest(name, slices.Concat(known, planned()))
	switch {
	case near == "":
		return u.hinted("the commands are %s; without one, oomtrace traces live", strings.Join(known, ", "))
	case slices.Contains(planned(), near):
		return u.hinted("did you mean %s? it is not in this version", near)
	}
	return u.hinted("did you mean %s?", near)
}

// nothingLeft complains about arguments that a command does not take.
func nothingLeft(fs *pflag.FlagSet) error {
	if fs.NArg() == 0 {
		return nil
	}
	arg := fs.Arg(0)
	for _, c := range commands() {
		if c.name == arg && c.summary != "" {
			return usagef("unexpected argument %q", arg).hinted("a command comes first: oomtrace %s [flags]", arg)
		}
	}
	u := usagef("unexpected argument %q", arg)
	if strings.HasPrefix(arg, "/") {
		u = u.hinted("to trace one cgroup: --cgroup %s", arg)
	}
	return u
}

// parse reads flags in GNU style. It reports true when help was asked for.
func parse(fs *pflag.FlagSet, args []string) (bool, error) {
	fs.SortFlags = false
	fs.Usage = func() {}
	err := fs.Parse(args)
	var notExist *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var valueless *pflag.ValueRequiredError
	switch {
	case err == nil:
		return fs.GetBool("help")
	case errors.As(err, &notExist):
		return false, unknownFlag(fs, notExist)
	case errors.As(err, &invalid):
		u := usagef("%s: %q is no %s", flagName(invalid.GetFlag()), invalid.GetValue(), valueName(invalid.GetFlag()))
		if invalid.GetFlag().Value.Type() == "duration" {
			u = u.hinted("a duration has a unit: 250us, 10ms, 1.5s, 2m")
		}
		return false, u
	case errors.As(err, &valueless):
		_, usage := pflag.UnquoteUsage(valueless.GetFlag())
		return false, usagef("%s needs a value", flagName(valueless.GetFlag())).hinted("it means: %s", usage)
	}
	return false, usagef("%v", err)
}

func unknownFlag(fs *pflag.FlagSet, err *pflag.NotExistError) *usageError {
	if err.GetSpecifiedShortnames() != "" {
		return usagef("unknown flag -%s", err.GetSpecifiedName()[:1])
	}
	name := err.GetSpecifiedName()
	u := usagef("unknown flag --%s", name)
	var known []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	if near := nearest(name, known); near != "" {
		u = u.hinted("did you mean --%s?", near)
	}
	return u
}

func flagName(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand + ", --" + f.Name
	}
	return "--" + f.Name
}

func valueName(f *pflag.Flag) string {
	if t := f.Value.Type(); t != "int64" {
		return t
	}
	return "whole number"
}

// nearest finds the name that was probably meant, "" when none is near.
func nearest(word string, names []string) string {
	if len(word) > 40 {
		return "" // a name of nothing, and distance is quadratic
	}
	best, found := (len(word)+1)/3, ""
	for _, name := range names {
		d := distance(word, name)
		if len(word) >= 2 && strings.HasPrefix(name, word) {
			d = 1
		}
		if d < best || d == best && found == "" {
			best, found = d, name
		}
	}
	return found
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
