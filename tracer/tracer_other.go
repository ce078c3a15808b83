//go:build !linux

package tracer

import (
	"context"
	"runtime"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Tracer traces live, which only Linux allows.
type Tracer struct{}

func elsewhere() *Unsupported {
	return &Unsupported{Missing: []string{"live tracing needs Linux; this is " + runtime.GOOS}}
}

// Open always fails here.
func Open(Options) (*Tracer, error) { return nil, elsewhere() }

// Examine says that there is nothing to be examined.
func Examine(Options) *Examination {
	return &Examination{Arch: runtime.GOARCH, BTF: elsewhere().Error()}
}

// Header is nil.
func (*Tracer) Header() *event.Header { return nil }

// Run always fails here.
func (*Tracer) Run(context.Context, Sink) error { return elsewhere() }

// Close does nothing.
func (*Tracer) Close() error { return nil }
