package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// What a story holds at most.
const (
	maxCourses = 64  // while it is built
	maxTold    = 12  // in the story
	maxSamples = 512 // of one cgroup
	maxPairs   = 4096
	maxFiles   = 4096
	maxStacks  = 1024
	maxLines   = 400 // of the kernel log
	maxOthers  = 100
	maxLost    = 100
	topPairs   = 40
	topFiles   = 10
	topStacks  = 5
	topWho     = 12
)

// builder puts one story together from the events around its kill.
type builder struct {
	s       *Story
	kill    *event.OOMKill
	from    time.Time // where the window begins
	seen    bool      // anything besides the kill
	last    int64     // offset of the last thing seen
	domain  *event.Cgroup
	courses map[uint64]*Course
	step    map[uint64]int // of samples, one in so many is kept
	nth     map[uint64]int
	left    int // cgroups that were too many

	kinds  map[string]*Kind
	who    map[uint64]*Who
	cells  map[[2]int]*Cell
	stacks map[string]*Stack
	grown  map[string]*Stack // of page faults
	width  int64

	fromCache, fromReclaim evictions
	added, evicted         uint64
	refaulted              *uint64
	traffic                bool
	moments                []Moment // for the timeline, beside those of the kill
}

func newBuilder(p *pending, from string) *builder {
	k := p.kill
	b := &builder{
		s:    &Story{Type: "report", Schema: Schema, Incident: k.Incident, From: from, Header: p.header, Kill: k, End: p.end},
		kill: k, from: p.begin(), domain: k.Domain.Cgroup,
		courses: make(map[uint64]*Course), step: make(map[uint64]int), nth: make(map[uint64]int),
		kinds: make(map[string]*Kind), who: make(map[uint64]*Who), cells: make(map[[2]int]*Cell), stacks: make(map[string]*Stack), grown: make(map[string]*Stack),
	}
	b.width = columnWidth(k.Time.Sub(b.from))
	if p.dropped.After(k.Time.Add(-before)) {
		at := b.offset(p.dropped)
		b.s.Window = &Window{StallsFromNS: &at}
	}
	return b
}

// offset is a moment's, from the kill's.
func (b *builder) offset(t time.Time) int64 { return int64(t.Sub(b.kill.Time)) }

// log takes a line of the kernel's log.
func (b *builder) log(e *event.Kmsg) {
	if len(b.s.Log) == maxLines {
		b.s.LogLeft++
		return
	}
	l := LogLine{Level: e.Level, Text: e.Text, nth: e.Sequence}
	if !e.Time.IsZero() {
		l.Time = &e.Time
	}
	b.s.Log = append(b.s.Log, l)
}

// add takes an event of the window; others are passed over.
func (b *builder) add(e event.Event) {
	if k, ok := e.(*event.Kmsg); ok {
		if k.Incident == b.s.Incident {
			b.log(k)
		}
		return
	}
	at := e.Head().Time
	if b.kill.Time.IsZero() || at.IsZero() || endOf(e).Before(b.from) || at.Sub(b.kill.Time) > after {
		return
	}
	switch e := e.(type) {
	case *event.MemorySample:
		b.sample(e)
	case *event.Reclaim:
		if b.concerns(e.Cgroup) || e.Domain != nil && b.concerns(&e.Domain.Cgroup) || b.everywhere() {
			b.stall(at, e.Kind, e.Cgroup, e.Container, e.DurationNS)
			b.stalls().Reclaimed += e.Reclaimed
			b.stack(e)
			b.note(at, &e.Process, e.Kind, e.DurationNS, e.Reclaimed)
		}
		b.fromReclaim.episode(b, Party{Cgroup: e.Cgroup, Container: e.Container}, e.Evicted)
	case *event.Throttle:
		if b.concerns(e.Cgroup) || e.Domain != nil && b.concerns(&e.Domain.Cgroup) || b.everywhere() {
			b.stall(at, event.TypeThrottle, e.Cgroup, e.Container, e.DurationNS)
		}
	case *event.Stalls:
		b.count(e)
	case *event.Kswapd:
		b.fromReclaim.episode(b, Party{Kswapd: true}, e.Evicted)
	case *event.Cache:
		b.cache(e)
	case *event.Profile:
		if b.concerns(e.Cgroup) || b.everywhere() {
			b.faults(e)
		}
	case *event.Lost:
		if len(b.s.Lost) < maxLost {
			b.s.Lost = append(b.s.Lost, e)
		}
	case *event.OOMPause:
		if b.concerns(&e.Cgroup) && len(b.moments) < maxOthers {
			b.pause(e)
		}
	case *event.Thrash:
		if (b.concerns(&e.Cgroup) || b.everywhere()) && len(b.moments) < maxOthers {
			b.thrash(e)
		}
	case *event.OOMKill:
		if e.Incident != b.s.Incident && len(b.s.Others) < maxOthers {
			b.s.Others = append(b.s.Others, Other{b.offset(at), e.Incident, e.Victim.Actor, e.Domain.Cgroup, e.Domain.Container})
		}
	}
}

