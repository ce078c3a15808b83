package main

import (
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// The more stalls, the longer those that are still shown; the summary says how
// many that were.
func TestThin(t *testing.T) {
	var last event.Event
	o := &outlet{hide: time.Millisecond, thin: true, write: func(e event.Event) error { last = e; return nil }}
	shown := 0
	for i := range 1000 {
		ok, err := o.put(fakeStall(i, 3*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			shown++
		}
	}
	if shown != 2*thinAfter {
		t.Errorf("%d of 1000 stalls were shown, want %d", shown, 2*thinAfter)
	}
	given := &event.Summary{Events: map[string]uint64{"reclaim": 1000}}
	if _, err := o.put(given); err != nil {
		t.Fatal(err)
	}
	if got := last.(*event.Summary).Events["reclaim"]; got != uint64(shown) || given.Events["reclaim"] != 1000 {
		t.Errorf("the summary counts %d, the one that was given %d", got, given.Events["reclaim"])
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1048576": 1 << 20, "512MiB": 512 << 20, "512M": 512 << 20, "512MB": 512 << 20, "1.5GiB": 3 << 29, "64k": 64 << 10, "2TiB": 2 << 40, "7B": 7,
		"": -1, "MiB": -1, "-1": -1, "1 MiB": -1, "1MiBB": -1, "9999999TiB": -1, "NaN": -1, "Inf": -1, "1e3": 1000, "0x10": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
