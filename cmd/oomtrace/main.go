// Command oomtrace records how the kernel treats the memory of containers: OOM
// kills, reclaim stalls, throttling and page-cache traffic, seen through eBPF.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/oomtrace/oomtrace/tracer"
)

func main() {
	os.Exit(start(open, tracer.Examine))
}

func open(o tracer.Options) (source, error) { return tracer.Open(o) }

// start binds the program to its process: arguments, environment, standard
// streams and signals. Everything below it takes them from env.
func start(open opener, examine examiner) int {
	e := &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
		open: open, examine: examine,
	}
	// With a handler in place, writing to a closed pipe fails with EPIPE instead
	// of killing the process.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	stops := make(chan os.Signal, 2)
	signal.Notify(stops, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // it is under nohup
		signal.Notify(stops, syscall.SIGHUP)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- run(ctx, os.Args[1:], e) }()
	for again := false; ; again = true {
		select {
		case code := <-done:
			return code
		case <-stops:
			if again {
				e.abandon()
				return exitInterrupted
			}
			cancel()
		}
	}
}
