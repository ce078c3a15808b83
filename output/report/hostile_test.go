package report

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

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
	for i, e := range events {
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
		if events[i], err = jsonl.Unmarshal(raw); err != nil {
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
