package report

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func stories(t testing.TB, o Options, events ...event.Event) []*Story {
	t.Helper()
	o.From = FromCapture
	var out []*Story
	for s, err := range Read(seq(events), o) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

type writer interface {
	Write(*Story) error
	Close() error
}

var formats = map[string]func(io.Writer) writer{
	"text":     func(w io.Writer) writer { return NewText(w, TextOptions{Width: 90}) },
	"markdown": func(w io.Writer) writer { return NewMarkdown(w) },
	"json":     func(w io.Writer) writer { return NewJSON(w) },
	"html":     func(w io.Writer) writer { return NewHTML(w) },
	"list":     func(w io.Writer) writer { return NewList(w, false) },
}

func render(t testing.TB, format string, all ...*Story) string {
	t.Helper()
	var buf bytes.Buffer
	w := formats[format](&buf)
	for _, s := range all {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// A capture of a later schema is told with that doubt.
func TestNewerSchema(t *testing.T) {
	for schema, want := range map[int]int{event.Schema: 0, event.Schema + 1: 1} {
		h := header()
		h.Schema = schema
		for _, format := range []string{"text", "markdown", "html"} {
			out := strings.Join(strings.Fields(render(t, format, stories(t, Options{}, h, kill(0, "k1"))...)), " ")
			if got := strings.Count(out, "what is said here may be wrong"); got != want {
				t.Errorf("schema %d as %s: told %d times", schema, format, got)
			}
		}
	}
}

// What a story says, in figures.
func TestStory(t *testing.T) {
	all := stories(t, Options{}, stream()...)
	if len(all) != 1 || all[0].Incident != "k1" {
		t.Fatalf("%d stories", len(all))
	}
	s := all[0]
	if s.Window == nil || s.Window.FromNS != int64(-51*time.Second) || s.Window.ToNS != int64(9*time.Second+time.Millisecond+60*200*time.Microsecond) {
		t.Errorf("window %+v", s.Window)
	}
	var roles []string
	for _, c := range s.Memory {
		roles = append(roles, c.Role+" "+c.Cgroup.Path)
		if len(c.Samples) != 60 {
			t.Errorf("%s: %d samples", c.Cgroup.Path, len(c.Samples))
		}
	}
	if !slices.Equal(roles, []string{"domain /shop", "victim /shop/checkout", "below /shop/search"}) {
		t.Errorf("courses %q", roles)
	}
	// 60 stalls of each cgroup and a throttle; i+1 times 0.2 ms, 60 times 20 µs, 100 ms.
	if st := s.Stalls; st.Episodes != 121 || st.StalledNS != 60*61/2*200_000+60*20_000+100e6 || st.Reclaimed != 120*32 || len(st.Kinds) != 2 {
		t.Errorf("stalls %+v", st)
	} else {
		var n uint64
		for _, c := range st.Cells {
			n += c.Episodes
			if c.OffsetNS%st.WidthNS != 0 {
				t.Errorf("cell %+v off its column", c)
			}
		}
		if n != st.Episodes {
			t.Errorf("%d stalls in cells of %d", n, st.Episodes)
		}
	}
	// Intervals tell all of it; what episodes tell is not added.
	if c := s.Cache; c.Source != event.TypeCache || c.Evicted != 60*256 || *c.Refaulted != 6000 || c.Pairs[0].Pages != 60*200 || c.Pairs[0].By.Name() != "checkout" || c.Pairs[0].Owner.Name() != "/shop/search" {
		t.Errorf("cache %+v", c)
	}
	if len(s.Others) != 1 || s.Others[0].Incident != "before" || s.Others[0].OffsetNS != int64(-10*time.Second) {
		t.Errorf("other kills %+v", s.Others)
	}
	if len(s.Lost) != 1 || len(s.Log) != 3 || len(s.Stacks) != 3 || s.Stacks[1].Episodes != 120 || s.Stacks[2].Bytes != 5*mib || !slices.Equal(s.Stacks[2].Frames, []string{"malloc", "/bin/java+0x1f"}) {
		t.Errorf("lost %d, log %d, stacks %+v", len(s.Lost), len(s.Log), s.Stacks)
	}
	for _, want := range []string{
		"java[48213] in checkout was killed by the kernel's OOM killer on node-7 at 03:12:09.123 UTC on 1 March 2026.",
		"1 other process died with it, because memory.oom.group is set",
		"The memory limit of 128 MiB of /shop was reached, which is that of a parent: the victim lived below it, in checkout.",
		"was that of envoy[7] in /shop/search, of 4.00 KiB.",
		"Of the 128 MiB in use there was 110 MiB anonymous (86%), 10.0 MiB shmem and tmpfs (8%), 6.00 MiB other (5%), and 12.0 MiB beside them in swap.",
		"of 3 processes weighed its badness was the highest, 30,000 against 300 of envoy[7]",
		"Over the 50.0s of samples before, memory that cannot be dropped grew from 12.0 MiB to 112 MiB, by 2.00 MiB a second; most of that in /shop/checkout (100 MiB).",
		"In the last 10.0s tasks stalled 212 times to reclaim, for 3.32s in all, and freed 35.6 MiB.",
		"60.0 MiB of page cache was pushed out, the most (46.9 MiB) that of /shop/search by checkout; 23.4 MiB had to be read again.",
		"It had exited 48.0ms after the kill, and 100 MiB came back, the first of it after 61.0ms; 1 process marked to die still lived at the end.",
	} {
		if !strings.Contains(textOf(s.Lines), want) {
			t.Errorf("no %q in\n%s", want, textOf(s.Lines))
		}
	}
	if textOf(s.Advice) != "Take a heap profile.\n" {
		t.Errorf("advice %q", textOf(s.Advice))
	}
}

func textOf(lines []Text) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

func TestSelection(t *testing.T) {
	ids := func(o Options) (out []string) {
		for _, s := range stories(t, o, stream()...) {
			out = append(out, s.Incident)
		}
		return out
	}
	if got := ids(Options{}); !slices.Equal(got, []string{"k1"}) {
		t.Errorf("the last: %q", got)
	}
	if got := ids(Options{All: true}); !slices.Equal(got, []string{"before", "k1"}) {
		t.Errorf("all: %q", got)
	}
	if got := ids(Options{Incident: "before"}); !slices.Equal(got, []string{"before"}) {
		t.Errorf("one: %q", got)
	}
	if got := ids(Options{Incident: "none"}); got != nil {
		t.Errorf("none: %q", got)
	}
	at := kill(-10*time.Second, "").Time.Truncate(time.Millisecond)
	if got := ids(Options{At: at}); !slices.Equal(got, []string{"before"}) {
		t.Errorf("by its time: %q", got)
	}
	if got := ids(Options{At: at.Add(time.Second)}); !slices.Equal(got, []string{"k1"}) {
		t.Errorf("by a time at which there was none: %q", got)
	}
	// All at once is no other than one at a time.
	all := stories(t, Options{All: true}, stream()...)
	for i, id := range []string{"before", "k1"} {
		one := stories(t, Options{Incident: id}, stream()...)
		if a, b := render(t, "json", all[i]), render(t, "json", one[0]); a != b {
			t.Errorf("%s differs:\n%s%s", id, a, b)
		}
	}
}

// A stream may hold more than is kept; then the story says from when.
func TestStorm(t *testing.T) {
	events := []event.Event{header()}
	const n = maxKept + 5000
	for i := range n {
		events = append(events, stall(-100*time.Second+time.Duration(i)*time.Millisecond, checkout, 50_000))
	}
	events = append(events, kill(0, "k1"))
	s := stories(t, Options{}, events...)[0]
	if s.Stalls.Episodes != maxKept {
		t.Errorf("%d stalls", s.Stalls.Episodes)
	}
	if from := s.Window.StallsFromNS; from == nil || *from != int64(-100*time.Second+4999*time.Millisecond) {
		t.Errorf("stalls from %v", from)
	}
	if page := render(t, "html", s); !strings.Contains(page, "there were too many before") {
		t.Error("the page does not say that stalls are left out")
	}
	// And what is older than the window is forgotten.
	old := append([]event.Event{header()}, stall(-time.Hour, checkout, 1), stall(-before-time.Second, checkout, 1), stall(-time.Second, checkout, 1), kill(0, "k1"))
	if s := stories(t, Options{}, old...)[0]; s.Stalls.Episodes != 1 || s.Window.FromNS < -int64(before) {
		t.Errorf("%d stalls, window %+v", s.Stalls.Episodes, s.Window)
	}
}

// Thousands of samples are thinned, from the whole of the window.
func TestThinning(t *testing.T) {
	events := []event.Event{header()}
	for i := range 10_000 {
		events = append(events, sample(-100*time.Second+time.Duration(i)*10*time.Millisecond, shop, uint64(i/100), 1, 1))
	}
	s := stories(t, Options{}, append(events, kill(0, "k1"))...)[0]
	got := s.Memory[0].Samples
	if len(got) > maxSamples || len(got) < maxSamples/4 || got[0].OffsetNS != int64(-100*time.Second) || got[len(got)-1].OffsetNS < int64(-time.Second) {
		t.Errorf("%d samples from %d to %d", len(got), got[0].OffsetNS, got[len(got)-1].OffsetNS)
	}
	for i := 1; i < len(got); i++ {
		if got[i].OffsetNS <= got[i-1].OffsetNS {
			t.Fatalf("sample %d is not later than the one before", i)
		}
	}
}

// Another machine's events are not mixed in.
func TestOtherHost(t *testing.T) {
	other := header()
	other.Host, other.BootID = "node-8", "b2"
	s := stories(t, Options{}, header(), sample(-2*time.Second, shop, 1, 1, 1), stall(-time.Second, checkout, 1), other, kill(0, "k1"))[0]
	if s.Header.Host != "node-8" || len(s.Memory) > 0 || s.Stalls != nil {
		t.Errorf("%+v", s)
	}
}

// What cannot be read is told, and does not end the story.
func TestUnread(t *testing.T) {
	broken := errors.New("line 3: torn")
	n := 0
	var last *Story
	for s, err := range Read(func(yield func(*Record, error) bool) {
		_ = yield(Whole(header()), nil) && yield(nil, broken) && yield(Whole(kill(0, "k1")), nil)
	}, Options{From: FromCapture}) {
		switch {
		case errors.Is(err, broken):
			n++
		case err != nil:
			t.Error(err)
		default:
			last = s
		}
	}
	if n != 1 || last == nil || last.Unread != 1 || !strings.Contains(render(t, "text", last), "1 piece of the input could not be read") {
		t.Errorf("%d errors, %+v", n, last)
	}
}

// The same stream gives the same bytes.
func TestDeterministic(t *testing.T) {
	for format := range formats {
		first := render(t, format, stories(t, Options{All: true}, stream()...)...)
		for range 5 {
			if again := render(t, format, stories(t, Options{All: true}, stream()...)...); again != first {
				t.Errorf("%s differs from run to run", format)
			}
		}
	}
}

// Nothing but the kill, and hardly that.
func TestBare(t *testing.T) {
	bare := []event.Event{
		&event.OOMKill{Meta: event.Meta{Type: event.TypeOOMKill}, Incident: "1"},
		&event.OOMKill{Meta: event.Meta{Type: event.TypeOOMKill}, Incident: "2", Domain: event.OOMDomain{Constraint: event.ConstraintGlobal}, Trigger: event.Trigger{Order: ptr(-1)}},
		&event.OOMKill{Meta: meta(event.TypeOOMKill, 0), Incident: "3", Domain: event.OOMDomain{Constraint: event.ConstraintMemcg, Memory: &event.Figures{}}},
	}
	for format := range formats {
		out := render(t, format, stories(t, Options{All: true}, bare...)...)
		for _, wrong := range []string{"%!", "<nil>", "NaN", "ZgotmplZ", "January 1", "0001-01-01 00"} {
			if strings.Contains(out, wrong) {
				t.Errorf("%s: %q in\n%s", format, wrong, out)
			}
		}
	}
}
