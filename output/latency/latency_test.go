package latency

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

var update = flag.Bool("update", false, "write the golden files")

func ptr[T any](v T) *T { return &v }

var (
	start   = time.Date(2026, 3, 1, 3, 12, 0, 0, time.UTC)
	pod     = &event.Cgroup{ID: 40, Path: "/kubepods/pod7", Version: 2}
	app     = &event.Cgroup{ID: 41, Path: "/kubepods/pod7/app", Version: 2}
	batch   = &event.Cgroup{ID: 50, Path: "/system.slice/batch.service", Version: 2}
	appIs   = &event.Container{ID: strings.Repeat("4c01db0b339c", 6)[:64], Name: "app", Pod: &event.Pod{Name: "checkout-x2x4z", Namespace: "shop"}}
	batchIs = &event.Container{Runtime: "systemd", Unit: "batch.service"}
)

func meta(typ string, after time.Duration) event.Meta {
	return event.Meta{Type: typ, Time: start.Add(after)}
}

func header(after time.Duration) *event.Header {
	return &event.Header{Meta: meta(event.TypeHeader, after), Schema: 1, Host: "node-7", Kernel: "6.12.95", PageBytes: 4096}
}

func stalls(after time.Duration, kind string, count uint64, total, longest time.Duration, bars ...event.Bucket) *event.Stalls {
	return &event.Stalls{Meta: meta(event.TypeStalls, after), IntervalNS: 1e9, Cgroup: app, Container: appIs, Domain: &event.Domain{Cgroup: *pod},
		Kind: kind, Count: count, TotalNS: int64(total), MaxNS: int64(longest), DurationNS: bars}
}

func reclaim(after, long time.Duration, tid int32) *event.Reclaim {
	return &event.Reclaim{Meta: meta(event.TypeReclaim, after), Kind: event.ReclaimMemcgLimit, DurationNS: int64(long), Reclaimed: 32, Scanned: ptr(uint64(64)),
		Process: event.Process{PID: 48213, TID: tid, Comm: "java", StartTimeNS: 5}, Cgroup: app, Container: appIs, Domain: &event.Domain{Cgroup: *pod},
		Evicted: []event.Evicted{{Cgroup: batch, Container: batchIs, File: &event.File{Dev: "8:1", Inode: 9, Path: "/data/other"}, Pages: 3}}}
}

