//go:build linux

package main

import (
	"regexp"
	"strings"
)

// complaints are the lines of a kernel log that fail a guest, whatever the
// command's exit status: a kernel that has gone wrong proves nothing.
var complaints = regexp.MustCompile(
	`\bOops\b|\bBUG:|kernel BUG at|general protection fault|double fault|\bKASAN\b|Kernel panic|\bWARNING:|\bUBSAN:`)

// harmless are complaints that say nothing about the kernel's health.
var harmless = []*regexp.Regexp{
	// A program of the guest crashed; the kernel did its work.
	regexp.MustCompile(`traps: .* general protection fault ip:`),
}

// complaintsIn returns the lines of a kernel log that fail a guest.
func complaintsIn(log string) []string {
	var bad []string
lines:
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		if !complaints.MatchString(line) {
			continue
		}
		for _, h := range harmless {
			if h.MatchString(line) {
				continue lines
			}
		}
		bad = append(bad, line)
	}
	return bad
}

// excerpt is what a person needs of a log: the first complaint with the report
// that follows it and the two lines before, where a WARNING says what it is
// about, or else the end.
func excerpt(log string, bad []string) string {
	const lines = 60
	all := strings.SplitAfter(log, "\n")
	start := max(0, len(all)-lines)
	if len(bad) > 0 {
		for i, line := range all {
			if strings.TrimSuffix(line, "\n") == bad[0] {
				start = max(0, i-2)
				break
			}
		}
	}
	return strings.Join(all[start:min(len(all), start+lines)], "")
}