// everywhere reports whether the whole node ran out, so that all cgroups are
// concerned.
func (b *builder) everywhere() bool { return b.kill.Domain.Constraint != event.ConstraintMemcg }

// concerns reports whether a cgroup lies in the domain.
func (b *builder) concerns(g *event.Cgroup) bool {
	return g != nil && b.domain != nil && (same(g, b.domain) || event.Below(g.Path, b.domain.Path))
}

func same(a, b *event.Cgroup) bool {
	if a.ID != 0 && b.ID != 0 {
		return a.ID == b.ID
	}
	return a.Path != "" && a.Path == b.Path
}

func (b *builder) saw(at int64) {
	b.seen = true
	b.last = max(b.last, at)
}

// pause tells of tasks that waited because the OOM killer was off.
func (b *builder) pause(e *event.OOMPause) {
	at := b.offset(e.Time)
	where := called(place(e.Container, &e.Cgroup))
	t := say("tasks of ", where, " begin to wait: it is full, and its OOM killer is off")
	if e.State == event.PauseEnd {
		if e.DurationNS != nil {
			at += *e.DurationNS
		}
		t = say("tasks of ", where, " wait no more")
		if e.Ended != "" {
			t = say(t, ": ", called(e.Ended))
		}
	}
	b.moments = append(b.moments, Moment{OffsetNS: at, Text: t})
}

// thrash tells of page cache that comes back as fast as it is evicted.
func (b *builder) thrash(e *event.Thrash) {
	at := b.offset(e.Time)
	where := called(place(e.Container, &e.Cgroup))
	t := say("the page cache of ", where, " begins to thrash: what is evicted is read again")
	if e.State == event.StateEnd {
		at += e.DurationNS
		t = say(where, " thrashes no more; ", b.s.pages(e.Refaulted), " were read again")
	}
	b.moments = append(b.moments, Moment{OffsetNS: at, Text: t})
}

func (b *builder) sample(e *event.MemorySample) {
	role := RoleNode
	victim := b.kill.Victim.Cgroup
	switch {
	case b.domain != nil && same(&e.Cgroup, b.domain):
		role = RoleDomain
	case victim != nil && same(&e.Cgroup, victim):
		role = RoleVictim
	case b.concerns(&e.Cgroup):
		role = RoleBelow
	case !b.everywhere():
		return
	}
	id := e.Cgroup.ID
	c := b.courses[id]
	if c == nil {
		if len(b.courses) == maxCourses && role != RoleDomain && role != RoleVictim {
			b.left++
			return
		}
		c = &Course{Cgroup: e.Cgroup, Container: e.Container, Role: role}
		b.courses[id], b.step[id] = c, 1
	}
	if c.Container == nil {
		c.Container = e.Container
	}
	at := b.offset(e.Time)
	b.saw(at)
	if b.nth[id]++; (b.nth[id]-1)%b.step[id] != 0 {
		return
	}
	if len(c.Samples) == maxSamples {
		// Every second one goes, and from now on comes only so often.
		half := c.Samples[:0]
		for i := 0; i < maxSamples; i += 2 {
			half = append(half, c.Samples[i])
		}
		c.Samples = half
		b.step[id] *= 2
	}
	c.Samples = append(c.Samples, Sample{at, e.Memory})
}