// story is ten seconds of a container that stalls at its pod's limit.
func story() []event.Event {
	return []event.Event{
		header(0),
		stalls(0, event.ReclaimMemcgLimit, 4, 10*time.Millisecond, 6*time.Millisecond, event.Bucket{UpTo: 1 << 20}, event.Bucket{UpTo: 9 << 17, Count: 3}, event.Bucket{UpTo: 11 << 19}, event.Bucket{UpTo: 12 << 19, Count: 1}),
		stalls(4*time.Second, event.ReclaimMemcgLimit, 96, 190*time.Millisecond, 20*time.Millisecond, event.Bucket{UpTo: 1 << 20}, event.Bucket{UpTo: 9 << 17, Count: 95}, event.Bucket{UpTo: 9 << 21}, event.Bucket{UpTo: 10 << 21, Count: 1}),
		stalls(4*time.Second, event.StallThrottled, 5, 100*time.Millisecond, 20*time.Millisecond, event.Bucket{UpTo: 9 << 21}, event.Bucket{UpTo: 10 << 21, Count: 5}),
		stalls(8*time.Second, event.StallThrottle, 1, 800*time.Millisecond, 800*time.Millisecond, event.Bucket{UpTo: 11 << 26}, event.Bucket{UpTo: 12 << 26, Count: 1}),
		reclaim(4500*time.Millisecond, 20*time.Millisecond, 48240), reclaim(4600*time.Millisecond, 2*time.Millisecond, 48240), reclaim(4700*time.Millisecond, 6*time.Millisecond, 48241),
		&event.Throttle{Meta: meta(event.TypeThrottle, 8*time.Second), Process: event.Process{PID: 48213, TID: 48241, Comm: "java", StartTimeNS: 5}, Cgroup: app, Container: appIs, DurationNS: 8e8},
		&event.Cache{Meta: meta(event.TypeCache, 4*time.Second), IntervalNS: 1e9, Cgroup: app, Container: appIs, Added: 4000, Evicted: 3000, Refaulted: ptr(uint64(1000)),
			RefaultSampling: 256, RefaultAfterNS: []event.Bucket{{UpTo: 1 << 28}, {UpTo: 9 << 25, Count: 3}, {UpTo: 1 << 30}, {UpTo: 9 << 27, Count: 1}},
			EvictedBy: []event.EvictedBy{{Kind: event.ReclaimMemcgLimit, Cgroup: app, Container: appIs, Pages: 2000}, {Kind: event.ReclaimMemcgLimit, Cgroup: batch, Container: batchIs, Pages: 900, Reparented: 300},
				{Kswapd: true, Kind: event.EvictKswapd, Pages: 90}}, EvictedByOtherPages: 10,
			Files: []event.CacheFile{{File: event.File{Dev: "8:1", Inode: 7, Path: "/var/lib/app/index.db"}, Added: 4000, Evicted: 2990}, {File: event.File{Dev: "8:1", Inode: 8}, Added: 10, Evicted: 10}}},
		&event.Cache{Meta: meta(event.TypeCache, 4*time.Second), IntervalNS: 1e9, Cgroup: batch, Container: batchIs, Added: 100,
			EvictedOf: []event.EvictedOf{{Cgroup: app, Container: appIs, Kind: event.ReclaimMemcgLimit, Pages: 900}}},
		&event.Thrash{Meta: meta(event.TypeThrash, 3*time.Second), State: event.StateBegin, Cgroup: *app, Container: appIs, DurationNS: 2e9, Limit: ptr(uint64(32 << 20)), Sufficient: ptr(uint64(60 << 20))},
		&event.Thrash{Meta: meta(event.TypeThrash, 3*time.Second), State: event.StateEnd, Cgroup: *app, Container: appIs, DurationNS: 5e9, Refaulted: 900, Limit: ptr(uint64(32 << 20)), Sufficient: ptr(uint64(66 << 20))},
		&event.OOMKill{Meta: meta(event.TypeOOMKill, 9*time.Second), Victim: event.Candidate{Actor: event.Actor{Cgroup: app, Container: appIs}}},
		&event.Summary{Meta: meta(event.TypeSummary, 10*time.Second), WallNS: 1e10},
	}
}

func collect(events []event.Event) *Collector {
	c := New()
	for _, e := range events {
		c.Add(e)
	}
	return c
}

