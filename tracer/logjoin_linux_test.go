package tracer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// reportOf is what a kernel writes of a kill, as /dev/kmsg has it.
func reportOf(constraint string, order, pid int) []string {
	texts := []string{
		fmt.Sprintf("eater invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=%d, oom_score_adj=0", order),
		"CPU: 1 UID: 0 PID: 1 Comm: eater Not tainted 6.18.0 #1",
		"Tasks state (memory values in pages):",
		"[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
		fmt.Sprintf("[  %5d]     0 %5d     9000     2000     2000        0         0     8192        0             100 eater", pid, pid),
		fmt.Sprintf("oom-kill:constraint=%s,nodemask=1,3,cpuset=inner,mems_allowed=0-1,oom_memcg=/limited,task_memcg=/limited/inner,task=eater,pid=%d,uid=0", constraint, pid),
		fmt.Sprintf("Out of memory: Killed process %d (eater) total-vm:36000kB, anon-rss:8000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:8kB oom_score_adj:100", pid),
	}
	if constraint == "CONSTRAINT_MEMCG" {
		texts[6] = strings.Replace(texts[6], "Out of memory", "Memory cgroup out of memory", 1)
	} else {
		texts[5] = strings.Replace(texts[5], ",oom_memcg=/limited", ",global_oom", 1)
	}
	for i := range texts {
		texts[i] = fmt.Sprintf("4,%d,3600000000,-;%s\n SUBSYSTEM=none\n", 100+i, texts[i])
	}
	return texts
}

// withLog gives a feed the kernel's log to read.
func (f *feed) withLog(records ...string) *feed {
	f.t.Helper()
	f.log = &logReader{}
	f.opts.Families = []string{FamilyOOM, FamilyKmsg}
	for _, raw := range records {
		line, ok := parseLogLine(raw)
		if !ok {
			f.t.Fatalf("%q is no record", raw)
		}
		f.log.take(line)
	}
	return f
}

// inferred is a mark as tracepoints give it: at no limit, so global for want of
// any.
func inferred(tgid uint32) bpf.CoreRecOomMark {
	m := victim(tgid, 0, bpf.CoreOomFlagsOOM_FIRST)
	m.Domain, m.Constraint, m.Gfp = 0, 0, 0
	m.Memory = bpf.CoreRecCounters{Usage: unknown, Max: unknown, Watermark: unknown, Swap: unknown, SwapMax: unknown, Kmem: unknown}
	return m
}

// A kill that looks global is what the kernel says that it is.
func TestLogCorrectsTheDomain(t *testing.T) {
	for _, c := range []struct{ constraint, want, nodes string }{
		{"CONSTRAINT_CPUSET", event.ConstraintCpuset, "0-1"}, {"CONSTRAINT_MEMORY_POLICY", event.ConstraintMempolicy, "1,3"},
		{"CONSTRAINT_MEMCG", event.ConstraintMemcg, ""}, {"CONSTRAINT_NONE", event.ConstraintGlobal, ""},
	} {
		t.Run(c.want, func(t *testing.T) {
			f := newFeed(t).withLog(reportOf(c.constraint, 0, 20)...)
			f.send(inferred(20))
			kills, _ := f.settleAt(t0 + uint64(settle))
			if len(kills) != 1 {
				t.Fatalf("%d kills", len(kills))
			}
			k := kills[0]
			if k.Domain.Constraint != c.want || k.Domain.Source != event.SourceKmsg || k.Source != event.SourceBPF {
				t.Errorf("domain %s", show(k.Domain))
			}
			if (k.Domain.Cgroup != nil) != (c.want == event.ConstraintMemcg) || k.Domain.Cgroup != nil && (k.Domain.Cgroup.ID != 7 || k.Domain.Cgroup.Path != "/limited") {
				t.Errorf("domain %s", show(k.Domain))
			}
			if k.Domain.Nodes != c.nodes || (c.nodes != "") != slices.Contains(k.FromKmsg, "domain.nodes") {
				t.Errorf("nodes %q, want %q; from the log: %q", k.Domain.Nodes, c.nodes, k.FromKmsg)
			}
			// What the kernel scaled oom_score_adj by is the node's only where the
			// node ran out.
			global := c.want == event.ConstraintGlobal
			if (k.Domain.TotalPages != nil) != global || (k.Victim.Badness != nil) != global {
				t.Errorf("%s: total %s, badness %s", c.want, show(k.Domain.TotalPages), show(k.Victim.Badness))
			}
			if k.Trigger.GFPFlags != "GFP_HIGHUSER_MOVABLE|__GFP_COMP" || k.Trigger.Order == nil || *k.Trigger.Order != 0 || !slices.Contains(k.FromKmsg, "domain.constraint") {
				t.Errorf("trigger %s, from the log: %q", show(k.Trigger), k.FromKmsg)
			}
		})
	}
}

