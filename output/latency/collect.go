package latency

import (
	"cmp"
	"maps"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// Streams are untrusted and may be long: so many entries are kept of each kind.
// When there are more, the smaller half goes.
const (
	maxContainers = 16384
	maxEntries    = 16384
)

type (
	kindKey   struct{ domain, kind string }
	threadKey struct {
		host  string
		tid   int32
		start int64
	}
	fileKey struct {
		owner, dev string
		inode      uint64
	}
	evictionKey struct{ owner, by, kind string }
)

// side is the stalls from one of two sources.
type side struct {
	containers map[string]*Container
	all        *heat
}

func newSide() *side { return &side{make(map[string]*Container), newHeat()} }

// Collector takes events in and puts a Report together.
type Collector struct {
	report    Report
	counted   *side // from stalls events
	episodes  *side // from reclaim and throttle events
	others    map[string]*Container
	threads   map[threadKey]*Thread
	files     map[fileKey]*File
	evictions map[evictionKey]*Eviction
	// The same from episodes, for streams without cache events.
	episodeFiles     map[fileKey]*File
	episodeEvictions map[evictionKey]*Eviction
	cacheTold        bool

	streams map[int]*stream
	at      *stream // the one at hand
	spans   map[string][]period
	pages   int // bytes; -1 where hosts differ
}

// New returns an empty Collector.
func New() *Collector {
	c := &Collector{
		counted: newSide(), episodes: newSide(), others: make(map[string]*Container), threads: make(map[threadKey]*Thread),
		files: make(map[fileKey]*File), evictions: make(map[evictionKey]*Eviction),
		episodeFiles: make(map[fileKey]*File), episodeEvictions: make(map[evictionKey]*Eviction),
		streams: make(map[int]*stream), spans: make(map[string][]period),
	}
	c.From(0, "")
	return c
}

// Live takes in a trace as it happens: wall time counts from its header,
// however long nothing happens then.
func (c *Collector) Live(e event.Event) {
	c.Add(e)
	if h, ok := e.(*event.Header); ok {
		c.span(h.Time, 0)
	}
}

// Add takes in one event. A header begins another span of time, unless it is
// that of the stream at hand: captures of one host may be added one behind the
// other.
func (c *Collector) Add(e event.Event) {
	at := e.Head().Time
	switch e := e.(type) {
	case *event.Header:
		if !c.at.head.IsZero() && e.Time.Equal(c.at.head) {
			return // it stands at the head of each segment
		}
		c.endSpan(c.at)
		c.at.head, c.at.host = e.Time, e.Host
		c.report.Kernel = cmp.Or(c.report.Kernel, e.Kernel)
		if c.pages = cmp.Or(c.pages, e.PageBytes); c.pages != e.PageBytes && e.PageBytes != 0 {
			c.pages = -1
		}
	case *event.Stalls:
		c.span(at, e.IntervalNS)
		c.stalls(e)
	case *event.Reclaim:
		c.span(at, e.DurationNS)
		c.reclaim(e)
	case *event.Throttle:
		c.span(at, e.DurationNS)
		c.episode(&e.Meta, &e.Process, e.Cgroup, e.Container, e.Domain, event.StallThrottle, e.DurationNS)
	case *event.Kswapd:
		c.span(at, e.DurationNS)
		c.evicted(e.Evicted, nil, nil, event.EvictKswapd)
	case *event.Cache:
		c.span(at, e.IntervalNS)
		c.cache(e)
	case *event.Thrash:
		c.span(at, e.DurationNS)
		c.thrash(e)
	case *event.MemorySample, *event.CgroupChange:
		c.span(at, 0)
	case *event.Lost:
		c.span(at, 0)
		c.at.lost[e.Family] += e.Count
	case *event.OOMKill:
		c.span(at, 0)
		if e.Victim.Cgroup != nil {
			c.other(e.Victim.Cgroup, e.Victim.Container).Kills++
		}
	case *event.Summary:
		c.span(at, 0)
		for family, n := range e.Lost { // told one by one before, unless that is lost too
			c.at.lost[family] = max(c.at.lost[family], n)
		}
	}
}

func (c *Collector) place(g *event.Cgroup, ct *event.Container) Place {
	p := Place{Host: c.at.host, Cgroup: g, Container: ct, Label: label.Place(ct, g)}
	if p.Label == "" {
		p.Label = "(no cgroup)"
	}
	return p
}

// key tells containers apart. A container may have several cgroups.
func (p *Place) key() string {
	switch {
	case p.Container != nil && p.Container.ID != "":
		return p.Host + "\x00container " + p.Container.ID
	case p.Cgroup != nil && p.Cgroup.Path != "":
		return p.Host + "\x00" + p.Cgroup.Path
	}
	return p.Host + "\x00named " + p.Label
}

func (c *Collector) domain(d *event.Domain) *Place {
	if d == nil {
		return nil
	}
	p := c.place(&d.Cgroup, d.Container)
	return &p
}

func of(all map[string]*Container, p Place) *Container {
	k := p.key()
	if all[k] == nil {
		if len(all) >= maxContainers {
			shrink(all, (*Container).weight)
		}
		all[k] = &Container{Place: p, kinds: make(map[kindKey]*Kind), heat: newHeat()}
	}
	return all[k]
}

func (c *Collector) other(g *event.Cgroup, ct *event.Container) *Container {
	return of(c.others, c.place(g, ct))
}

// weight says which containers are kept when there are too many.
func (ct *Container) weight() uint64 {
	n := uint64(ct.StalledNS) + ct.Count + uint64(ct.Kills)
	if ct.Cache != nil {
		n += ct.Cache.Evicted
	}
	return n
}

// shrink drops the smaller half of what is kept.
func shrink[K comparable, V any](all map[K]*V, size func(*V) uint64) {
	sizes := sortedSizes(all, size)
	half := len(sizes) / 2
	middle := sizes[half]
	maps.DeleteFunc(all, func(_ K, v *V) bool { return size(v) < middle })
	maps.DeleteFunc(all, func(_ K, v *V) bool { return len(all) > half && size(v) == middle })
}

// kind gives where stalls of one kind are added up.
func (ct *Container) kind(kind string, domain *Place) *Kind {
	k := kindKey{kind: kind}
	if domain != nil {
		k.domain = domain.key()
	}
	if ct.kinds[k] == nil {
		if len(ct.kinds) >= 64 {
			k, domain = kindKey{kind: "other"}, nil
		}
		if ct.kinds[k] == nil {
			ct.kinds[k] = &Kind{Kind: k.kind, Domain: domain, Within: kind == event.StallThrottled}
		}
	}
	return ct.kinds[k]
}

func (c *Collector) stalls(e *event.Stalls) {
	ct := of(c.counted.containers, c.place(e.Cgroup, e.Container))
	k := ct.kind(e.Kind, c.domain(e.Domain))
	if e.Scanned != nil {
		k.Scanned += *e.Scanned
	}
	if e.Reclaimed != nil {
		k.Reclaimed += *e.Reclaimed
	}
	k.add(e.Count, e.TotalNS, e.MaxNS, e.DurationNS)
	if k.Within {
		return
	}
	ct.add(e.Count, e.TotalNS, e.MaxNS, e.DurationNS)
	middle := e.Time.Add(time.Duration(max(e.IntervalNS, 0) / 2))
	for _, h := range []*heat{ct.heat, c.counted.all} {
		h.add(middle, e.DurationNS, e.TotalNS)
	}
}

func (c *Collector) reclaim(e *event.Reclaim) {
	k := c.episode(&e.Meta, &e.Process, e.Cgroup, e.Container, e.Domain, e.Kind, e.DurationNS)
	k.Reclaimed += e.Reclaimed
	if e.Scanned != nil {
		k.Scanned += *e.Scanned
	}
	k.Inferred = k.Inferred || e.KindSource != ""
	c.evicted(e.Evicted, e.Cgroup, e.Container, e.Kind)
}

// episode takes in one stall that has an event of its own.
func (c *Collector) episode(m *event.Meta, p *event.Process, g *event.Cgroup, container *event.Container, d *event.Domain, kind string, ns int64) *Kind {
	ns = max(ns, 0)
	ct := of(c.episodes.containers, c.place(g, container))
	bucket := []event.Bucket{{UpTo: bucketEnd(uint64(ns)), Count: 1}}
	k := ct.kind(kind, c.domain(d))
	k.add(1, ns, ns, bucket)
	ct.add(1, ns, ns, bucket)
	end := m.Time.Add(time.Duration(ns)) // where a count would have it
	for _, h := range []*heat{ct.heat, c.episodes.all} {
		h.add(end, bucket, ns)
	}
	id := threadKey{c.at.host, cmp.Or(p.TID, p.PID), p.StartTimeNS}
	t := c.threads[id]
	if t == nil {
		if len(c.threads) >= maxEntries {
			shrink(c.threads, func(t *Thread) uint64 { return uint64(t.StalledNS) })
		}
		t = &Thread{Place: ct.Place}
		c.threads[id] = t
	}
	t.Process = *p
	t.Count++
	t.StalledNS += ns
	t.MaxNS = max(t.MaxNS, ns)
	return k
}

func (c *Collector) evicted(list []event.Evicted, g *event.Cgroup, container *event.Container, kind string) {
	for _, v := range list {
		owner := c.place(v.Cgroup, v.Container)
		if v.File != nil {
			addFile(c.episodeFiles, owner, *v.File, 0, v.Pages)
		}
		c.addEviction(c.episodeEvictions, owner, g, container, kind, v.Pages, v.Reparented)
	}
}

func addFile(all map[fileKey]*File, owner Place, f event.File, added, evicted uint64) {
	k := fileKey{owner.key(), f.Dev, f.Inode}
	if all[k] == nil {
		if len(all) >= maxEntries {
			shrink(all, func(f *File) uint64 { return f.Evicted + f.Added })
		}
		all[k] = &File{Owner: owner}
	}
	if f.Path != "" || all[k].Inode == 0 {
		all[k].File = f
	}
	all[k].Added += added
	all[k].Evicted += evicted
}

func (c *Collector) addEviction(all map[evictionKey]*Eviction, owner Place, g *event.Cgroup, container *event.Container, kind string, pages, reparented uint64) {
	var by *Place
	k := evictionKey{owner: owner.key(), kind: kind}
	if g != nil || container != nil {
		p := c.place(g, container)
		by, k.by = &p, p.key()
	}
	if all[k] == nil {
		if len(all) >= maxEntries {
			shrink(all, func(e *Eviction) uint64 { return e.Pages })
		}
		all[k] = &Eviction{Owner: owner, By: by, Kind: kind}
	}
	all[k].Pages += pages
	all[k].Reparented += reparented
}

func (c *Collector) cache(e *event.Cache) {
	c.cacheTold = true
	ct := c.other(e.Cgroup, e.Container)
	if ct.Cache == nil {
		ct.Cache = &Cache{after: make(map[uint64]uint64)}
	}
	ch := ct.Cache
	ch.Added += e.Added
	ch.Evicted += e.Evicted
	if e.Refaulted != nil {
		n := *e.Refaulted
		if ch.Refaulted != nil {
			n += *ch.Refaulted
		}
		ch.Refaulted = &n
	}
	ch.Sampling = cmp.Or(ch.Sampling, e.RefaultSampling)
	addBuckets(ch.after, e.RefaultAfterNS)
	for _, f := range e.Files {
		addFile(c.files, ct.Place, f.File, f.Added, f.Evicted)
	}
	for _, v := range e.EvictedBy {
		kind := v.Kind
		if kind == "" && v.Kswapd {
			kind = event.EvictKswapd
		}
		c.addEviction(c.evictions, ct.Place, v.Cgroup, v.Container, kind, v.Pages, v.Reparented)
	}
	if e.EvictedByOtherPages > 0 {
		c.addEviction(c.evictions, ct.Place, nil, nil, "others", e.EvictedByOtherPages, 0)
	}
}

func (c *Collector) thrash(e *event.Thrash) {
	ct := c.other(&e.Cgroup, e.Container)
	if ct.Thrash == nil {
		ct.Thrash = &Thrash{open: make(map[uint64]int64)}
	}
	t := ct.Thrash
	if e.State != event.StateEnd {
		t.Times++
		if len(t.open) < maxContainers {
			t.open[e.Cgroup.ID] = e.DurationNS
		}
	} else {
		if _, begun := t.open[e.Cgroup.ID]; !begun {
			t.Times++ // it began before the stream did
		}
		delete(t.open, e.Cgroup.ID)
		t.DurationNS += e.DurationNS
		t.Refaulted += e.Refaulted
	}
	if e.Sufficient != nil && (t.Sufficient == nil || *e.Sufficient > *t.Sufficient) {
		t.Sufficient, t.Limit = e.Sufficient, e.Limit
	}
}
