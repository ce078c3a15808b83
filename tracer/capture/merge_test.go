package capture

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// merged gives the lines of several inputs put together, each behind the index
// of its input.
func merged(t *testing.T, inputs ...string) []string {
	t.Helper()
	streams := make([]*Stream, len(inputs))
	for i, text := range inputs {
		streams[i] = NewStream(Read(strings.NewReader(text), Options{Workers: 1}))
		defer streams[i].Close()
	}
	var out []string
	for i, s := range Merge(streams) {
		r, err := s.Head()
		if err != nil {
			out = append(out, fmt.Sprintf("%d error", i))
			continue
		}
		out = append(out, fmt.Sprintf("%d %s", i, r.Line[len(r.Line)-2:len(r.Line)-1]))
	}
	return out
}

func line(ends string, duration time.Duration, n int) string {
	end, err := time.Parse("2006-01-02 15:04:05", "2026-03-01 "+ends)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"type":"throttle","time":%q,"duration_ns":%d,"n":%d}`+"\n", end.Add(-duration).Format(time.RFC3339Nano), duration, n)
}

func TestMerge(t *testing.T) {
	head := `{"type":"header","time":"2026-03-01T11:00:00Z","n":0}` + "\n"
	// What took long is in the order of its end, and a stream's own order stays.
	a := head + line("12:00:01", 0, 1) + line("12:00:03", 2*time.Second, 2) + line("12:00:05", 0, 3)
	b := head + line("12:00:04", 0, 4) + line("12:00:02", 0, 5) + line("12:00:06", 0, 6)
	want := []string{"0 0", "1 0", "0 1", "0 2", "1 4", "1 5", "0 3", "1 6"}
	if got := merged(t, a, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// What is in both is given once; twice in one it is two.
	twice := line("12:00:01", 0, 1) + line("12:00:01", 0, 1) + line("12:00:02", 0, 2)
	if got, want := merged(t, twice, line("12:00:02", 0, 2)+line("12:00:07", 0, 7)), []string{"0 1", "0 1", "0 2", "1 7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := merged(t, line("12:00:05", 0, 5), line("12:00:04", 0, 4)+"rubbish\n"+line("12:00:06", 0, 6)), []string{"1 4", "1 error", "0 5", "1 6"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := merged(t, "", ""); got != nil {
		t.Errorf("got %q out of nothing", got)
	}
}

// Every cgroup and container of every event is found, with its kin.
func TestPlaces(t *testing.T) {
	cg := func(n uint64) *event.Cgroup { return &event.Cgroup{ID: n} }
	named := func(s string) *event.Container { return &event.Container{Name: s} }
	kill := &event.OOMKill{
		Trigger:    event.Trigger{Actor: event.Actor{Cgroup: cg(1), Container: named("one")}},
		Victim:     event.Candidate{Actor: event.Actor{Cgroup: cg(2)}},
		Domain:     event.OOMDomain{Cgroup: cg(3), Container: named("three")},
		Candidates: []event.Candidate{{Actor: event.Actor{Cgroup: cg(4)}}, {Actor: event.Actor{Container: named("five")}}, {}},
		Killed:     []event.Killed{{Actor: event.Actor{Cgroup: cg(6), Container: named("six")}}},
	}
	cache := &event.Cache{Cgroup: cg(1), EvictedBy: []event.EvictedBy{{Cgroup: cg(2), Container: named("two")}, {Kswapd: true}}}
	stall := &event.Reclaim{Domain: &event.Domain{Cgroup: *cg(1), Container: named("one")}, Evicted: []event.Evicted{{Cgroup: cg(2)}}}
	for _, c := range []struct {
		p    *Places
		e    event.Event
		want []string
	}{
		{NewPlaces(), kill, []string{"1one", "2", "3three", "4", "five", "6six"}},
		{NewPlaces("candidates"), kill, []string{"1one", "2", "3three", "6six"}},
		{NewPlaces(), cache, []string{"1", "2two"}},
		{NewPlaces("evicted_by"), cache, []string{"1"}},
		{NewPlaces(), stall, []string{"1one", "2"}},
		{NewPlaces(), &event.CgroupChange{Cgroup: *cg(7)}, []string{"7"}},
		{NewPlaces(), &event.Lost{}, nil},
	} {
		for range 2 { // the second time by the plans that were made
			var got []string
			c.p.Of(c.e, func(cg *event.Cgroup, c *event.Container) {
				s := ""
				if cg != nil {
					s = fmt.Sprint(cg.ID)
				}
				if c != nil {
					s += c.Name
				}
				got = append(got, s)
			})
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%T without %q: %q, want %q", c.e, c.p.without, got, c.want)
			}
		}
	}
}

// The head of a line is read as encoding/json reads it.
func TestParseTime(t *testing.T) {
	for _, s := range []string{
		"2026-03-01T11:00:00Z", "2026-03-01T11:00:00.5Z", "2026-12-31T23:59:59.999999999Z", "2026-02-28T00:00:00.000000001Z",
		"2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T11:00:00+01:00",
		"2026-03-01T11:00:00.Z", "2026-03-01T11:00:00.1234567890Z", "2026-0x-01T11:00:00Z", "20260301T110000Z", "", "Z", "0000-00-00T00:00:00Z",
	} {
		quoted := []byte(`"` + s + `"`)
		got, err := parseTime(quoted)
		var want time.Time
		wantErr := want.UnmarshalJSON(quoted)
		if (err == nil) != (wantErr == nil) || err == nil && !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v, %v", s, got, err, want, wantErr)
		}
	}
}

// Want is asked before an event is read, whichever line of a frame it is.
func TestWant(t *testing.T) {
	packed, lines, _ := sample(t, 60, 7)
	n := 0
	for r, err := range Read(bytes.NewReader(packed), Options{Want: func(r *Record) bool { return r.Type == event.TypeHeader }}) {
		if err != nil || r.Type != event.TypeHeader {
			t.Errorf("%v, %v", r, err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d of %d records, want the header", n, len(lines))
	}
}

// A cgroup is asked for with a slash at its end or without; one whose path is not
// known is nobody's.
func TestMatcherPaths(t *testing.T) {
	for _, c := range []struct {
		path, above string
		want        bool
	}{
		{"/a/b", "/a", true}, {"/a", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/a/", true},
		{"/a", "/", true}, {"/", "/", true}, {"", "/", false}, {"", "/a", false},
	} {
		m := (&Filter{Cgroups: []string{c.above}}).Matcher()
		if got := m.at(&event.Cgroup{Path: c.path}, nil); got != c.want {
			t.Errorf("%q below %q: %v", c.path, c.above, got)
		}
	}
}
