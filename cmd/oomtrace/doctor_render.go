package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/oomtrace/oomtrace/output/term"
)

// limit is one of the kernel's settings that bear on tracing.
type limit struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Note  string `json:"note,omitempty"` // what it means here
}

// limits reads the settings of the kernel; those that it does not have are left
// out.
func limits(procRoot string) []limit {
	if procRoot == "" {
		procRoot = "/proc"
	}
	out := []limit{}
	for _, known := range []struct {
		name  string
		meant func(v int) string
	}{
		{"kernel.unprivileged_bpf_disabled", func(v int) string { return "" }},
		{"kernel.perf_event_paranoid", func(v int) string {
			if v > 2 {
				return "kprobes need CAP_PERFMON, and on some kernels CAP_SYS_ADMIN"
			}
			return ""
		}},
		{"kernel.perf_event_max_stack", func(v int) string {
			if v < 32 {
				return "stacks are cut"
			}
			return ""
		}},
		{"kernel.kptr_restrict", func(v int) string {
			if v > 1 {
				return "kernel functions in stacks stay without names"
			}
			return ""
		}},
		{"net.core.bpf_jit_enable", func(v int) string {
			if v == 0 {
				return "programs are interpreted, which costs several times as much: sysctl net.core.bpf_jit_enable=1"
			}
			return ""
		}},
	} {
		b, err := os.ReadFile(filepath.Join(procRoot, "sys", strings.ReplaceAll(known.name, ".", "/")))
		if err != nil {
			continue
		}
		l := limit{Name: known.name, Value: strings.TrimSpace(string(b))}
		if v, err := strconv.Atoi(l.Value); err == nil {
			l.Note = known.meant(v)
		}
		out = append(out, l)
	}
	return out
}

// json gives the diagnosis as one line.
func (d *diagnosis) json() string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(d) // of strings, numbers and booleans
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default: // stands in a string: everything else is ASCII
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}

// page is text in two columns, the second wrapped.
type page struct {
	strings.Builder
	width int
}

func (p *page) row(indent int, head, body string) {
	const column = 16
	start := fmt.Sprintf("%*s%s", indent, "", term.Clean(head))
	if len(start) >= column {
		start += " "
	}
	start = string(term.Left(term.Text(start), column))
	p.wrap(start, column, body)
}

// wrap writes body behind start, and its further lines from a column.
func (p *page) wrap(start string, column int, body string) {
	line := start
	used := term.Width(term.Text(line))
	empty := true
	for word := range strings.FieldsSeq(body) {
		clean := term.Clean(word)
		w := term.Width(clean)
		if !empty && used+1+w > p.width {
			p.WriteString(strings.TrimRight(line, " ") + "\n")
			line, used, empty = strings.Repeat(" ", column), column, true
		}
		if !empty {
			line, used = line+" ", used+1
		}
		line, used, empty = line+string(clean), used+w, false
	}
	p.WriteString(strings.TrimRight(line, " ") + "\n")
}

func (p *page) heading(text string) { p.WriteString("\n" + text + "\n") }

// text gives the diagnosis for a person.
func (d *diagnosis) text(columns int) string {
	if columns <= 0 {
		columns = 100
	}
	p := &page{width: max(min(columns, 120), 50)}
	p.row(0, "oomtrace", d.Version)
	if d.Kernel != "" {
		p.row(0, "kernel", d.Kernel+" "+d.Arch)
	}
	if d.BTF {
		p.row(0, "btf", "yes")
	} else {
		p.row(0, "btf", "no: "+d.BTFError)
	}
	if d.Lockdown != "" {
		p.row(0, "lockdown", d.Lockdown)
	} else {
		p.row(0, "lockdown", "none, or the kernel does not tell")
	}
	switch {
	case d.CgroupError != "":
		p.row(0, "cgroups", "no: "+d.CgroupError)
	case d.Cgroup != nil:
		text := fmt.Sprintf("version %d at %s", d.Cgroup.Version, d.Cgroup.Root)
		if d.Cgroup.Partial {
			text += ", of a cgroup namespace: those outside it cannot be seen"
		}
		p.row(0, "cgroups", text)
	}
	if len(d.Capabilities) > 0 {
		p.heading("privileges")
	}
	for _, c := range d.Capabilities {
		p.wrap(fmt.Sprintf("  %-26s", term.Clean(c.Name)), 28, c.text())
	}
	if len(d.Limits) > 0 {
		p.heading("kernel settings")
	}
	for _, l := range d.Limits {
		text := l.Value
		if l.Note != "" {
			text += ": " + l.Note
		}
		p.wrap(fmt.Sprintf("  %-34s", term.Clean(l.Name)), 36, text)
	}
	p.heading("container runtimes")
	if len(d.Runtimes) == 0 {
		p.wrap("  ", 2, "none has its state in the usual places; names are then not known: --runtime-root NAME=DIR")
	}
	for _, r := range d.Runtimes {
		p.row(2, r.Runtime, r.text())
	}
	if len(d.Hooks) > 0 {
		p.heading("hooks")
	}
	for _, h := range d.Hooks {
		h.row(p)
	}
	p.heading("what can be traced (* by default)")
	for _, f := range d.Families {
		mark := "  "
		if f.Default {
			mark = "* "
		}
		p.row(0, mark+f.Family, f.text())
	}
	if len(d.Advice) > 0 {
		p.heading("what to do")
	}
	for _, a := range d.Advice {
		p.wrap("- ", 2, a)
	}
	return p.String()
}

func (c capability) text() string {
	switch {
	case c.Have:
		return "yes, to " + c.For
	case c.Required:
		return "no, needed to " + c.For
	}
	return "no; without it oomtrace cannot " + c.For
}

func (f found) text() string {
	switch {
	case f.Error != "":
		return f.Dir + ": " + f.Error
	case *f.Containers == 1:
		return f.Dir + ": 1 container"
	}
	return fmt.Sprintf("%s: %d containers", f.Dir, *f.Containers)
}

func (h hookState) row(p *page) {
	start := fmt.Sprintf("  %-9s %-15s ", term.Clean(h.Family), term.Clean(h.Purpose))
	const column = 28
	if h.Open {
		p.wrap(start, column, h.Kind+" "+strings.ReplaceAll(h.Hook, ",", ", "))
	} else {
		p.wrap(start, column, "not open")
	}
	blank := strings.Repeat(" ", column)
	for _, why := range h.Passed {
		p.wrap(blank+"- ", column+2, why)
	}
	if !h.Open && h.Without != "" {
		p.wrap(blank+"without: ", column+2, h.Without)
	}
}

func (f family) text() string {
	switch {
	case f.Nothing:
		return "nothing to trace: " + joined(f.Reasons)
	case !f.Works:
		return "no: " + strings.Join(f.Reasons, "; ")
	case len(f.Without) > 0:
		return "yes (" + joined(f.Kinds) + "), without: " + strings.Join(f.Without, "; without: ")
	}
	return "yes (" + joined(f.Kinds) + ")"
}

func joined(words []string) string { return strings.Join(words, ", ") }
