package capture

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// inFrames gives the lines of the frames that pass.
func inFrames(lines []string, inFrame int, ends []int, intact func(from, to int) bool) (out []string) {
	from, line := 0, 0
	for i, to := range ends {
		n := inFrame
		if i == 0 {
			n = 1
		}
		n = min(n, len(lines)-line)
		if intact(from, to) {
			out = append(out, lines[line:line+n]...)
		}
		from, line = to, line+n
	}
	return out
}

// Cut anywhere, a capture gives every frame before the cut, and says where the
// rest is missing.
func TestCut(t *testing.T) {
	packed, lines, ends := sample(t, 60, 11)
	for n := range len(packed) + 1 {
		want := inFrames(lines, 11, ends, func(_, to int) bool { return to <= n })
		got, damage := read(t, bytes.NewReader(packed[:n]))
		if !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %d lines, want %d", n, len(got), len(want))
		}
		whole := n == 0 || slices.Contains(ends, n)
		if whole != (len(damage) == 0) {
			t.Fatalf("cut at %d: damage %v", n, damage)
		}
		if !whole {
			begin := 0
			for _, end := range ends {
				if end < n {
					begin = end
				}
			}
			if len(damage) != 1 || damage[0].From != int64(begin) || damage[0].To != int64(n) {
				t.Fatalf("cut at %d in the frame at %d: damage %v", n, begin, damage)
			}
		}
	}
}

// Whatever bytes are damaged, all frames that are not come back, in order, and
// what is lost is told.
func TestFlip(t *testing.T) {
	packed, lines, ends := sample(t, 200, 9)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 1500 {
		bad := bytes.Clone(packed)
		var at []int
		switch n := 1 + rng.IntN(3); {
		case round < len(packed): // each byte once
			at = append(at, round)
		default:
			for range n {
				at = append(at, rng.IntN(len(bad)))
			}
		}
		for _, i := range at {
			bad[i] ^= byte(1 + rng.IntN(255))
		}
		if bytes.Equal(bad, packed) {
			continue
		}
		intact := inFrames(lines, 9, ends, func(from, to int) bool { return bytes.Equal(bad[from:to], packed[from:to]) })
		got, damage := read(t, bytes.NewReader(bad))
		if !subsequence(intact, got) || !subsequence(got, lines) {
			t.Fatalf("bytes %v: %d lines, %d are in intact frames", at, len(got), len(intact))
		}
		// The size of the window, say, may be another without harm.
		if len(got) < len(lines) && len(damage) == 0 {
			t.Fatalf("bytes %v: no damage was told", at)
		}
		for i, d := range damage {
			if d.From >= d.To || d.To > int64(len(bad)) || i > 0 && d.From < damage[i-1].To {
				t.Fatalf("bytes %v: damage %v", at, damage)
			}
		}
	}
}

// subsequence tells whether part is in whole, in order.
func subsequence(part, whole []string) bool {
	for _, s := range whole {
		if len(part) > 0 && part[0] == s {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// A stretch of rubbish, also one that looks like the beginning of a frame, costs
// itself only.
func TestRubbish(t *testing.T) {
	packed, lines, ends := sample(t, 40, 10)
	rubbish := map[string][]byte{
		"zeros":                   make([]byte, 3000),
		"magic":                   frameMagic,
		"magics":                  bytes.Repeat(frameMagic, 500),
		"half a frame":            packed[:ends[0]/2],
		"text":                    []byte("{\"type\":\"lost\"}\n"),
		"a large skippable frame": {0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0x7f},
	}
	for name, junk := range rubbish {
		for i, at := range append([]int{0}, ends...) {
			if i == 0 && name == "text" {
				continue // that is a file of lines
			}
			got, damage := read(t, bytes.NewReader(slices.Concat(packed[:at], junk, packed[at:])))
			want := lines
			if name == "a large skippable frame" { // it says itself that it goes so far
				want = inFrames(lines, 10, ends, func(_, to int) bool { return to <= at })
			}
			if !slices.Equal(got, want) || len(damage) != 1 {
				t.Errorf("%s at %d: %d lines of %d, damage %v", name, at, len(got), len(want), damage)
			}
		}
	}
	got, damage := read(t, bytes.NewReader([]byte("no capture at all")))
	if len(got) > 0 || len(damage) != 1 {
		t.Errorf("%q, %v", got, damage)
	}
}