func TestReport(t *testing.T) {
	r := collect(story()).Report(Options{})
	if r.WallNS != 1e10 || r.Source != FromStalls || len(r.Containers) != 1 || !r.Began.Equal(start) {
		t.Fatalf("%+v", r)
	}
	c := r.Containers[0]
	// Waits within reclaim are in its time already.
	if c.Label != "shop/checkout-x2x4z/app" || c.Count != 101 || c.StalledNS != 1e9 || c.Share != 0.1 || c.MaxNS != 8e8 {
		t.Errorf("%+v", c)
	}
	if c.P50NS != 9<<17 || c.P90NS != 9<<17 || c.P99NS != 10<<21 {
		t.Errorf("p50 %d, p90 %d, p99 %d", c.P50NS, c.P90NS, c.P99NS)
	}
	var kinds []string
	for _, k := range c.Kinds {
		kinds = append(kinds, fmt.Sprint(k.Kind, " ", k.Count, " ", k.StalledNS, " ", k.P99NS, " ", k.Within, " ", k.Domain.Label))
	}
	if want := []string{"throttle 1 800000000 800000000 false /kubepods/pod7", "memcg_limit 100 200000000 6291456 false /kubepods/pod7", "throttled 5 100000000 20000000 true /kubepods/pod7"}; !slices.Equal(kinds, want) {
		t.Errorf("%q, want %q", kinds, want)
	}
	if ch := c.Cache; *ch.Refaulted != 1000 || ch.AfterP50NS != 9<<25 || ch.AfterP90NS != 9<<27 {
		t.Errorf("%+v", ch)
	}
	if th := c.Thrash; th.Times != 1 || th.DurationNS != 5e9 || *th.Sufficient != 66<<20 || c.Kills != 1 {
		t.Errorf("%+v", th)
	}
	var cells []string
	for _, e := range r.Evictions {
		by := ""
		if e.By != nil {
			by = e.By.Label
		}
		cells = append(cells, fmt.Sprint(e.Owner.Label, " < ", by, " ", e.Kind, " ", e.Pages, " ", e.Reparented))
	}
	if want := []string{"shop/checkout-x2x4z/app < shop/checkout-x2x4z/app memcg_limit 2000 0", "shop/checkout-x2x4z/app < batch.service memcg_limit 900 300",
		"shop/checkout-x2x4z/app <  kswapd 90 0", "shop/checkout-x2x4z/app <  others 10 0"}; !slices.Equal(cells, want) {
		t.Errorf("%q, want %q", cells, want)
	}
	if len(r.Threads) != 2 || r.Threads[0].Process.TID != 48241 || r.Threads[0].StalledNS != 806e6 || r.Threads[1].Count != 2 || r.Threads[1].MaxNS != 2e7 {
		t.Errorf("%+v", r.Threads)
	}
	if len(r.Files) != 2 || r.Files[0].Path != "/var/lib/app/index.db" || r.Files[0].Evicted != 2990 {
		t.Errorf("%+v", r.Files)
	}
}

// A stream without counts is told by its episodes, and says so.
func TestEpisodes(t *testing.T) {
	events := slices.DeleteFunc(story(), func(e event.Event) bool {
		switch e.(type) {
		case *event.Stalls, *event.Cache:
			return true
		}
		return false
	})
	r := collect(events).Report(Options{})
	c := r.Containers[0]
	if r.Source != FromEpisodes || c.Count != 4 || c.StalledNS != 828e6 || c.MaxNS != 8e8 || c.P50NS != 12<<19 {
		t.Errorf("%s %+v", r.Source, c.Stats)
	}
	if len(r.Files) != 1 || r.Files[0].Path != "/data/other" || r.Files[0].Evicted != 9 || len(r.Evictions) != 1 || r.Evictions[0].By.Label != c.Label {
		t.Errorf("%+v %+v", r.Files, r.Evictions)
	}
}

// The bucket of a single stall is the one that counting puts it into.
func TestBucketEnd(t *testing.T) {
	for _, ns := range []uint64{0, 1, 1023, 1024, 8191, 8192, 16383, 16384, 1 << 20, 1<<20 + 1, 999_999_999, 1 << 40} {
		end := bucketEnd(ns)
		begin := bucketBegin(end)
		if ns < begin || ns >= end || end-begin > max(1024, begin/8) {
			t.Errorf("%d is in %d to %d", ns, begin, end)
		}
	}
}

// Wall time is what was traced: gaps between captures are not in it, a header
// that comes again begins nothing, and what a recorder has dropped does not count.
func TestWall(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name   string
		events []event.Event
		want   time.Duration
	}{
		{"one", []event.Event{header(0), reclaim(5*time.Second, time.Second, 1), &event.Summary{Meta: meta(event.TypeSummary, 9*time.Second)}}, 9 * time.Second},
		{"two", []event.Event{header(0), reclaim(5*time.Second, time.Second, 1), header(hour), reclaim(hour+2*time.Second, time.Second, 1)}, 9 * time.Second},
		{"segments", []event.Event{header(0), reclaim(5*time.Second, time.Second, 1), header(0), reclaim(8*time.Second, time.Second, 1)}, 9 * time.Second},
		{"old ones dropped", []event.Event{header(0), reclaim(hour, time.Second, 1), reclaim(hour+8*time.Second, time.Second, 1)}, 9 * time.Second},
		{"no header", []event.Event{reclaim(5*time.Second, time.Second, 1), reclaim(13*time.Second, time.Second, 1)}, 9 * time.Second},
	} {
		if got := time.Duration(collect(c.events).Report(Options{}).WallNS); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	live := New()
	live.Live(header(0))
	live.Live(&event.Summary{Meta: meta(event.TypeSummary, hour)})
	if got := time.Duration(live.Report(Options{}).WallNS); got != hour {
		t.Errorf("a quiet hour: %v", got)
	}
}