func (b *builder) stalls() *Stalls {
	if b.s.Stalls == nil {
		b.s.Stalls = &Stalls{WidthNS: b.width}
	}
	return b.s.Stalls
}

func (b *builder) stall(at time.Time, kind string, g *event.Cgroup, c *event.Container, ns int64) {
	ns = max(ns, 0)
	s := b.stalls()
	s.Episodes++
	s.StalledNS += ns
	began := b.offset(at)
	b.saw(min(began+ns, int64(after)))

	k := b.kinds[kind]
	if k == nil {
		if len(b.kinds) == 16 {
			kind = "other"
			k = b.kinds[kind]
		}
		if k == nil {
			k = &Kind{Kind: kind}
			b.kinds[kind] = k
		}
	}
	k.Episodes++
	k.StalledNS += ns

	var id uint64
	if g != nil {
		id = g.ID
	}
	w := b.who[id]
	if w == nil && len(b.who) < 1024 {
		w = &Who{Cgroup: g, Container: c}
		b.who[id] = w
	}
	if w != nil {
		w.Episodes++
		w.StalledNS += ns
	}

	began = max(began, b.offset(b.from)) // one may have begun before the window
	row, col := rowOf(ns), floorDiv(began, b.width)
	cell := b.cells[[2]int{col, row}]
	if cell == nil {
		cell = &Cell{OffsetNS: int64(col) * b.width, FromNS: rowBounds[row], row: row, col: col}
		b.cells[[2]int{col, row}] = cell
	}
	cell.Episodes++
	cell.StalledNS += ns
}

// note remembers the longest stall.
func (b *builder) note(at time.Time, p *event.Process, kind string, ns int64, reclaimed uint64) {
	s := b.stalls()
	if began := b.offset(at); s.Longest == nil || ns > s.longest {
		s.longest = ns
		s.Longest = &Moment{OffsetNS: began, Text: say("the longest stall begins: ", process(p), " for ", lasting(ns), ", ", reason(kind), b.freed(reclaimed))}
	}
}

func (b *builder) freed(pages uint64) string {
	if pages == 0 {
		return "; it freed nothing"
	}
	return "; it freed " + b.s.pages(pages)
}

// pages writes an amount of pages as a size where their size is known.
func (s *Story) pages(n uint64) string {
	if s.Header != nil && s.Header.PageBytes > 0 && n < 1<<40 {
		return size(n * uint64(s.Header.PageBytes))
	}
	return counted(n, "page")
}

func (b *builder) stack(e *event.Reclaim) {
	if len(e.Stack) == 0 {
		return
	}
	key := strings.Join(e.Stack, "\n")
	s := b.stacks[key]
	if s == nil {
		if len(b.stacks) == maxStacks {
			return
		}
		s = &Stack{Of: "stalls", Frames: e.Stack}
		b.stacks[key] = s
	}
	s.Episodes++
	s.StalledNS += max(e.DurationNS, 0)
}

func (b *builder) cache(e *event.Cache) {
	mine := b.concerns(e.Cgroup) || b.everywhere()
	if mine {
		b.traffic = true
		b.saw(min(b.offset(endOf(e)), int64(after)))
		b.added += e.Added
		b.evicted += e.Evicted
		if e.Refaulted != nil {
			if b.refaulted == nil {
				b.refaulted = new(uint64)
			}
			*b.refaulted += *e.Refaulted
		}
		for _, f := range e.Files {
			b.fromCache.file(f.File, f.Evicted, f.Added)
		}
	}
	owner := Party{Cgroup: e.Cgroup, Container: e.Container}
	for _, by := range e.EvictedBy {
		if mine || b.concerns(by.Cgroup) {
			b.fromCache.pair(Party{by.Kswapd, by.Cgroup, by.Container}, owner, by.Pages, by.Reparented)
		}
	}
	if mine {
		b.fromCache.other += e.EvictedByOtherPages
	}
}

