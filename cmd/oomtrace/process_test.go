//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the test binary under one of the names that TestMain knows. It can
// be run by anyone, whatever the directories above it allow.
func program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = name
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

// within fails the test, and ends the process, when it takes too long.
func within(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		t.Fatalf("%q did not end within %v", cmd.Args, patience)
	}
	return err
}

// Without privileges one message names all that is missing, and the remedy.
func TestWithoutPrivileges(t *testing.T) {
	for _, args := range [][]string{nil, {"-o", "json", "-c", "/x"}} {
		cmd := program("oomtrace", args...)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if code := exitCode(t, cmd.Run()); code != exitUnsupported {
			t.Errorf("exit code %d, want %d", code, exitUnsupported)
		}
		if stdout.Len() > 0 {
			t.Errorf("on stdout: %s", &stdout)
		}
		first, rest, _ := strings.Cut(stderr.String(), "\n")
		for _, want := range []string{"CAP_BPF", "CAP_PERFMON"} {
			if !strings.Contains(first, want) {
				t.Errorf("the first line does not name %s: %s", want, &stderr)
			}
		}
		if !strings.Contains(rest, "root") {
			t.Errorf("no remedy: %s", &stderr)
		}
	}
}

func TestDemoWithoutRoot(t *testing.T) {
	cmd := program("oomtrace", "demo")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if code := exitCode(t, err); code != exitUnsupported || !strings.Contains(string(out), "sudo oomtrace demo") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// A reader that goes away ends the trace quietly: at the next event, and without
// any.
func TestReaderGone(t *testing.T) {
	type variant struct{ name, command, mode string }
	variants := []variant{{"events", "oomtrace-fake", "storm"}, {"silence", "oomtrace-fake", "silent"}}
	if os.Geteuid() == 0 {
		variants = append(variants, variant{"kernel", "oomtrace", ""})
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			cmd := program(v.command, "-o", "json", "-w", t.TempDir()+"/capture")
			cmd.Env = append(os.Environ(), "FAKE="+v.mode)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			stdout.Close()
			if code := exitCode(t, within(t, cmd)); code != 0 || stderr.Len() > 0 {
				t.Errorf("exit code %d: %s", code, &stderr)
			}
			if last := lastLine(t, unpack(t, cmd.Args[4])); !strings.Contains(last, `"type":"summary"`) {
				t.Errorf("the capture ends with %s", last)
			}
		})
	}
}

// The help too may be read by `head -1`.
func TestHelpReaderGone(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := program("oomtrace", "--help")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = write, &stderr
	read.Close()
	if code := exitCode(t, cmd.Run()); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	write.Close()
}

// The first ^C asks the trace to finish, the second does not ask.
func TestSecondInterrupt(t *testing.T) {
	cmd := program("oomtrace-fake", "-o", "json")
	cmd.Env = append(os.Environ(), "FAKE=stuck")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	ended := make(chan struct{})
	go func() {
		// Two signals that are pending together are one, so more are sent until
		// it ends.
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			_ = cmd.Process.Signal(os.Interrupt)
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	code := exitCode(t, within(t, cmd))
	close(ended)
	if code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}
