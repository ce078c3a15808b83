package folded

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// stalls are episodes whose durations are different powers of two, so that a sum
// says of which it is made.
func stalls() []event.Event {
	var out []event.Event
	for i, r := range []event.Reclaim{
		{Kind: event.ReclaimMemcgLimit, Process: event.Process{Comm: "worker"}, Stack: []string{"try_charge_memcg+0x10", "do_syscall_64+0x5"},
			UserStack: []event.Frame{{Function: "read"}, {Function: "main", Module: "/bin/a"}}},
		{Kind: event.ReclaimMemcgLimit, Process: event.Process{Comm: "worker"}, Stack: []string{"try_charge_memcg+0x99", "do_syscall_64+0x5"},
			UserStack: []event.Frame{{Function: "read"}, {Function: "main", Module: "/bin/a"}}},
		{Kind: event.ReclaimDirect, Process: event.Process{Comm: "a;b\x1b[31m\n"}, UserStack: []event.Frame{{Function: "operator;"}, {Module: "/lib/libc.so", Offset: 31}}},
		{Kind: event.ReclaimMemcgHigh, Process: event.Process{}},
	} {
		r.Meta = event.Meta{Type: event.TypeReclaim, Time: time.Unix(int64(i), 0)}
		r.Cgroup = &event.Cgroup{ID: 1, Path: "/shop"}
		r.DurationNS = 1 << i
		out = append(out, &r)
	}
	return append(out, &event.Throttle{Meta: event.Meta{Type: event.TypeThrottle}, Process: event.Process{Comm: "worker"}, DurationNS: 1 << 4})
}

func render(t *testing.T, events []event.Event) string {
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
	return b.String()
}

func TestFolded(t *testing.T) {
	want := `/shop;?;[memcg_high] 8
/shop;a:b\x1b[31m\n;libc.so+0x1f;operator: 4
/shop;worker;main;read;do_syscall_64_[k];try_charge_memcg_[k] 3
?;worker;[throttle] 16
`
	got := render(t, stalls())
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	// As flamegraph.pl reads it.
	line, sum := regexp.MustCompile(`^([^;]+(?:;[^;]+)*) ([0-9]+)$`), 0
	for l := range strings.Lines(got) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil {
			t.Fatalf("no folded stack: %q", l)
		}
		n, _ := strconv.Atoi(m[2])
		sum += n
	}
	if sum != 1<<5-1 {
		t.Errorf("%d ns, the events have %d", sum, 1<<5-1)
	}
}

// Page faults are what a profile is of.
// Cgroups of two hosts that are called the same are not added up.
func TestFoldedHosts(t *testing.T) {
	var b bytes.Buffer
	w := New(&b)
	for _, host := range []string{"node-b", "node-a", "node-b"} {
		w.From(host)
		if err := w.Write(&event.Throttle{Process: event.Process{Comm: "x"}, Cgroup: &event.Cgroup{Path: "/shop"}, Meta: event.Meta{Type: event.TypeThrottle}, DurationNS: 2}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := "node-a;/shop;x;[throttle] 2\nnode-b;/shop;x;[throttle] 4\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestFoldedFaults(t *testing.T) {
	got := render(t, append(stalls(), &event.Profile{
		Meta: event.Meta{Type: event.TypeProfile}, Process: event.Process{Comm: "app"}, Fault: event.FaultMinor,
		Samples: 3, Period: 61, Bytes: 3 * 61 * 4096, UserStack: []event.Frame{{Function: "grow"}, {Function: "main"}},
	}))
	if got != "?;app;main;grow 749568\n" {
		t.Errorf("%q", got)
	}
	if got := render(t, nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}
