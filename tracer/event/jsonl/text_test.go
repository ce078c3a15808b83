package jsonl

import (
	"strings"
	"testing"
)

// TestText puts every byte at every place, alone and behind a byte that could
// borrow from it or carry into it.
func TestText(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				for _, before := range []byte{'a', '~', 0x7f, 0xff, 0} {
					b := []byte(strings.Repeat("x", n))
					b[at] = byte(c)
					if at > 0 {
						b[at-1] = before
					}
					text, plain := n, true
					for i := n - 1; i >= 0; i-- {
						if b[i] < ' ' || b[i] >= 0x80 || b[i] == '"' || b[i] == '\\' {
							text = i
						}
						plain = plain && b[i] >= ' ' && b[i] < 0x7f
					}
					if got := Text(b); got != text {
						t.Fatalf("Text(%q) = %d, want %d", b, got, text)
					}
					if got := printable(b); got != plain {
						t.Fatalf("printable(%q) = %v", b, got)
					}
				}
			}
		}
	}
}
