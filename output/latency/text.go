package latency

import (
	"cmp"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// TextOptions say how to render for a terminal.
type TextOptions struct {
	Color    bool
	Width    int            // columns; 0 means 100
	Location *time.Location // nil means the local one
}

type page struct {
	TextOptions
	b    strings.Builder
	size uint64 // of a memory page, 0: not known
}

// WriteText renders a report for a person at a terminal. Whatever comes from
// outside is escaped.
func WriteText(w io.Writer, r *Report, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 100
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	p := &page{TextOptions: o, size: uint64(max(r.PageBytes, 0))}
	p.head(r)
	p.containers(r)
	p.heat(r)
	p.threads(r)
	p.cache(r)
	p.files(r)
	p.evictions(r)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// narrow pages leave out what the names need the room for, and slim ones more.
func (p *page) narrow() bool { return p.Width < 90 }
func (p *page) slim() bool   { return p.Width < 60 }

// figures is how many columns stand before a name.
func (p *page) figures() int {
	switch {
	case p.slim():
		return 7 + 7 + 8 + 2
	case p.narrow():
		return 7 + 7 + 9 + 2*8 + 2
	}
	return 7 + 7 + 9 + 4*8 + 2
}

// columns puts the figures of a row together, as many as there is room for.
func (p *page) columns(stalled, share, stalls, p50, p90, p99, longest term.Text) term.Text {
	first, last := term.Right(stalled, 7)+term.Right(share, 7), term.Right(longest, 8)
	switch {
	case p.slim():
		return first + last
	case p.narrow():
		return first + term.Right(stalls, 9) + term.Right(p99, 8) + last
	}
	return first + term.Right(stalls, 9) + term.Right(p50, 8) + term.Right(p90, 8) + term.Right(p99, 8) + last
}

func (p *page) line(parts ...term.Text) {
	t := term.Text("")
	for _, part := range parts {
		t += part
	}
	p.b.WriteString(strings.TrimRight(string(term.Cut(t, p.Width)), " ") + "\n")
}

func (p *page) dim(t term.Text) {
	t = term.Cut(t, p.Width)
	if p.Color {
		t = "\x1b[2m" + t + "\x1b[0m"
	}
	p.b.WriteString(string(t) + "\n")
}

func (p *page) title(t, note term.Text) {
	p.b.WriteString("\n")
	t, note = term.Cut(t, p.Width), term.Cut(note, max(p.Width-term.Width(t)-2, 0))
	if p.Color {
		t, note = "\x1b[1m"+t+"\x1b[0m", "\x1b[2m"+note+"\x1b[0m"
	}
	p.b.WriteString(strings.TrimRight(string(t+"  "+note), " ") + "\n")
}

func span(ns int64) term.Text { return term.Text(unit.Duration(time.Duration(ns))) }

func count(n uint64) term.Text { return term.Text(unit.Count(n)) }

// share writes a share of wall time, which may be above 1.
func share(v float64) term.Text {
	switch percent := 100 * v; {
	case percent == 0:
		return "0%"
	case percent < 0.05:
		return "<.1%"
	case percent < 9.95:
		return term.Text(strconv.FormatFloat(percent, 'f', 1, 64)) + "%"
	default:
		return term.Text(strconv.FormatFloat(percent, 'f', 0, 64)) + "%"
	}
}

func (p *page) pages(n uint64) term.Text {
	if p.size == 0 || n > math.MaxUint64/p.size {
		return count(n) + " pages"
	}
	return term.Text(unit.Bytes(n * p.size))
}

// nothing is what a report without containers says.
const nothing = "no stall in reclaim is told of, and no page cache that was evicted"

// on says of which hosts a report is.
func (r *Report) on() string { return cmp.Or(r.Host, strings.Join(r.Hosts, ", ")) }

// lost says how many records were, by family.
func (r *Report) lost() string {
	var parts []string
	for _, family := range slices.Sorted(maps.Keys(r.Lost)) {
		parts = append(parts, family+" "+unit.Count(r.Lost[family]))
	}
	return strings.Join(parts, ", ")
}

func name(pl *Place) term.Text { return term.Clean(pl.Label) }

func (p *page) head(r *Report) {
	t := "stalls in reclaim, " + span(r.WallNS)
	if !r.Began.IsZero() {
		t += " from " + term.Text(r.Began.In(p.Location).Format("2006-01-02 15:04:05 MST"))
	}
	if on := r.on(); on != "" {
		t += " on " + term.Clean(on)
	}
	if r.Kernel != "" {
		t += ", Linux " + term.Clean(r.Kernel)
	}
	p.line(t)
	if r.Source == FromEpisodes {
		p.dim("from single reclaim and throttle events: what was too short to be told is not in it")
	}
	if len(r.Lost) > 0 {
		p.dim("records were lost (" + term.Clean(r.lost()) + "): figures are lower bounds")
	}
}

func (p *page) row(s *Stats, name term.Text) {
	p.line(p.columns(span(s.StalledNS), share(s.Share), count(s.Count), span(s.P50NS), span(s.P90NS), span(s.P99NS), span(s.MaxNS)),
		"  ", term.Elide(name, max(p.Width-p.figures(), 12)))
}

func (p *page) containers(r *Report) {
	if len(r.Containers) == 0 {
		p.line(nothing)
		return
	}
	p.b.WriteString("\n")
	p.dim(p.columns("STALLED", "SHARE", "STALLS", "P50", "P90", "P99", "MAX") + "  CONTAINER/CGROUP, AND WHY")
	for _, c := range r.Containers {
		if len(c.Kinds) == 0 && c.Kills == 0 {
			continue // it has page cache, or a part in evictions
		}
		p.row(&c.Stats, name(&c.Place))
		for _, k := range c.Kinds {
			why := term.Text("  ")
			if k.Within { // the time, and the domain, of the others
				why += "of it "
			}
			why += term.Clean(words(k.Kind))
			if k.Inferred {
				why += " (inferred)"
			}
			if k.Domain != nil && k.Domain.key() != c.key() && !k.Within {
				why += " of " + name(k.Domain)
			}
			p.row(&k.Stats, why)
		}
		if c.Kills > 0 {
			p.line(term.Right("", p.figures()), "  OOM kills: ", count(uint64(c.Kills)))
		}
	}
	p.more(r.MoreContainers, "container")
}

func (p *page) more(n int, what term.Text) {
	if n == 1 {
		p.dim("…and 1 more " + what)
	} else if n > 1 {
		p.dim("…and " + count(uint64(n)) + " more " + what + "s")
	}
}

// words says what a kind of stall is.
func words(kind string) string {
	switch kind {
	case event.ReclaimMemcgLimit:
		return "at the limit"
	case event.ReclaimMemcgHigh:
		return "over memory.high"
	case event.ReclaimMemcgProactive:
		return "reclaim on request"
	case event.ReclaimMemcgSoft:
		return "over the soft limit"
	case event.ReclaimDirect:
		return "the node is short"
	case event.ReclaimNode:
		return "a NUMA node is short"
	case event.ReclaimDirectThrottled:
		return "waiting for kswapd"
	case event.StallThrottle:
		return "put to sleep for memory.high"
	case event.StallThrottled:
		return "waiting for writeback or others"
	case event.StallCompaction:
		return "compaction"
	case event.EvictKswapd:
		return "kswapd"
	case event.EvictDAMON:
		return "DAMON"
	}
	return kind
}

func (p *page) threads(r *Report) {
	if len(r.Threads) == 0 {
		return
	}
	p.title("threads that stalled longest", "of the stalls that have events of their own")
	p.dim(term.Right("STALLED", 7) + term.Right("STALLS", 9) + term.Right("MAX", 8) + "  THREAD")
	for _, t := range r.Threads {
		who := term.Clean(cmp.Or(t.Process.Comm, "?")) + "[" + term.Text(strconv.Itoa(int(t.Process.PID))) + "]"
		if t.Process.TID != 0 && t.Process.TID != t.Process.PID {
			who += " thread " + term.Text(strconv.Itoa(int(t.Process.TID)))
		}
		p.line(term.Right(span(t.StalledNS), 7), term.Right(count(t.Count), 9), term.Right(span(t.MaxNS), 8), "  ",
			term.Left(who, p.Width/3+1), " ", term.Elide(name(&t.Place), max(p.Width-p.Width/3-28, 12)))
	}
	p.more(r.MoreThreads, "thread")
}

// cache tells whether what was evicted came back.
func (p *page) cache(r *Report) {
	told := false
	for _, c := range r.Containers {
		if c.Cache == nil && c.Thrash == nil {
			continue
		}
		if !told {
			told = true
			p.title("page cache", "")
			p.dim(p.cacheColumns("ADDED", "EVICTED", "CAME BACK", "AFTER P50", "P90") + "  CONTAINER/CGROUP")
		}
		if ch := c.Cache; ch != nil {
			back, p50, p90 := term.Text("?"), term.Text(""), term.Text("")
			if ch.Refaulted != nil {
				back = p.pages(*ch.Refaulted)
				if ch.Added > 0 {
					back += " " + term.Text(unit.Percent(min(*ch.Refaulted, ch.Added), ch.Added))
				}
			}
			if ch.AfterP50NS > 0 {
				p50, p90 = span(ch.AfterP50NS), span(ch.AfterP90NS)
			}
			figures := p.cacheColumns(p.pages(ch.Added), p.pages(ch.Evicted), back, p50, p90)
			p.line(figures, "  ", term.Elide(name(&c.Place), max(p.Width-term.Width(figures)-2, 12)))
		}
		if t := c.Thrash; t != nil {
			p.thrash(c, t)
		}
	}
}

func (p *page) cacheColumns(added, evicted, back, p50, p90 term.Text) term.Text {
	switch {
	case p.slim():
		return term.Right(added, 10) + term.Right(back, 16)
	case p.narrow():
		return term.Right(added, 10) + term.Right(evicted, 11) + term.Right(back, 16)
	}
	return term.Right(added, 10) + term.Right(evicted, 11) + term.Right(back, 16) + term.Right(p50, 11) + term.Right(p90, 8)
}

func (p *page) thrash(c *Container, t *Thrash) {
	text := "  THRASHED for " + span(t.DurationNS)
	if c.Cache == nil {
		text = "  " + name(&c.Place) + " thrashed for " + span(t.DurationNS)
	}
	if t.Sufficient != nil && t.Limit != nil {
		text += "; limit " + term.Text(unit.Bytes(*t.Limit)) + ", ~" + term.Text(unit.Bytes(*t.Sufficient)) + " would have sufficed (estimate)"
	}
	text = term.Cut(text, p.Width)
	if p.Color {
		text = "\x1b[33m" + text + "\x1b[0m"
	}
	p.b.WriteString(string(text) + "\n")
}

func (p *page) files(r *Report) {
	if len(r.Files) == 0 {
		return
	}
	p.title("files evicted most", "")
	p.dim(term.Right("EVICTED", 10) + term.Right("ADDED", 11) + "  FILE")
	for _, f := range r.Files {
		owner := term.Elide(name(&f.Owner), max(p.Width/3, 12))
		p.line(term.Right(p.pages(f.Evicted), 10), term.Right(p.pages(f.Added), 11), "  ",
			term.Elide(term.Clean(label.File(&f.File)), max(p.Width-25-term.Width(owner), 12)), "  ", owner)
	}
	p.more(r.MoreFiles, "file")
}

func (p *page) evictions(r *Report) {
	if len(r.Evictions) == 0 {
		return
	}
	p.title("who evicted whose page cache", "")
	wide := max((p.Width-12-24)/2, 12)
	p.dim(term.Right("PAGES", 10) + "  " + term.Left("EVICTED BY", wide) + " " + term.Left("FOR", 20) + " " + "PAGE CACHE OF")
	for _, e := range r.Evictions {
		by, kind := term.Text("?"), term.Clean(words(e.Kind))
		switch {
		case e.By != nil && e.By.key() == e.Owner.key():
			by = "itself"
		case e.By != nil:
			by = name(e.By)
		case e.Kind != "":
			by, kind = kind, ""
		}
		p.line(term.Right(p.pages(e.Pages), 10), "  ", term.Left(term.Elide(by, wide), wide), " ", term.Left(term.Elide(kind, 20), 20), " ",
			term.Elide(name(&e.Owner), wide))
		if e.Reparented > 0 {
			p.dim(term.Right(p.pages(e.Reparented), 10) + "  of it had been that of cgroups below, now removed")
		}
	}
	p.more(r.MoreEvictions, "pair")
}
