package profile

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
)

func render(t *testing.T, opt Options, events ...event.Event) string {
	t.Helper()
	var b bytes.Buffer
	w := New(&b, opt)
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

func faults(path, comm string, samples uint64, kernel string, user ...event.Frame) *event.Profile {
	e := &event.Profile{
		Meta: event.Meta{Type: event.TypeProfile, Time: time.Unix(1, 0)}, IntervalNS: 2e9, Process: event.Process{Comm: comm}, Cgroup: &event.Cgroup{ID: 1, Path: path},
		Fault: event.FaultMinor, Samples: samples, Period: 64, Bytes: samples * 64 * 4096, UserStack: user,
	}
	if kernel != "" {
		e.Stack = []string{kernel}
	}
	return e
}

func TestText(t *testing.T) {
	f := func(name string) event.Frame { return event.Frame{Function: name, Module: "/bin/app"} }
	got := render(t, Options{},
		faults("/shop", "app", 60, "", f("fill"), f("grow"), f("main")),
		faults("/shop", "app", 20, "", f("fill"), f("fill"), f("main")), // recursion
		faults("/shop", "app", 12, "_copy_to_iter+0x10", f("read"), f("main")),
		faults("/shop", "jit", 8, "", event.Frame{Module: "/lib/x.so", Offset: 16}),
		faults("/small", "app", 1, ""),
		&event.Lost{Count: 3},
	)
	const want = `101 page faults looked at in 2.00s, one in 64: figures are estimates of what was faulted in
LOST 3 samples or records: the figures are too low

/shop  25.0 MiB, 6,400 minor and 0 major faults
  8% of it through code without names: stripped, generated at run time, or of a process already gone
   touched by it    with callees  function
   20.0 MiB  80%   20.0 MiB  80%  fill
   3.00 MiB  12%   3.00 MiB  12%  _copy_to_iter [kernel]
   2.00 MiB   8%   2.00 MiB   8%  x.so+0x10
          0   0%   23.0 MiB  92%  main
          0   0%   15.0 MiB  60%  grow
          0   0%   3.00 MiB  12%  read
   15.0 MiB  60%  in app
                    fill
                    grow
                    main
   5.00 MiB  20%  in app
                    fill
                    fill
                    main
   3.00 MiB  12%  in app
                    _copy_to_iter [kernel]
                    read
                    main
   2.00 MiB   8%  in jit
                    x.so+0x10

/small  256 KiB, 64 minor and 0 major faults
  100% of it without a stack
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if got := render(t, Options{Functions: 2, Stacks: 1}, faults("/a", "x", 5, "", f("a"), f("b"), f("c")), faults("/a", "y", 4, "", f("d"))); !strings.Contains(got, "…and 2 more\n") ||
		!strings.Contains(got, "…and 1 more stack\n") {
		t.Errorf("got\n%s", got)
	}
	if got := render(t, Options{}); got != "no page fault was sampled\n" {
		t.Errorf("of nothing: %q", got)
	}
}

// Where there is little room it is the names that are kept.
func TestNarrow(t *testing.T) {
	got := render(t, Options{Width: 40}, faults("/shop", "app", 60, "", event.Frame{Function: "fill"}))
	for _, want := range []string{"\n/shop  15.0 MiB, ", "  touched by it  function\n", "   15.0 MiB 100%  fill\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// Whatever names are, lines stay within their width and steer no terminal.
func TestHostileNames(t *testing.T) {
	name := strings.Repeat("x\x1b[2J\n世", 50)
	for _, width := range []int{20, 60, 120} {
		for l := range strings.Lines(render(t, Options{Width: width}, faults(name, name, 5, name, event.Frame{Function: name}, event.Frame{Module: name}))) {
			l = strings.TrimSuffix(l, "\n")
			if n := term.Width(term.Text(l)); n > width || term.Clean(strings.ReplaceAll(l, `\`, "")) != term.Text(strings.ReplaceAll(l, `\`, "")) {
				t.Errorf("width %d: %d columns: %q", width, n, l)
			}
		}
	}
}
