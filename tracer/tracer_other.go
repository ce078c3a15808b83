//go:build !linux

package tracer

import (
	"context"
	"runtime"
	"time"

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

// Look reads memory as it is now, which only Linux allows.
type Look struct{}

// NewLook always fails here.
func NewLook(Options) (*Look, error) { return nil, elsewhere() }

// Find always fails here.
func (*Look) Find(Selector) (string, error) { return "", elsewhere() }

// Rank always fails here.
func (*Look) Rank(context.Context, string, time.Duration) (*event.Rank, error) {
	return nil, elsewhere()
}

// Inspect always fails here.
func (*Look) Inspect(string, InspectOptions) (*event.Inspect, error) { return nil, elsewhere() }

// Header is nil.
func (*Tracer) Header() *event.Header { return nil }

// Run always fails here.
func (*Tracer) Run(context.Context, Sink) error { return elsewhere() }

// Close does nothing.
func (*Tracer) Close() error { return nil }
