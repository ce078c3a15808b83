package text

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func rendered(t *testing.T, events ...event.Event) string {
	t.Helper()
	var b bytes.Buffer
	w := New(&b, Options{Location: time.UTC, PageBytes: 4096, Width: 200})
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

func TestPauses(t *testing.T) {
	begin := &event.OOMPause{
		Meta: meta(event.TypeOOMPause, 0), State: event.PauseBegin, Cgroup: *batch, Container: batchUnit, Limit: ptr(uint64(64 * mib)),
		Processes: []event.Waiter{{Process: java}, {Process: event.Process{PID: 9, Comm: hostile}}},
	}
	end := func(ended string, change func(*event.OOMPause)) *event.OOMPause {
		e := *begin
		e.State, e.DurationNS, e.Ended = event.PauseEnd, ptr(int64(10_400_000_000)), ended
		e.Processes = begin.Processes[:1]
		if change != nil {
			change(&e)
		}
		return &e
	}
	got := rendered(t, begin,
		end(event.PauseKillerEnabled, func(e *event.OOMPause) { e.Incident = "abc" }),
		end(event.PauseLimitRaised, func(e *event.OOMPause) { e.Limit = ptr(uint64(128 * mib)) }),
		end(event.PauseLimitRaised, func(e *event.OOMPause) { e.Limit = nil }),
		end(event.PauseKilled, func(e *event.OOMPause) {
			e.Processes = []event.Waiter{{Process: java, KilledBy: &event.Actor{Process: event.Process{PID: 7, Comm: "kill"}}}}
		}),
		end(event.PauseMemoryFreed, nil), end("", func(e *event.OOMPause) { e.DurationNS = nil }),
	)
	wantLines(t, got,
		`03:12:07.123 PAUSE     batch.service is full at 64.0 MiB and its OOM killer off (memory.oom_control); waiting: java[48213], a\x1b[2J\n\u202e<b>[9]`,
		`03:12:17.523 PAUSE END batch.service after 10.4s: the OOM killer was switched on (incident abc); waited: java[48213]`,
		`03:12:17.523 PAUSE END batch.service after 10.4s: the limit was raised to 128 MiB; waited: java[48213]`,
		`03:12:17.523 PAUSE END batch.service after 10.4s: the limit was taken away; waited: java[48213]`,
		`03:12:17.523 PAUSE END batch.service after 10.4s: java[48213] was killed by kill[7]; waited: java[48213]`,
		`03:12:17.523 PAUSE END batch.service after 10.4s: memory was freed; waited: java[48213]`,
		`03:12:07.123 PAUSE END batch.service; waited: java[48213]`,
	)
}

func TestSpared(t *testing.T) {
	e := groupKill()
	e.Victim, e.Killed, e.Candidates, e.Repeated, e.Source = event.Candidate{}, []event.Killed{}, nil, 1234, event.SourceBPF
	got := rendered(t, e)
	wantLines(t, got,
		`03:12:10.123 OOM       nobody was killed: there is no process that may be`,
		`                       and so 1,234 more times since that was told last`,
	)
	if strings.Contains(got, "  victim ") || strings.Contains(got, "OOM KILL") {
		t.Errorf("a victim in\n%s", got)
	}
	e.Source, e.Repeated = event.SourceKmsg, 0
	wantLines(t, rendered(t, e), `03:12:10.123 OOM       no victim in the log`)
}

func TestInvoked(t *testing.T) {
	e := groupKill()
	e.Trigger.Actor = event.Actor{Process: event.Process{PID: 1, Comm: "systemd"}}
	e.Trigger.InvokedBy, e.Trigger.InvokedBySource, e.Domain.Source = event.InvokedByLimitWrite, event.SourceInferred, event.SourceBPF
	wantLines(t, rendered(t, e),
		`  why        the memory limit of 64.0 MiB of batch.service (/system.slice/batch.service) was set below what it used`,
		`  trigger    systemd[1], by writing memory.max (inferred)`)
	e.Trigger.InvokedBy, e.Trigger.InvokedBySource = event.InvokedBySysrq, ""
	wantLines(t, rendered(t, e), `  trigger    systemd[1], on request (SysRq-f)`)
}

func TestVictimKinds(t *testing.T) {
	e := parentKill()
	m := &e.Victim
	m.DataVM, m.ExecVM, m.StackVM, m.LockedVM = ptr(uint64(600*mib)), ptr(uint64(20*mib)), ptr(uint64(1*mib)), ptr(uint64(3*mib))
	m.Kinds = &event.Kinds{Heap: 300 * mib, Anonymous: 130 * mib, Libraries: 2 * mib, ReadNS: -1_500_000_000, Source: event.SourceProcfs}
	wantLines(t, rendered(t, e),
		`  victim     440 MiB resident (anon 438 MiB, file 2.00 MiB, shmem 0 B), swap 12.0 MiB, page tables 212 KiB, virtual 4.72 GiB (data 600 MiB, code 20.0 MiB, stack 1.00 MiB), locked 3.00 MiB,`,
		`             of it heap 300 MiB, anonymous mappings 130 MiB, libraries and code 2.00 MiB; read 1.50s before`)
}

func TestKernelLogLine(t *testing.T) {
	got := rendered(t, &event.Kmsg{Meta: meta(event.TypeKmsg, 0), Level: "err", Text: "Killed process 5 (" + hostile + ")"})
	wantLines(t, got, `03:12:07.123 kmsg    Killed process 5 (a\x1b[2J\n\u202e<b>)`)
}
