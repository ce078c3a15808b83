package text

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func render(t testing.TB, opt Options, events ...event.Event) string {
	t.Helper()
	var buf bytes.Buffer
	opt.Location = time.UTC
	w := New(&buf, opt)
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	return buf.String()
}

// check holds every output to what a terminal can take.
func check(t testing.TB, out string, width int) {
	t.Helper()
	for n, l := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if w := term.Width(term.Text(l)); w > width {
			t.Errorf("line %d takes %d columns of %d: %s", n+1, w, width, l)
		}
		if strings.TrimRight(l, " ") != l {
			t.Errorf("line %d ends in blanks: %q", n+1, l)
		}
		if !utf8.ValidString(l) {
			t.Errorf("line %d is not UTF-8: %q", n+1, l)
		}
		for _, r := range l {
			if !unicode.IsPrint(r) {
				t.Errorf("line %d holds %U: %q", n+1, r, l)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	for _, c := range []struct {
		name   string
		width  int
		events []event.Event
	}{
		{"story", 100, story()},
		{"wide", 160, story()},
		{"narrow", 60, story()},
		{"bare", 100, bare()},
		{"looks", 100, looks()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := render(t, Options{Width: c.width}, c.events...)
			check(t, got, c.width)
			golden := filepath.Join("testdata", c.name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("not as in %s (look at it, then go test -update):\n%s", golden, got)
			}
		})
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestColor(t *testing.T) {
	for _, events := range [][]event.Event{story(), bare()} {
		colored := render(t, Options{Color: true}, events...)
		without := render(t, Options{}, events...)
		if !strings.Contains(colored, alarm.escape()+"OOM KILL"+reset) {
			t.Error("a kill does not stand out")
		}
		if sgr.ReplaceAllString(colored, "") != without {
			t.Error("colours change the text")
		}
		for _, l := range strings.Split(colored, "\n") {
			if codes := sgr.FindAllString(l, -1); len(codes)%2 != 0 || len(codes) > 0 && codes[len(codes)-1] != reset {
				t.Errorf("colour runs over the end of the line: %q", l)
			}
		}
	}
}

func TestHeadingAgain(t *testing.T) {
	var events []event.Event
	for range 2*headingEvery + 1 {
		events = append(events, stalls()[0])
	}
	if got := strings.Count(render(t, Options{}, events...), "FREED/SCANNED"); got != 3 {
		t.Errorf("%d headings", got)
	}
}

// A verbose kill, evidence included, must still fit on a screen.
func TestBlockHeight(t *testing.T) {
	for _, e := range []event.Event{parentKill(), groupKill(), nodeKill()} {
		if n := strings.Count(render(t, Options{PageBytes: 4096}, e), "\n"); n > 44 {
			t.Errorf("%s: %d lines", e.(*event.OOMKill).Incident, n)
		}
	}
}

// Kernel logs may hold no date, a sum in place of kinds, and a trigger by its
// name alone.
func TestOldLog(t *testing.T) {
	kill := nodeKill()
	kill.Time, kill.UptimeNS = time.Time{}, ptr(int64(901_000_499_999))
	kill.Trigger.Process = event.Process{Comm: "cron"}
	kill.Victim.TaskMemory = event.TaskMemory{ResidentSum: ptr(uint64(12 * mib))}
	again := *kill
	again.UptimeNS, again.Trigger = nil, event.Trigger{GFPFlags: "0xd0"}
	again.Candidates = []event.Candidate{{Actor: kill.Victim.Actor, TaskMemory: kill.Victim.TaskMemory}, {}}
	out := render(t, Options{}, kill, &again, nodeKill())
	for _, want := range []string{
		"seconds since boot\n901.000      OOM KILL", "trigger    cron in /init.scope", "victim     12.0 MiB resident\n",
		"time not known\n             OOM KILL", "trigger    not told (0xd0)", "  killed >             12.0 MiB", "Monday 2026-03-02, UTC\n04:12:07.123 OOM KILL",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	check(t, out, defaultWidth)
}

func TestOneWrite(t *testing.T) {
	calls := 0
	w := New(writerFunc(func(p []byte) (int, error) { calls++; return len(p), nil }), Options{})
	if err := w.Write(parentKill()); err != nil || calls != 1 {
		t.Errorf("%d writes, %v", calls, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// FuzzWrite puts any string in the place of all strings, and any numbers in the
// place of some.
func FuzzWrite(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b]0;x\x07", "\u202e\u009b\n", `\`, "日本\u0301", "\xff", strings.Repeat("x/", 300), " ", "\u0301"} {
		f.Add(s, 100, uint64(4096), int64(1))
	}
	f.Add("\u0301", 41, uint64(3), int64(1))
	f.Add("x", 1, uint64(1)<<63, int64(-1)<<63)
	f.Fuzz(func(t *testing.T, s string, width int, n uint64, ns int64) {
		width = 1 + int(uint(width)%300)
		var events []event.Event
		for _, e := range append(story(), bare()...) {
			raw, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := json.Unmarshal(raw, &tree); err != nil {
				t.Fatal(err)
			}
			raw, err = json.Marshal(replace(tree, "", s, n, ns))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
		check(t, render(t, Options{Width: width, PageBytes: int(int32(n))}, events...), width)
	})
}

// replace walks a decoded event. Types, kinds, times and small numbers stay.
func replace(v any, key, s string, n uint64, ns int64) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = replace(x, k, s, n, ns)
		}
	case []any:
		for i, x := range v {
			v[i] = replace(x, key, s, n, ns)
		}
	case string:
		if key != "type" && key != "kind" && key != "constraint" && key != "time" && key != "since" && key != "dev" {
			return s
		}
	case float64:
		switch {
		case strings.HasSuffix(key, "_pages"), strings.HasSuffix(key, "_bytes") && key != "page_bytes" && key != "peak_rss_bytes":
			return n
		case strings.HasSuffix(key, "_ns"):
			return ns
		}
	}
	return v
}

func BenchmarkReclaim(b *testing.B) {
	w := New(writerFunc(func(p []byte) (int, error) { return len(p), nil }), Options{PageBytes: 4096, Location: time.UTC})
	e := stalls()[0]
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(e); err != nil {
			b.Fatal(err)
		}
	}
}
