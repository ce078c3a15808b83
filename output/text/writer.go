// Package text renders the event stream for a person at a terminal: one line
// for each stall, a block for each OOM kill, aligned, and never wider than
// asked. Whatever comes from outside is escaped, so that no name or path can
// steer the terminal.
package text

import (
	"cmp"
	"io"
	"math"
	"math/bits"
	"path"
	"strconv"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// Options say how to render. The zero value suits a pipe.
type Options struct {
	// Color turns on ANSI colours.
	Color bool
	// Width is how many columns a line may take; 0 means 100. Wider terminals
	// are put to use, narrower ones lose the ends of lines.
	Width int
	// PageBytes is the size of a page until a header tells; 0 means unknown, and
	// pages are shown as pages.
	PageBytes int
	// Location is the time zone; nil means the local one.
	Location *time.Location
}

const (
	defaultWidth = 100
	clock        = "15:04:05.000"
	// body is the column where the text behind the time begins.
	body = 13
)

// Writer renders events. It is not safe for concurrent use.
type Writer struct {
	out  io.Writer
	opt  Options
	buf  []byte
	page uint64

	day    int // of the last line, as dayOf() counts; 0 before the first
	stalls int // stall lines since the heading
	noted  map[term.Text]bool
	// blanked says that nothing or a blank line came last.
	blanked bool
	kills   []kill // the last few, to name them when they end
}

// New returns a Writer on w.
func New(w io.Writer, opt Options) *Writer {
	if opt.Width <= 0 {
		opt.Width = defaultWidth
	}
	if opt.Location == nil {
		opt.Location = time.Local
	}
	return &Writer{out: w, opt: opt, page: uint64(max(opt.PageBytes, 0)), noted: map[term.Text]bool{}, blanked: true}
}

// Write renders one event, with one call of the underlying Write. Events of
// types that it does not know are named and otherwise passed over.
func (w *Writer) Write(e event.Event) error {
	w.buf = w.buf[:0]
	switch e := e.(type) {
	case *event.Header:
		w.header(e)
	case *event.OOMKill:
		w.oomKill(e)
	case *event.OOMEnd:
		w.oomEnd(e)
	case *event.OOMPause:
		w.oomPause(e)
	case *event.Kmsg:
		w.kmsg(e)
	case *event.Reclaim:
		w.reclaim(e)
	case *event.Kswapd:
		w.kswapd(e)
	case *event.Throttle:
		w.throttle(e)
	case *event.Cache:
		w.cache(e)
	case *event.MemorySample:
		w.memory(e)
	case *event.Stalls:
		w.stallCounts(e)
	case *event.Thrash:
		w.thrash(e)
	case *event.CgroupChange:
		w.cgroup(e)
	case *event.Rank:
		w.rank(e)
	case *event.Inspect:
		w.inspect(e)
	case *event.Profile:
		w.profile(e)
	case *event.Lost:
		w.lost(e)
	case *event.Summary:
		w.summary(e)
	default:
		w.at(e.Head().Time).put(dim, term.Clean(e.Head().Type)).end()
	}
	_, err := w.out.Write(w.buf)
	return err
}

// at begins a line with the time, and writes the date first when it is another
// than that of the line before.
func (w *Writer) at(t time.Time) *line {
	t = t.In(w.opt.Location)
	if day := dayOf(t); day != w.day {
		w.day = day
		w.line().put(dim, term.Clean(t.Format("Monday 2006-01-02, MST"))).end()
	}
	return w.line().put(dim, term.Text(t.Format(clock))).to(body)
}

// dayOf numbers the days. Times that are not known have days of their own.
func dayOf(t time.Time) int { return t.Year()*1000 + t.YearDay() }

const (
	dayNotKnown = -iota - 1
	daySinceBoot
)

// atKill is at for a kill, of which a kernel log may say only when it was since
// boot, or not even that.
func (w *Writer) atKill(e *event.OOMKill) *line {
	if !e.Time.IsZero() {
		return w.at(e.Time)
	}
	day, name, at := dayNotKnown, "time not known", ""
	if e.UptimeNS != nil {
		// As in the log, so that it can be found there.
		day, name, at = daySinceBoot, "seconds since boot", strconv.FormatFloat(float64(*e.UptimeNS)/1e9, 'f', 3, 64)
	}
	if day != w.day {
		w.day = day
		w.line().put(dim, term.Text(name)).end()
	}
	return w.line().put(dim, term.Text(at)).to(body)
}

// note explains a mark once, before the first line that bears it.
func (w *Writer) note(t term.Text) {
	if !w.noted[t] {
		w.noted[t] = true
		w.line().to(body).put(dim, t).end()
	}
}

// pages writes a number of pages as a size.
func (w *Writer) pages(n uint64) term.Text {
	if w.page == 0 {
		return term.Text(unit.Count(n) + " pages")
	}
	return size(w.bytes(n))
}

func (w *Writer) bytes(pages uint64) uint64 {
	if hi, lo := bits.Mul64(pages, w.page); hi == 0 {
		return lo
	}
	return math.MaxUint64
}

func size(n uint64) term.Text { return term.Text(unit.Bytes(n)) }

func duration(ns int64) term.Text { return term.Text(unit.Duration(time.Duration(ns))) }

func number[T int | int32 | int64](n T) term.Text { return term.Text(strconv.FormatInt(int64(n), 10)) }

// process writes comm[pid] in at most so many columns; the pid stays whole.
func process(p *event.Process, columns int) term.Text {
	pid := term.Text("")
	if p.PID != 0 {
		pid = "[" + number(p.PID) + "]"
	}
	return term.Elide(term.Clean(cmp.Or(p.Comm, "?")), max(columns-term.Width(pid), 1)) + pid
}

// actor writes a process and where it lives.
func actor(a *event.Actor) term.Text {
	t := process(&a.Process, 40)
	if p := place(a.Container, a.Cgroup); p != "" {
		t += " in " + p
	}
	return t
}

func place(c *event.Container, g *event.Cgroup) term.Text { return term.Clean(label.Place(c, g)) }

func base(f *event.File) term.Text {
	if f.Path != "" {
		return term.Clean(path.Base(f.Path))
	}
	return term.Text("ino " + strconv.FormatUint(f.Inode, 10))
}

// counted writes "1 stall" or "1,234 stalls".
func counted(n uint64, what term.Text) term.Text {
	if n != 1 {
		what += "s"
	}
	return term.Text(unit.Count(n)) + " " + what
}
