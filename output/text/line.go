package text

import (
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
)

// style is how a piece of text stands out where colours are wanted. The text
// must read as well without.
type style uint8

const (
	plain style = iota
	dim
	bold
	warn
	alarm
)

const reset = "\x1b[0m"

func (s style) escape() string {
	return [...]string{"", "\x1b[2m", "\x1b[1m", "\x1b[33m", "\x1b[1;31m"}[s]
}

// line is one line of output while it is put together. It never grows wider
// than the Writer's width: what does not fit is cut.
type line struct {
	w    *Writer
	used int // columns, escapes not counted
	gap  int // blanks owed; those at the end of a line are never paid
}

func (w *Writer) line() *line {
	w.blanked = false
	return &line{w: w}
}

// blank sets what follows apart, once.
func (w *Writer) blank() {
	if !w.blanked {
		w.line().end()
		w.blanked = true
	}
}

// room is how many columns are left.
func (l *line) room() int { return max(l.w.opt.Width-l.used-l.gap, 0) }

func (l *line) put(s style, t term.Text) *line {
	if l.room() == 0 {
		return l // not even marks, which take no column
	}
	t = term.Cut(t, l.room())
	text := term.Text(strings.TrimRight(string(t), " "))
	trailing := len(t) - len(text)
	if t = text; t == "" {
		return l.skip(trailing)
	}
	b := l.w.buf
	for ; l.gap > 0; l.gap-- {
		b = append(b, ' ')
		l.used++
	}
	if s != plain && l.w.opt.Color {
		b = append(b, s.escape()...)
		b = append(b, t...)
		b = append(b, reset...)
	} else {
		b = append(b, t...)
	}
	l.w.buf = b
	l.used += term.Width(t)
	return l.skip(trailing)
}

// whole puts t if all of it fits.
func (l *line) whole(s style, t term.Text) *line {
	if term.Width(t) <= l.room() {
		l.put(s, t)
	}
	return l
}

// right puts t at the right edge of a field of so many columns.
func (l *line) right(s style, t term.Text, columns int) *line {
	return l.skip(columns-term.Width(t)).put(s, t)
}

// skip leaves so many columns blank.
func (l *line) skip(columns int) *line {
	l.gap += max(columns, 0)
	return l
}

// to goes on at a column, or one blank further on when that is taken.
func (l *line) to(column int) *line {
	if at := l.used + l.gap; at > 0 && at >= column {
		return l.skip(1)
	}
	return l.skip(column - l.used - l.gap)
}

func (l *line) end() {
	l.w.buf = append(l.w.buf, '\n')
	l.used, l.gap = 0, 0
}

// glue keeps the words of t together when it is wrapped. Nothing cleaned has a
// no-break space of its own.
func glue(t term.Text) term.Text { return term.Text(strings.ReplaceAll(string(t), " ", "\u00a0")) }

func unglue(s string) term.Text { return term.Text(strings.ReplaceAll(s, "\u00a0", " ")) }

// wrap puts t word by word and ends the line. It takes at most so many lines,
// the further ones from column indent.
func (l *line) wrap(s style, t term.Text, indent, lines int) {
	rest := string(t)
	for lines > 1 && term.Width(term.Text(rest)) > l.room() {
		fits := l.breakAt(rest)
		l.put(s, unglue(strings.TrimRight(rest[:fits], " "))).end()
		if rest = rest[fits:]; rest == "" {
			return
		}
		l.to(indent)
		lines--
	}
	l.put(s, unglue(rest)).end()
}

// breakAt finds where s can be broken so that what is before fits: behind the
// last blank that does, and behind the first word where none fits (it is cut).
func (l *line) breakAt(s string) int {
	at, columns := 0, 0
	for {
		i := strings.IndexByte(s[at:], ' ')
		if i < 0 {
			i = len(s) - at
		}
		if columns += term.Width(term.Text(s[at : at+i])); columns > l.room() && at > 0 {
			return at
		}
		at += i
		for at < len(s) && s[at] == ' ' {
			at++
			columns++
		}
		if at == len(s) {
			return at
		}
	}
}
