//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// run boots every selected guest and says whether all of them passed. The
// guests' output goes to stdout, vmtest's own voice to stderr.
func run(ctx context.Context, o options) (passed bool, err error) {
	guests, err := selectGuests(o.kernels, o.cgroup)
	if err != nil {
		return false, err
	}
	for _, f := range o.files {
		if _, err := os.Stat(f.src); err != nil {
			return false, fmt.Errorf("--file: %w", err)
		}
	}
	t, kernels, err := fetch(ctx, o, guests)
	if err != nil {
		return false, err
	}

	outcomes := make([]outcome, len(guests))
	slots := make(chan struct{}, o.jobs)
	var show sync.Mutex
	var wg sync.WaitGroup
	for i, g := range guests {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			k := kernels[g.series.name]
			if o.jobs == 1 {
				announce(g, k)
				outcomes[i] = boot(ctx, o, t, k, g, os.Stdout)
				report(o, outcomes[i])
				return
			}
			var out bytes.Buffer
			outcomes[i] = boot(ctx, o, t, k, g, &out)
			show.Lock()
			defer show.Unlock()
			announce(g, k)
			io.Copy(os.Stdout, &out)
			report(o, outcomes[i])
		})
	}
	wg.Wait()

	passed = true
	fmt.Fprintln(os.Stderr)
	for _, r := range outcomes {
		word := "passed"
		if r.err != nil {
			word, passed = "FAILED", false
		}
		fmt.Fprintf(os.Stderr, "%-32s %s  %s  %5.1fs\n", r.release, r.guest.cgroup, word, r.took.Seconds())
	}
	return passed, nil
}

// fetch fills the cache with what the guests need.
func fetch(ctx context.Context, o options, guests []guest) (tools, map[string]kernel, error) {
	s := store{dir: o.cache, log: os.Stderr}
	unlock, err := s.lock()
	if err != nil {
		return tools{}, nil, err
	}
	defer unlock()
	t, err := s.tools(ctx)
	if err != nil {
		return t, nil, err
	}
	if o.systemd {
		if t.systemd, err = s.systemdDisk(ctx, t); err != nil {
			return t, nil, err
		}
	}
	kernels := map[string]kernel{}
	for _, g := range guests {
		if _, ok := kernels[g.series.name]; ok {
			continue
		}
		k, err := s.kernel(ctx, g.series, t)
		if err != nil {
			return t, nil, err
		}
		kernels[g.series.name] = k
	}
	return t, kernels, nil
}

func announce(g guest, k kernel) {
	fmt.Fprintf(os.Stderr, "=== %s (linux %s)\n", g, k.release)
}

// report says why a guest failed and shows its kernel's log.
func report(o options, r outcome) {
	if o.verbose {
		fmt.Fprintf(os.Stderr, "--- kernel log\n%s\n", r.kernelLog)
	}
	if r.err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "--- %s failed: %v\n", r.guest, r.err)
	for _, line := range r.complaints {
		fmt.Fprintf(os.Stderr, "--- kernel: %s\n", line)
	}
	if text := excerpt(r.kernelLog, r.complaints); text != "" && !o.verbose {
		fmt.Fprintf(os.Stderr, "--- kernel log, excerpt\n%s\n", text)
	}
}
