package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Real kills, recorded with -e all: shop is a leak below the limit of a parent
// that a page cache shares, hostile the same with names that try to break out.
const (
	shopCapture    = "testdata/report/shop.zst"
	hostileCapture = "testdata/report/hostile.zst"
	oldLog         = "../../tracer/oom/kernlog/testdata/old-3.10.log"
	newLog         = "../../tracer/oom/kernlog/testdata/linux-6.12-v2.log"
)

// reported runs the command.
func reported(t testing.TB, stdin []byte, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	e, out, errs := fakeEnv()
	e.stdin = bytes.NewReader(stdin)
	code = run(context.Background(), append([]string{"report"}, args...), e)
	return code, out.String(), errs.String()
}

func TestReportGolden(t *testing.T) {
	for _, c := range []struct{ golden, format, input string }{
		{"shop.txt", "text", shopCapture},
		{"shop.md", "markdown", shopCapture},
		{"shop.json", "json", shopCapture},
		{"shop.html", "html", shopCapture},
		{"hostile.txt", "text", hostileCapture},
		{"hostile.md", "markdown", hostileCapture},
		{"log.txt", "text", newLog},
		{"log.html", "html", oldLog},
	} {
		t.Run(c.golden, func(t *testing.T) {
			golden := filepath.Join("testdata/report", c.golden)
			code, got, stderr := reported(t, nil, "-o", c.format, c.input)
			if code != exitDone || stderr != "" {
				t.Fatalf("exit code %d, %s", code, stderr)
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("not as in %s: look at it, then UPDATE_GOLDEN=1", golden)
			}
			// Whichever way it comes, it is the same story.
			text, err := os.ReadFile(c.input)
			if err != nil {
				t.Fatal(err)
			}
			if _, piped, _ := reported(t, text, "-o", c.format, "-"); piped != got {
				t.Error("from stdin it is another")
			}
		})
	}
}

// Plain JSON lines are a capture too; a journal's are not.
func TestReportInputs(t *testing.T) {
	packed, err := os.ReadFile(shopCapture)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	lines, err := z.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := reported(t, packed, "-o", "json")
	if code, got, stderr := reported(t, lines, "-o", "json"); code != exitDone || got != want {
		t.Errorf("of plain lines: exit code %d, %s", code, stderr)
	}
	// One that begins within a line, and one that ends in one.
	for _, torn := range [][]byte{lines[100:], lines[:len(lines)-100]} {
		code, got, stderr := reported(t, torn, "-o", "json")
		if code != exitFailed || !strings.Contains(got, `"type":"report"`) || !strings.Contains(stderr, "what could be read was told") {
			t.Errorf("torn: exit code %d, %s", code, stderr)
		}
		var s struct{ Unread int }
		if err := json.Unmarshal([]byte(got), &s); err != nil || s.Unread != 1 {
			t.Errorf("torn: %d pieces unread, %v", s.Unread, err)
		}
	}
	kill := `Memory cgroup out of memory: Killed process 611 (keeper) total-vm:81920kB, anon-rss:40960kB, file-rss:64kB`
	journal := `{"__REALTIME_TIMESTAMP":"1700000000000000","_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"` + kill + `"}` + "\n"
	if code, got, stderr := reported(t, []byte(journal)); code != exitDone || !strings.Contains(got, "keeper[611] was killed") || !strings.Contains(got, "a kernel log:") {
		t.Errorf("of a journal: exit code %d, %s%s", code, got, stderr)
	}
}

