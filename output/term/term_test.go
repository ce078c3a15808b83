package term

import (
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]Text{
		"":                      "",
		"postgres: writer":      "postgres: writer",
		"a\x1b[31mred\x07":      `a\x1b[31mred\x07`,
		"two\nlines\r\tand":     `two\nlines\r\tand`,
		"del\x7f c1\u009b":      `del\x7f c1\u009b`,
		"sep\u2028\u2029":       `sep\u2028\u2029`,
		"bidi\u202egnp\u2066":   `bidi\u202egnp\u2066`,
		"zero\u200bwidth":       `zero\u200bwidth`,
		"tag\U000e0041":         `tag\U000e0041`,
		"bad\xff\xc3":           `bad\xff\xc3`,
		`real\x1b`:              `real\\x1b`,
		"日本 é µ <script>":       "日本 é µ <script>",
		"nbsp\u00a0":            `nbsp\u00a0`,
		"replacement \ufffd ok": "replacement \ufffd ok",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestElide(t *testing.T) {
	for _, c := range []struct {
		in      Text
		columns int
		want    Text
	}{
		{"short", 10, "short"},
		{"shop/checkout-7d9f8b6c5-x2x4z/app", 17, "shop/che…2x4z/app"},
		{"/kubepods/burstable/web.service", 20, "/kubepo…/web.service"},
		{"/kubepods/burstable/nginx.service", 20, "/kube…/nginx.service"},
		{"abcdefghij", 5, "ab…ij"},
		{"abcdefghij", 3, "ab…"},
		{"abcdefghij", 1, "…"},
		{"abcdefghij", 0, ""},
		{"日本語日本語", 7, "日本…語"},
	} {
		got := Elide(c.in, c.columns)
		if got != c.want || Width(got) > c.columns {
			t.Errorf("Elide(%q, %d) = %q (%d columns), want %q", c.in, c.columns, got, Width(got), c.want)
		}
	}
}

func TestPad(t *testing.T) {
	if got := Left("日本", 6) + "|" + Right("é", 3) + "|" + Left("long", 2); got != "日本  |  é|long" {
		t.Errorf("got %q", got)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"plain", "\x1b]0;title\x07", "a\\b", "\u202e\u2069", "\xc2\x9b", "日本\u0301", "\xff\xfe", "\U000e0001"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, columns int) {
		clean := string(Clean(s))
		if !utf8.ValidString(clean) {
			t.Fatalf("Clean(%q) = %q: not UTF-8", s, clean)
		}
		for _, r := range clean {
			if !unicode.IsPrint(r) {
				t.Fatalf("Clean(%q) = %q: %U is not printable", s, clean, r)
			}
		}
		if back := unescape(t, clean); back != s {
			t.Fatalf("Clean(%q) = %q reads back as %q", s, clean, back)
		}
		columns = max(0, min(columns, 1000))
		for _, short := range []Text{Elide(Text(clean), columns), Cut(Text(clean), columns)} {
			if Width(short) > columns || !utf8.ValidString(string(short)) {
				t.Fatalf("%q in %d columns: %q takes %d", clean, columns, short, Width(short))
			}
		}
	})
}

// unescape reads a cleaned string back: escapes are those of a Go string.
func unescape(t *testing.T, clean string) string {
	s, err := strconv.Unquote(`"` + strings.ReplaceAll(clean, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%s: %v", clean, err)
	}
	return s
}
