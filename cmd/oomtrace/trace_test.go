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