// Which memory nodes ran out only the log tells, also where hooks tell that some
// did; they are awaited, and the rest is left as the hooks told it.
func TestLogTellsOfNodes(t *testing.T) {
	m := inferred(20)
	m.Constraint, m.Flags = 1, m.Flags|uint32(bpf.CoreOomFlagsOOM_CONTROL)
	f := newFeed(t).withLog()
	f.send(m)
	if kills, _ := f.settleAt(t0 + uint64(settle)); len(kills) != 0 {
		t.Fatalf("not awaited: %s", show(kills))
	}
	f.withLog(reportOf("CONSTRAINT_CPUSET", 0, 20)...)
	kills, _ := f.settleAt(t0 + uint64(settle))
	if len(kills) != 1 {
		t.Fatalf("%d kills", len(kills))
	}
	if k := kills[0]; k.Domain.Constraint != event.ConstraintCpuset || k.Domain.Source != event.SourceBPF || k.Domain.Nodes != "0-1" || !slices.Equal(k.FromKmsg, []string{"domain.nodes"}) {
		t.Errorf("domain %s, from the log: %q", show(k.Domain), k.FromKmsg)
	}
}

// What the hooks were told by the kernel is not up to the log.
func TestLogDoesNotOverrule(t *testing.T) {
	f := newFeed(t).withLog(reportOf("CONSTRAINT_NONE", 3, 20)...)
	f.send(victim(20, 0, bpf.CoreOomFlagsOOM_FIRST|bpf.CoreOomFlagsOOM_LOCKED))
	kills, _ := f.settleAt(t0 + uint64(settle))
	if len(kills) != 1 || kills[0].Domain.Constraint != event.ConstraintMemcg || kills[0].Domain.Source != event.SourceBPF || slices.Contains(kills[0].FromKmsg, "domain.constraint") {
		t.Fatalf("%s", show(kills))
	}
}

// The kernel was asked by SysRq-f.
func TestLogTellsOfSysrq(t *testing.T) {
	f := newFeed(t).withLog(reportOf("CONSTRAINT_NONE", -1, 20)...)
	f.send(inferred(20))
	kills, _ := f.settleAt(t0 + uint64(settle))
	if len(kills) != 1 || kills[0].Trigger.InvokedBy != event.InvokedBySysrq || kills[0].Trigger.InvokedBySource != event.SourceKmsg {
		t.Fatalf("%s", show(kills))
	}
}

// A kill waits for the log, but not long.
func TestLogIsAwaited(t *testing.T) {
	f := newFeed(t).withLog()
	f.send(inferred(20))
	wait := settle + logDecides // no cgroup is known to be at its limit
	if kills, _ := f.settleAt(t0 + uint64(wait) - 1); kills != nil {
		t.Fatal("did not wait")
	}
	kills, _ := f.settleAt(t0 + uint64(wait))
	if len(kills) != 1 || kills[0].FromKmsg != nil || kills[0].Domain.Source != event.SourceInferred {
		t.Fatalf("%s", show(kills))
	}
}

// linesOf gives the kmsg events and kills that settling the log leads to.
func (f *feed) logAt(now uint64) (kills []*event.OOMKill, lines []*event.Kmsg) {
	f.t.Helper()
	f.out = nil
	if _, err := f.settleLog(now, false); err != nil {
		f.t.Fatal(err)
	}
	return of[*event.OOMKill](f.out), of[*event.Kmsg](f.out)
}

