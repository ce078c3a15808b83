package kernlog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var uptimeOf = regexp.MustCompile(`^\[ *(\d+)\.(\d{6})\] (.*)$`)

var uptimePrefix = regexp.MustCompile(`(?m)^(\[ *\d+\.\d{6}\] )`)

// format writes a log of dmesg as others do.
type format struct {
	name string
	line func(us int64, text string) string
	wall bool // it dates lines
	up   bool // it tells the uptime
}

func (f format) of(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		m := uptimeOf.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		us, _ := strconv.ParseInt(m[1]+m[2], 10, 64)
		b.WriteString(f.line(us, m[3]))
	}
	return b.String()
}

var boot = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func at(us int64) time.Time { return boot.Add(time.Duration(us) * time.Microsecond) }

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

var formats = []format{
	{"dmesg -t", func(_ int64, s string) string { return s + "\n" }, false, false},
	{"dmesg -T", func(us int64, s string) string { return "[" + at(us).Format(time.ANSIC) + "] " + s + "\n" }, true, false},
	{"dmesg -T, localised", func(us int64, s string) string {
		return "[lun. nov. 23 " + at(us).Format("15:04:05 2006") + "] " + s + "\n"
	}, false, false},
	{"dmesg -x", func(us int64, s string) string {
		return fmt.Sprintf("kern  :warn  : [%12.6f] %s\n", float64(us)/1e6, s)
	}, false, true},
	{"dmesg --time-format iso", func(us int64, s string) string {
		return at(us).Format("2006-01-02T15:04:05,000000-07:00") + " " + s + "\n"
	}, true, false},
	{"CRLF", func(us int64, s string) string { return fmt.Sprintf("[%12.6f] %s\r\n", float64(us)/1e6, s) }, false, true},
	{"quoted", func(us int64, s string) string { return fmt.Sprintf("> > [%12.6f] %s\n", float64(us)/1e6, s) }, false, true},
	{"coloured", func(us int64, s string) string {
		return fmt.Sprintf("\x1b[32m[%12.6f] \x1b[0m%s\n", float64(us)/1e6, s)
	}, false, true},
	{"priority", func(us int64, s string) string { return fmt.Sprintf("<4>[%12.6f] %s\n", float64(us)/1e6, s) }, false, true},
	{"caller", func(us int64, s string) string { return fmt.Sprintf("[%12.6f][T28542] %s\n", float64(us)/1e6, s) }, false, true},
	{"journalctl short", func(us int64, s string) string { return at(us).Format(time.Stamp) + " host kernel: " + s + "\n" }, true, false},
	{"journalctl short-precise", func(us int64, s string) string { return at(us).Format(time.StampMicro) + " host kernel: " + s + "\n" }, true, false},
	{"journalctl short-iso", func(us int64, s string) string {
		return at(us).Format("2006-01-02T15:04:05-0700") + " host kernel: " + s + "\n"
	}, true, false},
	{"journalctl short-full", func(us int64, s string) string {
		return at(us).Format("Mon 2006-01-02 15:04:05 UTC") + " host kernel: " + s + "\n"
	}, true, false},
	{"journalctl short-unix", func(us int64, s string) string {
		return fmt.Sprintf("%.6f host kernel: %s\n", float64(at(us).UnixMicro())/1e6, s)
	}, true, false},
	{"journalctl, localised", func(us int64, s string) string {
		return "23. listopadu " + at(us).Format("15:04:05") + " host kernel: " + s + "\n"
	}, false, false},
	{"syslog", func(us int64, s string) string {
		return fmt.Sprintf("%s host kernel: [%12.6f] %s\n", at(us).Format(time.Stamp), float64(us)/1e6, s)
	}, true, true},
	{"rsyslog ISO 8601", func(us int64, s string) string {
		return fmt.Sprintf("%s host kernel: [%12.6f] %s\n", at(us).In(time.FixedZone("", 7200)).Format("2006-01-02T15:04:05.000000-07:00"), float64(us)/1e6, s)
	}, true, true},
	{"RFC 5424", func(us int64, s string) string {
		return "<4>1 " + at(us).Format("2006-01-02T15:04:05.000000Z") + " host kernel - - - " + s + "\n"
	}, true, false},
	{"kmsg", func(us int64, s string) string { return fmt.Sprintf("4,1234,%d,-,caller=T28542;%s\n", us, s) }, false, true},
	{"journalctl -o json", func(us int64, s string) string {
		return fmt.Sprintf(`{"__REALTIME_TIMESTAMP":"%d","_TRANSPORT":"kernel","_SOURCE_MONOTONIC_TIMESTAMP":"%d","MESSAGE":%s}`+"\n", at(us).UnixMicro(), us, quoted(s))
	}, true, true},
	{"journalctl -o export", func(us int64, s string) string {
		return fmt.Sprintf("__CURSOR=x\n__REALTIME_TIMESTAMP=%d\n_TRANSPORT=kernel\nMESSAGE=%s\n_SOURCE_MONOTONIC_TIMESTAMP=%d\n\n", at(us).UnixMicro(), s, us)
	}, true, true},
}

