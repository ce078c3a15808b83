// Package trace writes the Trace Event Format, JSON that ui.perfetto.dev and
// chrome://tracing open: a process for each container with a track for each of
// its threads, stalls as slices, kills as instants, memory as counters.
package trace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// maxTracks bounds how many threads are remembered as named.
const maxTracks = 1 << 16

// Writer writes events as they come. It is not safe for concurrent use.
type Writer struct {
	out   io.Writer
	buf   bytes.Buffer
	enc   *json.Encoder
	pages map[string]uint64 // how large, by host
	wrote bool              // an object, so that the next needs a comma
	host  string
	// Processes of the trace stand for containers; they are numbered as they come.
	places map[string]int
	tracks map[track]*told
}

type track struct {
	place int
	tid   int32
}

// told is what of a track is written: its name, and its last slice.
type told struct {
	name       string
	begin, end int64
}

// record is one object of the trace. Its fields are the format's.
type record struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`
	Time     json.Number    `json:"ts,omitempty"` // µs
	Duration json.Number    `json:"dur,omitempty"`
	PID      int            `json:"pid"`
	TID      int32          `json:"tid"`
	Scope    string         `json:"s,omitempty"`
	Args     map[string]any `json:"args,omitempty"`

	begin, end int64 // of a slice, ns
}

// New returns a Writer on w.
func New(w io.Writer) *Writer {
	t := &Writer{out: w, pages: make(map[string]uint64), places: make(map[string]int), tracks: make(map[track]*told)}
	t.enc = json.NewEncoder(&t.buf)
	t.enc.SetEscapeHTML(false)
	return t
}

// From says which host the events are of that follow, where there are several.
func (w *Writer) From(host string) { w.host = host }

// Write writes what an event is in a trace, with one call of the underlying
// Write; many events are nothing in it.
func (w *Writer) Write(e event.Event) error {
	w.buf.Reset()
	if err := w.event(e); err != nil {
		return err
	}
	return w.flush()
}

// Close writes the end.
func (w *Writer) Close() error {
	w.buf.Reset()
	if !w.wrote {
		w.buf.WriteString(begin)
	}
	w.buf.WriteString("\n]}\n")
	return w.flush()
}

const begin = `{"displayTimeUnit":"ns","traceEvents":[`

func (w *Writer) flush() error {
	if w.buf.Len() == 0 {
		return nil
	}
	_, err := w.out.Write(w.buf.Bytes())
	return err
}

func (w *Writer) put(r record) error {
	if w.wrote {
		w.buf.WriteByte(',')
	} else {
		w.buf.WriteString(begin)
	}
	w.wrote = true
	w.buf.WriteByte('\n')
	r.Name = cmp.Or(clean(r.Name), "?")
	if err := w.enc.Encode(r); err != nil {
		return err
	}
	w.buf.Truncate(w.buf.Len() - 1) // its newline
	return nil
}

func (w *Writer) event(e event.Event) error {
	switch e := e.(type) {
	case *event.Header:
		w.pages[w.host] = uint64(max(e.PageBytes, 0))
		return w.header(e)
	case *event.Reclaim:
		return w.slice(e.Time, e.DurationNS, e.Kind, "reclaim", e.Container, e.Cgroup, &e.Process, w.reclaim(e))
	case *event.Throttle:
		args := map[string]any{}
		domain(args, e.Domain)
		return w.slice(e.Time, e.DurationNS, e.Type, e.Type, e.Container, e.Cgroup, &e.Process, args)
	case *event.Kswapd:
		args := map[string]any{}
		number(args, "scanned_pages", e.Scanned)
		number(args, "reclaimed_pages", e.Reclaimed)
		return w.onTrack("kswapd", int32(e.Node)+1, "node "+strconv.Itoa(e.Node), record{
			Name: "kswapd", Category: "kswapd", Phase: "X", begin: e.Time.UnixNano(), end: e.Time.UnixNano() + max(e.DurationNS, 0), Args: args,
		})
	case *event.OOMKill:
		return w.kill(e)
	case *event.Cache:
		return w.cache(e)
	case *event.MemorySample:
		return w.memory(e)
	}
	return nil
}

func (w *Writer) header(e *event.Header) error {
	return w.put(record{Name: "trace_info", Phase: "M", Args: map[string]any{
		"tracer": "oomtrace " + clean(e.Version), "host": clean(e.Host), "kernel": clean(e.Kernel), "begin": e.Time.UTC().Format(time.RFC3339Nano),
	}})
}

// process gives the number of a place in the trace and names it when it is new.
func (w *Writer) process(place string) (int, error) {
	place = cmp.Or(place, "?")
	if w.host != "" {
		place = w.host + ": " + place
	}
	n, known := w.places[place]
	if known {
		return n, nil
	}
	n = len(w.places) + 1
	w.places[place] = n
	return n, w.put(record{Name: "process_name", Phase: "M", PID: n, Args: map[string]any{"name": clean(place)}})
}

// onTrack writes a record on the track of a thread, which it names when its name
// is new.
func (w *Writer) onTrack(place string, tid int32, thread string, r record) error {
	n, err := w.process(place)
	if err != nil {
		return err
	}
	r.PID, r.TID, thread = n, tid, cmp.Or(thread, "?")
	at := w.tracks[track{n, tid}]
	if at == nil {
		if len(w.tracks) >= maxTracks {
			clear(w.tracks)
		}
		at = &told{}
		w.tracks[track{n, tid}] = at
	}
	if at.name != thread {
		at.name = thread
		if err := w.put(record{Name: "thread_name", Phase: "M", PID: n, TID: tid, Args: map[string]any{"name": clean(thread)}}); err != nil {
			return err
		}
	}
	if r.Phase == "X" {
		// Perfetto drops a slice that overlaps another without lying in it. A sleep
		// for memory.high follows upon reclaim, and its begin is known less well than
		// its length: to some microseconds.
		if r.begin > at.begin && r.begin < at.end && r.end > at.end {
			r.begin = at.end
		}
		at.begin, at.end = r.begin, r.end
		r.Time, r.Duration = micros(r.begin), micros(r.end-r.begin)
	}
	return w.put(r)
}

func (w *Writer) slice(at time.Time, ns int64, name, category string, c *event.Container, g *event.Cgroup, p *event.Process, args map[string]any) error {
	tid := p.TID
	if tid == 0 {
		tid = p.PID
	}
	args["pid"] = p.PID
	if g != nil && g.Path != "" {
		args["cgroup"] = clean(g.Path)
	}
	return w.onTrack(label.Place(c, g), tid, p.Comm, record{
		Name: name, Category: category, Phase: "X", begin: at.UnixNano(), end: at.UnixNano() + max(ns, 0), Args: args,
	})
}

func (w *Writer) reclaim(e *event.Reclaim) map[string]any {
	args := map[string]any{"reclaimed_pages": e.Reclaimed}
	domain(args, e.Domain)
	number(args, "scanned_pages", e.Scanned)
	number(args, "cpu_ns", e.CPUNS)
	number(args, "priority", e.Priority)
	if e.GFPFlags != "" {
		args["gfp_flags"] = clean(e.GFPFlags)
	}
	for i := range e.Evicted {
		v := &e.Evicted[i]
		if v.File != nil && i < 3 {
			args["evicted_"+strconv.Itoa(i+1)] = clean(label.File(v.File)) + ": " + strconv.FormatUint(v.Pages, 10) + " pages"
		}
	}
	if len(e.Stack) > 0 {
		list := make([]string, len(e.Stack))
		for i, f := range e.Stack {
			list[i] = clean(f)
		}
		args["stack"] = list
	}
	return args
}

// kill is an instant of the container that was hit, and of the thread that ran
// out of memory a flag.
func (w *Writer) kill(e *event.OOMKill) error {
	args := map[string]any{"incident": clean(e.Incident), "constraint": clean(e.Domain.Constraint), "killed": len(e.Killed)}
	args["victim"] = clean(e.Victim.Comm) + "[" + strconv.Itoa(int(e.Victim.PID)) + "]"
	args["trigger"] = clean(e.Trigger.Comm) + "[" + strconv.Itoa(int(e.Trigger.PID)) + "]"
	if e.Domain.Cgroup != nil {
		args["domain"] = clean(label.Place(e.Domain.Container, e.Domain.Cgroup))
	}
	if rss := e.Victim.RSS(); rss != nil {
		args["rss_bytes"] = *rss
	}
	if e.Verdict != nil {
		args["cause"] = clean(e.Verdict.Cause)
	}
	return w.onTrack(label.Place(e.Victim.Container, e.Victim.Cgroup), e.Victim.PID, e.Victim.Comm, record{
		Name: "OOM kill " + e.Victim.Comm, Category: "oom", Phase: "i", Scope: "p", Time: stamp(e.Time), Args: args,
	})
}

func (w *Writer) cache(e *event.Cache) error {
	n, err := w.process(label.Place(e.Container, e.Cgroup))
	if err != nil {
		return err
	}
	unit, page := "bytes", w.pages[w.host]
	if page == 0 {
		unit, page = "pages", 1
	}
	// Of the interval that ends here.
	at := stamp(e.Time.Add(time.Duration(e.IntervalNS)))
	args := map[string]any{"added": e.Added * page, "evicted": e.Evicted * page, "removed": e.Removed * page}
	if e.Refaulted != nil {
		args["refaulted"] = *e.Refaulted * page
	}
	return w.put(record{Name: "page cache traffic, " + unit, Category: "cache", Phase: "C", Time: at, PID: n, Args: args})
}

func (w *Writer) memory(e *event.MemorySample) error {
	n, err := w.process(label.Place(e.Container, &e.Cgroup))
	if err != nil {
		return err
	}
	m := &e.Memory
	if m.Usage != nil {
		if err := w.put(record{Name: "usage, bytes", Category: "memory", Phase: "C", Time: stamp(e.Time), PID: n, Args: map[string]any{"usage": *m.Usage}}); err != nil {
			return err
		}
	}
	args := map[string]any{}
	number(args, "anon", m.Anon)
	number(args, "file", m.File)
	number(args, "kernel", m.Kernel)
	if len(args) == 0 {
		return nil
	}
	return w.put(record{Name: "composition, bytes", Category: "memory", Phase: "C", Time: stamp(e.Time), PID: n, Args: args})
}

func domain(args map[string]any, d *event.Domain) {
	if d != nil {
		args["domain"] = clean(label.Place(d.Container, &d.Cgroup))
	}
}

func number[T int | int64 | uint64](args map[string]any, name string, v *T) {
	if v != nil {
		args[name] = *v
	}
}

// stamp gives a time in microseconds, to the nanosecond: as a number it would be
// rounded to a quarter of a microsecond.
func stamp(t time.Time) json.Number { return micros(t.UnixNano()) }

func micros(ns int64) json.Number {
	ns = max(ns, 0)
	b := strconv.AppendInt(nil, ns/1000, 10)
	if rest := ns % 1000; rest != 0 {
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	return json.Number(b)
}

// clean escapes what a terminal would act on; JSON escapes the rest.
func clean(s string) string { return string(term.Clean(s)) }
