package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/oomtrace/oomtrace/output/term"
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
	if len(s.Lost) != 1 || len(s.Log) != 3 || len(s.Stacks) != 2 || s.Stacks[1].Episodes != 120 {
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
	if s.Header.Host != "node-8" || s.Memory != nil && len(s.Memory) > 0 || s.Stalls != nil {
		t.Errorf("%+v", s)
	}
}

// What cannot be read is told, and does not end the story.
func TestUnread(t *testing.T) {
	broken := errors.New("line 3: torn")
	n := 0
	var last *Story
	for s, err := range Read(func(yield func(event.Event, error) bool) {
		_ = yield(header(), nil) && yield(nil, broken) && yield(kill(0, "k1"), nil)
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

// hostile are names that try to leave their place in each of the formats.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "\x1b[31m\x1b]0;owned\x07", "a`b``c", "|x|\n# y\n\n```\n", "\u202eabc\u2066", "@everyone #1 https://x.example",
	"'); alert(1); ('", "</style><script>alert(2)</script>", "javascript:alert(1)", "]]>", "{{.}}", strings.Repeat("long/", 200), "\xff\xfe", "日本\u0301",
}

// replaced puts s in the place of all strings of the events but those that have a
// meaning.
func replaced(t testing.TB, events []event.Event, s string) []event.Event {
	t.Helper()
	keep := []string{"type", "kind", "constraint", "time", "since", "source", "incident", "refaulted_source", "kind_source", "state", "Incident"}
	var walk func(v any, key string) any
	walk = func(v any, key string) any {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				v[k] = walk(x, k)
			}
		case []any:
			for i, x := range v {
				v[i] = walk(x, key)
			}
		case string:
			if !slices.Contains(keep, key) {
				return s
			}
		}
		return v
	}
	for _, e := range events {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		if raw, err = json.Marshal(walk(tree, "")); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, e); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

var (
	tags       = regexp.MustCompile(`<(/?[a-zA-Z!][^\s>/]*)`)
	attributes = regexp.MustCompile(`\s(on[a-z]+|href|src|xlink:href|action|formaction)\s*=`)
	allowed    = []string{"!doctype", "html", "head", "meta", "title", "style", "body", "main", "header", "p", "span", "h1", "h2", "h3", "b", "strong", "dl", "div", "dt", "dd",
		"section", "ul", "li", "ol", "figure", "figcaption", "svg", "desc", "line", "text", "path", "rect", "i", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre", "footer"}
)

// checkPage holds a page to the elements and attributes of its template.
func checkPage(t testing.TB, page string) {
	t.Helper()
	for _, m := range tags.FindAllStringSubmatch(page, -1) {
		if name := strings.TrimPrefix(m[1], "/"); !slices.Contains(allowed, name) {
			t.Errorf("the page has an element %q", name)
		}
	}
	// Within tags alone: text may say what it likes.
	for _, tag := range regexp.MustCompile(`<[a-zA-Z][^<>]*>`).FindAllString(page, -1) {
		bare := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(tag, `""`)
		if attributes.MatchString(bare) || strings.Contains(bare, "'") {
			t.Errorf("the page has the tag %s", tag)
		}
	}
}

// checkClean finds characters that could steer a terminal or a reader's eye.
func checkClean(t testing.TB, format, out string) {
	t.Helper()
	for n, l := range strings.Split(out, "\n") {
		for _, r := range l {
			if r != '\u00a0' && !unicode.IsPrint(r) {
				t.Errorf("%s: line %d holds %U: %q", format, n+1, r, l[:min(len(l), 200)])
				return
			}
		}
	}
}

func TestHostile(t *testing.T) {
	for _, s := range hostile {
		all := stories(t, Options{All: true}, replaced(t, every(5), s)...)
		if len(all) != 2 {
			t.Fatalf("%d stories", len(all))
		}
		for format := range formats {
			out := render(t, format, all...)
			checkClean(t, format, out)
			switch format {
			case "html":
				checkPage(t, out)
			case "json":
				for line := range strings.Lines(out) {
					if !json.Valid([]byte(line)) {
						t.Errorf("%q: not JSON", s)
					}
				}
			case "text":
				for _, l := range strings.Split(out, "\n") {
					if w := term.Width(term.Text(l)); w > 90 {
						t.Errorf("%q: a line takes %d columns", s, w)
					}
				}
			case "markdown":
				checkMarkdown(t, s, out)
			}
		}
	}
}

// checkMarkdown takes out what is code; the rest must have no sign of its own.
func checkMarkdown(t testing.TB, s, out string) {
	t.Helper()
	var fence string
	for _, l := range strings.Split(out, "\n") {
		if ticks := l[:len(l)-len(strings.TrimLeft(l, "`"))]; len(ticks) >= 3 && (fence == "" || ticks == fence && l == fence) {
			if fence == "" {
				fence = ticks
			} else {
				fence = ""
			}
			continue
		}
		if fence != "" {
			continue
		}
		for i := 0; i < len(l); {
			n := len(l[i:]) - len(strings.TrimLeft(l[i:], "`"))
			switch {
			case n > 0:
				// A span goes on to the next run of as many.
				j := i + n
				for j < len(l) {
					m := len(l[j:]) - len(strings.TrimLeft(l[j:], "`"))
					if m == n {
						break
					}
					j += max(m, 1)
				}
				if j >= len(l) {
					t.Errorf("%q: code without an end: %s", s, l[:min(len(l), 200)])
					return
				}
				i = j + n
			case l[i] == '\\':
				i += 2
			case strings.IndexByte("<@#", l[i]) >= 0 && !strings.HasPrefix(l, "# ") && !strings.HasPrefix(l, "## "):
				t.Errorf("%q: %q outside of code: %s", s, l[i], l[:min(len(l), 200)])
				return
			default:
				i++
			}
		}
	}
	if fence != "" {
		t.Errorf("%q: a fence without an end", s)
	}
}

// FuzzRender puts any string in the place of all, and shifts and scales figures.
func FuzzRender(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, int64(1), uint64(1))
	}
	f.Add("x", int64(-1)<<62, uint64(1)<<63)
	f.Fuzz(func(t *testing.T, s string, ns int64, n uint64) {
		events := replaced(t, every(10), s)
		for _, e := range events {
			switch e := e.(type) {
			case *event.Reclaim:
				e.DurationNS *= ns
				e.Reclaimed *= n
			case *event.MemorySample:
				*e.Memory.Usage *= n
				*e.Memory.Anon *= n
				e.Time = e.Time.Add(time.Duration(ns))
			case *event.Cache:
				e.Evicted *= n
				e.EvictedBy[0].Pages *= n
			case *event.OOMKill:
				*e.Domain.Memory.Anon *= n
				*e.Timeline.InvokedNS *= ns
			}
		}
		all := stories(t, Options{All: true}, events...)
		for format := range formats {
			out := render(t, format, all...)
			checkClean(t, format, out)
			if format == "html" {
				checkPage(t, out)
			}
		}
	})
}