// Captures of one host that overlap were traced once. Hosts are told apart, each
// with its own wall time; what was lost is known without a summary.
func TestHosts(t *testing.T) {
	c := New()
	here := &event.Cgroup{Path: "/app"}
	add := func(n int, host string, page int, began, ended time.Duration) {
		c.From(n, host)
		h := header(began)
		h.Host, h.PageBytes = host, page
		c.Add(h)
		c.Add(&event.Stalls{Meta: meta(event.TypeStalls, began), IntervalNS: int64(ended - began), Cgroup: here, Kind: event.ReclaimDirect, Count: 1, TotalNS: 1e9, MaxNS: 1e9,
			DurationNS: []event.Bucket{{UpTo: 1 << 30, Count: 1}}})
		c.Add(&event.Cache{Meta: meta(event.TypeCache, began), Cgroup: here, Evicted: 2, EvictedBy: []event.EvictedBy{{Cgroup: here, Pages: 2}}})
		c.Add(&event.Lost{Meta: meta(event.TypeLost, began), Family: "cache", Count: 3})
	}
	add(0, "a", 4096, 0, 6*time.Second)
	add(1, "a", 4096, 4*time.Second, 10*time.Second)
	add(2, "b", 65536, 0, 5*time.Second)
	c.Add(&event.Summary{Meta: meta(event.TypeSummary, 5*time.Second), Lost: map[string]uint64{"cache": 2}})
	r := c.Report(Options{Sort: "name"})
	if len(r.Containers) != 2 || r.Host != "" || !slices.Equal(r.Hosts, []string{"a", "b"}) || r.WallNS != 10e9 || r.PageBytes != 0 {
		t.Fatalf("%+v", r)
	}
	for i, want := range []struct {
		label string
		count uint64
	}{{"a: /app", 2}, {"b: /app", 1}} {
		if ct := r.Containers[i]; ct.Label != want.label || ct.Count != want.count || ct.Share != 0.2 || ct.Cache.Evicted != 2*want.count {
			t.Errorf("%+v, want %+v", ct, want)
		}
	}
	if len(r.Evictions) != 2 || r.Evictions[0].Pages != 4 || r.Evictions[0].By.Label != "a: /app" {
		t.Errorf("%+v", r.Evictions)
	}
	if r.Lost["cache"] != 9 {
		t.Errorf("lost %v, want 9", r.Lost)
	}
	if got := text(t, r, TextOptions{}); !strings.Contains(got, " on a, b") || !strings.Contains(got, "lost (cache 9)") || !strings.Contains(got, "itself") {
		t.Error(got)
	}
}

func TestSort(t *testing.T) {
	names := []string{"/a", "/b", "/c"}
	figure := map[string][3]uint64{"/a": {9, 1, 5}, "/b": {5, 9, 1}, "/c": {1, 5, 9}} // count, longest, evicted
	for by, want := range map[string]string{"count": "/a/b/c", "max": "/b/c/a", "p99": "/b/c/a", "stalled": "/b/c/a", "name": "/a/b/c", "evicted": "/c/a/b", "refaults": "/c/a/b"} {
		c := New()
		for _, name := range names {
			f, g := figure[name], &event.Cgroup{Path: name}
			c.Add(&event.Stalls{Meta: meta(event.TypeStalls, 0), IntervalNS: 1e9, Cgroup: g, Kind: event.ReclaimDirect, Count: f[0], MaxNS: int64(f[1] * 1e6), TotalNS: int64(f[0] + 2*f[1]),
				DurationNS: []event.Bucket{{UpTo: f[1] * 1e6, Count: f[0]}}})
			c.Add(&event.Cache{Meta: meta(event.TypeCache, 0), Cgroup: g, Added: 10, Evicted: f[2], Refaulted: ptr(f[2])})
		}
		r := c.Report(Options{Sort: by, Top: 2})
		got := r.Containers[0].Label + r.Containers[1].Label
		if got != want[:4] || r.MoreContainers != 1 {
			t.Errorf("by %s: %s and %d more, want %s", by, got, r.MoreContainers, want)
		}
	}
}