// finish gives the story. The builder is not used any more.
func (b *builder) finish(unread int) *Story {
	s := b.s
	s.Unread = unread
	b.window()
	b.memory()
	if st := s.Stalls; st != nil {
		st.Kinds = sorted(b.kinds, func(a, b Kind) int {
			return cmp.Or(cmp.Compare(b.StalledNS, a.StalledNS), cmp.Compare(a.Kind, b.Kind))
		})
		st.Sufferers = sorted(b.who, func(a, b Who) int {
			return cmp.Or(cmp.Compare(b.StalledNS, a.StalledNS), cmp.Compare(a.Episodes, b.Episodes),
				Party{Cgroup: a.Cgroup}.key().compare(Party{Cgroup: b.Cgroup}.key()))
		})
		st.Sufferers = st.Sufferers[:min(len(st.Sufferers), topWho)]
		st.Cells = sorted(b.cells, func(a, b Cell) int {
			return cmp.Or(cmp.Compare(a.col, b.col), cmp.Compare(a.row, b.row))
		})
	}
	b.evictions()
	slices.SortStableFunc(s.Log, func(a, b LogLine) int { return cmp.Compare(a.nth, b.nth) })
	if stack := b.kill.Trigger.Stack; len(stack) > 0 {
		s.Stacks = append(s.Stacks, Stack{Of: "trigger", Frames: stack})
	}
	stacks := sorted(b.stacks, func(a, b Stack) int {
		return cmp.Or(cmp.Compare(b.StalledNS, a.StalledNS), slices.Compare(a.Frames, b.Frames))
	})
	s.Stacks = append(s.Stacks, stacks[:min(len(stacks), topStacks)]...)
	grown := sorted(b.grown, func(a, b Stack) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Comm, b.Comm), slices.Compare(a.Frames, b.Frames))
	})
	s.Stacks = append(s.Stacks, grown[:min(len(grown), topStacks)]...)
	s.Timeline = s.moments(b.moments)
	s.Title, s.Lines = s.title(), s.lines()
	s.Advice = s.advice()
	return s
}

// window settles which stretch of time the story is about.
func (b *builder) window() {
	if !b.seen && len(b.s.Others) == 0 {
		b.s.Window = nil
		return
	}
	if b.s.Window == nil {
		b.s.Window = &Window{}
	}
	b.s.Window.FromNS = b.offset(b.from)
	b.s.Window.ToNS = min(max(b.last, 0), int64(after))
}

// memory puts the courses in their order: the domain, the victim's, then those
// that held most in the end.
func (b *builder) memory() {
	all := slices.Collect(maps.Values(b.courses))
	rank := map[string]int{RoleDomain: 0, RoleVictim: 1, RoleBelow: 2, RoleNode: 2}
	held := func(c *Course) uint64 {
		if u := c.Samples[len(c.Samples)-1].Memory.Usage; u != nil {
			return *u
		}
		return 0
	}
	for _, c := range all {
		slices.SortStableFunc(c.Samples, func(a, b Sample) int { return cmp.Compare(a.OffsetNS, b.OffsetNS) })
	}
	slices.SortFunc(all, func(a, b *Course) int {
		return cmp.Or(cmp.Compare(rank[a.Role], rank[b.Role]), cmp.Compare(held(b), held(a)), cmp.Compare(a.Cgroup.Path, b.Cgroup.Path), cmp.Compare(a.Cgroup.ID, b.Cgroup.ID))
	})
	b.s.Memory = all[:min(len(all), maxTold)]
	b.s.CgroupsLeft = b.left + len(all) - len(b.s.Memory)
}

// sorted gives the values of a map in an order.
func sorted[K comparable, V any](m map[K]*V, order func(a, b V) int) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, order)
	return out
}
