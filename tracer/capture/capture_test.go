package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func header(host string) *event.Header {
	return &event.Header{Meta: event.Meta{Type: event.TypeHeader, Time: epoch}, Schema: event.Schema, Version: "test", Host: host, PageBytes: 4096}
}

// stall is the i-th event of a stream: it ends i ms after the epoch.
func stall(i int) *event.Reclaim {
	end := epoch.Add(time.Duration(i) * time.Millisecond)
	return &event.Reclaim{
		Meta: event.Meta{Type: event.TypeReclaim, Time: end.Add(-250 * time.Microsecond)}, Kind: event.ReclaimMemcgLimit,
		Process: event.Process{PID: int32(1000 + i%7), TID: int32(1000 + i%7), Comm: "java"},
		Cgroup:  &event.Cgroup{ID: uint64(40 + i%3), Path: fmt.Sprintf("/kubepods/pod%d", i%3), Version: 2},
		Domain:  &event.Domain{Cgroup: event.Cgroup{ID: 39, Path: "/kubepods", Version: 2}}, DurationNS: 250000, Reclaimed: 32,
	}
}

// sample writes a capture of so many events, in frames of so many, and gives its
// lines and where its frames end.
func sample(t testing.TB, events, inFrame int) (packed []byte, lines []string, ends []int) {
	t.Helper()
	var out, text bytes.Buffer
	w, err := NewWriter(&out, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	plain := jsonl.New(&text)
	for i := range events {
		var e event.Event = stall(i)
		if i == 0 {
			e = header("web-1")
		}
		if err := errors.Join(w.Write(e), plain.Write(e)); err != nil {
			t.Fatal(err)
		}
		if i%inFrame == 0 || i == events-1 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, out.Len())
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"), ends
}

// read gives all lines and all damage.
func read(t testing.TB, r io.Reader) (lines []string, damage []*Damage) {
	t.Helper()
	for rec, err := range Read(r, Options{Workers: 2}) {
		var d *Damage
		switch {
		case errors.As(err, &d):
			damage = append(damage, d)
		case err != nil:
			t.Fatal(err)
		default:
			lines = append(lines, string(rec.Line))
		}
	}
	return lines, damage
}

func TestRoundTrip(t *testing.T) {
	packed, want, ends := sample(t, 100, 7)
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(packed),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(packed)),
	} {
		got, damage := read(t, r)
		if !slices.Equal(got, want) || damage != nil {
			t.Errorf("%s: %d lines of %d, damage %v", name, len(got), len(want), damage)
		}
	}
	var at []int
	for f, err := range Frames(bytes.NewReader(packed)) {
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, int(f.Pos)+f.Size)
	}
	if !slices.Equal(at, ends) {
		t.Errorf("frames end at %v, want %v", at, ends)
	}
}

// Captures can be put behind each other, and files of lines are captures too.
func TestForms(t *testing.T) {
	packed, lines, _ := sample(t, 30, 10)
	plain := strings.Join(lines, "\n")
	zeros, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true))
	if err != nil {
		t.Fatal(err)
	}
	skippable := []byte{0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'}
	for name, c := range map[string]struct {
		input  []byte
		copies int
	}{
		"two":             {slices.Concat(packed, packed), 2},
		"skippable":       {slices.Concat(skippable, packed, skippable), 1},
		"empty frame":     {slices.Concat(packed, zeros.EncodeAll(nil, nil), packed), 2},
		"lines":           {[]byte(plain + "\n"), 1},
		"no last newline": {[]byte(plain), 1},
		"CRLF, blanks":    {[]byte("\ufeff\r\n\n" + strings.ReplaceAll(plain, "\n", "\r\n\r\n")), 1},
		"nothing":         {nil, 0},
	} {
		got, damage := read(t, bytes.NewReader(c.input))
		if !slices.Equal(got, slices.Repeat(lines, c.copies)) || damage != nil {
			t.Errorf("%s: %d lines, want %d times %d; damage %v", name, len(got), c.copies, len(lines), damage)
		}
	}
}