// Every way to have nothing to tell says so, and leaves no file behind.
func TestReportNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.html")
	for _, c := range []struct {
		args   []string
		stdin  string
		code   int
		stderr string
	}{
		{[]string{"-w", file}, "nothing\n", exitFailed, "oomtrace: stdin holds no OOM report of a kernel, and is no capture\n"},
		{[]string{"-w", file, "-"}, "", exitFailed, "oomtrace: stdin holds no OOM report"},
		{[]string{"-w", file}, `{"type":"header","time":"2026-03-01T00:00:00Z","schema":1,"version":"1","page_bytes":4096,"hooks":null}` + "\n", exitFailed, "oomtrace: stdin holds no OOM kill\n"},
		{[]string{"-w", file, "--incident", "no\x1bne", shopCapture}, "", exitFailed, `has no incident no\x1bne; oomtrace report --list shows those that it has`},
		{[]string{"-w", file, filepath.Join(dir, "none")}, "", exitFailed, "no such file"},
		{[]string{"-w", dir, shopCapture}, "", exitUsage, "is a directory"},
		{[]string{"-w", filepath.Join(dir, "no/x"), shopCapture}, "", exitFailed, "no such file"},
		{[]string{"-o", "pdf", shopCapture}, "", exitUsage, `unknown value "pdf"`},
		{[]string{"--all", "--list", shopCapture}, "", exitUsage, "exclude each other"},
		{[]string{"--list", "-o", "html", shopCapture}, "", exitUsage, "--list gives text or json"},
		{[]string{"--incident", "", shopCapture}, "", exitUsage, "the id is empty"},
		{[]string{shopCapture, shopCapture}, "", exitUsage, "report reads one file"},
		{[]string{"--page-bytes", "5", oldLog}, "", exitUsage, "no size of a page"},
	} {
		code, stdout, stderr := reported(t, []byte(c.stdin), c.args...)
		if code != c.code || !strings.Contains(stderr, c.stderr) || stdout != "" {
			t.Errorf("%q: exit code %d, %q, %q", c.args, code, stdout, stderr)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Fatalf("%q leaves %v", c.args, left)
		}
	}
}

func TestReportFile(t *testing.T) {
	dir := t.TempDir()
	for name, begins := range map[string]string{"a.html": "<!doctype html>", "a.md": "# ", "a.json": `{"type":"report"`, "a.txt": "checkout["} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("older"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := reported(t, nil, "-w", file, shopCapture)
		text, err := os.ReadFile(file)
		if code != exitDone || stdout != "" || stderr != "" || err != nil || !strings.HasPrefix(string(text), begins) {
			t.Errorf("%s: exit code %d, %q, %v, %.40q", name, code, stderr, err, text)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 4 {
		t.Errorf("beside the reports are left: %v", left)
	}
}

// A recorder's file is about the kill that it is named by.
func TestReportKillTime(t *testing.T) {
	want := time.Date(2026, 11, 24, 19, 44, 48, 643e6, time.UTC)
	for name, want := range map[string]time.Time{
		"a/20261124T194448.643Z-kill-checkout.zst": want, "20261124T194448.643Z-kill-.zst": want,
		"20261124T194448.643Z-kill.zst": want, "20261124T194448.643Z-kill-2.zst": want, "20261124T194448.643Z-killer-kill.zst": {},
		"a/20261124T194448.643Z-thrash-x.zst": {}, "x-kill-y": {}, "": {}, "-": {}, "trace.zst": {},
	} {
		if got := killTime(name); !got.Equal(want) {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestReportIncidents(t *testing.T) {
	code, list, stderr := reported(t, nil, "--list", newLog)
	if code != exitDone || stderr != "" || strings.Count(list, "\n") != 3 || !strings.Contains(list, "kmsg-4502924-161  4.503 s after boot           grouphog[161] and 5 others were killed: the limit of 16.0 MiB of /box was reached\n") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, list)
	}
	if _, one, _ := reported(t, nil, "--incident", "kmsg-4502924-161", newLog); !strings.HasPrefix(one, "grouphog[161] and 5 others were killed") {
		t.Errorf("got %.100s", one)
	}
	if _, all, _ := reported(t, nil, "--all", "-o", "json", newLog); strings.Count(all, "\n") != 3 {
		t.Errorf("%d of all", strings.Count(all, "\n"))
	}
	if _, entries, _ := reported(t, nil, "--list", "-o", "json", newLog); strings.Count(entries, `"incident":"kmsg-`) != 3 {
		t.Errorf("list as JSON: %s", entries)
	}
}

// A reader of stdout that goes away ends it quietly, a full disk does not.
func TestReportUnwritable(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{{syscall.EPIPE, exitDone}, {syscall.ENOSPC, exitFailed}} {
		e, _, stderr := fakeEnv()
		e.stdout = failWriter{c.err}
		if code := run(context.Background(), []string{"report", "-o", "html", shopCapture}, e); code != c.code || (stderr.Len() > 0) != (c.code != exitDone) {
			t.Errorf("%v: exit code %d, %s", c.err, code, stderr)
		}
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }
