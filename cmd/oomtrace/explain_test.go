package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

const killedLine = "[  901.000100] Memory cgroup out of memory: Killed process 611 (keep\x1b[31mer) total-vm:81920kB, anon-rss:40960kB, file-rss:64kB, shmem-rss:0kB, UID:7 pgtables:192kB oom_score_adj:-5\n"

func TestExplainUndated(t *testing.T) {
	e, stdout, stderr := fakeEnv()
	e.stdin = strings.NewReader(killedLine)
	if code := run(context.Background(), []string{"explain", "-"}, e); code != exitDone || stderr.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	out := stdout.String()
	if !strings.HasPrefix(out, "seconds since boot\n901.000      OOM KILL") || strings.Contains(out, "Monday") || strings.Contains(out, "\x1b") {
		t.Errorf("got %q", out)
	}
}

// What was read before an error is told first.
func TestExplainReadError(t *testing.T) {
	e, stdout, stderr := fakeEnv()
	e.stdin = iotest.DataErrReader(&failing{Reader: *strings.NewReader(killedLine)})
	if code := run(context.Background(), []string{"explain"}, e); code != exitFailed || !strings.Contains(stdout.String(), "keep") || !strings.Contains(stderr.String(), "read stdin: broken") {
		t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
	}
}

// ^C ends it while it waits for more, and what was read is told.
func TestExplainInterrupted(t *testing.T) {
	e, stdout, stderr := fakeEnv()
	in, out := io.Pipe()
	e.stdin = in
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.WriteString(out, killedLine)
		_, _ = io.WriteString(out, "\n") // taken when the line has been
		cancel()
	}()
	if code := run(ctx, []string{"explain"}, e); code != exitDone || stderr.Len() > 0 || !strings.Contains(stdout.String(), "OOM KILL") {
		t.Errorf("exit code %d, %q, %s", code, stdout, stderr)
	}
	out.Close()
}

// failing gives its text and then an error.
type failing struct{ strings.Reader }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil {
		err = errors.New("broken")
	}
	return n, err
}

// A reader of stdout that goes away ends it quietly.
func TestExplainReaderGone(t *testing.T) {
	e, _, stderr := fakeEnv()
	e.stdin = strings.NewReader(killedLine)
	e.stdout = goneWriter{}
	if code := run(context.Background(), []string{"explain", "-o", "json"}, e); code != exitDone || stderr.Len() > 0 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

type goneWriter struct{}

func (goneWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestExplainGarbage(t *testing.T) {
	e, stdout, stderr := fakeEnv()
	e.stdin = bytes.NewReader(bytes.Repeat([]byte{0xff, 0, '[', 'K', 'i', 'l', 'l', '\n', '{'}, 1000))
	if code := run(context.Background(), []string{"explain"}, e); code != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), "stdin holds no OOM report") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// A log that is packed says so, and how to unpack it.
func TestExplainPacked(t *testing.T) {
	for head, want := range map[string]string{"\x1f\x8b\x08": "no text but gzip: zcat FILE", "\xff\xfeM\x00": "UTF-16", "\x28\xb5\x2f\xfd": "oomtrace report"} {
		e, stdout, stderr := fakeEnv()
		e.stdin = strings.NewReader(head + "\x00\x01\n")
		if code := run(context.Background(), []string{"explain"}, e); code != exitFailed || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit code %d, %q, %s", head, code, stdout, stderr)
		}
	}
}
