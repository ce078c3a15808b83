package trace

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// validate holds a trace against the rules of the Trace Event Format: what each
// phase must have, of which type, and that processes and threads are named
// before they are used. It gives the objects by phase.
func validate(t *testing.T, text []byte) map[string][]map[string]any {
	t.Helper()
	var file struct {
		Unit   string           `json:"displayTimeUnit"`
		Events []map[string]any `json:"traceEvents"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, text)
	}
	if file.Events == nil || file.Unit != "ms" && file.Unit != "ns" {
		t.Fatalf("displayTimeUnit %q, events %v", file.Unit, file.Events)
	}
	out := make(map[string][]map[string]any)
	processes, threads := make(map[float64]bool), make(map[[2]float64]bool)
	for i, e := range file.Events {
		number := func(field string, required bool) float64 {
			v, there := e[field]
			n, ok := v.(float64)
			if there && !ok || required && !there || ok && (n < 0 || math.IsNaN(n)) {
				t.Errorf("object %d: %s is %v: %v", i, field, v, e)
			}
			return n
		}
		text := func(field string) string {
			s, ok := e[field].(string)
			if !ok {
				t.Errorf("object %d: %s is %v: %v", i, field, e[field], e)
			}
			return s
		}
		args, _ := e["args"].(map[string]any)
		pid, tid := number("pid", true), number("tid", true)
		if pid != math.Trunc(pid) || tid != math.Trunc(tid) {
			t.Errorf("object %d: pid %v, tid %v", i, pid, tid)
		}
		if text("name") == "" {
			t.Errorf("object %d has no name: %v", i, e)
		}
		phase := text("ph")
		switch phase {
		case "X":
			number("ts", true)
			number("dur", true)
		case "i":
			number("ts", true)
			if s := text("s"); s != "g" && s != "p" && s != "t" {
				t.Errorf("object %d: scope %q", i, s)
			}
		case "C":
			number("ts", true)
			if len(args) == 0 {
				t.Errorf("object %d: a counter without a series", i)
			}
			for series, v := range args {
				if _, ok := v.(float64); !ok {
					t.Errorf("object %d: series %s is %v", i, series, v)
				}
			}
		case "M":
			name, _ := args["name"].(string)
			switch e["name"] {
			case "process_name":
				processes[pid] = true
			case "thread_name":
				threads[[2]float64{pid, tid}] = true
			case "trace_info":
				name = "-"
			default:
				t.Errorf("object %d: metadata %v", i, e["name"])
			}
			if name == "" {
				t.Errorf("object %d: metadata without a name: %v", i, e)
			}
		default:
			t.Errorf("object %d: phase %q", i, phase)
		}
		if phase != "M" && !processes[pid] || (phase == "X" || phase == "i") && !threads[[2]float64{pid, tid}] {
			t.Errorf("object %d: on a track without a name: %v", i, e)
		}
		out[phase] = append(out[phase], e)
	}
	return out
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)

func meta(typ string, after time.Duration) event.Meta {
	return event.Meta{Type: typ, Time: began.Add(after)}
}

func p[T any](v T) *T { return &v }

func render(t *testing.T, events ...event.Event) []byte {
	t.Helper()
	var b bytes.Buffer
	w := New(&b)
	for _, e := range events {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTrace(t *testing.T) {
	shop := &event.Cgroup{ID: 1, Path: "/shop"}
	hostile := &event.Cgroup{ID: 2, Path: "/a\"b\\c\x1b[2J\n</script>\xff\u2028"}
	text := render(t,
		&event.Header{Meta: meta(event.TypeHeader, 0), PageBytes: 4096, Version: "1", Host: "h"},
		&event.Reclaim{Meta: meta(event.TypeReclaim, 1500), Kind: event.ReclaimMemcgLimit, Process: event.Process{PID: 7, TID: 8, Comm: "worker"}, Cgroup: shop,
			Domain: &event.Domain{Cgroup: *shop}, DurationNS: 1234567, Reclaimed: 32, Scanned: p(uint64(64)), Stack: []string{"f+0x1"},
			Evicted: []event.Evicted{{File: &event.File{Dev: "1:2", Inode: 3, Path: "/data"}, Pages: 9}}},
		&event.Reclaim{Meta: meta(event.TypeReclaim, 0), Kind: event.ReclaimDirect, Process: event.Process{PID: 9, Comm: "\"\x1b]0;\a"}, Cgroup: hostile},
		&event.Throttle{Meta: meta(event.TypeThrottle, time.Second), Process: event.Process{PID: 7, TID: 8, Comm: "worker"}, Cgroup: shop, DurationNS: 2e6},
		&event.Kswapd{Meta: meta(event.TypeKswapd, 0), Node: 0, DurationNS: 5},
		&event.OOMKill{Meta: meta(event.TypeOOMKill, 2*time.Second), Incident: "1", Victim: event.Candidate{Actor: event.Actor{Process: event.Process{PID: 7, Comm: "worker"}, Cgroup: shop}}},
		&event.Cache{Meta: meta(event.TypeCache, 0), IntervalNS: 1e9, Cgroup: shop, Added: 3, Evicted: 2},
		&event.MemorySample{Meta: meta(event.TypeMemory, 0), Cgroup: *shop, Memory: event.Figures{Usage: p(uint64(77)), Anon: p(uint64(5))}},
		&event.MemorySample{Meta: meta(event.TypeMemory, 0), Cgroup: *shop},
		&event.Lost{Meta: meta(event.TypeLost, 0)}, &event.Summary{Meta: meta(event.TypeSummary, 0)},
	)
	by := validate(t, text)
	if len(by["X"]) != 4 || len(by["i"]) != 1 || len(by["C"]) != 3 {
		t.Errorf("%d slices, %d instants, %d counters", len(by["X"]), len(by["i"]), len(by["C"]))
	}
	// To the nanosecond, which a float64 would not keep.
	if !strings.Contains(string(text), `"ts":1767323045123458.289,"dur":1234.567,"pid":1,"tid":8`) {
		t.Errorf("time, duration or track of the first stall:\n%s", text)
	}
	if a := by["X"][0]["args"].(map[string]any); a["reclaimed_pages"] != 32.0 || a["evicted_1"] != "/data: 9 pages" || a["domain"] != "/shop" {
		t.Errorf("%v", a)
	}
	if a := by["C"][0]["args"].(map[string]any); a["added"] != 3.0*4096 || a["evicted"] != 2.0*4096 {
		t.Errorf("%v", a)
	}
	if a, b := by["X"][0], by["X"][2]; a["pid"] != b["pid"] || a["tid"] != b["tid"] {
		t.Errorf("stall and throttling of one thread are on tracks %v and %v", a, b)
	}
	for _, c := range text {
		if c < ' ' && c != '\n' || c == 0x7f {
			t.Fatalf("control character %#x:\n%q", c, text)
		}
	}
}

// A sleep that seems to begin within the reclaim before it is not drawn across
// its end, where Perfetto would drop it; what encloses another stays as it is.
func TestSlicesNest(t *testing.T) {
	shop, worker := &event.Cgroup{ID: 1, Path: "/shop"}, event.Process{PID: 7, TID: 8, Comm: "worker"}
	reclaim := func(at, ns time.Duration) *event.Reclaim {
		return &event.Reclaim{Meta: meta(event.TypeReclaim, at), Kind: event.ReclaimMemcgHigh, Process: worker, Cgroup: shop, DurationNS: int64(ns)}
	}
	by := validate(t, render(t, reclaim(0, 10), &event.Throttle{Meta: meta(event.TypeThrottle, 9), Process: worker, Cgroup: shop, DurationNS: 100},
		reclaim(200, 10), reclaim(190, 50)))
	var got []float64
	for _, s := range by["X"] {
		got = append(got, math.Round(1000*s["dur"].(float64)))
	}
	if want := []float64{10, 99, 10, 50}; !slices.Equal(got, want) {
		t.Errorf("slices of %v ns, want %v", got, want)
	}
}

// Cgroups of two hosts that are called the same are two processes, and pages are
// as large as each host's.
func TestTraceOfHosts(t *testing.T) {
	var b bytes.Buffer
	w := New(&b)
	for i, host := range []string{"a", "b", "a"} {
		w.From(host)
		for _, e := range []event.Event{
			&event.Header{Meta: meta(event.TypeHeader, 0), Host: host, PageBytes: 4096 << (4 * (i % 2))},
			&event.Cache{Meta: meta(event.TypeCache, 0), Cgroup: &event.Cgroup{ID: 1, Path: "/shop"}, Added: 1},
		} {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	by := validate(t, b.Bytes())
	for i, want := range []struct{ pid, added float64 }{{1, 4096}, {2, 65536}, {1, 4096}} {
		c := by["C"][i]
		if c["pid"] != want.pid || c["args"].(map[string]any)["added"] != want.added {
			t.Errorf("counter %d: %v", i, c)
		}
	}
	if !strings.Contains(b.String(), `"name":"b: /shop"`) {
		t.Error(b.String())
	}
}

func TestTraceOfNothing(t *testing.T) {
	validate(t, render(t))
	validate(t, render(t, &event.Lost{}))
}

// A trace that was cut off is whole but for its end, which the format allows to
// be left out.
func TestTraceIsStreamed(t *testing.T) {
	var b bytes.Buffer
	w := New(&b)
	for i := range 3 {
		before := b.Len()
		if err := w.Write(&event.Throttle{Meta: meta(event.TypeThrottle, time.Duration(i)), Process: event.Process{PID: 1, Comm: "x"}}); err != nil {
			t.Fatal(err)
		}
		if b.Len() == before {
			t.Fatal("nothing was written")
		}
		validate(t, append(bytes.Clone(b.Bytes()), "]}"...))
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("", "", int64(0), int64(0), uint64(0))
	f.Add("a", "/b", int64(1), int64(2), uint64(3))
	f.Add("\"\\\x00\xff", "</script>\u2028", int64(-1), int64(math.MinInt64), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, comm, path string, ns, at int64, n uint64) {
		g := &event.Cgroup{ID: 1, Path: path}
		m := event.Meta{Time: time.Unix(0, at)}
		validate(t, render(t,
			&event.Reclaim{Meta: m, Kind: comm, Process: event.Process{PID: int32(max(ns, 0)), Comm: comm}, Cgroup: g, DurationNS: ns, Reclaimed: n, GFPFlags: comm, Stack: []string{path}},
			&event.Cache{Meta: m, Cgroup: g, IntervalNS: ns, Added: n},
			&event.OOMKill{Meta: m, Incident: path, Victim: event.Candidate{Actor: event.Actor{Process: event.Process{Comm: comm}, Cgroup: g}}},
		))
	})
}
