package kernlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func score(w Weight) int64 {
	return int64(w.Pages+w.PageTableBytes/w.PageBytes) + int64(w.ScoreAdj)*int64(w.TotalPages/1000)
}

var testOptions = Options{
	Now: time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC), Location: time.UTC, Badness: score,
}

func read(t testing.TB, r io.Reader, o Options) []*event.OOMKill {
	t.Helper()
	var kills []*event.OOMKill
	for e, err := range Read(r, o) {
		if err != nil {
			t.Fatal(err)
		}
		kills = append(kills, e)
	}
	return kills
}

func readText(t testing.TB, text string) []*event.OOMKill {
	t.Helper()
	return read(t, strings.NewReader(text), testOptions)
}

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func lines(t testing.TB, kills []*event.OOMKill) string {
	t.Helper()
	var b strings.Builder
	for _, k := range kills {
		line, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// The reports linux-* and no-killable were made by those kernels, old-* and
// arm64-64k after the formats of theirs.
func TestGolden(t *testing.T) {
	logs, err := filepath.Glob("testdata/*.log")
	if err != nil || len(logs) < 12 {
		t.Fatalf("%d logs, %v", len(logs), err)
	}
	for _, name := range logs {
		t.Run(filepath.Base(name), func(t *testing.T) {
			got := lines(t, readText(t, fixture(t, filepath.Base(name))))
			golden := strings.TrimSuffix(name, ".log") + ".json"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// What the fixtures hold, said apart from the golden files so that an update of
// them cannot hide a mistake.
func TestFacts(t *testing.T) {
	for _, c := range []struct {
		file   string
		nth    int
		victim int32
		comm   string
		of     string
		domain string
		in     string
		killed int
		rows   int
	}{
		{"linux-5.10-v1.log", 0, 93, "a b: (c), [d]/", "memcg", "/box", "/box/app", 1, 6},
		{"linux-5.10-v2.log", 1, 0, "grouphog", "memcg", "/box", "/box/grp", 6, 6},
		{"linux-6.12-v2.log", 1, 161, "grouphog", "memcg", "/box", "/box/grp", 6, 6},
		{"linux-6.12-v2.log", 2, 167, "sleep", "global", "", "/", 1, 3},
		{"linux-7.3-v2.log", 2, 121, "grouphog", "memcg", "/box", "/box/grp", 6, 6},
		{"linux-6.18-v1.log", 0, 28539, "demo-leak", "memcg", "/oomtrace-demo-28530", "/oomtrace-demo-28530/worker", 1, 1},
		{"no-killable-6.12.log", 0, 0, "", "memcg", "/b2", "", 0, 4},
		{"old-2.6.18.log", 0, 21873, "httpd", "global", "", "", 1, 0},
		{"old-2.6.32.log", 0, 4409, "java", "memcg", "/batch", "/batch/night run", 1, 2},
		{"old-3.10.log", 0, 30112, "php-fpm: pool w", "memcg", "/docker/0f3a", "/docker/0f3a", 1, 2},
		{"old-4.15.log", 0, 9133, "cc1plus", "global", "", "", 1, 3},
		{"arm64-64k.log", 0, 611, "keeper", "memcg", "", "", 1, 0},
		{"arm64-64k.log", 1, 700, "loader", "memcg", "/svc", "/svc/a,task=b,c", 1, 1},
	} {
		kills := readText(t, fixture(t, c.file))
		if len(kills) <= c.nth {
			t.Errorf("%s: %d events", c.file, len(kills))
			continue
		}
		k := kills[c.nth]
		path := func(g *event.Cgroup) string {
			if g == nil {
				return ""
			}
			return g.Path
		}
		if c.victim != 0 && k.Victim.PID != c.victim || k.Victim.Comm != c.comm || k.Domain.Constraint != c.of ||
			path(k.Domain.Cgroup) != c.domain || path(k.Victim.Cgroup) != c.in || len(k.Killed) != c.killed || len(k.Candidates) != c.rows {
			t.Errorf("%s %d: victim %d %q in %q, %s %q, %d killed of %d", c.file, c.nth, k.Victim.PID, k.Victim.Comm,
				path(k.Victim.Cgroup), k.Domain.Constraint, path(k.Domain.Cgroup), len(k.Killed), len(k.Candidates))
		}
	}
}

func TestPageSize(t *testing.T) {
	k := readText(t, fixture(t, "arm64-64k.log"))[1]
	if k.Domain.TotalPages == nil || *k.Domain.TotalPages != 2048 {
		t.Errorf("total pages %v, want 2048 of 64 KiB", k.Domain.TotalPages)
	}
	// 1985 resident, 3 of page tables, a tenth of 2 whole thousands.
	if c := k.Candidates[0]; c.Badness == nil || *c.Badness != 1985+3+100*2 || *c.TotalVM != 4096*65536 {
		t.Errorf("candidate %+v", c)
	}
	// Nothing says how large a page is: no bytes are made of pages.
	text := fixture(t, "arm64-64k.log")
	text = text[:strings.Index(text, "[  950.000140]")]
	if k = readText(t, text)[1]; k.Victim.PID != 700 || k.Victim.TotalVM != nil || k.Candidates[0].Badness != nil || *k.Victim.PageTables != 196608 {
		t.Errorf("victim %+v", k.Victim)
	}
	o := testOptions
	o.PageBytes = 65536
	if k = read(t, strings.NewReader(text), o)[1]; k.Victim.TotalVM == nil || *k.Victim.TotalVM != 4096*65536 {
		t.Errorf("with the page's size given: %+v", k.Victim)
	}
}

func TestLookalikes(t *testing.T) {
	text := fixture(t, "lookalikes.txt")
	if kills := readText(t, text); len(kills) > 0 {
		t.Errorf("all together: %s", lines(t, kills))
	}
	for line := range strings.Lines(text) {
		if kills := readText(t, line); len(kills) > 0 {
			t.Errorf("%s gives %s", line, lines(t, kills))
		}
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	n := 0
	var last error
	for e, err := range Read(io.MultiReader(strings.NewReader(fixture(t, "linux-6.18-v1.log")), iotest.ErrReader(broken)), testOptions) {
		if last = err; e != nil {
			n++
		}
	}
	if n != 1 || !errors.Is(last, broken) {
		t.Errorf("%d events, then %v", n, last)
	}
}

func FuzzRead(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.*")
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && !strings.HasSuffix(name, ".json") {
			f.Add(b)
		}
	}
	for _, format := range append(slices.Clip(formats), further...) {
		f.Add([]byte(format.of(fixture(f, "linux-6.18-v1.log"))))
	}
	f.Add([]byte("Killed:\u00a0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for e, err := range Read(bytes.NewReader(text), testOptions) {
			if err != nil || e.Killed == nil || e.Incident == "" {
				t.Fatalf("%+v, %v", e, err)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkOrdinaryText(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 16<<20; i++ {
		text.WriteString("Nov 23 10:11:12 node-17 kernel: [12345.678901] eth0: renamed from veth12ab34c, room for total of 12 rules\n")
		text.WriteString("Nov 23 10:11:12 node-17 kubelet[911]: I1123 10:11:12.345678 911 kubelet.go:2050] \"SyncLoop UPDATE\" source=\"api\" pods=[\"default/web-0\"]\n")
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if n := len(read(b, bytes.NewReader(text.Bytes()), testOptions)); n != 0 {
			b.Fatalf("%d events", n)
		}
	}
}

func BenchmarkReports(b *testing.B) {
	text := fixture(b, "linux-6.12-v2.log")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if n := len(readText(b, text)); n != 3 {
			b.Fatalf("%d events", n)
		}
	}
}

// The lines of a report are those that it was made of, and no others.
func TestLines(t *testing.T) {
	const log = `Mar  1 10:00:00 h kernel: [  950.000000] loader invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
Mar  1 10:00:00 h kernel: [  950.000001] veth0: left promiscuous mode
Mar  1 10:00:00 h kernel: [  950.000002] memory: usage 8kB, limit 8kB, failcnt 1
Mar  1 10:00:00 h cron[1]: memory: usage 9kB, limit 9kB, failcnt 1
Mar  1 10:00:00 h kernel: [  950.000003] Memory cgroup out of memory: Killed process 700 (loader) total-vm:262144kB, anon-rss:126976kB, file-rss:64kB
Mar  1 10:00:01 h kernel: [  951.000000] veth1: left promiscuous mode
`
	want := []string{
		"loader invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
		"memory: usage 8kB, limit 8kB, failcnt 1",
		"Memory cgroup out of memory: Killed process 700 (loader) total-vm:262144kB, anon-rss:126976kB, file-rss:64kB",
	}
	var got []string
	for e, err := range Read(strings.NewReader(log), Options{Lines: func(_ *event.OOMKill, lines []string) { got = lines }}) {
		if err != nil || e.Victim.PID != 700 || !slices.Equal(got, want) {
			t.Errorf("%v: %+v, %q", err, e, got)
		}
	}
	if got == nil {
		t.Error("no lines")
	}
}

// Names in the line may look like its fields: then nodes are not told rather than
// wrong ones.
func TestNodes(t *testing.T) {
	for line, want := range map[string]string{
		"CONSTRAINT_CPUSET,nodemask=(null),cpuset=a,mems_allowed=0-1,3,global_oom,task_memcg=/a,task=x,pid=7,uid=0":                  "0-1,3",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems_allowed=12,global_oom,task_memcg=/a,task=x,pid=7,uid=0":                          "12",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems_allowed=1":                                                                       "1",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems_allowed=7,global_oom,mems_allowed=1,global_oom,task_memcg=/a,task=x,pid=7,uid=0": "",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems_allowed=(null),global_oom,task_memcg=/a,task=x,pid=7,uid=0":                      "",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems_allowed=1x,global_oom,task_memcg=/a,task=x,pid=7,uid=0":                          "",
		"CONSTRAINT_CPUSET,nodemask=0,cpuset=a,mems":                                                                                 "",
		"CONSTRAINT_MEMORY_POLICY,nodemask=0,2,cpuset=,cpuset=9,mems_allowed=0-3,global_oom,task_memcg=/a,task=x,pid=7,uid=0":        "0,2",
		"CONSTRAINT_MEMORY_POLICY,nodemask=(null),cpuset=a,mems_allowed=0-3,global_oom,task_memcg=/a,task=x,pid=7,uid=0":             "",
		"CONSTRAINT_MEMCG,nodemask=0,cpuset=a,mems_allowed=1,oom_memcg=/a,task_memcg=/a,task=x,pid=7,uid=0":                          "",
		"CONSTRAINT_NONE,nodemask=(null),cpuset=a,mems_allowed=0,global_oom,task_memcg=/a,task=x,pid=7,uid=0":                        "",
	} {
		kills := readText(t, "[ 1.000000] oom-kill:constraint="+line+"\n[ 1.000001] Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0\n")
		if len(kills) != 1 || kills[0].Domain.Nodes != want {
			t.Errorf("%s: %d kills, nodes %q, want %q", line, len(kills), kills[0].Domain.Nodes, want)
		}
	}
}
