package jsonl

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

var types = []string{
	event.TypeHeader, event.TypeOOMKill, event.TypeOOMEnd, event.TypeReclaim, event.TypeKswapd, event.TypeThrottle,
	event.TypeCache, event.TypeMemory, event.TypeCgroup, event.TypeRank, event.TypeInspect, event.TypeLost, event.TypeSummary,
}

// full gives an event of a type with every field set, each to another value.
func full(typ string) event.Event {
	e := blank(typ)
	n := int64(1) << 30
	fill(reflect.ValueOf(e).Elem(), &n)
	e.Head().Type = typ
	return e
}

func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("some <key>"), reflect.ValueOf(uint64(math.MaxUint64)))
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			v.Set(reflect.ValueOf(time.Unix(1700000000, *n).UTC()))
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.Type() == reflect.PointerTo(v.Type()) { // what is like it ends there
				f.Set(reflect.New(v.Type()))
			} else {
				fill(f, n)
			}
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("<a & b>\n\x1b\u009b\u2028\u202e\U000e0041\x7f日\\\"")
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(-*n)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 8)
	case reflect.Uint64:
		v.SetUint(math.MaxUint64 - uint64(*n))
	default:
		panic(v.Type().String())
	}
}

func TestRoundTrip(t *testing.T) {
	var buf bytes.Buffer
	w := New(&buf)
	for _, typ := range types {
		if err := w.Write(full(typ)); err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
	}
	for _, c := range buf.String() {
		if c != '\n' && (c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u202e' || c == '\U000e0041') {
			t.Fatalf("%q in the output", c)
		}
	}
	i := 0
	for e, err := range Read(&buf) {
		if err != nil {
			t.Fatal(err)
		}
		if want := full(types[i]); !reflect.DeepEqual(e, want) {
			t.Errorf("%s: read\n%+v, wrote\n%+v", types[i], e, want)
		}
		i++
	}
	if i != len(types) {
		t.Errorf("%d of %d events came back", i, len(types))
	}
}

// oneWrite fails when a line does not arrive whole.
type oneWrite struct{ lines []string }

func (w *oneWrite) Write(p []byte) (int, error) {
	w.lines = append(w.lines, string(p))
	return len(p), nil
}

