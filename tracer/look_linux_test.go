package tracer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// fakeTask is a process of a made-up /proc.
type fakeTask struct {
	pid, ppid           int
	comm, state, path   string
	flags               uint64
	anon, shmem, swap   int // MiB
	tables              int // KiB
	adj, score, seconds int
	vm                  int // MiB of address space; 0: some
}

// fakeNode makes a node of 1 GiB of RAM and 64 MiB of swap, with processes and
// the memory files of cgroups.
func fakeNode(t *testing.T, version int, cgroups map[string]string, tasks ...fakeTask) *Look {
	t.Helper()
	proc := map[string]string{
		"meminfo": "MemTotal: 1048576 kB\nMemFree: 262144 kB\nMemAvailable: 524288 kB\nSwapTotal: 65536 kB\nSwapFree: 65536 kB\n" +
			"AnonPages: 102400 kB\nCached: 204800 kB\nBuffers: 1024 kB\nShmem: 10240 kB\nSReclaimable: 4096 kB\nSUnreclaim: 2048 kB\n",
		"stat": "cpu 1\ncpu0 1\ncpu1 1\n", "sys/vm/swappiness": "60\n", "cgroups": "#\nmemory\t4\t11\t1\n", "self/cgroup": "4:memory:/\n0::/\n",
	}
	for _, k := range tasks {
		dir := fmt.Sprintf("%d/", k.pid)
		proc[dir+"stat"] = fmt.Sprintf("%d (%s) %s %d 1 1 0 -1 %d 0 0 0 0 0 0 0 0 20 0 3 0 %d 0 0 0\n", k.pid, k.comm, k.state, k.ppid, k.flags, 100*k.seconds)
		status := fmt.Sprintf("Name:\t%s\nState:\t%s\nUid:\t0\t0\t0\t0\nThreads:\t3\n", k.comm, k.state)
		if k.flags&0x200000 == 0 && k.state != "Z" {
			if k.vm == 0 {
				k.vm = 1000
			}
			status += fmt.Sprintf("VmSize:\t%d kB\nRssAnon:\t%d kB\nRssFile:\t0 kB\nRssShmem:\t%d kB\nVmPTE:\t%d kB\nVmSwap:\t%d kB\n",
				k.vm<<10, k.anon<<10, k.shmem<<10, k.tables, k.swap<<10)
		}
		proc[dir+"status"] = status
		proc[dir+"cgroup"] = "4:memory:" + k.path + "\n0::" + k.path + "\n"
		proc[dir+"oom_score"] = fmt.Sprintf("%d\n", k.score)
		proc[dir+"oom_score_adj"] = fmt.Sprintf("%d\n", k.adj)
	}
	if version == 2 {
		cgroups["cgroup.controllers"] = "memory\n"
	} else {
		cgroups["memory.usage_in_bytes"] = "0\n"
	}
	l, err := NewLook(Options{ProcRoot: fakeRoot(t, proc), CgroupRoot: fakeRoot(t, cgroups)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func stat(anon, file int) string {
	return fmt.Sprintf("anon %d\nfile %d\nshmem 0\nactive_file %d\ninactive_file 0\nslab_reclaimable 0\n", anon<<20, file<<20, file<<20)
}

// v2 is a cgroup with a limit; 0 is none.
func v2(files map[string]string, path string, limit, usage, file int) {
	files[path+"/memory.max"] = "max\n"
	if limit > 0 {
		files[path+"/memory.max"] = fmt.Sprintf("%d\n", limit<<20)
	}
	files[path+"/memory.current"] = fmt.Sprintf("%d\n", usage<<20)
	files[path+"/memory.stat"] = stat(usage-file, file)
	files[path+"/memory.swap.max"] = "max\n"
	files[path+"/memory.swap.current"] = "0\n"
	files[path+"/memory.oom.group"] = "0\n"
	files[path+"/memory.high"] = "max\n"
}

// order tells a ranking in short.
func order(r *event.Rank) string {
	var out []string
	for _, p := range r.Processes {
		s := p.Comm
		if p.Badness != nil {
			s += fmt.Sprintf(":%d", *p.Badness)
		}
		if p.Unkillable != "" {
			s += ":" + p.Unkillable
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestRank(t *testing.T) {
	const node = (1<<30 + 64<<20) / 4096
	tasks := []fakeTask{
		{pid: 1, comm: "init", state: "S", path: "/", anon: 5, score: 0},
		{pid: 2, comm: "kthreadd", state: "S", path: "/", flags: 0x208040},
		{pid: 10, ppid: 1, comm: "small", state: "S", path: "/a/b", anon: 10, score: 672},
		{pid: 11, ppid: 1, comm: "marked", state: "S", path: "/a/b", anon: 4, adj: 100, score: 735},
		{pid: 12, ppid: 1, comm: "never", state: "S", path: "/a/b", anon: 90, adj: -1000},
		{pid: 13, ppid: 1, comm: "parent", state: "D", path: "/a/c", anon: 20, shmem: 5, swap: 3, tables: 4096, score: 686, vm: 77},
		{pid: 14, ppid: 13, comm: "child", state: "R", path: "/a/c", anon: 20, shmem: 5, swap: 3, tables: 4096, vm: 77},
		{pid: 15, ppid: 1, comm: "dying", state: "D", path: "/a/c", anon: 30, vm: 900},
		{pid: 16, ppid: 1, comm: "zombie", state: "Z", path: "/a/c"},
		{pid: 17, ppid: 1, comm: "elder", state: "S", path: "/a/c", anon: 7, score: 670, seconds: 5},
		{pid: 18, ppid: 1, comm: "younger", state: "S", path: "/a/c", anon: 7, score: 670, seconds: 6},
		{pid: 20, ppid: 1, comm: "outside", state: "S", path: "/ab", anon: 400, score: 913},
	}
	files := make(map[string]string)
	v2(files, "a", 256, 200, 20)
	v2(files, "a/b", 128, 100, 90)
	v2(files, "a/c", 0, 90, 0)
	v2(files, "ab", 0, 400, 0)
	// 256 MiB and the node's 64 MiB of swap are 81,920 pages.
	l := fakeNode(t, 2, files, tasks...)
	for _, c := range []struct {
		path, domain, first, order string
		total                      uint64
	}{
		// parent: 25 MiB in memory, 3 in swap, 4 of page tables are 8,192 pages.
		// /a has 76 MiB and 64 of swap left, /a/b 118 and 64, the node 512 and 64.
		{"/a", "/a", "marked", "marked:9124 parent:8192 small:2560 younger:1792 elder:1792 never:oom_score_adj dying:reaped child:vfork", 81920},
		{"/a/b", "/a", "marked", "marked:9124 small:2560 never:oom_score_adj", 81920},
		{"/a/c", "/a", "marked", "parent:8192 younger:1792 elder:1792 dying:reaped child:vfork", 81920},
		{"/ab", "", "outside", "outside:102400", node},
		{"", "", "outside", "outside:102400 marked:28824 parent:8192 small:2560 younger:1792 elder:1792 never:oom_score_adj dying:reaped child:vfork init:init", node},
	} {
		r, err := l.Rank(context.Background(), c.path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := order(r); got != c.order {
			t.Errorf("%s: %s\nwant %s", c.path, got, c.order)
		}
		domain := ""
		if r.Domain.Cgroup != nil {
			domain = r.Domain.Cgroup.Path
		}
		if domain != c.domain || r.Next == nil || r.Next.Comm != c.first || r.Domain.TotalPages != c.total || r.Forecast != nil {
			t.Errorf("%s: %s", c.path, show(r))
		}
	}
	r, err := l.Rank(context.Background(), "/a/c", 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Total != 5 || r.DomainTotal != 8 || r.Processes[0].Position != 2 || r.Processes[4].Position != 0 || len(r.Close) != 0 {
		t.Errorf("%s", show(r))
	}
	if d := r.Domain; *d.Headroom != (76+64)<<20 || *d.Reclaimable != 20<<20 || *d.SwapLeft != 64<<20 || !d.Tightest || len(r.Limits) != 3 || r.Limits[0].Headroom != nil || *r.Limits[2].Headroom != (512+64)<<20 {
		t.Errorf("%s", show(r.Limits))
	}
	for _, p := range r.Processes {
		if *p.OOMScore != *p.OOMScoreComputed {
			t.Errorf("score %s", show(p))
		}
	}
}

// In a cgroup namespace the root is a cgroup with a limit of its own.
func TestRankNamespace(t *testing.T) {
	files := make(map[string]string)
	v2(files, ".", 50, 40, 0)
	files["cgroup.events"] = "populated 1\n"
	l := fakeNode(t, 2, files, fakeTask{pid: 10, comm: "app", state: "S", path: "/", anon: 30, score: 686},
		fakeTask{pid: 11, comm: "host", state: "S", path: "/../other", anon: 300, score: 800})
	r, err := l.Rank(context.Background(), "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Domain.Cgroup == nil || r.Domain.Cgroup.Path != "/" || order(r) != "app:7680" || r.Next.Comm != "app" {
		t.Errorf("%s", show(r))
	}
}

// The group that goes along is the uppermost with memory.oom.group in the domain.
func TestRankGroupOf(t *testing.T) {
	files := make(map[string]string)
	v2(files, "top", 100, 90, 0)
	v2(files, "top/job", 0, 80, 0)
	v2(files, "top/job/part", 0, 80, 0)
	files["top/job/memory.oom.group"] = "1\n"
	files["top/job/part/memory.oom.group"] = "1\n"
	l := fakeNode(t, 2, files,
		fakeTask{pid: 10, comm: "big", state: "S", path: "/top/job/part", anon: 50, score: 698},
		fakeTask{pid: 11, comm: "mate", state: "S", path: "/top/job", anon: 5, score: 669},
		fakeTask{pid: 12, comm: "spared", state: "S", path: "/top/job", anon: 5, adj: -1000},
		fakeTask{pid: 13, comm: "other", state: "S", path: "/top", anon: 20, score: 678})
	r, err := l.Rank(context.Background(), "/top/job/part", 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Group == nil || r.Group.Path != "/top/job" || r.GroupProcesses != 2 || r.Next.Comm != "big" {
		t.Errorf("%s", show(r))
	}
}

// Version 1: memory and swap together, swappiness of its own, an OOM killer that
// is off, and cgroups that are not charged to those above.
func TestRankV1(t *testing.T) {
	files := map[string]string{}
	v1 := func(path string, limit, both, usage int) {
		files[path+"/memory.limit_in_bytes"] = fmt.Sprintf("%d\n", limit<<20)
		files[path+"/memory.memsw.limit_in_bytes"] = fmt.Sprintf("%d\n", both<<20)
		files[path+"/memory.usage_in_bytes"] = fmt.Sprintf("%d\n", usage<<20)
		files[path+"/memory.stat"] = fmt.Sprintf("total_rss %d\ntotal_cache 0\ntotal_active_file 0\ntotal_inactive_file %d\ntotal_swap 0\n", usage<<20, 1<<20)
		files[path+"/memory.swappiness"] = "60\n"
		files[path+"/memory.oom_control"] = "oom_kill_disable 0\nunder_oom 0\n"
	}
	v1("a", 100, 110, 50)
	v1("off", 100, 100, 50)
	files["off/memory.oom_control"] = "oom_kill_disable 1\nunder_oom 1\n"
	v1("own", 10, 10, 9)
	files["own/memory.use_hierarchy"] = "0\n"
	v1("own/child", 100, 100, 50)
	v1("still", 100, 200, 50)
	files["still/memory.swappiness"] = "0\n"
	l := fakeNode(t, 1, files,
		fakeTask{pid: 10, comm: "a", state: "S", path: "/a", anon: 40, adj: 10, score: 699},
		fakeTask{pid: 11, comm: "off", state: "S", path: "/off", anon: 40, score: 693},
		fakeTask{pid: 12, comm: "own", state: "S", path: "/own", anon: 9, score: 672},
		fakeTask{pid: 13, comm: "child", state: "S", path: "/own/child", anon: 50, score: 698},
		fakeTask{pid: 14, comm: "still", state: "S", path: "/still", anon: 40, score: 693})
	for _, c := range []struct {
		path, domain, order string
		total               uint64
		left                uint64 // MiB
	}{
		{"/a", "/a", "a:10520", 110 << 8, 61}, // 10 × 28 thousandths
		{"/off", "/off", "off:10240", 100 << 8, 51},
		{"/own", "/own", "own:2304", 10 << 8, 2},
		{"/own/child", "/own/child", "child:12800", 100 << 8, 51},
		{"/still", "/still", "still:10240", 100 << 8, 51}, // without swappiness no swap
	} {
		r, err := l.Rank(context.Background(), c.path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.Domain.Cgroup == nil || r.Domain.Cgroup.Path != c.domain || order(r) != c.order || r.Domain.TotalPages != c.total || *r.Domain.Headroom != c.left<<20 {
			t.Errorf("%s: %s, %s", c.path, order(r), show(r.Domain))
		}
		if r.OOMKillDisabled != (c.path == "/off") || (r.Next == nil) != r.OOMKillDisabled {
			t.Errorf("%s: %s", c.path, show(r))
		}
	}
}

func TestForecast(t *testing.T) {
	const noise = 1 << 20
	draw := func(n int, at func(i int) float64) []reading {
		var out []reading
		for i := range n {
			out = append(out, reading{time.Unix(0, int64(i)*int64(50*time.Millisecond)), uint64(1<<30 + at(i)*(1<<20))})
		}
		return out
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name     string
		readings []reading
		want     string
	}{
		{"flat", draw(21, func(int) float64 { return 0 }), event.TrendFlat},
		{"a little", draw(21, func(i int) float64 { return float64(i) / 50 }), event.TrendFlat},
		{"growing", draw(21, func(i int) float64 { return float64(i) }), event.TrendGrowing},
		{"growing in steps", draw(21, func(i int) float64 { return float64(i / 3 * 3) }), event.TrendGrowing},
		{"growing, rough", draw(21, func(i int) float64 { return float64(i) + r.Float64() }), event.TrendGrowing},
		{"falling", draw(21, func(i int) float64 { return -float64(i) }), event.TrendFalling},
		{"up and down", draw(21, func(i int) float64 { return float64(i % 7 * 3) }), event.TrendNoise},
		{"random", draw(21, func(int) float64 { return 20 * r.Float64() }), event.TrendNoise},
		{"one step", draw(21, func(i int) float64 { return float64(i / 20 * 4) }), event.TrendNoise},
	} {
		f := forecast(c.readings, 100<<20, noise)
		if f == nil || f.Trend != c.want || (f.Growth != nil) != (c.want == event.TrendGrowing) || f.WindowNS != int64(time.Second) || f.Samples != 21 {
			t.Errorf("%s: %s, want %s", c.name, show(f), c.want)
		}
	}
	f := forecast(draw(21, func(i int) float64 { return float64(i) }), 100<<20, noise)
	if *f.Growth != 20<<20 || *f.ReachedInNS != int64(5*time.Second) {
		t.Errorf("%s", show(f))
	}
	if f := forecast(draw(21, func(i int) float64 { return float64(i) }), 0, noise); *f.ReachedInNS != 0 {
		t.Errorf("%s", show(f))
	}
	if forecast(draw(4, func(i int) float64 { return float64(i) }), 1, 1) != nil || forecast(make([]reading, 9), 1, 1) != nil {
		t.Error("a claim from too little")
	}
}

func TestInspectFake(t *testing.T) {
	files := make(map[string]string)
	v2(files, "a", 256, 200, 20)
	v2(files, "a/b", 0, 100, 10)
	v2(files, "a/c", 64, 30, 0)
	files["a/memory.events"] = "max 5\n"
	files["a/d/cgroup.procs"] = ""
	l := fakeNode(t, 2, files,
		fakeTask{pid: 10, comm: "one", state: "S", path: "/a/b", anon: 10},
		fakeTask{pid: 11, comm: "two", state: "S", path: "/a/d", anon: 20},
		fakeTask{pid: 12, comm: "out", state: "S", path: "/", anon: 30})
	const mapping = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
	for pid, kib := range map[int]int{10: 100, 11: 200} {
		dir := filepath.Join(string(l.proc), fmt.Sprint(pid))
		for name, text := range map[string]string{
			"smaps_rollup": mapping + fmt.Sprintf("Rss: %d kB\nPss: %d kB\nPss_Anon: %d kB\n", kib, kib, kib), "smaps": mapping + fmt.Sprintf("Pss: %d kB\n", kib),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	e, err := l.Inspect("/a", InspectOptions{Processes: 1, Children: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := e.Processes
	if p.Total != 2 || p.Read != 2 || *p.Sum.PSS != 300<<10 || *p.Sum.Anonymous != 300<<10 || len(p.Largest) != 1 || p.Largest[0].Comm != "two" || p.Threads != 6 {
		t.Errorf("%s", show(p))
	}
	if len(e.Children) != 1 || e.Children[0].Cgroup.Path != "/a/b" || *e.ChildrenOther != (event.ChildrenOther{Cgroups: 1, Usage: 30 << 20}) || e.Events["max"] != 5 {
		t.Errorf("%s", show(e))
	}
	// /a/d has no files of its own: what it holds is charged above.
	e, err = l.Inspect("/a/d", InspectOptions{NoSmaps: true})
	if err != nil || e.Cgroup.Path != "/a" || len(e.Unread) != 1 || e.Processes.Read != 0 || e.Processes.Sum.PSS != nil || *e.Processes.RSS != 30<<20 {
		t.Errorf("%s %v", show(e), err)
	}
	e, err = l.Inspect("/", InspectOptions{})
	if err != nil || e.Cgroup != nil || *e.Memory.Usage != 768<<20 || *e.Memory.Available != 512<<20 || *e.Memory.File != 201<<20 || *e.Memory.Kernel != 6<<20 || e.Memory.Source != event.SourceProcfs {
		t.Errorf("%s %v", show(e), err)
	}
	if !slices.ContainsFunc(e.Children, func(c event.ChildUsage) bool { return c.Cgroup.Path == "/a" }) {
		t.Errorf("%s", show(e.Children))
	}
}
