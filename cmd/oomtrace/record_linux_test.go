package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// recording is the real program at work.
type recording struct {
	*exec.Cmd
	stderr *bytes.Buffer
}

func startRecording(t *testing.T, program *exec.Cmd, env ...string) *recording {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	program.Args = append(program.Args, "--ready-file", ready)
	program.Env = append(os.Environ(), env...)
	r := &recording{program, new(bytes.Buffer)}
	r.Stderr = r.stderr
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Process.Kill() })
	waitUntil(t, "the recorder is ready", func() bool {
		_, err := os.Stat(ready)
		return err == nil
	})
	return r
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (r *recording) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stop ends it as ^C does.
func (r *recording) stop(t *testing.T) {
	t.Helper()
	r.signal(t, syscall.SIGINT)
	if code := exitCode(t, within(t, r.Cmd)); code != 0 {
		t.Errorf("exit code %d: %s", code, r.stderr)
	}
}

// A real kill becomes a file of its own, with all that led to it, whole enough
// for replay to tell the story on its own.
func TestRecordKill(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "rec")
	r := startRecording(t, program("oomtrace", "record", "--dir", dir, "--keep", "8MiB", "--before", "30s", "--after", "500ms", "--profile"))
	demo, _ := demoProgram(t)
	if err := demo.Run(); err != nil {
		t.Fatal(err)
	}
	of := fmt.Sprintf("/oomtrace-demo-%d", demo.Process.Pid)
	var name string
	var events []event.Event
	waitUntil(t, "the incident's file", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "incidents", "*-kill-worker*.zst"))
		for _, n := range names {
			events = readCapture(t, n)
			for _, e := range events {
				if k, ok := e.(*event.OOMKill); ok && k.Domain.Cgroup != nil && k.Domain.Cgroup.Path == of {
					name = n
					return true
				}
			}
		}
		return false
	})
	r.stop(t)
	if !strings.Contains(r.stderr.String(), name) {
		t.Errorf("%s is not told: %s", name, r.stderr)
	}
	// Of the demo's cgroups: who they are, the stalls, the cache, the memory.
	have := make(map[string]int)
	for _, e := range events {
		switch e := e.(type) {
		case *event.Header:
			have["header"]++
		case *event.CgroupChange:
			if e.State == event.CgroupKnown && strings.HasPrefix(e.Cgroup.Path, of) {
				have["known"]++
			}
		case *event.Reclaim:
			if e.Domain != nil && e.Domain.Path == of {
				have["reclaim"]++
			}
		case *event.Cache:
			if e.Cgroup != nil && e.Cgroup.Path == of+"/worker" {
				have["cache"]++
			}
		case *event.MemorySample:
			if e.Cgroup.Path == of && have["kill"] == 0 {
				have["memory"]++
			}
		case *event.Profile:
			if e.Cgroup != nil && e.Cgroup.Path == of+"/worker" && len(e.UserStack) > 0 {
				have["profile"]++
			}
		case *event.OOMKill:
			if e.Domain.Cgroup != nil && e.Domain.Cgroup.Path == of {
				have["kill"]++
			}
		}
	}
	for _, what := range []string{"header", "known", "reclaim", "cache", "memory", "profile", "kill"} {
		if have[what] == 0 {
			t.Errorf("no %s in %s: %v", what, name, have)
		}
	}
	if have["memory"] < 3 {
		t.Errorf("the memory before the kill was told %d times, want 3 or more", have["memory"])
	}
	reported, err := program("oomtrace", "report", name).Output()
	if err != nil || !bytes.Contains(reported, []byte("faulted in here by")) {
		t.Errorf("no stacks of page faults in the report: %v\n%s", err, reported)
	}
	replayed := program("oomtrace", "replay", "-o", "json", "-c", of, "-e", "oom", name)
	out, err := replayed.Output()
	if err != nil || bytes.Count(out, []byte(`"type":"oom_kill"`)) != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

func readCapture(t *testing.T, names ...string) []event.Event {
	t.Helper()
	var out []event.Event
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for r, err := range capture.Read(f, capture.Options{}) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e, err := r.Event()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, e)
		}
	}
	return out
}

