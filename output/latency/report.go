package latency

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Report puts together what was taken in; the Collector is done with then.
func (c *Collector) Report(o Options) *Report {
	walls := c.walls()
	r := &c.report
	from := c.episodes
	switch {
	case len(c.counted.containers) > 0:
		from, r.Source = c.counted, FromStalls
	case len(c.episodes.containers) > 0:
		r.Source = FromEpisodes
	}
	top := cmp.Or(o.Top, 10)
	all := from.containers
	r.Containers = []*Container{}
	for k, other := range c.others {
		if all[k] == nil {
			all[k] = other
			continue
		}
		all[k].Cache, all[k].Thrash, all[k].Kills = other.Cache, other.Thrash, other.Kills
	}
	for _, ct := range all {
		ct.settle(walls[ct.Host])
		if ct.Count == 0 && (ct.Cache == nil || ct.Cache.Evicted == 0) && ct.Thrash == nil && ct.Kills == 0 {
			continue // it has only read files
		}
		r.Containers = append(r.Containers, ct)
	}
	c.nameHosts(from, len(walls) > 1)
	sortContainers(r.Containers, o.Sort)
	r.Containers, r.MoreContainers = cut(r.Containers, top)
	for _, ct := range r.Containers {
		ct.Heat = ct.heat.show(maxColumns)
	}
	r.Heat = from.all.show(maxColumns)

	r.Threads, r.MoreThreads = cut(largest(c.threads, func(t *Thread) uint64 { return uint64(t.StalledNS) },
		func(t *Thread) string { return t.Place.Label + "\x00" + t.Process.Comm }), top)
	files, evictions := c.files, c.evictions
	if !c.cacheTold {
		files, evictions = c.episodeFiles, c.episodeEvictions
	}
	maps.DeleteFunc(files, func(_ fileKey, f *File) bool { return f.Evicted == 0 })
	r.Files, r.MoreFiles = cut(largest(files, func(f *File) uint64 { return f.Evicted },
		func(f *File) string { return f.Owner.Label + "\x00" + f.Path }), top)
	r.Evictions, r.MoreEvictions = cut(largest(evictions, func(e *Eviction) uint64 { return e.Pages },
		func(e *Eviction) string { return e.Owner.Label + "\x00" + e.Kind }), 2*top)
	return r
}

// nameHosts puts the hosts before the names of all places when there are
// several, and leaves them out otherwise. Keys are of no use then.
func (c *Collector) nameHosts(from *side, several bool) {
	name := func(p *Place) {
		if p == nil {
			return
		}
		if !several {
			p.Host = ""
		} else if p.Host != "" {
			p.Label = p.Host + ": " + p.Label
		}
	}
	for _, ct := range from.containers {
		name(&ct.Place)
		for _, k := range ct.Kinds {
			name(k.Domain)
		}
	}
	for _, t := range c.threads {
		name(&t.Place)
	}
	for _, files := range []map[fileKey]*File{c.files, c.episodeFiles} {
		for _, f := range files {
			name(&f.Owner)
		}
	}
	for _, evictions := range []map[evictionKey]*Eviction{c.evictions, c.episodeEvictions} {
		for _, e := range evictions {
			name(&e.Owner)
			name(e.By)
		}
	}
}

func (ct *Container) settle(wall int64) {
	ct.Stats.settle(wall)
	for _, k := range ct.kinds {
		k.settle(wall)
		k.DurationNS = list(k.buckets)
		ct.Kinds = append(ct.Kinds, k)
	}
	slices.SortFunc(ct.Kinds, func(a, b *Kind) int {
		return cmp.Or(cmp.Compare(b.StalledNS, a.StalledNS), cmp.Compare(a.Kind, b.Kind))
	})
	if ch := ct.Cache; ch != nil {
		ch.RefaultAfterNS = list(ch.after)
		ch.AfterP50NS = int64(min(event.Quantile(ch.RefaultAfterNS, 0.5), math.MaxInt64))
		ch.AfterP90NS = int64(min(event.Quantile(ch.RefaultAfterNS, 0.9), math.MaxInt64))
	}
	if t := ct.Thrash; t != nil {
		for _, ns := range t.open {
			t.DurationNS += ns // as long as it is known to have lasted
		}
	}
}

// back is the share of page cache read in that had been evicted before.
func (ch *Cache) back() float64 {
	if ch == nil || ch.Refaulted == nil || ch.Added == 0 {
		return 0
	}
	return min(float64(*ch.Refaulted)/float64(ch.Added), 1)
}

func sortContainers(all []*Container, by string) {
	evicted := func(c *Container) uint64 {
		if c.Cache == nil {
			return 0
		}
		return c.Cache.Evicted
	}
	compare := map[string]func(a, b *Container) int{
		"count":    func(a, b *Container) int { return cmp.Compare(b.Count, a.Count) },
		"p99":      func(a, b *Container) int { return cmp.Compare(b.P99NS, a.P99NS) },
		"max":      func(a, b *Container) int { return cmp.Compare(b.MaxNS, a.MaxNS) },
		"refaults": func(a, b *Container) int { return cmp.Compare(b.Cache.back(), a.Cache.back()) },
		"evicted":  func(a, b *Container) int { return cmp.Compare(evicted(b), evicted(a)) },
		"name":     func(a, b *Container) int { return cmp.Compare(a.Label, b.Label) },
	}[by]
	slices.SortFunc(all, func(a, b *Container) int {
		first := 0
		if compare != nil {
			first = compare(a, b)
		}
		return cmp.Or(first, cmp.Compare(b.StalledNS, a.StalledNS), cmp.Compare(evicted(b), evicted(a)), cmp.Compare(a.key(), b.key()))
	})
}

// largest lists values, the largest first.
func largest[K comparable, V any](all map[K]*V, size func(*V) uint64, name func(*V) string) []*V {
	return slices.SortedFunc(maps.Values(all), func(a, b *V) int {
		return cmp.Or(cmp.Compare(size(b), size(a)), cmp.Compare(name(a), name(b)))
	})
}

func sortedSizes[K comparable, V any](all map[K]*V, size func(*V) uint64) []uint64 {
	var out []uint64
	for _, v := range all {
		out = append(out, size(v))
	}
	slices.Sort(out)
	return out
}

func cut[T any](list []T, n int) ([]T, int) {
	if len(list) <= n {
		return list, 0
	}
	return list[:n], len(list) - n
}
