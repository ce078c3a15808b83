package pprof

import (
	"bytes"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/oomtrace/oomtrace/tracer/event"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func events() []event.Event {
	pod := &event.Container{ID: "0123", Name: "app", Pod: &event.Pod{Name: "shop-1", Namespace: "prod"}}
	return []event.Event{
		&event.Reclaim{
			Meta: event.Meta{Type: event.TypeReclaim, Time: began}, Kind: event.ReclaimMemcgLimit, Container: pod, Cgroup: &event.Cgroup{ID: 1, Path: "/pod/app"},
			Process: event.Process{PID: 1, Comm: "worker"}, DurationNS: 30e6, Stack: []string{"try_charge_memcg+0x10", "vfs_read+0x5"},
			UserStack: []event.Frame{{Function: "main.read", Module: "/bin/app", Offset: 0x1234, BuildID: "abcd"}, {Module: "/bin/app", Offset: 0x99, BuildID: "abcd"}},
		},
		&event.Reclaim{
			Meta: event.Meta{Type: event.TypeReclaim, Time: began}, Kind: event.ReclaimMemcgLimit, Container: pod, Cgroup: &event.Cgroup{ID: 1, Path: "/pod/app"},
			Process: event.Process{PID: 1, Comm: "worker"}, DurationNS: 12e6, Stack: []string{"try_charge_memcg+0x99", "vfs_read+0x5"},
			UserStack: []event.Frame{{Function: "main.write", Module: "/bin/app", Offset: 0x2234, BuildID: "abcd"}},
		},
		&event.Throttle{Meta: event.Meta{Type: event.TypeThrottle, Time: began.Add(time.Second)}, Process: event.Process{Comm: "slow"}, DurationNS: 8e6},
	}
}

func faults() *event.Profile {
	return &event.Profile{
		Meta: event.Meta{Type: event.TypeProfile, Time: began}, IntervalNS: 1e9, Process: event.Process{Comm: "app"}, Fault: event.FaultMinor, Samples: 3, Period: 61,
		Bytes: 3 * 61 * 4096, UserStack: []event.Frame{{Function: "shop::Cart::fill", Module: "/bin/app", Offset: 7}, {Offset: math.MaxUint64}, {Module: "/x", Offset: math.MaxUint64}},
	}
}

// render gives the profile as it is written, and as its own library reads it.
func render(t *testing.T, all ...event.Event) (file string, p *profile.Profile) {
	t.Helper()
	var b bytes.Buffer
	w := New(&b)
	for _, e := range all {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "profile.pb.gz")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return file, p
}

func pprof(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "pprof", "-symbolize=none"}, args...)...)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go tool pprof %q: %v: %s", args, err, out)
	}
	return string(out)
}

func TestStalls(t *testing.T) {
	file, p := render(t, events()...)
	if len(p.SampleType) != 2 || p.DefaultSampleType != "stalled" || p.TimeNanos != began.UnixNano() || p.DurationNanos != 1008e6 {
		t.Errorf("types %v, default %q, from %d for %d", p.SampleType, p.DefaultSampleType, p.TimeNanos, p.DurationNanos)
	}
	s := p.Sample[0]
	if s.Value[0] != 1 || s.Value[1] != 30e6 || s.Label["container"][0] != "prod/shop-1/app" || s.Label["pod"][0] != "prod/shop-1" ||
		s.Label["kind"][0] != event.ReclaimMemcgLimit || s.Label["comm"][0] != "worker" || s.Label["cgroup"][0] != "/pod/app" {
		t.Errorf("%v %v", s.Value, s.Label)
	}
	at := s.Location[2]
	if at.Mapping.File != "/bin/app" || at.Mapping.BuildID != "abcd" || at.Address-at.Mapping.Start != 0x1234 || at.Address >= at.Mapping.Limit || at.Mapping.Offset != 0 {
		t.Errorf("%+v in %+v", at, at.Mapping)
	}
	if below := s.Location[3]; len(below.Line) != 0 || below.Mapping != at.Mapping || at.Mapping.HasFunctions {
		t.Errorf("a frame without a name: %+v in %+v", below, below.Mapping)
	}
	top := pprof(t, "-top", file)
	for _, want := range []string{`42ms 84\.00%.* 42ms 84\.00%  try_charge_memcg`, `0 +0% .* 30ms 60\.00%  main\.read`, `8ms 16\.00%.*\[throttle\]`} {
		if !regexp.MustCompile(want).MatchString(top) {
			t.Errorf("-top has no %q:\n%s", want, top)
		}
	}
	if top := pprof(t, "-top", "-sample_index=stalls", "-tagfocus=container=prod/shop-1/app", file); !regexp.MustCompile(`(?m)^ +2 .*try_charge_memcg$`).MatchString(top) {
		t.Errorf("two stalls of a container:\n%s", top)
	}
}

