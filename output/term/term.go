// Package term makes untrusted strings fit for a terminal: no byte of them can
// steer it, and they take no more columns than they are given.
package term

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Text is what may be written to a terminal as it stands. Untrusted strings
// become Text through Clean alone; a conversion Text(s) says that s is made of
// constants, numbers and other Text.
type Text string

const hex = "0123456789abcdef"

// Clean escapes everything in s that is not printable: control and escape
// bytes, bidi and other format characters, separators other than the plain
// space, and bytes that are not UTF-8. Escapes are those of a Go string, and a
// backslash is doubled, so that what was there can be told from the result.
func Clean(s string) Text {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '\\' {
		i++
	}
	if i == len(s) {
		return Text(s)
	}
	b := append(make([]byte, 0, len(s)+16), s[:i]...)
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\':
			b = append(b, `\\`...)
		case r == utf8.RuneError && size == 1, r < ' ', r == 0x7f:
			b = escape(b, s[i])
		case !unicode.IsPrint(r):
			b = escapeRune(b, r)
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return Text(b)
}

func escape(b []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'x', hex[c>>4], hex[c&15])
}

func escapeRune(b []byte, r rune) []byte {
	prefix, shift := byte('u'), 12
	if r > 0xffff {
		prefix, shift = 'U', 28
	}
	b = append(b, '\\', prefix)
	for ; shift >= 0; shift -= 4 {
		b = append(b, hex[r>>shift&15])
	}
	return b
}

// Width is the number of columns that t takes.
func Width(t Text) int {
	n := 0
	for i := 0; i < len(t); i++ {
		if t[i] >= utf8.RuneSelf {
			for _, r := range t[i:] {
				n += runeWidth(r)
			}
			return n
		}
		n++
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Cut shortens t to at most columns, with an ellipsis at its end.
func Cut(t Text, columns int) Text {
	if Width(t) <= columns {
		return t
	}
	if columns < 1 {
		return ""
	}
	return head(t, columns-1) + "…"
}

// Elide shortens t to at most columns, with an ellipsis inside: names are told
// apart by their ends, and the last element of a path is kept whole where it
// takes no more than three quarters of the room.
func Elide(t Text, columns int) Text {
	if Width(t) <= columns {
		return t
	}
	if columns < 4 {
		return Cut(t, columns)
	}
	end := columns / 2
	if i := strings.LastIndexByte(string(t), '/'); i > 0 {
		if last := Width(t[i:]); last <= columns*3/4 {
			end = max(end, last)
		}
	}
	back := tail(t, end)
	return head(t, columns-1-Width(back)) + "…" + back
}

func head(t Text, columns int) Text {
	n := 0
	for i, r := range t {
		if n += runeWidth(r); n > columns {
			return t[:i]
		}
	}
	return t
}

func tail(t Text, columns int) Text {
	n := 0
	for i := len(t); i > 0; {
		r, size := utf8.DecodeLastRuneInString(string(t[:i]))
		if n += runeWidth(r); n > columns {
			return trimMarks(t[i:])
		}
		i -= size
	}
	return t
}

// trimMarks drops leading combining marks, which would settle on the ellipsis.
func trimMarks(t Text) Text {
	return Text(strings.TrimLeftFunc(string(t), func(r rune) bool { return runeWidth(r) == 0 }))
}

// Left pads t with spaces on its right to the given columns.
func Left(t Text, columns int) Text {
	return t + spaces(columns-Width(t))
}

// Right pads t with spaces on its left to the given columns.
func Right(t Text, columns int) Text {
	return spaces(columns-Width(t)) + t
}

func spaces(n int) Text { return Text(strings.Repeat(" ", max(n, 0))) }
