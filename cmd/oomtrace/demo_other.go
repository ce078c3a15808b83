//go:build !linux

package main

import (
	"context"
	"runtime"

	"github.com/oomtrace/oomtrace/tracer"
)

func (e *env) demonstrate(context.Context, common) error {
	return &tracer.Unsupported{Missing: []string{"the demo needs Linux; this is " + runtime.GOOS}}
}

func demoWorker(context.Context, *env, []string) error {
	return usagef("the demo's worker needs Linux")
}
