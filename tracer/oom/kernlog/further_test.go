package kernlog

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// further are formats that put more before a line than a date and a tag, or the
// line into something else.
var further = []format{
	{"dmesg -e", func(us int64, s string) string {
		if us%7 == 0 {
			return "[Nov23 08:01] " + s + "\n"
		}
		return "[  +0.000012] " + s + "\n"
	}, false, false},
	{"dmesg --time-format delta", func(_ int64, s string) string { return "[<    0.000012>] " + s + "\n" }, false, false},
	{"dmesg -d", func(us int64, s string) string {
		return fmt.Sprintf("[%12.6f <    0.000012>] %s\n", float64(us)/1e6, s)
	}, false, true},
	{"dmesg -d -T", func(us int64, s string) string {
		return "[" + at(us).Format(time.ANSIC) + " <    0.000012>] " + s + "\n"
	}, true, false},
	{"dmesg --json", func(us int64, s string) string {
		return fmt.Sprintf("      {\n         \"pri\": 4,\n         \"time\": %.6f,\n         \"msg\": %s\n      },\n", float64(us)/1e6, quoted(s))
	}, false, true},
	{"dmesg --json -x, one a line", func(us int64, s string) string {
		return fmt.Sprintf(`{"fac":"kern","pri":"warn","time":%.6f,"caller":"T2854","msg":%s}`+"\n", float64(us)/1e6, quoted(s))
	}, false, true},
	{"journalctl -o json-pretty", func(us int64, s string) string {
		return fmt.Sprintf("{\n\t\"__REALTIME_TIMESTAMP\" : \"%d\",\n\t\"MESSAGE\" : %s,\n\t\"_SOURCE_MONOTONIC_TIMESTAMP\" : \"%d\",\n\t\"_TRANSPORT\" : \"kernel\"\n}\n",
			at(us).UnixMicro(), quoted(s), us)
	}, true, true},
	{"journalctl -o json-sse", func(us int64, s string) string {
		return fmt.Sprintf("data: {\"__REALTIME_TIMESTAMP\":\"%d\",\"_TRANSPORT\":\"kernel\",\"MESSAGE\":%s}\n\n", at(us).UnixMicro(), quoted(s))
	}, true, false},
	{"journalctl -o json-seq", func(us int64, s string) string {
		return fmt.Sprintf("\x1e{\"__REALTIME_TIMESTAMP\":\"%d\",\"_TRANSPORT\":\"kernel\",\"MESSAGE\":%s}\n", at(us).UnixMicro(), quoted(s))
	}, true, false},
	{"journalctl -o verbose", func(us int64, s string) string {
		return at(us).Format("Mon 2006-01-02 15:04:05.000000 UTC") + fmt.Sprintf(" [s=a;i=1;b=2;m=3;t=4;x=5]\n    _TRANSPORT=kernel\n    _HOSTNAME=h\n    MESSAGE=%s\n    _SOURCE_MONOTONIC_TIMESTAMP=%d\n", s, us)
	}, true, true},
	{"RFC 5424 with structured data", func(us int64, s string) string {
		return "<4>1 " + at(us).Format("2006-01-02T15:04:05.000000Z") + ` host kernel - - [meta sequenceId="1"][x y="\"a\] b"] ` + s + "\n"
	}, true, false},
	{"RFC 5424 with a kind and a byte order mark", func(us int64, s string) string {
		return "<4>1 " + at(us).Format("2006-01-02T15:04:05.000000Z") + " host kernel - OOM - \ufeff" + s + "\n"
	}, true, false},
	{"RFC 5424 with lengths", func(us int64, s string) string {
		return "123 <4>1 " + at(us).Format("2006-01-02T15:04:05.000000Z") + " host kernel 0 - - " + s + "\n"
	}, true, false},
	{"RFC 5424 in a file", func(us int64, s string) string {
		return at(us).Format("2006-01-02T15:04:05.000000Z") + fmt.Sprintf(" host kernel - - -  [%12.6f] %s\n", float64(us)/1e6, s)
	}, true, true},
	{"tabs", func(us int64, s string) string {
		return at(us).Format(time.Stamp) + fmt.Sprintf("\thost\tkernel:\t[%12.6f] %s\n", float64(us)/1e6, s)
	}, true, true},
	{"grep -A of files", func(us int64, s string) string {
		return "/var/log/kern.log-" + at(us).Format(time.Stamp) + fmt.Sprintf(" host kernel: [%12.6f] %s\n", float64(us)/1e6, s)
	}, true, true},
	{"grep -n", func(us int64, s string) string { return fmt.Sprintf("dmesg.txt:17:[%12.6f] %s\n", float64(us)/1e6, s) }, false, true},
	{"behind a prompt", func(us int64, s string) string {
		return fmt.Sprintf("localhost login: [%12.6f] %s\n", float64(us)/1e6, s)
	}, false, true},
	{"a container's log", func(us int64, s string) string {
		return at(us).Format("2006-01-02T15:04:05.000000000Z") + fmt.Sprintf(" stdout F [%12.6f] %s\n", float64(us)/1e6, s)
	}, true, true},
	{"netconsole with the release", func(us int64, s string) string { return fmt.Sprintf("6.12.1-x,4,1234,%d,-;%s\n", us, s) }, false, true},
	{"netconsole in pieces", pieces("\n"), false, true},
	{"netconsole in pieces, without newlines", pieces(""), false, true},
}

