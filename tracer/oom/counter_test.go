package oom

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Counter-examples: what looks like a cause, and is not, or not for certain.
func TestCounterExamples(t *testing.T) {
	aged := func(e *event.OOMKill, age time.Duration) Case {
		e.Victim.StartTimeNS = int64(10*time.Hour - age)
		return Case{Kill: e, SinceBoot: 10 * time.Hour}
	}
	watched := func(c Case, over time.Duration) Case {
		c.Window = points(over, line(5*mib, 32*mib, 20)...)
		return c
	}
	for _, c := range []struct {
		name              string
		c                 Case
		cause, confidence string
		says              string
	}{
		{"data that is loaded for three minutes", watched(aged(anonymousKill(), 190*time.Second), 3*time.Minute),
			event.CauseLeak, event.ConfidenceMedium, "loads what it works on looks the same"},
		{"a process of days that begins to grow", watched(aged(anonymousKill(), 9*time.Hour), 3*time.Minute),
			event.CauseLeak, event.ConfidenceHigh, "3 min"},
		{"shared buffers, and anonymous memory that no reading has seen grow",
			Case{Kill: kill(memory(32*mib, 32*mib, 11*mib, 20*mib, 0, 100*kib), process(7, "postgres", "/app", 11*mib))},
			event.CauseTmpfs, event.ConfidenceMedium, "Anonymous memory is another 11.0 MiB"},
		{"kernel memory that was always there, and a leak beside it", func() Case {
			c := Case{Kill: kill(memory(32*mib, 32*mib, 12*mib, 0, 0, 19*mib), process(7, "app", "/app", 12*mib))}
			for i, n := range line(mib, 12*mib, 20) {
				c.Window = append(c.Window, Point{At: time.Duration(i-20) * time.Minute, Usage: n + 19*mib, Anon: n})
			}
			return c
		}(), event.CauseLeak, event.ConfidenceHigh, "12.0 MiB of the 32.0 MiB"},
		{"locked files that were always there, and a leak beside them", func() Case {
			m := memory(32*mib, 32*mib, 12*mib, 0, 19*mib, 500*kib)
			m.InactiveFile, m.Unevictable = b(0), b(19*mib)
			c := Case{Kill: kill(m, process(7, "app", "/app", 12*mib))}
			for i, n := range line(mib, 12*mib, 20) {
				c.Window = append(c.Window, Point{At: time.Duration(i-20) * time.Minute, Usage: n + 19*mib, Anon: n})
			}
			return c
		}(), event.CauseLeak, event.ConfidenceHigh, "12.0 MiB of the 32.0 MiB"},
		{"a full swap does not matter to kernel memory", func() Case {
			m := memory(32*mib, 32*mib, 3*mib, 0, 0, 28*mib)
			m.SwapUsage, m.SwapLimit = b(4*mib), b(4*mib)
			return Case{Kill: kill(m, process(7, "app", "/app", 3*mib))}
		}(), event.CauseKernelMemory, event.ConfidenceHigh, "28.0 MiB"},
		{"a full swap does not matter to who may not swap", func() Case {
			e := anonymousKill()
			e.Domain.Memory.SwapUsage, e.Domain.Memory.SwapLimit = b(4*mib), b(0)
			return Case{Kill: e, Node: &Node{Total: gib, SwapTotal: 64 * mib, SwapFree: 0}}
		}(), event.CauseLimitTooSmall, event.ConfidenceLow, ""},
		{"a pair of equals", func() Case {
			e := kill(memory(32*mib, 32*mib, 31*mib, 0, 0, 300*kib), process(7, "w", "/app", 15*mib), process(8, "w", "/app", 15*mib))
			e.Group = true
			e.Killed = append(e.Killed, event.Killed{Actor: e.Candidates[1].Actor, Reason: "group"})
			return Case{Kill: e}
		}(), event.CauseLimitTooSmall, event.ConfidenceLow, ""},
		{"a storm in what has long been there", func() Case {
			shell := process(7, "sh", "/app", 100*kib)
			shell.StartTimeNS = int64(time.Second)
			return Case{Kill: kill(memory(48*mib, 48*mib, 25*mib, 0, 0, 22*mib), append(slices.Clone(young(118, "/app", mib)), shell)...), SinceBoot: 100 * time.Second}
		}(), event.CauseForkStorm, event.ConfidenceHigh, "118 of 119 processes"},
		{"many that have been there for long", func() Case {
			old := young(118, "/app", mib)
			for i := range old {
				old[i].StartTimeNS = int64(time.Second)
			}
			return Case{Kill: kill(memory(48*mib, 48*mib, 47*mib, 0, 0, mib), old...), SinceBoot: 100 * time.Second}
		}(), event.CauseLimitTooSmall, event.ConfidenceLow, ""},
		{"many new ones, but one holds it all",
			Case{Kill: kill(memory(48*mib, 48*mib, 47*mib, 0, 0, mib), append([]event.Candidate{process(7, "app", "/app", 40*mib)}, young(30, "/app", 100*kib)...)...),
				SinceBoot: 100 * time.Second}, event.CauseLimitTooSmall, event.ConfidenceLow, ""},
	} {
		c.c.PageBytes = 4096
		v := Judge(&c.c)
		if all := strings.Join(v.Evidence, "\n"); v.Cause != c.cause || v.Confidence != c.confidence || !strings.Contains(all, c.says) {
			t.Errorf("%s: %s, %s; want %s, %s\n%s", c.name, v.Cause, v.Confidence, c.cause, c.confidence, all)
		}
	}
}
