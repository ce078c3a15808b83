package report

import (
	"bytes"
	"io"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/text"
)

// TextOptions say how to render for a terminal.
type TextOptions struct {
	Color bool
	Width int // columns; 0 means 100
}

// Plain writes stories as text for a terminal.
type Plain struct {
	out   io.Writer
	opt   TextOptions
	buf   bytes.Buffer
	begun bool
}

// NewText returns a Plain on w.
func NewText(w io.Writer, opt TextOptions) *Plain {
	if opt.Width <= 0 {
		opt.Width = 100
	}
	return &Plain{out: w, opt: opt}
}

// Close has nothing to do.
func (p *Plain) Close() error { return nil }

// Write renders one story.
func (p *Plain) Write(s *Story) error {
	p.buf.Reset()
	if p.begun {
		p.buf.WriteString("\n")
	}
	p.begun = true
	v := newView(s, 1)
	p.heading(s.Title.String())
	p.paragraph("", strings.Join(v.Over, " · "))
	for _, l := range s.Lines {
		p.buf.WriteString("\n")
		p.paragraph("  ", l.String())
	}
	p.buf.WriteString("\n")
	if err := p.block(s); err != nil {
		return err
	}
	if len(s.Advice) > 0 {
		p.section("What to do")
		for _, a := range s.Advice {
			p.item("  - ", a.String())
		}
	}
	p.chart("Memory before the kill", s.memoryChart())
	p.chart("Stalls", s.heatChart())
	p.paragraph("  ", s.Stalls.told())
	for _, t := range s.tables(v) {
		p.section(t.title)
		p.table(&t)
	}
	if len(v.Timeline) > 0 {
		p.section("Timeline")
	}
	for _, m := range v.Timeline {
		p.item("  "+string(term.Right(term.Text(m.At), 9))+"  ", m.Text.String())
	}
	for _, st := range v.Stacks {
		p.section("Stack: " + st.Title)
		for _, f := range st.Frames {
			p.line("  " + f)
		}
	}
	if len(v.Log) > 0 {
		p.section("Kernel log")
		for _, l := range v.Log {
			p.long("  ", l)
		}
	}
	p.section("Sources and losses")
	for _, r := range v.Sources {
		p.item("  "+string(term.Left(term.Text(r.Name), 20)), r.Text)
	}
	_, err := p.out.Write(p.buf.Bytes())
	return err
}

// block is the kill as the live trace shows it.
func (p *Plain) block(s *Story) error {
	opt := text.Options{Color: p.opt.Color, Width: p.opt.Width, Location: time.UTC}
	if s.Header != nil {
		opt.PageBytes = s.Header.PageBytes
	}
	w := text.New(&p.buf, opt)
	kill := *s.Kill
	kill.Trigger.Stack = nil // below
	if err := w.Write(&kill); err != nil {
		return err
	}
	if s.End != nil {
		if err := w.Write(s.End); err != nil {
			return err
		}
	}
	p.buf.Truncate(len(bytes.TrimRight(p.buf.Bytes(), "\n")) + 1)
	return nil
}

func (p *Plain) line(s string) {
	p.buf.WriteString(strings.TrimRight(string(term.Cut(term.Text(s), p.opt.Width)), " ") + "\n")
}

func (p *Plain) heading(s string) {
	for _, l := range wrap(s, p.opt.Width) {
		if p.opt.Color {
			l = "\x1b[1m" + l + "\x1b[0m"
		}
		p.buf.WriteString(l + "\n")
	}
}

func (p *Plain) section(title string) {
	p.buf.WriteString("\n")
	p.heading(title)
}

func (p *Plain) paragraph(indent, s string) { p.item(indent, s) }

// item writes s behind a lead; further lines are indented as far.
func (p *Plain) item(lead, s string) {
	indent := term.Width(term.Text(lead))
	for i, l := range wrap(s, max(p.opt.Width-indent, 1)) {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		p.line(lead + l)
	}
}

// long writes a line as it is, over as many lines as it takes.
func (p *Plain) long(lead, s string) {
	for term.Width(term.Text(lead+s)) > p.opt.Width {
		n := cutAt(s, p.opt.Width-len(lead))
		if n == 0 {
			break
		}
		p.line(lead + s[:n])
		lead, s = "      ", s[n:]
	}
	p.line(lead + s)
}

func (p *Plain) chart(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.section(title)
	for _, l := range lines {
		p.line("  " + l)
	}
}

// table writes aligned columns; names are shortened when they do not all fit.
func (p *Plain) table(t *table) {
	wide := make([]int, len(t.columns))
	all := 2 * len(t.columns)
	for i, c := range t.columns {
		wide[i] = term.Width(term.Text(c.title))
		for _, r := range t.rows {
			wide[i] = max(wide[i], term.Width(term.Text(r[i])))
		}
		all += wide[i]
	}
	for all > p.opt.Width {
		widest := 0
		for i := range wide {
			if t.columns[i].kind != figure && wide[i] > wide[widest] {
				widest = i
			}
		}
		if wide[widest] < 12 {
			break
		}
		wide[widest]--
		all--
	}
	put := func(cells func(int) string) {
		var b strings.Builder
		for i, c := range t.columns {
			cell := term.Elide(term.Text(cells(i)), wide[i])
			if c.kind == figure {
				cell = term.Right(cell, wide[i])
			} else {
				cell = term.Left(cell, wide[i])
			}
			b.WriteString("  " + string(cell))
		}
		p.line(b.String())
	}
	put(func(i int) string { return t.columns[i].title })
	for _, r := range t.rows {
		put(func(i int) string { return r[i] })
	}
	if t.note != "" {
		p.item("  ", t.note)
	}
}

// wrap breaks s at blanks into lines of at most so many columns; longer words
// are cut when they are written.
func wrap(s string, columns int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && term.Width(term.Text(line))+1+term.Width(term.Text(word)) > columns {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
		for term.Width(term.Text(line)) > columns { // a word without an end
			head := cutAt(line, columns)
			if head == 0 {
				break
			}
			out = append(out, line[:head])
			line = line[head:]
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// cutAt is how much of s fits in so many columns.
func cutAt(s string, columns int) int {
	for i := range s {
		if term.Width(term.Text(s[:i])) > columns {
			return max(lastRune(s[:i]), 0)
		}
	}
	if term.Width(term.Text(s)) > columns {
		return lastRune(s)
	}
	return len(s)
}

func lastRune(s string) int {
	i := len(s)
	for i > 0 {
		i--
		if s[i]&0xc0 != 0x80 {
			break
		}
	}
	return i
}