// pieces sends long lines in two, as netconsole does those of more than 1,000
// bytes.
func pieces(between string) func(int64, string) string {
	return func(us int64, s string) string {
		const first = 60
		if len(s) < 2*first {
			return fmt.Sprintf("4,%d,%d,-;%s\n", us, us, s)
		}
		return fmt.Sprintf("4,%d,%d,-,ncfrag=0/%d;%s%s4,%d,%d,-,ncfrag=%d/%d;%s\n", us, us, len(s), s[:first], between, us, us, first, len(s), s[first:])
	}
}

const headLine = "foo invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"

// What another program says it read in the kernel's log is no report.
func TestOthersTags(t *testing.T) {
	for _, line := range []string{
		headLine,
		"Out of memory: Killed process 812 (app) total-vm:100kB, anon-rss:50kB, file-rss:0kB, shmem-rss:0kB",
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=app,pid=812,uid=0",
	} {
		for _, before := range []string{
			"Mar  3 04:11:53 h logger: ", "Mar  3 04:11:53 h app[12]: ", "2026-03-03T04:11:53Z h app[12]: ", "2026-03-03T04:11:53.123456+01:00 h app: ",
			"<12>[  100.000001] ", "<13>Mar  3 04:11:53 h app: ", "<14>1 2026-03-03T04:11:53Z h app - - - ", "<14>1 2026-03-03T04:11:53Z h app 12 - - ",
			"Mar  3 04:11:53 h app[12]: [  100.000001] ", "[  100.000001] systemd[1]: ", "Mar  3 04:11:53 h kernel: [  100.000001] systemd[1]: ",
			`Mar  3 04:11:53 h dockerd[1]: time="2026" msg="`, "I0303 04:11:53.000000 900 manager.go:1] ",
		} {
			if kills := readText(t, before+line+"\n"); len(kills) != 0 {
				t.Errorf("%s%s: %s", before, line, lines(t, kills))
			}
		}
	}
	if kills := readText(t, headLine+`", said the log`+"\n"); len(kills) != 0 {
		t.Errorf("a sentence: %s", lines(t, kills))
	}
}

// In the middle of a report, nothing is taken from other programs either.
func TestOthersWithin(t *testing.T) {
	log := strings.Join([]string{headLine, "Call Trace:", " dump_stack+0x1/0x2", " out_of_memory+0x1/0x2", ""}, "\n")
	var b strings.Builder
	for line := range strings.Lines(log) {
		b.WriteString("Mar  3 04:11:53 h kernel: " + line + "Mar  3 04:11:53 h app[12]: panic at f+0x1/0x2\nMar  3 04:11:53 h app[12]: x" + headLine + "\n")
	}
	kills := readText(t, b.String())
	if len(kills) != 1 || kills[0].Trigger.Comm != "foo" || len(kills[0].Trigger.Stack) != 2 {
		t.Errorf("%s", lines(t, kills))
	}
}

// A name is never longer than the kernel's, whatever stands before it.
func TestNotAName(t *testing.T) {
	for _, before := range []string{"[  1.000000] what is this now ", "Mar  3 04:11:53 one of many words "} {
		for _, k := range readText(t, before+headLine+"\n") {
			if k.Trigger.Comm != "" {
				t.Errorf("%s: %q", before, k.Trigger.Comm)
			}
		}
	}
	const name = `\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad` // 15 bytes
	kills := readText(t, "[  1.000000] "+name+headLine[3:]+"\n")
	if len(kills) != 1 || kills[0].Trigger.Comm != name {
		t.Errorf("%s", lines(t, kills))
	}
}

// Zones that are named are known where they are the local one.
func TestZones(t *testing.T) {
	o := testOptions
	o.Location = time.FixedZone("JST", 9*3600)
	for zone, want := range map[string]string{
		"JST": "2026-11-23T01:00:00Z", "UTC": "2026-11-23T10:00:00Z", "-03": "2026-11-23T13:00:00Z", "+0530": "2026-11-23T04:30:00Z", "EST": "0001-01-01T00:00:00Z",
	} {
		kills := read(t, strings.NewReader("Mon 2026-11-23 10:00:00 "+zone+" h kernel: "+headLine+"\n"), o)
		if len(kills) != 1 || kills[0].Time.Format(time.RFC3339) != want || kills[0].Trigger.Comm != "foo" {
			t.Errorf("%s: %s", zone, lines(t, kills))
		}
	}
}