// plain is an event as JSON without what differs by format.
func plain(t *testing.T, line string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "time")
	delete(m, "uptime_ns")
	delete(m, "incident")
	return m
}

func plains(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(lines(t, readText(t, text))) {
		all = append(all, plain(t, line))
	}
	return all
}

func TestFormats(t *testing.T) {
	for _, name := range []string{"linux-6.12-v2.log", "linux-5.10-v1.log", "linux-6.18-v1.log", "old-3.10.log"} {
		log := fixture(t, name)
		want := plains(t, log)
		for _, f := range append(slices.Clip(formats), further...) {
			text := "something before\n\n" + f.of(log)
			if got := plains(t, text); !reflect.DeepEqual(got, want) {
				t.Errorf("%s as %s: %d events, want %d\n%v\n%v", name, f.name, len(got), len(want), got, want)
				continue
			}
			for i, k := range readText(t, text) {
				real := readText(t, log)[i]
				if f.up != (k.UptimeNS != nil) || f.up && *k.UptimeNS != *real.UptimeNS {
					t.Errorf("%s as %s: uptime %v", name, f.name, k.UptimeNS)
				}
				want := at(*real.UptimeNS / 1000)
				if f.wall == k.Time.IsZero() || f.wall && want.Sub(k.Time).Abs() >= time.Second {
					t.Errorf("%s as %s: time %v, want %v", name, f.name, k.Time, want)
				}
			}
		}
	}
}

func TestWrapped(t *testing.T) {
	for _, name := range []string{"linux-6.12-v2.log", "linux-6.18-v1.log", "old-3.10.log", "old-4.15.log"} {
		log := fixture(t, name)
		want := plains(t, log)
		for _, width := range []int{80, 100, 132} {
			if strings.Index(log, "oom-killer: ")+len("oom-killer: ") > width {
				continue
			}
			for _, how := range []func(string, int) string{wrapHard, wrapSoft} {
				var b strings.Builder
				for line := range strings.Lines(log) {
					b.WriteString(how(strings.TrimSuffix(line, "\n"), width) + "\n")
				}
				if got := plains(t, b.String()); !reflect.DeepEqual(got, want) {
					t.Errorf("%s at %d:\n%v\n%v", name, width, got, want)
				}
			}
		}
	}
}

func wrapHard(s string, width int) string {
	var parts []string
	for ; len(s) > width; s = s[width:] {
		parts = append(parts, s[:width])
	}
	return strings.Join(append(parts, s), "\n")
}

func wrapSoft(s string, width int) string {
	var parts []string
	for len(s) > width {
		i := strings.LastIndexByte(s[:width+1], ' ')
		if i < 30 {
			break
		}
		parts = append(parts, s[:i])
		s = s[i+1:]
	}
	return strings.Join(append(parts, s), "\n")
}

// within finds what a damaged report says that the whole one does not.
func within(path string, part, whole any) string {
	switch p := part.(type) {
	case map[string]any:
		w, _ := whole.(map[string]any)
		for name, v := range p {
			if (name == "pid" && v == 0.0) || (name == "comm" && v == "") || w == nil {
				continue
			}
			if bad := within(path+"."+name, v, w[name]); bad != "" {
				return bad
			}
		}
		return ""
	case []any:
		return "" // shorter, or in another order
	}
	if !reflect.DeepEqual(part, whole) {
		return fmt.Sprintf("%s is %v, was %v", path, part, whole)
	}
	return ""
}