func TestWriteLine(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 120, time.FixedZone("", 3600))
	lost := &event.Lost{Meta: event.Meta{Type: event.TypeLost, Time: at}, Family: "<\xff>", Count: 3, Since: at}
	var w oneWrite
	jw := New(&w)
	for range 2 {
		if err := jw.Write(lost); err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"type":"lost","time":"2026-03-01T11:00:00.00000012Z","family":"<\ufffd>","count":3,"since":"2026-03-01T11:00:00.00000012Z"}` + "\n"
	if len(w.lines) != 2 || w.lines[0] != want || w.lines[1] != want {
		t.Errorf("got %q\nwant %q twice", w.lines, want)
	}
	if lost.Time != at || lost.Since != at {
		t.Error("the event was changed")
	}
}

func TestReadOddLines(t *testing.T) {
	const good = `{"type":"lost","time":"2026-03-01T11:00:00Z","family":"oom","count":1,"since":"2026-03-01T11:00:00Z"}`
	input := strings.Join([]string{
		good,
		`garbage`,
		``,
		`{"no":"type"}`,
		`{"type":"lost","count":-1}`,
		`{"type":"lost","type":"oom_kill"}`,
		` {"time":"2026-03-01T11:00:00Z" , "type":"lost", "new_field":{"a":[1]}}` + "\r",
		`{"type":"future","time":"2026-03-01T11:00:00Z","x":{"y":"<z>"}}`,
		`{"type":"lost","time":"2026-`,
	}, "\n")
	var got []string
	for e, err := range Read(iotest.OneByteReader(strings.NewReader(input))) {
		var line *LineError
		switch {
		case errors.As(err, &line):
			got = append(got, err.Error()[:7])
		case err != nil:
			t.Fatal(err)
		default:
			got = append(got, e.Head().Type)
			if u, ok := e.(*Unknown); ok {
				var buf bytes.Buffer
				if err := New(&buf).Write(u); err != nil || buf.String() != strings.Split(input, "\n")[7]+"\n" {
					t.Errorf("an unknown event came out as %s, %v", buf.String(), err)
				}
			}
		}
	}
	want := []string{"lost", "line 2:", "line 4:", "line 5:", "line 6:", "lost", "future", "line 9:"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReadLongLines(t *testing.T) {
	const good = `{"type":"lost","time":"2026-03-01T11:00:00Z","family":"oom"}` + "\n"
	long := `{"type":"lost","time":"2026-03-01T11:00:00Z","family":"` + strings.Repeat("x", 3<<20) + `"}` + "\n"
	endless := io.LimitReader(endlessReader{}, MaxLine+1)
	r := io.MultiReader(strings.NewReader(good+long+good), endless, strings.NewReader("\n"+good), iotest.ErrReader(io.ErrClosedPipe))
	var events, tooLong int
	var last error
	for e, err := range Read(r) {
		if e != nil {
			events++
		}
		if errors.Is(err, ErrTooLong) {
			tooLong++
		}
		last = err
	}
	if events != 4 || tooLong != 1 || !errors.Is(last, io.ErrClosedPipe) {
		t.Errorf("%d events, %d lines too long, last error %v", events, tooLong, last)
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

func FuzzRead(f *testing.F) {
	for _, typ := range types {
		var buf bytes.Buffer
		if err := New(&buf).Write(full(typ)); err != nil {
			f.Fatal(err)
		}
		f.Add(buf.Bytes())
	}
	f.Add([]byte("{}\nnull\n[]\n{\"type\":\"x\"}\n{\"type\":\"lost\",\"Type\":\"oom_kill\"}"))
	f.Add([]byte("{\"type\":\"x\xff\",\"a\u0080\":\"\u009b\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for e, err := range Read(bytes.NewReader(data)) {
			if err != nil {
				continue
			}
			var buf bytes.Buffer
			if err := New(&buf).Write(e); err != nil {
				t.Fatalf("read but cannot be written: %v", err)
			}
			line := buf.Bytes()
			if bytes.IndexByte(line, '\n') != len(line)-1 || !stdjson.Valid(line) {
				t.Fatalf("not one line of JSON: %q", line)
			}
			again, err := Unmarshal(line)
			if err != nil {
				t.Fatalf("written but cannot be read: %v: %s", err, line)
			}
			if u, ok := e.(*Unknown); ok && again.Head().Type != u.Type {
				t.Fatalf("%q became %q", u.Type, again.Head().Type)
			} else if !ok && reflect.TypeOf(again) != reflect.TypeOf(e) {
				t.Fatalf("%T became %T", e, again)
			}
		}
	})
}

// Of frequent types every field is read quickly, unless a string has escapes.
func TestQuick(t *testing.T) {
	for _, typ := range frequent {
		var buf bytes.Buffer
		if err := New(&buf).Write(full(typ)); err != nil {
			t.Fatal(err)
		}
		line := plain.ReplaceAll(bytes.TrimSpace(buf.Bytes()), []byte(`"<a & b> 日"`))
		got := readQuick(line)
		want, err := unmarshal(line)
		if err != nil || got == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as\n%+v, not\n%+v, %v", line, got, want, err)
		}
	}
}

// plain finds the strings of full.
var plain = regexp.MustCompile(`"<a [^"]*\\""`)

// What is read quickly is what encoding/json reads.
func FuzzUnmarshal(f *testing.F) {
	for _, typ := range append(types, frequent...) {
		var buf bytes.Buffer
		if err := errors.Join(New(&buf).Write(full(typ)), New(&buf).Write(blank(typ))); err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(buf.Bytes()) {
			f.Add(line)
		}
	}
	for _, rest := range []string{
		`}`, `} `, `}}`, `,}`, ``, `,"x":1}`, ` ,"kind":"a"}`, `,"kind":"a"`, `,"kind":"a","kind":"b"}`, `,"Kind":"a"}`, `,"type":"cache"}`, `,"Type":"cache"}`,
		`,"kind":"\ud800\n"}`, `,"kind":"\xff"}`, "\x2c\"kind\":\"\t\"}", `,"kind":"é\u007f"}`, `,"kind":null}`, `,"kind":1}`,
		`,"time":"2026-03-01T12:00:00+01:00"}`, `,"time":"2026-02-30T00:00:00Z"}`, `,"time":"2026-03-01 12:00:00Z"}`, `,"time":""}`, `,"time":0}`,
		`,"process":{"pid":2147483648}}`, `,"process":{"pid":-2147483648}}`, `,"process":{"pid":-0}}`, `,"process":{"pid":01}}`, `,"process":{}}`, `,"process":null}`,
		`,"duration_ns":-9223372036854775808}`, `,"duration_ns":9223372036854775808}`, `,"duration_ns":1e3}`, `,"duration_ns":1.0}`, `,"duration_ns":-}`, `,"duration_ns":}`,
		`,"reclaimed_pages":18446744073709551615}`, `,"reclaimed_pages":18446744073709551616}`, `,"reclaimed_pages":87444614072635809448}`, `,"reclaimed_pages":-1}`,
		`,"cgroup":{"id":1},"cgroup":{"path":"/a"}}`, `,"domain":{"id":1,"path":"/a","container":{"parent":{"parent":{}}}}}`, `,"domain":null}`,
		`,"evicted":[]}`, `,"evicted":[{},{"pages":1}]}`, `,"evicted":[{},]}`, `,"evicted":null}`, `,"stack":["a","b"]}`, `,"stack":[1]}`,
	} {
		f.Add([]byte(`{"type":"reclaim"` + rest))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		want, wantErr := unmarshal(line)
		got, gotErr := Unmarshal(line)
		if (gotErr == nil) != (wantErr == nil) || gotErr == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\nread as\n%+v, %v, not\n%+v, %v", line, got, gotErr, want, wantErr)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	e := reclaim()
	w := New(io.Discard)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	if err := New(&buf).Write(reclaim()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Unmarshal(buf.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}

// reclaim is the most frequent kind of event, as it usually looks.
func reclaim() *event.Reclaim {
	scanned := uint64(64)
	return &event.Reclaim{
		Meta:      event.Meta{Type: event.TypeReclaim, Time: time.Unix(1700000000, 123456789).UTC()},
		Kind:      event.ReclaimMemcgLimit,
		Process:   event.Process{PID: 4242, TID: 4243, Comm: "postgres", StartTimeNS: 123456789},
		Cgroup:    &event.Cgroup{ID: 12345, Path: "/system.slice/postgres.service", Version: 2},
		Container: &event.Container{Runtime: "systemd", Unit: "postgres.service"},
		Domain:    &event.Domain{Cgroup: event.Cgroup{ID: 12345, Path: "/system.slice/postgres.service", Version: 2}},

		DurationNS: 1234567, Scanned: &scanned, Reclaimed: 32, GFPFlags: "GFP_KERNEL",
	}
}