// Without events no time is known, and hosts are a label where there are several.
func TestHosts(t *testing.T) {
	if _, p := render(t); p.TimeNanos != 0 || p.DurationNanos != 0 {
		t.Errorf("from %d for %d", p.TimeNanos, p.DurationNanos)
	}
	var b bytes.Buffer
	w := New(&b)
	for _, host := range []string{"a", "b", "b"} {
		w.From(host)
		if err := w.Write(&event.Throttle{Meta: event.Meta{Type: event.TypeThrottle}, DurationNS: 5}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Sample; len(s) != 2 || s[0].Label["host"][0] != "b" || s[0].Value[0] != 2 || s[1].Label["host"][0] != "a" {
		t.Errorf("%v", p)
	}
}

func TestFaults(t *testing.T) {
	file, p := render(t, faults())
	if len(p.SampleType) != 2 || p.Period != 61 || p.Sample[0].Value[0] != 183 || p.Sample[0].Value[1] != 3*61*4096 {
		t.Errorf("types %v, %v", p.SampleType, p.Sample[0].Value)
	}
	if top := pprof(t, "-top", file); !regexp.MustCompile(`732kB +100%.* shop::Cart::fill`).MatchString(top) {
		t.Errorf("%s", top)
	}
	// Of both, both are there and neither is in the other's figures.
	file, p = render(t, append(events(), faults())...)
	if len(p.SampleType) != 4 || p.DefaultSampleType != "memory" {
		t.Errorf("types %v", p.SampleType)
	}
	if top := pprof(t, "-top", "-sample_index=stalled", file); !strings.Contains(top, "50ms total") {
		t.Errorf("%s", top)
	}
}

// The viewer's pages open, and have the names of functions: also of clones, of
// which it would show no more than what the compiler appended.
func TestViewer(t *testing.T) {
	e := faults()
	e.Stack = []string{"filemap_readahead.isra.0+0x10", "__alloc_pages_slowpath.constprop.0.cold+0x1", "main.isra+0x2"}
	file, p := render(t, e)
	if f := p.Sample[0].Location[0].Line[0].Function; f.Name != "filemap_readahead" || f.SystemName != "filemap_readahead.isra.0" {
		t.Errorf("%+v", f)
	}
	tool, err := exec.Command("go", "tool", "-n", "pprof").Output()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "localhost:0") // it takes no port 0
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(strings.TrimSpace(string(tool)), "-symbolize=none", "-http="+address, "-no_browser", file)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for _, page := range []string{"flamegraph", "top", "peek?f=."} {
		answer, err := http.Get("http://" + address + "/ui/" + page)
		for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			answer, err = http.Get("http://" + address + "/ui/" + page) // it does not listen yet
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", page, answer.Status, err)
		}
		for _, want := range []string{"shop::Cart::fill", "__alloc_pages_slowpath", "filemap_readahead"} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s has no %s", page, want)
			}
		}
	}
}

// A profile of nothing can be opened too, and strings of others do no harm.
func TestOdd(t *testing.T) {
	if _, p := render(t); len(p.Sample) != 0 || len(p.SampleType) != 2 {
		t.Errorf("%v", p)
	}
	e := faults()
	e.Bytes, e.Samples, e.Period = math.MaxUint64, math.MaxUint64, math.MaxUint64
	e.Process.Comm = "\x1b[2J\xff"
	e.UserStack[0].Function = "f\x1b]0;title\a"
	_, p := render(t, e)
	if p.Sample[0].Value[1] != math.MaxInt64 || strings.ContainsRune(p.String(), '\x1b') {
		t.Errorf("%q", p.String())
	}
}