// thrashing makes a cgroup that reclaims all the time, until the test is over.
func thrashing(t *testing.T) {
	t.Helper()
	mount, err := cgroup.FindMount("/sys/fs/cgroup", "")
	if err != nil {
		t.Fatal(err)
	}
	g := &demoGroup{mount: mount, path: fmt.Sprintf("/oomtrace-capture-%d", os.Getpid())}
	g.child = g.path + "/worker"
	if err := g.make(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.remove(patience); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 2*demoLimit), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ > "$0" && while :; do cat "$1" > /dev/null; done`, g.procs(), file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// Killed with SIGKILL in the middle of a storm, again and again, a recorder
// leaves a ring of which at most the last frame is torn, and the next one goes
// on behind it.
func TestRecordKilled(t *testing.T) {
	for _, v := range []struct {
		name, command, env string
		rounds             int
	}{
		{"made up", "oomtrace-fake", "FAKE=storm", 50},
		{"real", "oomtrace", "FAKE=", 5}, // 50 pass too, and take minutes
	} {
		t.Run(v.name, func(t *testing.T) {
			if v.name == "real" {
				needRoot(t)
				thrashing(t)
			}
			dir := filepath.Join(t.TempDir(), "rec")
			args := []string{"record", "--dir", dir, "--keep", "256MiB", "--min-stall", "0", "--before", "2s", "--after", "100ms", "-i", "50ms"}
			size := int64(0)
			for round := range v.rounds {
				r := startRecording(t, program(v.command, args...), v.env)
				r.signal(t, syscall.SIGUSR1) // a frame is closed, an incident begun
				waitUntil(t, "something is written", func() bool {
					return ringSize(t, dir) > size
				})
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // anywhere in a write
				r.signal(t, syscall.SIGKILL)
				_ = within(t, r.Cmd)
				size = ringSize(t, dir)
				checkRing(t, dir, round)
			}
			r := startRecording(t, program(v.command, args...), v.env)
			r.stop(t)
			names, _ := filepath.Glob(filepath.Join(dir, "ring", "*.zst"))
			runs := make(map[time.Time]bool)
			for _, e := range readCapture(t, names...) { // fails for any damage
				if e.Head().Type == event.TypeHeader {
					runs[e.Head().Time] = true
				}
			}
			if v.name != "real" { // its clock stands still
				return
			}
			if len(runs) != v.rounds+1 {
				t.Errorf("%d runs are in the ring, want %d", len(runs), v.rounds+1)
			}
			incidents, _ := filepath.Glob(filepath.Join(dir, "incidents", "*-signal*.zst"))
			left, _ := filepath.Glob(filepath.Join(dir, "incidents", ".*"))
			if len(incidents) < v.rounds/2 || len(left) > 0 {
				t.Errorf("%d incidents of %d rounds, left over: %q", len(incidents), v.rounds, left)
			}
			readCapture(t, incidents...)
		})
	}
}

func ringSize(t *testing.T, dir string) int64 {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "ring", "*.zst"))
	var sum int64
	for _, name := range names {
		if st, err := os.Stat(name); err == nil {
			sum += st.Size()
		}
	}
	return sum
}

// checkRing wants damage at the end of the last segment only.
func checkRing(t *testing.T, dir string, round int) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "ring", "*.zst"))
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range capture.Frames(f) {
			var d *capture.Damage
			if err == nil {
				continue
			}
			if !errors.As(err, &d) || i != len(names)-1 || d.To != st.Size() {
				t.Errorf("round %d: segment %d of %d, %d bytes: %v", round, i+1, len(names), st.Size(), err)
			}
		}
	}
}

// What a capture of the real kernel gives back is what was shown, to the byte.
func TestReplayIsLive(t *testing.T) {
	needRoot(t)
	thrashing(t)
	name := filepath.Join(t.TempDir(), "capture.zst")
	live := program("oomtrace", "-e", "all", "-o", "json", "-i", "100ms", "-n", "300", "-w", name)
	var shown bytes.Buffer
	live.Stdout = &shown
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, within(t, live)); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	got, err := program("oomtrace", "replay", "-o", "json", name).Output()
	if err != nil || !bytes.Equal(got, shown.Bytes()) || bytes.Count(got, []byte{'\n'}) < 300 {
		t.Errorf("%v: %d bytes came back of %d", err, len(got), shown.Len())
	}
}