// Of more containers than are kept the larger stay, whatever made them large.
func TestMany(t *testing.T) {
	c := New()
	cache := func(name string, evicted uint64) {
		c.Add(&event.Cache{Meta: meta(event.TypeCache, 0), IntervalNS: 1e9, Cgroup: &event.Cgroup{Path: name}, Added: evicted, Evicted: evicted})
	}
	cache("/large", 1000)
	for i := range 3 * maxContainers {
		cache(fmt.Sprint("/", i), 1)
	}
	c.Add(&event.OOMKill{Meta: meta(event.TypeOOMKill, 0), Victim: event.Candidate{Actor: event.Actor{Cgroup: &event.Cgroup{Path: "/large"}}}})
	if r := c.Report(Options{Sort: "evicted"}); r.Containers[0].Label != "/large" || r.Containers[0].Cache.Evicted != 1000 || r.MoreContainers < maxContainers/2-10 {
		t.Errorf("%+v and %d more", r.Containers[0], r.MoreContainers)
	}
}

// A long trace has columns for all of its time, only wider ones.
func TestHeat(t *testing.T) {
	h := newHeat()
	for i := range 3600 {
		h.add(start.Add(time.Duration(i)*time.Second), []event.Bucket{{UpTo: 5000, Count: 1}, {UpTo: 1 << 62, Count: 2}}, 7)
	}
	m := h.show(100)
	var short, long uint64
	var stalled int64
	for i, c := range m.Counts {
		short, long, stalled = short+c[1], long+c[bands-1], stalled+m.StalledNS[i]
	}
	if short != 3600 || long != 7200 || stalled != 3600*7 || len(m.Counts) > 100 || len(m.Counts) < 50 || m.StepNS != int64(64*time.Second) {
		t.Errorf("%d short, %d long, %d columns of %v", short, long, len(m.Counts), time.Duration(m.StepNS))
	}
}

