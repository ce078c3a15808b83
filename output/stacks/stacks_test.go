package stacks

import (
	"fmt"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func reclaim(comm string, ns int64, kernel ...string) *event.Reclaim {
	return &event.Reclaim{
		Meta: event.Meta{Type: event.TypeReclaim, Time: began}, Kind: event.ReclaimMemcgLimit, Process: event.Process{PID: 1, Comm: comm},
		Cgroup: &event.Cgroup{ID: 1, Path: "/a"}, DurationNS: ns, Stack: kernel,
	}
}

func TestCollector(t *testing.T) {
	var c Collector
	c.Add(&event.Header{Meta: event.Meta{Type: event.TypeHeader, Time: began}})
	c.Add(reclaim("x", 5, "f+0x1", "g+0x2"))
	c.Add(reclaim("x", 7, "f+0x1", "g+0x2"))
	c.Add(reclaim("x", 11, "f+0x1"))
	c.Add(reclaim("y", 13, "f+0x1", "g+0x2"))
	c.Add(&event.Throttle{Meta: event.Meta{Type: event.TypeThrottle, Time: began}, Process: event.Process{Comm: "x"}, DurationNS: int64(time.Second)})
	c.Add(&event.Lost{Meta: event.Meta{Type: event.TypeLost, Time: began}, Count: 3})
	if c.Main() != Stalls || c.Has(Faults) {
		t.Error("faults without any")
	}
	c.Add(&event.Profile{Meta: event.Meta{Type: event.TypeProfile, Time: began}, Fault: event.FaultMajor, Samples: 2, Period: 61, Bytes: 2 * 61 * 4096, IntervalNS: 10})
	if c.Main() != Faults || c.Period != 61 || c.Sampled != 2 || c.Lost != 3 {
		t.Errorf("main %v, period %d, %d samples, %d lost", c.Main(), c.Period, c.Sampled, c.Lost)
	}
	if c.Begin != began || c.End != began.Add(time.Second) {
		t.Errorf("from %v to %v", c.Begin, c.End)
	}
	var got []string
	for _, s := range c.Samples(Stalls) {
		got = append(got, fmt.Sprint(s.Place, " ", s.Comm, " ", s.What, " ", s.Kernel, " ", s.Count, " ", s.Value))
	}
	want := "[ x throttle [] 1 1000000000 /a y memcg_limit [f+0x1 g+0x2] 1 13 /a x memcg_limit [f+0x1 g+0x2] 2 12 /a x memcg_limit [f+0x1] 1 11]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v\nwant %v", got, want)
	}
	if s := c.Samples(Faults); len(s) != 1 || s[0].Count != 122 || s[0].Value != 2*61*4096 {
		t.Errorf("%+v", s)
	}
}

// Beyond the bound nothing is lost but the stacks.
func TestCollectorBound(t *testing.T) {
	var c Collector
	const more = 100
	for i := range maxSamples + more {
		c.Add(reclaim("x", 1, fmt.Sprintf("f%d", i)))
	}
	var sum uint64
	samples := c.Samples(Stalls)
	for _, s := range samples {
		sum += s.Value
	}
	if sum != maxSamples+more || len(samples) != maxSamples+1 || samples[0].Value != more || samples[0].Kernel != nil {
		t.Errorf("%d of %d in %d samples", sum, maxSamples+more, len(samples))
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{"f+0x1c": "f", "ext4_readahead [ext4]+0x4": "ext4_readahead [ext4]", "0xffffffff": "0xffffffff", "": "", "+0x1": "+0x1"} {
		if got := KernelFunction(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	for want, f := range map[string]event.Frame{
		"main.f":     {Function: "main.f", Module: "/bin/a", Offset: 5},
		"a+0x1f":     {Module: "/bin/a", Offset: 31},
		"[vdso]+0x0": {Module: "[vdso]"},
		"0x10":       {Offset: 16},
	} {
		if got := UserFunction(&f); got != want {
			t.Errorf("%+v: %q", f, got)
		}
	}
}
