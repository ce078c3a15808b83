package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// helpWidth is where help texts are wrapped.
const helpWidth = 98

const liveHelp = `oomtrace records how the kernel treats the memory of containers: who was killed
and why, who stalls in reclaim, whose page cache is pushed out and by whom.

usage: oomtrace [flags]           trace live until ^C; needs root, or what doctor names
`

const liveNotes = `
A trace begins with a header and ends with a summary. -n counts what is shown of the events
between, losses not counted; the trace may see more until it has stopped, which is dropped.

exit status: 0 done, also after ^C or SIGTERM; 1 failed; 2 usage; 3 this kernel or these
privileges do not allow it; 130 ended at once by a second ^C.
`

func (e *env) showLiveHelp(fs *pflag.FlagSet) error {
	var b strings.Builder
	b.WriteString(liveHelp)
	for _, c := range commands() {
		if c.summary != "" {
			fmt.Fprintf(&b, "       oomtrace %-17s %s\n", c.name+" [flags]", c.summary)
		}
	}
	b.WriteString("\nflags:\n" + flagHelp(fs) + liveNotes)
	return e.print(b.String())
}

func (e *env) showHelp(text string, fs *pflag.FlagSet) error {
	return e.print(text + "\nflags:\n" + flagHelp(fs))
}

func flagHelp(fs *pflag.FlagSet) string {
	// Nobody writes --stack=true.
	const value = "[=true|false]"
	return strings.ReplaceAll(fs.FlagUsagesWrapped(helpWidth), value, strings.Repeat(" ", len(value)))
}