// A kill that no hook has told of is told from the log, once, and its lines with
// it.
func TestLogAlone(t *testing.T) {
	records := reportOf("CONSTRAINT_MEMCG", 0, 33)
	f := newFeed(t).withLog(records...)
	now := f.clock.now()
	if kills, lines := f.logAt(now); kills != nil || lines != nil {
		t.Fatal("told before a hook could")
	}
	kills, lines := f.logAt(now + uint64(2*logAlone))
	if len(kills) != 1 || kills[0].Source != event.SourceKmsg || kills[0].Victim.PID != 33 || kills[0].Domain.Cgroup.ID != 7 || kills[0].Victim.Cgroup.ID != 8 {
		t.Fatalf("%s", show(kills))
	}
	if len(lines) != len(records) || lines[0].Incident != kills[0].Incident || lines[0].Level != "warning" || lines[0].Sequence != 100 || strings.Contains(lines[6].Text, "SUBSYSTEM") {
		t.Errorf("%s", show(lines))
	}
	if want := f.clock.wall(uint64(time.Hour)); !lines[0].Time.Equal(want) {
		t.Errorf("line at %v, want %v", lines[0].Time, want)
	}
	if kills, lines := f.logAt(now + uint64(3*logAlone)); kills != nil || lines != nil {
		t.Errorf("told again: %s %s", show(kills), show(lines))
	}
	if f.logAt(now + uint64(2*logKept)); len(f.log.reports) != 0 {
		t.Errorf("%d reports are kept", len(f.log.reports))
	}
}

// A whole group, and what others log in between.
func TestLogReports(t *testing.T) {
	group := slices.Concat(reportOf("CONSTRAINT_MEMCG", 0, 40),
		[]string{"6,200,3600000001,-;Tasks in /limited are going to be killed due to memory.oom.group set\n"}, reportOf("CONSTRAINT_MEMCG", 0, 41)[6:],
		[]string{"6,201,3600000002,-;oom_reaper: reaped process 40 (eater), now anon-rss:0kB\n", "6,202,3600000003,-;eth0: link up\n"})
	f := newFeed(t).withLog(slices.Concat(group, reportOf("CONSTRAINT_MEMCG", 0, 50)[6:], reportOf("CONSTRAINT_MEMCG", 0, 51)[6:])...)
	kills, lines := f.logAt(f.clock.now() + uint64(2*logAlone))
	if len(kills) != 3 || len(kills[0].Killed) != 2 || !kills[0].Group || kills[1].Victim.PID != 50 || kills[2].Victim.PID != 51 {
		t.Errorf("%s", show(kills))
	}
	for _, l := range lines {
		if strings.HasPrefix(l.Text, "eth0") {
			t.Errorf("%q belongs to no report", l.Text)
		}
	}

	// Another thread's lines, where the kernel says whose they are.
	var records []string
	for i, r := range reportOf("CONSTRAINT_MEMCG", 0, 60) {
		records = append(records, strings.Replace(r, ",-;", ",-,caller=T60;", 1), fmt.Sprintf("6,%d,3600000000,-,caller=T9;usb 1-1: new device\n", 300+i))
	}
	f = newFeed(t).withLog(records...)
	if kills, lines := f.logAt(f.clock.now() + uint64(2*logAlone)); len(kills) != 1 || len(lines) != 7 {
		t.Errorf("%d kills, %d lines", len(kills), len(lines))
	}
}

func FuzzLogLine(f *testing.F) {
	for _, r := range reportOf("CONSTRAINT_NONE", 0, 1) {
		f.Add(r)
	}
	f.Add("6,1,2,-,caller=C0;\n KEY=\xff")
	f.Add("14,1,2,-;user space wrote this")
	f.Add("1e9,,;;,")
	f.Fuzz(func(t *testing.T, raw string) {
		line, ok := parseLogLine(raw)
		if !ok {
			return
		}
		if line.priority > 7 || strings.Contains(line.text, "\n") {
			t.Errorf("%q: %+v", raw, line)
		}
		l := &logReader{}
		for range 3 {
			l.take(line)
		}
	})
}
