package report

import (
	"bytes"
	"io"
	"strings"
)

// Markdown writes stories for an issue tracker (CommonMark with tables).
type Markdown struct {
	out   io.Writer
	buf   bytes.Buffer
	begun bool
}

// NewMarkdown returns a Markdown on w.
func NewMarkdown(w io.Writer) *Markdown { return &Markdown{out: w} }

// Close has nothing to do.
func (m *Markdown) Close() error { return nil }

// Write renders one story.
func (m *Markdown) Write(s *Story) error {
	m.buf.Reset()
	if m.begun {
		m.put("", "---", "")
	}
	m.begun = true
	v := newView(s, 1)
	m.put("# "+inline(s.Title), "")
	over := make([]string, len(v.Over))
	for i, o := range v.Over {
		over[i] = prose(o)
	}
	m.put(strings.Join(over, " · "), "")
	for _, l := range s.Lines {
		m.put(inline(l), "")
	}
	if d := v.Verdict; d != nil {
		cause := "**" + prose(d.Cause) + "** (" + code(d.Name)
		if d.Underlying != "" {
			cause += ", underlying " + code(d.Underlying)
		}
		if d.Confidence != "" {
			cause += "; " + prose(d.Confidence) + " confidence"
		}
		cause += ")"
		m.put("## Verdict", "", cause, "")
		for _, e := range d.Evidence {
			m.put("- " + begin(prose(e)))
		}
		m.put("")
	}
	if len(s.Advice) > 0 {
		m.put("## What to do", "")
		for _, a := range s.Advice {
			m.put("- " + inline(a))
		}
		m.put("")
	}
	m.chart("## Memory before the kill", s.memoryChart())
	if h := v.Held; h != nil {
		held := table{title: "Memory at the kill", columns: []column{{"kind", words}, {"size", figure}, {"of what is in use", figure}}}
		for _, r := range h.Rows {
			held.rows = append(held.rows, []string{r.Name, r.Bytes, r.Share})
		}
		if len(h.Notes) > 0 {
			held.note = "Of these: " + strings.Join(h.Notes, ", ") + "."
		}
		m.table(&held)
	}
	weighed := v.weighedTable()
	m.table(&weighed)
	m.chart("## Stalls", s.heatChart())
	if told := s.Stalls.told(); told != "" {
		m.put(prose(told), "")
	}
	for _, t := range s.tables(v) {
		m.table(&t)
	}
	if len(v.Killed) > 0 {
		m.put("## Killed together", "")
		for i, k := range v.Killed {
			v.Killed[i] = code(k)
		}
		if v.KilledMore != "" {
			v.Killed = append(v.Killed, v.KilledMore)
		}
		m.put(strings.Join(v.Killed, ", "), "")
	}
	if len(v.Timeline) > 0 {
		m.put("## Timeline", "")
	}
	for _, t := range v.Timeline {
		line := inline(t.Text)
		if t.Mark {
			line = "**" + line + "**"
		}
		m.put("- " + t.At + ": " + line)
	}
	if len(v.Timeline) > 0 {
		m.put("")
	}
	for _, st := range v.Stacks {
		m.chart("## Stack: "+st.Title, st.Frames)
	}
	m.chart("## Kernel log", v.Log)
	m.put("## Sources and losses", "")
	for _, r := range v.Sources {
		m.put("- " + r.Name + ": " + prose(r.Text))
	}
	_, err := m.out.Write(m.buf.Bytes())
	return err
}

func (m *Markdown) put(lines ...string) {
	for _, l := range lines {
		m.buf.WriteString(l + "\n")
	}
}

// chart writes lines as they are, in a fence that none of them can close.
func (m *Markdown) chart(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fence := "```"
	for strings.Contains(strings.Join(lines, "\n"), fence) {
		fence += "`"
	}
	m.put(title, "", fence+"text")
	m.put(lines...)
	m.put(fence, "")
}

func (m *Markdown) table(t *table) {
	if len(t.rows) == 0 {
		return
	}
	m.put("## "+t.title, "")
	head, rule := "|", "|"
	for _, c := range t.columns {
		head += " " + c.title + " |"
		if c.kind == figure {
			rule += " ---: |"
		} else {
			rule += " --- |"
		}
	}
	m.put(head, rule)
	for _, r := range t.rows {
		line := "|"
		for i, cell := range r {
			switch {
			case cell == "":
			case t.columns[i].kind == names:
				cell = strings.ReplaceAll(code(cell), "|", `\|`)
			default:
				cell = prose(cell)
			}
			line += " " + cell + " |"
		}
		m.put(line)
	}
	m.put("")
	if t.note != "" {
		m.put(prose(t.note), "")
	}
}

// inline writes a sentence. Names become code, in which nothing has a meaning.
func inline(t Text) string {
	var b strings.Builder
	for _, p := range t {
		switch p.Kind {
		case name:
			b.WriteString(code(p.Text))
		case strong:
			b.WriteString("**" + prose(p.Text) + "**")
		default:
			b.WriteString(prose(p.Text))
		}
	}
	return b.String()
}

// code is s between as many backticks as it needs.
func code(s string) string {
	if s == "" {
		return ""
	}
	ticks := "`"
	for strings.Contains(s, ticks) {
		ticks += "`"
	}
	if s[0] == '`' || s[len(s)-1] == '`' || s[0] == ' ' && s[len(s)-1] == ' ' {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

// prose escapes what has a meaning in Markdown. What a tracker would make a link
// or a mention of, escaped or not, becomes code as a whole.
func prose(s string) string {
	if strings.ContainsAny(s, "@#") || strings.Contains(s, "://") || strings.Contains(strings.ToLower(s), "www.") {
		return code(s)
	}
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_[]<>|~&$", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// begin keeps what stands first in a line from making it a list, a heading or a
// rule.
func begin(s string) string {
	if s != "" && strings.ContainsRune("-+=!0123456789", rune(s[0])) {
		if digits := strings.TrimLeft(s, "0123456789"); digits != s && (digits == "" || digits[0] != '.' && digits[0] != ')') {
			return s
		} else if digits != s {
			return s[:len(s)-len(digits)] + "\\" + digits
		}
		return "\\" + s
	}
	return s
}