// Cut anywhere, a report never says what it did not.
func TestCut(t *testing.T) {
	for _, name := range []string{"linux-6.18-v1.log", "linux-5.10-v1.log", "linux-7.3-v2.log", "old-2.6.32.log", "old-3.10.log"} {
		all := strings.SplitAfter(fixture(t, name), "\n")
		if i := strings.Index(strings.Join(all[1:], ""), " invoked oom-killer"); i >= 0 {
			n := strings.Count(strings.Join(all[1:], "")[:i], "\n") + 1
			all = all[:n]
		}
		want := plains(t, strings.Join(all, ""))
		if len(want) != 1 {
			t.Fatalf("%s: %d events", name, len(want))
		}
		check := func(what, text string) {
			for _, got := range plains(t, text) {
				if d, ok := got["domain"].(map[string]any); ok && (d["constraint"] == "" || d["source"] != "kmsg") {
					delete(got, "domain") // told by less
				}
				if trigger := got["trigger"].(map[string]any); trigger["pid"] == trigger["tid"] {
					delete(trigger, "pid") // whose thread it is stands in the table
				}
				if bad := within("", got, want[0]); bad != "" {
					t.Errorf("%s %s: %s", name, what, bad)
				}
			}
		}
		for i := range all {
			check(fmt.Sprintf("until line %d", i), strings.Join(all[:i], ""))
			check(fmt.Sprintf("from line %d", i), strings.Join(all[i:], ""))
			check(fmt.Sprintf("without line %d", i), strings.Join(all[:i], "")+strings.Join(all[i+1:], ""))
			check(fmt.Sprintf("within line %d", i), strings.Join(all[:i], "")+all[i][:len(all[i])/2])
		}
	}
}

func TestInterleaved(t *testing.T) {
	one, two := fixture(t, "linux-6.18-v1.log"), fixture(t, "old-3.10.log")
	mark := func(log, caller, host string) []string {
		log = regexp.MustCompile(`(?m)^(\[ *[\d.]+\])`).ReplaceAllString(log, host+"$1"+caller)
		return strings.SplitAfter(log, "\n")
	}
	want := append(plains(t, two), plains(t, one)...)
	for _, how := range [][4]string{
		{"[T28542]", "", "[T30112]", ""},
		{"", "2026-11-23T10:00:00Z alpha kernel: ", "", "2026-11-23T10:00:00Z beta kernel: "},
	} {
		a, b := mark(one, how[0], how[1]), mark(two, how[2], how[3])
		var mixed strings.Builder
		for i := range max(len(a), len(b)) {
			if i < len(a) {
				mixed.WriteString(a[i])
			}
			if i < len(b) {
				mixed.WriteString(b[i])
			}
		}
		got := plains(t, mixed.String())
		if len(got) != 2 || !(reflect.DeepEqual(got, want) || reflect.DeepEqual([]map[string]any{got[1], got[0]}, want)) {
			t.Errorf("%v\n%v", got, want)
		}
	}
}

// Lines that come in another order, as by UDP, but are numbered or say when they
// were logged.
func TestReordered(t *testing.T) {
	for _, name := range []string{"linux-6.12-v2.log", "linux-7.3-v2.log", "linux-6.18-v1.log", "old-3.10.log"} {
		log := fixture(t, name)
		want := plains(t, log)
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, 1))
			var moments []string // lines of the same microsecond stay together
			var at []float64
			var last, place int64
			for line := range strings.Lines(log) {
				m := uptimeOf.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
				us, _ := strconv.ParseInt(m[1]+m[2], 10, 64)
				if us == last {
					moments[len(moments)-1] += line
					continue
				}
				if place++; us-last > 50_000 {
					place += 5 // what is far apart does not change places
					at = append(at, float64(place))
				} else {
					at = append(at, float64(place)+3*r.Float64())
				}
				moments, last = append(moments, line), us
			}
			order := make([]int, len(moments))
			for i := range order {
				order[i] = i
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(at[a], at[b]) })
			var mixed strings.Builder
			for _, i := range order {
				mixed.WriteString(moments[i])
			}
			for _, f := range formats {
				if f.name != "syslog" && f.name != "rsyslog ISO 8601" {
					continue
				}
				if got := plains(t, f.of(mixed.String())); !reflect.DeepEqual(got, want) {
					t.Errorf("%s %d, %s:\n%v\n%v", name, seed, f.name, got, want)
				}
			}
			var numbered strings.Builder
			for _, i := range order {
				for line := range strings.Lines(moments[i]) {
					fmt.Fprintf(&numbered, "4,%d,5000000,-;%s\n", i, uptimeOf.FindStringSubmatch(strings.TrimSuffix(line, "\n"))[3])
				}
			}
			if got := plains(t, numbered.String()); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %d, numbered:\n%v\n%v", name, seed, got, want)
			}
		}
	}
}

// Each line twice, as two rules of syslog for one file write them.
func TestDoubled(t *testing.T) {
	for _, name := range []string{"linux-6.12-v2.log", "linux-5.10-v1.log", "old-3.10.log", "old-2.6.32.log"} {
		log := fixture(t, name)
		for _, cut := range []string{"", "$1"} { // without a time, and with it
			text := uptimePrefix.ReplaceAllString(log, cut)
			var twice strings.Builder
			for line := range strings.Lines(text) {
				twice.WriteString(line + line)
			}
			if got, want := plains(t, twice.String()), plains(t, text); !reflect.DeepEqual(got, want) {
				t.Errorf("%s %q: %d events, want %d\n%v\n%v", name, cut, len(got), len(want), got, want)
			}
		}
	}
}

