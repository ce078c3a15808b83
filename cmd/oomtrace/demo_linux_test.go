package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("OOMTRACE_TEST_ALL") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("needs root: run `make test`")
}

// demoProgram is oomtrace as it is installed: the demo runs it again by its path.
func demoProgram(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	path, err := exec.LookPath("oomtrace")
	if err != nil {
		t.Fatal(err)
	}
	temp = t.TempDir()
	cmd = exec.Command(path, append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	return cmd, temp
}

// A real kill, seen by the real program: who, why, and whose limit; and nothing
// is left behind.
func TestDemo(t *testing.T) {
	needRoot(t)
	for _, tier := range []string{"best", "tracepoint"} {
		t.Run(tier, func(t *testing.T) {
			cmd, temp := demoProgram(t, "-o", "json", "--tier", tier)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if code := exitCode(t, cmd.Run()); code != 0 {
				t.Fatalf("exit code %d: %s", code, &stderr)
			}
			checkDemo(t, &stdout)
			nothingOfDemo(t, cmd.Process.Pid, temp)
			for line := range strings.Lines(stderr.String()) {
				if !strings.HasPrefix(line, "oomtrace: ") {
					t.Errorf("on stderr: %s", line)
				}
			}
		})
	}
}

func checkDemo(t *testing.T, stream *bytes.Buffer) {
	t.Helper()
	var events []event.Event
	for e, err := range jsonl.Read(stream) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	var kills []*event.OOMKill
	var ends []*event.OOMEnd
	stalls := 0
	for _, e := range events {
		switch e := e.(type) {
		case *event.OOMKill:
			kills = append(kills, e)
		case *event.OOMEnd:
			ends = append(ends, e)
		case *event.Reclaim:
			stalls++
		}
	}
	if len(events) == 0 || len(kills) != 1 || len(ends) != 1 {
		t.Fatalf("%d events, %d kills, %d ends", len(events), len(kills), len(ends))
	}
	if _, ok := events[0].(*event.Header); !ok {
		t.Errorf("the first event is %T", events[0])
	}
	k := kills[0]
	switch {
	case k.Victim.Comm != workerComm:
		t.Errorf("the victim is %q", k.Victim.Comm)
	case k.Domain.Constraint != event.ConstraintMemcg || k.Domain.Cgroup == nil || k.Victim.Cgroup == nil:
		t.Errorf("domain %+v, victim %+v", k.Domain, k.Victim)
	case k.Domain.Cgroup.Path+"/worker" != k.Victim.Cgroup.Path:
		t.Errorf("the limit of %s, a victim in %s", k.Domain.Cgroup.Path, k.Victim.Cgroup.Path)
	case k.Domain.Memory == nil || k.Domain.Memory.Limit == nil || *k.Domain.Memory.Limit != demoLimit:
		t.Errorf("memory of the domain: %+v", k.Domain.Memory)
	case k.Verdict == nil || k.Verdict.Cause != event.CauseLeak:
		t.Errorf("verdict %+v, window %+v", k.Verdict, k.Window)
	}
	if ends[0].Incident != k.Incident {
		t.Errorf("the end of %s, the kill %s", ends[0].Incident, k.Incident)
	}
	if stalls == 0 {
		t.Error("no stalls")
	}
	s, ok := events[len(events)-1].(*event.Summary)
	if !ok {
		t.Fatalf("the last event is %T", events[len(events)-1])
	}
	var lost uint64
	for _, n := range s.Lost {
		lost += n
	}
	if s.Sent != s.Received+lost {
		t.Errorf("sent %d, received %d, lost %d", s.Sent, s.Received, lost)
	}
}

// nothingOfDemo fails when the demo of a process has left anything behind.
func nothingOfDemo(t *testing.T, pid int, temp string) {
	t.Helper()
	m, err := cgroup.FindMount("/sys/fs/cgroup", "/proc")
	if err != nil {
		t.Fatal(err)
	}
	g := &demoGroup{mount: m}
	g.name(pid)
	if _, err := os.Stat(g.dir(g.path)); !os.IsNotExist(err) {
		t.Errorf("cgroup %s is left: %v", g.dir(g.path), err)
	}
	for _, dir := range []string{temp, "/var/tmp", "."} {
		if left, _ := filepath.Glob(filepath.Join(dir, "oomtrace-demo-*")); left != nil {
			t.Errorf("files are left: %v", left)
		}
	}
	comms, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range comms {
		if line, _ := os.ReadFile(file); bytes.Contains(line, []byte(g.path+"/worker")) {
			t.Errorf("a process is left: %s %q", file, line)
		}
	}
}

// However the demo is ended, it takes everything away with it.
func TestDemoInterrupted(t *testing.T) {
	needRoot(t)
	for _, signals := range []int{1, 2} {
		cmd, temp := demoProgram(t, "-o", "json")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = write
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		write.Close()
		var told strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(told.String(), "reads it twice") && !strings.Contains(told.String(), "leaks memory") {
			n, err := read.Read(buf)
			if err != nil {
				t.Fatalf("%v: %s", err, &told)
			}
			told.Write(buf[:n])
		}
		for range signals {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // together they would be one
		}
		code := exitCode(t, within(t, cmd))
		if code != exitFailed && code != exitInterrupted {
			t.Errorf("exit code %d", code)
		}
		read.Close()
		nothingOfDemo(t, cmd.Process.Pid, temp)
	}
}

func TestDiskDir(t *testing.T) {
	dir, passed := diskDir([]string{"/no/such/directory", "/dev/shm"})
	if dir != "" || len(passed) != 2 || !strings.Contains(passed[1], "tmpfs") {
		t.Errorf("%q, %q", dir, passed)
	}
}
