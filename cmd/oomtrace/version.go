package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Set by the linker: -X main.release=1.2.3 -X main.commit=0123abc.
var release, commit string

// version is what headers call this program.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func revision() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	id, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			id = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", with changes"
		}
	}
	return cmp.Or(id, "unknown") + changed
}

func (e *env) showVersion() error {
	return e.print(fmt.Sprintf("oomtrace %s\ncommit   %s\ngo       %s %s/%s\nschema   %d\n",
		version(), revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH, event.Schema))
}