func TestRepeated(t *testing.T) {
	log := fixture(t, "linux-6.12-v2.log")
	if got := len(readText(t, log+log)); got != 3 {
		t.Errorf("the same log twice: %d events, want 3", got)
	}
	line := log[strings.LastIndex(log[:len(log)-1], "\n")+1:]
	if got := len(readText(t, line+line+"last message repeated 2 times\n")); got != 1 {
		t.Errorf("the same line twice: %d events, want 1", got)
	}
}

// How the text arrives makes no difference.
func TestSmallReads(t *testing.T) {
	log := fixture(t, "linux-6.18-v1.log")
	got := lines(t, read(t, iotest.OneByteReader(strings.NewReader(log)), testOptions))
	if want := lines(t, readText(t, log)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	long := strings.Repeat("x", 3*bufBytes) + "\n" + log
	if n := len(readText(t, long)); n != 1 {
		t.Errorf("behind a long line: %d events", n)
	}
}

// The composition may come as one record of several lines, which the kernel cuts
// at the end of its buffer.
func TestOneRecord(t *testing.T) {
	log := fixture(t, "linux-5.10-v2.log")
	log = log[:strings.Index(log, "cat invoked")]
	log = log[:strings.LastIndex(log, "\n")+1]
	whole := plains(t, log)
	stats := regexp.MustCompile(`(?s)(Memory cgroup stats for /box:)\n(.*?)(\[ *[\d.]+\] Tasks state)`)
	m := stats.FindStringSubmatch(log)
	body := strings.TrimSuffix(regexp.MustCompile(`(?m)^\[ *[\d.]+\] `).ReplaceAllString(m[2], ""), "\n")
	const at = "[    3.027746] "
	for name, as := range map[string]string{
		"indented":   at + strings.ReplaceAll(body, "\n", "\n               ") + "\n",
		"as syslog":  "Nov 23 10:00:00 h kernel: " + at + strings.ReplaceAll(body, "\n", "#012") + "\n",
		"as kmsg":    "6,900,3027746,-;" + strings.ReplaceAll(body, "\n", `\x0a`) + "\n",
		"as journal": `{"_TRANSPORT":"kernel","_SOURCE_MONOTONIC_TIMESTAMP":"3027746","MESSAGE":` + quoted(body) + "}\n",
	} {
		text := stats.ReplaceAllLiteralString(log, m[1]+"\n"+as+m[3])
		if name == "as syslog" {
			text = regexp.MustCompile(`(?m)^\[`).ReplaceAllLiteralString(text, "Nov 23 10:00:00 h kernel: [")
		}
		if name == "as journal" || name == "as kmsg" {
			f := formats[len(formats)-2]
			if name == "as kmsg" {
				f = format{line: func(us int64, s string) string { return fmt.Sprintf("6,9,%d,-;%s\n", us, s) }}
			}
			before, after, _ := strings.Cut(text, as)
			text = f.of(before) + as + f.of(after)
		}
		got := plains(t, text)
		if len(got) != 1 || len(whole) != 1 || !reflect.DeepEqual(got[0]["victim"], whole[0]["victim"]) {
			t.Errorf("%s: %v", name, got)
			continue
		}
		if bad := within("", got[0], whole[0]); bad != "" {
			t.Errorf("%s: %s", name, bad)
		}
		memory := got[0]["domain"].(map[string]any)["memory"].(map[string]any)
		if memory["anon_bytes"] == nil || memory["file_bytes"] == nil {
			t.Errorf("%s: %v", name, memory)
		}
	}
}

func TestBytesInJSON(t *testing.T) {
	log := killedLineOf(t)
	list, _ := json.Marshal(func() (n []int) {
		for _, c := range []byte(strings.Replace(log, "demo-leak", "d\xff", 1)) {
			n = append(n, int(c))
		}
		return n
	}())
	kills := readText(t, `{"_TRANSPORT":"kernel","MESSAGE":`+string(list)+"}\n")
	if len(kills) != 1 || kills[0].Victim.Comm != "d\xff" {
		t.Errorf("%s", lines(t, kills))
	}
}

func killedLineOf(t *testing.T) string {
	log := fixture(t, "linux-6.18-v1.log")
	return strings.TrimSpace(log[strings.Index(log, "Memory cgroup out of memory"):])
}
