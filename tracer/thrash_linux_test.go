package tracer

import (
	"fmt"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/tally"
)

const second = uint64(time.Second)

// moment is what one owner goes through in one interval.
type moment struct {
	added, back, away uint64        // sampled pages; away: back after more than a minute
	stalled           time.Duration // for its limit
	elsewhere         time.Duration // stalls that do not count
}

func (m moment) returns() map[uint64]*tally.Returns {
	after := make(tally.Histogram, len(bpf.CoreRefaultCounts{}.After))
	after[100], after[len(after)-1] = uint32(m.back), uint32(m.away)
	distance := make(tally.Histogram, 128)
	distance[10] = uint32(m.back + m.away)
	r := &tally.Returns{Added: m.added}
	if m.back+m.away > 0 {
		r.ByDomain = []tally.Return{{Domain: 9, After: after, Distance: distance}}
	}
	return map[uint64]*tally.Returns{7: r}
}

func (m moment) stalls() []tally.Stall {
	kind := func(k uint64, d time.Duration) tally.Stall {
		return tally.Stall{StallKey: tally.StallKey{Cgroup: 7, Domain: 9, Kind: k}, Total: uint64(d)}
	}
	return []tally.Stall{
		kind(uint64(bpf.CoreReclaimKindRECLAIM_LIMIT), m.stalled), kind(uint64(bpf.CoreStallKindSTALL_WAIT), m.elsewhere),
		kind(uint64(bpf.CoreReclaimKindRECLAIM_PROACTIVE), m.elsewhere),
	}
}

func TestThrashTurns(t *testing.T) {
	hard := moment{added: 20, back: 10, stalled: 20 * time.Millisecond}
	half := moment{added: 20, back: 3, stalled: 6 * time.Millisecond} // below, but not by half
	for _, c := range []struct {
		name    string
		moments []moment
		want    string // + begins, - ends, . neither
	}{
		{"two windows begin it", []moment{hard, hard, hard}, ".+."},
		{"one is not enough", []moment{hard, {}, hard, {}, hard}, "....."},
		{"three quiet ones end it", []moment{hard, hard, {}, {}, {}, {}}, ".+..-."},
		{"two do not", []moment{hard, hard, {}, {}, hard, {}, {}, hard}, ".+......"},
		{"half of it goes on, and does not begin", []moment{half, half, half, hard, hard, half, half, half, half}, "....+...."},
		{"no stalls", []moment{{added: 20, back: 10}, {added: 20, back: 10}}, ".."},
		{"stalls of other kinds", []moment{{added: 20, back: 10, elsewhere: time.Second}, {added: 20, back: 10, elsewhere: time.Second}}, ".."},
		{"a stream", []moment{{added: 2000, stalled: time.Second}, {added: 2000, stalled: time.Second}}, ".."},
		{"few of many", []moment{{added: 200, back: 10, stalled: time.Second}, {added: 200, back: 10, stalled: time.Second}}, ".."},
		{"back after more than a minute", []moment{{added: 20, away: 10, stalled: time.Second}, {added: 20, away: 10, stalled: time.Second}}, ".."},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, got := newThrashes(), ""
			for i, m := range c.moments {
				now := uint64(i) * second
				mark := "."
				// Intervals shorter than a window are added up.
				w.add(now, now+second/2, nil, m.stalls())
				for _, v := range w.add(now+second/2, now+second, m.returns(), nil) {
					mark = map[bool]string{true: "+", false: "-"}[v.on]
					if v.owner != 7 {
						t.Errorf("owner %d", v.owner)
					}
				}
				got += mark
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// The figures are those of the windows above, the quiet ones at the end left out.
func TestThrashSums(t *testing.T) {
	w := newThrashes()
	hard := moment{added: 20, back: 10, stalled: 20 * time.Millisecond}
	got := ""
	for i, m := range []moment{{}, hard, hard, hard, {}, hard, {}, {}, {}} {
		for _, v := range w.add(uint64(i)*second, uint64(i+1)*second, m.returns(), m.stalls()) {
			domain, distance := v.sum.domain()
			got += fmt.Sprintln(v.on, v.began/second, v.sum.ns/second, v.sum.added, v.sum.refaulted, time.Duration(v.sum.stalled), domain, distance.Count())
		}
	}
	if want := "true 1 2 40 20 40ms 9 20\nfalse 1 5 80 40 80ms 9 40\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// What goes on at the end of the trace ends with it.
	for i := range 2 {
		w.add(uint64(20+i)*second, uint64(21+i)*second, hard.returns(), hard.stalls())
	}
	if rest := w.rest(); len(rest) != 1 || rest[0].on || len(w.rest()) != 0 {
		t.Errorf("%+v", rest)
	}
}