func text(t testing.TB, r *Report, o TextOptions) string {
	t.Helper()
	o.Location = time.UTC
	var b bytes.Buffer
	if err := WriteText(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	for _, width := range []int{100, 60, 40} {
		got := text(t, collect(story()).Report(Options{}), TextOptions{Width: width})
		for line := range strings.Lines(got) {
			if n := term.Width(term.Text(strings.TrimSuffix(line, "\n"))); n > width {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		golden := filepath.Join("testdata", fmt.Sprintf("story-%d.golden", width))
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || got != string(want) {
			t.Errorf("not as in %s (%v); look at it, then go test -update:\n%s", golden, err, got)
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

func hostile() []event.Event {
	name := "a\x1b[2J\n\u202e<script>alert(1)</script>\"'"
	g := &event.Cgroup{ID: 1, Path: "/" + name}
	events := []event.Event{&event.Header{Meta: meta(event.TypeHeader, 0), Host: name, Kernel: name, PageBytes: -1}}
	for _, n := range []int64{math.MaxInt64, math.MinInt64, -1, 0, 1} {
		u := uint64(n)
		events = append(events,
			&event.Stalls{Meta: meta(event.TypeStalls, time.Duration(n)), IntervalNS: n, Cgroup: g, Kind: name, Count: u, TotalNS: n, MaxNS: n, Scanned: &u, Reclaimed: &u,
				DurationNS: []event.Bucket{{UpTo: u, Count: u}, {UpTo: 0, Count: 1}, {UpTo: 5, Count: u}}},
			&event.Reclaim{Meta: meta(event.TypeReclaim, time.Duration(n)), Kind: name, DurationNS: n, Process: event.Process{PID: int32(n), TID: int32(n), Comm: name}, Cgroup: g,
				Evicted: []event.Evicted{{Pages: u, File: &event.File{Path: name}}}},
			&event.Cache{Meta: meta(event.TypeCache, 0), IntervalNS: n, Cgroup: g, Added: u, Evicted: u, Refaulted: &u, RefaultSampling: int(n), RefaultAfterNS: []event.Bucket{{UpTo: u, Count: u}},
				EvictedBy: []event.EvictedBy{{Kind: name, Pages: u}, {Kind: name, Cgroup: g, Pages: u}}, Files: []event.CacheFile{{File: event.File{Path: name, Dev: name}, Added: u, Evicted: u}}},
			&event.Thrash{Meta: meta(event.TypeThrash, 0), State: name, Cgroup: *g, DurationNS: n, Limit: &u, Sufficient: &u},
			&event.Kswapd{Meta: meta(event.TypeKswapd, 0), DurationNS: n}, &event.Throttle{Meta: event.Meta{}, DurationNS: n})
	}
	return events
}

// Names and figures from outside steer neither terminal nor browser.
func TestHostile(t *testing.T) {
	r := collect(hostile()).Report(Options{})
	for _, color := range []bool{false, true} {
		got := text(t, r, TextOptions{Color: color})
		if plain := sgr.ReplaceAllString(got, ""); strings.ContainsAny(plain, "\x1b\u202e") || !color && plain != got {
			t.Errorf("%q", got)
		}
	}
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	if page := b.String(); strings.ContainsAny(page, "\x1b\u202e") || strings.Contains(page, "<script") || strings.Contains(page, "ZgotmplZ") || strings.Contains(page, "NaN") {
		t.Errorf("the page has what it should not:\n%.2000s", page)
	}
}

// Figures that are the same once they are rounded leave an axis its length.
func TestHistogramOfHugeFigures(t *testing.T) {
	p := histogram([]event.Bucket{{UpTo: math.MaxInt64}, {UpTo: 1 << 63, Count: 1}})
	if len(p.Boxes) != 1 || len(p.X) == 0 || len(p.X) > 9 {
		t.Errorf("%d bars, %d ticks", len(p.Boxes), len(p.X))
	}
}

// The page loads nothing.
func TestHTML(t *testing.T) {
	var b bytes.Buffer
	if err := WriteHTML(&b, collect(story()).Report(Options{})); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"http://", "https://", " src=", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, want := range []string{"shop/checkout-x2x4z/app", "thrashed for 5.00s", "put to sleep for memory.high", "batch.service", "/var/lib/app/index.db", "11.7 MiB"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(page, "<svg"); n < 6 {
		t.Errorf("%d plots", n)
	}
}

func TestNothing(t *testing.T) {
	r := New().Report(Options{})
	if got := text(t, r, TextOptions{}); !strings.Contains(got, "no stall in reclaim is told of") {
		t.Errorf("%q", got)
	}
	if b, err := json.Marshal(r); err != nil || string(b) != `{"wall_ns":0,"containers":[]}` {
		t.Errorf("%s %v", b, err)
	}
}

func FuzzReport(f *testing.F) {
	for _, events := range [][]event.Event{story(), hostile()} {
		var b bytes.Buffer
		w := jsonl.New(&b)
		for _, e := range events {
			if err := w.Write(e); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		c := New()
		for e, err := range jsonl.Read(bytes.NewReader(lines)) {
			if err == nil {
				c.Add(e)
			}
		}
		r := c.Report(Options{})
		got := text(t, r, TextOptions{Width: 40})
		if strings.Contains(got, "\x1b") {
			t.Errorf("%q", got)
		}
		var b bytes.Buffer
		if err := WriteHTML(&b, r); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}
