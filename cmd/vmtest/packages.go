//go:build linux

package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// parsePackages reads the stanzas that apt-cache show prints. Of alternatives
// in Depends the first counts.
func parsePackages(text string) []pkg {
	var all []pkg
	for stanza := range strings.SplitSeq(text, "\n\n") {
		var p pkg
		for line := range strings.Lines(stanza) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case "Package":
				p.name = value
			case "Version":
				p.version = value
			case "Depends":
				for d := range strings.SplitSeq(value, ",") {
					p.depends = append(p.depends, strings.Fields(d)[0])
				}
			}
		}
		if p.name != "" {
			all = append(all, p)
		}
	}
	return all
}

// imageName matches the packages of a series' kernels, and not the empty one
// that follows the newest.
func imageName(series string) *regexp.Regexp {
	return regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `\.\d.*-cloud-amd64(-unsigned)?$`)
}

// newestPackage has the highest version; of equals the first by name.
func newestPackage(all []pkg) pkg {
	return slices.MinFunc(all, func(a, b pkg) int {
		return cmp.Or(compareVersions(b.version, a.version), strings.Compare(a.name, b.name))
	})
}

// compareVersions orders two versions as dpkg does: the upstream part, then the
// revision after the last dash. Epochs are not split off: no kernel has one.
func compareVersions(a, b string) int {
	a, x := splitRevision(a)
	b, y := splitRevision(b)
	return cmp.Or(compareParts(a, b), compareParts(x, y))
}

func splitRevision(v string) (upstream, revision string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// compareParts orders runs of digits by value and the rest byte by byte, with
// letters before other signs and a tilde before everything, the end included.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := order(a) - order(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var x, y string
		x, a = digits(a)
		y, b = digits(b)
		if c := cmp.Or(len(x)-len(y), strings.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func order(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

// digits splits off a leading number, without its leading zeros.
func digits(s string) (number, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return strings.TrimLeft(s[:i], "0"), s[i:]
}
