package container

import (
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// machine is what systemd-machined keeps in machine.slice: nspawn's containers,
// as a service or a scope. Virtual machines and libvirt's containers, which
// register there too, are left to be units.
func machine(above, name string) (event.Container, bool) {
	if _, parent := cut(above); parent != "machine.slice" {
		return event.Container{}, false
	}
	c := event.Container{Runtime: Nspawn, Unit: name}
	if unit, ok := strings.CutSuffix(name, ".service"); ok {
		unit, ok = strings.CutPrefix(unit, "systemd-nspawn@")
		c.Name = unescape(unit)
		return c, ok && c.Name != ""
	}
	unit, ok := strings.CutSuffix(name, ".scope")
	if !ok {
		return event.Container{}, false
	}
	unit, ok = strings.CutPrefix(unit, "machine-")
	for _, other := range [...]string{`qemu\x2d`, `lxc\x2d`, `xen\x2d`} {
		if strings.HasPrefix(unit, other) {
			return event.Container{}, false
		}
	}
	c.Name = unescape(unit)
	return c, ok && c.Name != ""
}

// isUnit says whether a cgroup's name is that of a systemd unit with processes.
// Slices only hold others.
func isUnit(name string) bool {
	stem := strings.TrimSuffix(name, unitType(name))
	if stem == name || stem == "" || len(name) > 255 {
		return false
	}
	for i := range len(stem) {
		if c := stem[i]; !isAlphanumeric(c) && !strings.ContainsRune(`:-_.\@`, rune(c)) {
			return false
		}
	}
	return true
}

func unitType(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		switch name[i:] {
		case ".service", ".scope", ".socket", ".mount", ".swap":
			return name[i:]
		}
	}
	return ""
}

// unitName is a unit's name for people: without its type, escapes undone.
func unitName(unit string) string {
	return unescape(strings.TrimSuffix(unit, unitType(unit)))
}

// unescape undoes systemd's \xNN. A hyphen stays one: whether it stands for a
// slash depends on what the name was made of.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			high, ok1 := hexDigit(s[i+2])
			low, ok2 := hexDigit(s[i+3])
			if ok1 && ok2 {
				b.WriteByte(high<<4 | low)
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