// Other writers cut lines anywhere.
func TestSpreadLines(t *testing.T) {
	_, lines, _ := sample(t, 50, 10)
	text := []byte(strings.Join(lines, "\n") + "\n")
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 3, 100, 1000} {
		var packed []byte
		for part := range slices.Chunk(text, size) {
			packed = enc.EncodeAll(part, packed)
		}
		got, damage := read(t, bytes.NewReader(packed))
		if !slices.Equal(got, lines) || damage != nil {
			t.Errorf("frames of %d bytes: %d lines of %d, damage %v", size, len(got), len(lines), damage)
		}
	}
}

// One frame may be larger than what is kept of any: what zstd makes of a pipe.
func TestLargeFrame(t *testing.T) {
	noise := rand.New(rand.NewPCG(3, 4))
	var text bytes.Buffer
	n := 0
	for ; text.Len() < 3*maxPacked; n++ {
		fmt.Fprintf(&text, `{"type":"x","time":"2026-03-01T11:00:00Z","n":"`)
		for range 40 {
			fmt.Fprintf(&text, "%x", noise.Uint64())
		}
		text.WriteString("\"}\n")
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	enc.Reset(&stream) // without the size in its header
	if _, err := enc.Write(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if stream.Len() <= maxPacked {
		t.Fatalf("%d bytes are not many", stream.Len())
	}
	packed, lines, _ := sample(t, 10, 3)
	got, damage := read(t, bytes.NewReader(slices.Concat(stream.Bytes(), packed)))
	if len(got) != n+len(lines) || damage != nil {
		t.Errorf("%d lines of %d, damage %v", len(got), n+len(lines), damage)
	}
	// Cut, what came before is given; damaged, reading goes on behind.
	got, damage = read(t, bytes.NewReader(stream.Bytes()[:stream.Len()*3/4]))
	if len(got) < n/2 || len(got) >= n || len(damage) != 2 { // the line that is cut, and the frame
		t.Errorf("cut: %d lines of %d, damage %v", len(got), n, damage)
	}
	bad := slices.Concat(stream.Bytes(), packed)
	copy(bad[maxPacked+5000:], bytes.Repeat([]byte{0xff}, 300))
	got, damage = read(t, bytes.NewReader(bad))
	if !slices.Equal(got[len(got)-len(lines):], lines) || len(damage) == 0 {
		t.Errorf("damaged: %d lines, damage %v", len(got), damage)
	}
	// One that is small packed, and large unpacked.
	many := bytes.Repeat([]byte(lines[1]+"\n"), maxLines/len(lines[1])+10)
	small := enc.EncodeAll(many, nil)
	if len(small) > maxPacked {
		t.Fatalf("%d bytes packed", len(small))
	}
	got, damage = read(t, bytes.NewReader(slices.Concat(small, packed)))
	if len(got) != bytes.Count(many, []byte{'\n'})+len(lines) || damage != nil {
		t.Errorf("%d lines, damage %v", len(got), damage)
	}
}

// What this version does not know is kept as it is.
func TestUnknown(t *testing.T) {
	input := `{"type":"reclaim","time":"2026-03-01T11:00:00.5Z","new":{"a":[1, 2]},"duration_ns":5}
{"b" : "\"duration_ns\":7" ,"type": "fu\u0074ure","time":"2026-03-29T13:00:00+02:00"}
`
	var records []*Record
	for r, err := range Read(strings.NewReader(input), Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	var got []string
	for _, r := range records {
		got = append(got, string(r.Line))
	}
	if strings.Join(got, "\n")+"\n" != input {
		t.Errorf("%q", got)
	}
	if r := records[0]; r.Type != "reclaim" || r.Duration != 5 || !r.Time.Equal(time.Date(2026, 3, 1, 11, 0, 0, 5e8, time.UTC)) {
		t.Errorf("%+v", r)
	}
	if r := records[1]; r.Type != "future" || r.Duration != 0 || !r.Time.Equal(time.Date(2026, 3, 29, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
	if e, err := records[1].Event(); err != nil || e.Head().Type != "future" {
		t.Errorf("%v, %v", e, err)
	}
}

// Lines that are no events are told with their place.
func TestOddLines(t *testing.T) {
	good := `{"type":"lost","time":"2026-03-01T11:00:00Z"}`
	input := strings.Join([]string{good, "garbage", `{"no":"type"}`, "[1]", good, `{"type":"lost","time":"yesterday"}`, `{"type":"lo`}, "\n")
	lines, damage := read(t, strings.NewReader(input))
	var at []int64
	for _, d := range damage {
		at = append(at, d.From)
	}
	n := int64(len(good) + 1)
	want := []int64{n, n + 8, n + 8 + 14, 2*n + 8 + 14 + 4, 2*n + 8 + 14 + 4 + 35}
	if len(lines) != 2 || !slices.Equal(at, want) {
		t.Errorf("%d lines, damage at %v, want %v", len(lines), at, want)
	}
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines, damage = read(t, &out)
	if len(lines) != 2 || len(damage) != 5 || !strings.Contains(damage[0].Error(), "line 2 of the frame: it is no JSON") {
		t.Errorf("%d lines, damage %v", len(lines), damage)
	}
}

// An error of the input is the last, behind what was read.
func TestInputError(t *testing.T) {
	packed, lines, ends := sample(t, 40, 10)
	r := io.MultiReader(bytes.NewReader(packed[:ends[2]]), iotest.ErrReader(io.ErrClosedPipe))
	var last error
	n := 0
	for rec, err := range Read(r, Options{}) {
		if rec != nil {
			n++
		}
		last = err
	}
	if n != 21 || !errors.Is(last, io.ErrClosedPipe) {
		t.Errorf("%d lines of %d, error %v", n, len(lines), last)
	}
}

// The tools that people have read captures: one frame after the other.
func TestZstdcat(t *testing.T) {
	zstdcat, err := exec.LookPath("zstdcat")
	if err != nil {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip("no zstdcat here")
	}
	packed, lines, _ := sample(t, 100, 7)
	name := filepath.Join(t.TempDir(), "capture.zst")
	if err := os.WriteFile(name, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(zstdcat, name).Output()
	if err != nil || string(out) != strings.Join(lines, "\n")+"\n" {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	// And what zstd makes of lines is read.
	cmd := exec.Command("zstd", "-19", "-c")
	cmd.Stdin = bytes.NewReader(out)
	again, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, damage := read(t, bytes.NewReader(again)); !slices.Equal(got, lines) || damage != nil {
		t.Errorf("%d lines of %d, damage %v", len(got), len(lines), damage)
	}
}

// Goroutines would make the coverage another each time: what they do is called
// here without them.
func FuzzRead(f *testing.F) {
	packed, lines, ends := sample(f, 12, 4)
	f.Add(packed)
	f.Add(packed[ends[0]:ends[1]])
	f.Add([]byte(strings.Join(lines[:3], "\n")))
	f.Add([]byte("{\"type\":\"x\",\"time\":\"2026-02-30T11:00:00Z\"}\n{\"duration_ns\":-1,\"type\":\"y\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &pipeline{Options: Options{Decode: true}}
		for frame, err := range Frames(bytes.NewReader(data)) {
			if err != nil && !IsDamage(err) {
				t.Fatal(err)
			}
			for _, rec := range p.piece(part{pos: frame.Pos, lines: frame.Lines}).records {
				if bytes.IndexByte(rec.Line, '\n') >= 0 || rec.err == nil && rec.Type == "" {
					t.Fatalf("%q", rec.Line)
				}
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	packed, lines, _ := sample(b, 20000, 2000)
	for _, decode := range []bool{false, true} {
		b.Run(fmt.Sprintf("decode=%v", decode), func(b *testing.B) {
			for b.Loop() {
				for _, err := range Read(bytes.NewReader(packed), Options{Decode: decode}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N*len(lines))/b.Elapsed().Seconds(), "events/s")
		})
	}
}
