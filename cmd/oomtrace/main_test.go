package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/oomtrace/oomtrace/tracer"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// The test binary is also the program: under its own name with the real tracer,
// and as oomtrace-fake with one whose events are made up, so that all but the
// kernel is tested without root.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"oomtrace":      main,
		"oomtrace-fake": func() { os.Exit(start(openFake, examineFake)) },
	})
}

// TestScripts runs the command lines of testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"waitfor": waitFor,
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// exits CODE COMMAND... runs a command and wants that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case err == nil && want == 0:
	case err == nil:
		ts.Fatalf("exit code 0, want %d", want)
	case !errors.As(err, &exit):
		ts.Check(err)
	case exit.ExitCode() != want:
		ts.Fatalf("exit code %d, want %d", exit.ExitCode(), want)
	}
}

// waitFor FILE waits until the file is there.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has not appeared within %v", args[0], patience)
		}
	}
}

const patience = 60 * time.Second

// fakeSource makes up events. Its mode is what FAKE says: few (the default; three
// events, then silence), storm (without end) or stuck (does not stop when told).
type fakeSource struct {
	mode   string
	header *event.Header
}

func openFake(o tracer.Options) (source, error) {
	mode := os.Getenv("FAKE")
	for _, s := range o.Cgroups {
		if s.ID != 0 {
			return nil, &tracer.SelectorError{Selector: s, Err: fmt.Errorf("no memory cgroup with id %d", s.ID), Hint: "an id is \x1b[31man inode"}
		}
	}
	if mode == "unsupported" {
		return nil, &tracer.Unsupported{Missing: []string{"no CAP_ONE", "no CAP_TWO"}, Remedy: []string{"be root"}}
	}
	if mode == "options" {
		return nil, fmt.Errorf("options: %v %v %v %v %q %v", o.Families, o.Cgroups, o.MinStall, o.Interval, o.Tier, o.Stacks)
	}
	return &fakeSource{mode: mode, header: &event.Header{
		Meta: meta(event.TypeHeader, 0), Schema: event.Schema, Version: o.Version, PageBytes: 4096,
		Hooks:   []event.Hook{{Family: "oom", Hook: "mark_victim", Kind: "tp_btf"}},
		Missing: []event.Missing{{Family: "throttle", Reason: "no memory.high"}},
	}}, nil
}

func meta(kind string, at time.Duration) event.Meta {
	return event.Meta{Type: kind, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(at)}
}

func fakeStall(i int, d time.Duration) *event.Reclaim {
	return &event.Reclaim{
		Meta: meta(event.TypeReclaim, time.Duration(i)*time.Second), Kind: event.ReclaimMemcgLimit,
		Process: event.Process{PID: 7, TID: 7, Comm: "java"}, Cgroup: &event.Cgroup{ID: 9, Path: "/app", Version: 2},
		DurationNS: int64(d), Reclaimed: 32,
	}
}

func (f *fakeSource) Header() *event.Header { return f.header }
func (f *fakeSource) Close() error          { return nil }

func (f *fakeSource) Run(ctx context.Context, sink tracer.Sink) error {
	if err := sink(f.header); err != nil {
		return err
	}
	var events []event.Event
	if f.mode != "silent" {
		events = []event.Event{fakeStall(1, 2*time.Millisecond), fakeStall(2, 20*time.Microsecond), fakeStall(3, 5*time.Millisecond)}
	}
	for i := 0; ; i++ {
		for _, e := range events {
			if err := sink(e); err != nil {
				return err
			}
		}
		if f.mode == "storm" && ctx.Err() == nil {
			continue
		}
		break
	}
	if f.mode == "stuck" {
		select {}
	}
	<-ctx.Done()
	for _, e := range events { // what was on its way
		if err := sink(e); err != nil {
			return err
		}
	}
	return sink(&event.Summary{Meta: meta(event.TypeSummary, time.Minute), Events: map[string]uint64{"reclaim": 6, "header": 1}, Sent: 6, Received: 6, WallNS: 1e9})
}

// examineFake is a machine with an old cgroup version, no privileges when FAKE is
// unprivileged, and names that try to steer the terminal.
func examineFake(tracer.Options) *tracer.Examination {
	have := os.Getenv("FAKE") != "unprivileged"
	return &tracer.Examination{
		Kernel: "6.1.0", Arch: "amd64", Lockdown: "integrity\x1b[2J\u009b", Cgroup: cgroup.Mount{Root: "/sys/fs/cgroup", Version: 1},
		Capabilities: []tracer.Capability{{Name: "CAP_BPF", Have: have, For: "load eBPF programs", Required: true}},
		Runtimes: []container.Found{
			{Root: container.Root{Runtime: "docker", Dir: "/var/lib/docker"}, Containers: new(int)},
			{Root: container.Root{Runtime: "podman", Dir: "/data\x1b[2J"}, Err: "permission denied"},
		},
		Purposes: []tracer.PurposeState{
			{Family: "oom", Name: "victim", Open: true, Kind: "tp_btf", Hook: "mark_victim,signal_generate"},
			{Family: "oom", Name: "decision", Passed: []string{"fentry: not permitted", "kprobe: not permitted"}, Without: "the scores"},
			{Family: "reclaim", Name: "memcg", Open: true, Kind: "tp_btf", Hook: "mm_vmscan_memcg_reclaim_begin"},
			{Family: "throttle", Name: "memory.high", Passed: []string{"cgroup v1 has no memory.high"}},
			{Family: "cache", Name: "add", Passed: []string{"no folio"}},
		},
		Advice: []string{"boot with lockdown=none"},
	}
}

// fakeEnv is an env whose streams are in memory.
func fakeEnv() (e *env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &env{
		stdin: new(bytes.Buffer), stdout: stdout, stderr: stderr,
		getenv: func(string) string { return "" }, open: openFake, examine: examineFake,
	}, stdout, stderr
}
