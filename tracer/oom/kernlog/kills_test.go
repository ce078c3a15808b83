package kernlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// dmesg makes a log of lines, a millisecond apart from the given second on.
func dmesg(second int, lines ...string) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "[%5d.%06d] %s\n", second, i*1000, line)
	}
	return b.String()
}

func killLine(pid int, comm string) string {
	return fmt.Sprintf("Memory cgroup out of memory: Killed process %d (%s) total-vm:20000kB, anon-rss:3000kB, file-rss:1000kB, shmem-rss:0kB, UID:0 pgtables:88kB oom_score_adj:0", pid, comm)
}

func sumLine(pid int, comm, domain, task string) string {
	return fmt.Sprintf("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=%s,task_memcg=%s,task=%s,pid=%d,uid=0", domain, task, comm, pid)
}

const (
	tableLine = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
	groupLine = "Tasks in /a are going to be killed due to memory.oom.group set"
)

func pids(k *event.OOMKill) (all []int32) {
	for _, killed := range k.Killed {
		all = append(all, killed.PID)
	}
	return all
}

// Which kills are of one group, and which are not.
func TestGroups(t *testing.T) {
	begin := []string{headLine, sumLine(11, "a", "/a", "/a"), killLine(11, "a"), groupLine, killLine(11, "a"), killLine(12, "b")}
	for name, c := range map[string]struct{ text, want string }{
		"one group":                  {dmesg(5, begin...), "[11 12] true"},
		"then another's, much later": {dmesg(5, begin...) + dmesg(9, killLine(33, "c")), "[11 12] true, [33] false"},
		"then one of the machine": {dmesg(5, append(begin, strings.Replace(killLine(33, "c"), "Memory cgroup out", "Out", 1))...),
			"[11 12] true, [33] false"},
		"then another group": {dmesg(5, append(begin, killLine(33, "c"), groupLine, killLine(33, "c"), killLine(34, "d"))...),
			"[11 12] true, [33 34] true"},
	} {
		var got []string
		for _, k := range readText(t, c.text) {
			got = append(got, fmt.Sprint(pids(k), " ", k.Group))
			if k.Killed[0].Reason != "chosen" || k.Victim.PID != k.Killed[0].PID || k.UptimeNS == nil {
				t.Errorf("%s: %+v", name, k)
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// A report whose head is lost is not part of the one before it, and a line that
// comes late is not a report.
func TestHeadless(t *testing.T) {
	first := []string{headLine, "memory: usage 8kB, limit 8kB, failcnt 1", sumLine(11, "a", "/a", "/a"), killLine(11, "a")}
	kills := readText(t, dmesg(5, append(first, "memory: usage 9kB, limit 9kB, failcnt 1", tableLine,
		"[     22]     0    22     5000     1000    90112        0             0 b", sumLine(22, "b", "/b", "/b"), killLine(22, "b"))...))
	if len(kills) != 2 || kills[1].Trigger.Comm != "" || kills[1].Domain.Cgroup == nil || kills[1].Domain.Cgroup.Path != "/b" ||
		*kills[1].Domain.Memory.Usage != 9<<10 || len(kills[1].Candidates) != 1 || len(kills[0].Candidates) != 0 {
		t.Errorf("%s", lines(t, kills))
	}
	if kills = readText(t, dmesg(5, append(first, tableLine, sumLine(11, "a", "/a", "/a"))...)); len(kills) != 1 {
		t.Errorf("late lines: %s", lines(t, kills))
	}
}

// What is from before a report began is not of it: another boot, or a log with the
// newest first.
func TestBackwards(t *testing.T) {
	const date = "Mar  3 04:11:%02d h kernel: %s\n"
	for name, text := range map[string]string{
		"next boot":    dmesg(500, headLine) + dmesg(5, killLine(7, "x")),
		"newest first": fmt.Sprintf(date, 20, headLine) + fmt.Sprintf(date, 10, killLine(7, "x")),
	} {
		kills := readText(t, text)
		if len(kills) != 2 || kills[0].Victim.PID != 0 || kills[1].Trigger.Comm != "" {
			t.Errorf("%s: %s", name, lines(t, kills))
		}
	}
}

// Who wrote a limit need not be below it: its process is not looked for there.
func TestLimitWrite(t *testing.T) {
	kills := readText(t, dmesg(5, strings.Replace(headLine, "foo", "sh", 1), "CPU: 0 PID: 1234 Comm: sh Not tainted 6.1.0 #1", "Call Trace:",
		" mem_cgroup_out_of_memory+0x1/0x2", " memory_max_write+0x1/0x2", "memory: usage 10000kB, limit 8000kB, failcnt 1", tableLine,
		"[   1000]     0  1000     5000     1000    90112        0             0 sh", sumLine(1000, "sh", "/a", "/a"), killLine(1000, "sh")))
	if len(kills) != 1 || kills[0].Trigger.PID != 1234 || kills[0].Trigger.InvokedBy != event.InvokedByLimitWrite || kills[0].Victim.PID != 1000 {
		t.Errorf("%s", lines(t, kills))
	}
}

// 5.4 wrote the bytes of page tables and called them kB.
func TestPageTablesUnit(t *testing.T) {
	const line = "Memory cgroup out of memory: Killed process 5 (a) total-vm:10000000kB, anon-rss:500000kB, file-rss:6000kB, shmem-rss:0kB, UID:0 pgtables:%dkB oom_score_adj:0"
	for _, c := range []struct {
		kernel string
		kb     int
		told   bool
	}{{"", 1264, true}, {"", 1294336, false}, {"5.4.0-42-generic", 1294336, false}, {"5.10.0-8-amd64", 4096, true}} {
		text := []string{headLine, "CPU: 0 PID: 5 Comm: foo Kdump: loaded Not tainted " + c.kernel + " #1", fmt.Sprintf(line, c.kb)}
		if c.kernel == "" {
			text = text[2:]
		}
		kills := readText(t, dmesg(5, text...))
		if len(kills) != 1 || (kills[0].Victim.PageTables != nil) != c.told || c.told && *kills[0].Victim.PageTables != uint64(c.kb)<<10 {
			t.Errorf("%+v: %s", c, lines(t, kills))
		}
	}
}

// Before 2.6.17 words differ.
func TestOldest(t *testing.T) {
	kills := readText(t, `Mar  3 04:11:52 h kernel: oom-killer: gfp_mask=0xd0
Mar  3 04:11:52 h kernel: Mem-info:
Mar  3 04:11:52 h kernel: Out of Memory: Killed process 12345 (java).
Mar  3 04:11:59 h kernel: oom-killer: gfp_mask=0x201d2, order=0
Mar  3 04:11:59 h kernel: Out of Memory: Kill process 4242 (sshd) score 1220 and children.
Mar  3 04:11:59 h kernel: Out of memory: Killed process 4243 (bash).
`)
	if len(kills) != 2 || kills[0].Victim.PID != 12345 || kills[0].Trigger.GFPFlags != "0xd0" || kills[0].Domain.Constraint != event.ConstraintGlobal ||
		kills[1].Victim.PID != 4243 || kills[1].Victim.Comm != "bash" {
		t.Errorf("%s", lines(t, kills))
	}
}

// Which version a cgroup is of, where the lines are the same.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		memsw, kmem string
		want        int
	}{
		{"usage 204800kB, limit 9007199254740988kB", "usage 0kB, limit 9007199254740988kB", 1},
		{"usage 0kB, limit 9007199254740988kB", "usage 1000kB, limit 9007199254740988kB", 1}, // swapaccount=0
		{"usage 0kB, limit 9007199254740988kB", "usage 0kB, limit 9007199254740988kB", 0},    // version 2, or neither is counted
	} {
		kills := readText(t, dmesg(5, headLine, "CPU: 0 PID: 7 Comm: foo Not tainted 4.18.0-305.el8.x86_64 #1", "Memory limit reached of cgroup /a",
			"memory: usage 204800kB, limit 204800kB, failcnt 12", "memory+swap: "+c.memsw+", failcnt 0", "kmem: "+c.kmem+", failcnt 0", killLine(7, "foo")))
		if len(kills) != 1 || kills[0].Domain.Cgroup == nil || kills[0].Domain.Cgroup.Path != "/a" || kills[0].Domain.Cgroup.Version != c.want {
			t.Errorf("%+v: %s", c, lines(t, kills))
		}
	}
}

// Pieces of lines as distributions and other CPUs leave them.
func TestOddLines(t *testing.T) {
	kills := readText(t, dmesg(5, headLine, "Task in /a", " killed as a result of limit of /b", "memory: usage 8kB, limit 8kB, failcnt 1",
		"Killed process 9133 (cc1 (x)), UID 1000, total-vm:1920448kB, anon-rss:1804800kB, file-rss:4kB, shmem-rss:0kB"))
	if len(kills) != 1 || kills[0].Victim.Comm != "cc1 (x)" || kills[0].Victim.UID == nil || *kills[0].Victim.UID != 1000 ||
		*kills[0].Victim.TotalVM != 1920448<<10 || kills[0].Domain.Cgroup == nil || kills[0].Domain.Cgroup.Path != "/b" {
		t.Errorf("%s", lines(t, kills))
	}
}

// What a crash leaves before a line, and what Windows puts before the first.
func TestBeforeTheFirst(t *testing.T) {
	for name, before := range map[string]string{"NULs": strings.Repeat("\x00", 3*maxLine), "a byte order mark": "\ufeff"} {
		kills := readText(t, before+"Mar  3 04:11:52 h kernel: "+headLine+"\n")
		if len(kills) != 1 || kills[0].Time.IsZero() || kills[0].Trigger.Comm != "foo" {
			t.Errorf("%s: %s", name, lines(t, kills))
		}
	}
}

// A report that two logs have is one.
func TestInTwoLogs(t *testing.T) {
	log := dmesg(5, headLine, killLine(7, "foo"))
	var syslog strings.Builder
	for line := range strings.Lines(log) {
		syslog.WriteString("Mar  3 04:11:52 h kernel: " + line)
	}
	if kills := readText(t, log+syslog.String()); len(kills) != 1 {
		t.Errorf("%s", lines(t, kills))
	}
}

// Times that go back by little are not believed in the kernel's own log, nor where
// the order is known.
func TestInOrder(t *testing.T) {
	text := "[    5.000002] " + headLine + "\n[    5.000001] " + killLine(7, "foo") + "\n"
	o := testOptions
	if kills := read(t, strings.NewReader(text), o); len(kills) != 1 || kills[0].Victim.PID != 7 {
		t.Errorf("%s", lines(t, kills))
	}
	relayed := strings.ReplaceAll(text, "[  ", "Mar  3 04:11:52 h kernel: [  ")
	if kills := read(t, strings.NewReader(relayed), o); len(kills) != 2 {
		t.Errorf("relayed: %s", lines(t, kills))
	}
	o.InOrder = true
	if kills := read(t, strings.NewReader(relayed), o); len(kills) != 1 {
		t.Errorf("relayed in order: %s", lines(t, kills))
	}
}

// Paths may hold what separates them.
func TestDoubtfulPaths(t *testing.T) {
	for _, domain := range []string{"/a,task_memcg=/b", "/a,oom_memcg=/b"} {
		kills := readText(t, dmesg(5, headLine, sumLine(7, "foo", domain, domain+"/c"), killLine(7, "foo")))
		if len(kills) != 1 || kills[0].Victim.Cgroup != nil || kills[0].Domain.Cgroup != nil {
			t.Errorf("%s: %s", domain, lines(t, kills))
		}
	}
}
