package report

import (
	"cmp"
	"slices"

	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// evictions adds up who pushed out whose page cache.
type evictions struct {
	pairs map[pairKey]*Eviction
	files map[event.File]*EvictedFile
	other uint64 // pages of pairs that were too many
	total uint64
	// reparented are those of total that had been a removed cgroup's.
	reparented uint64
}

type pairKey struct{ by, owner partyKey }

type partyKey struct {
	kswapd bool
	id     uint64
	path   string
}

func (p Party) key() partyKey {
	k := partyKey{kswapd: p.Kswapd}
	if p.Cgroup != nil {
		if k.id = p.Cgroup.ID; k.id == 0 {
			k.path = p.Cgroup.Path
		}
	}
	return k
}

func (k partyKey) compare(l partyKey) int {
	return cmp.Or(cmp.Compare(k.id, l.id), cmp.Compare(k.path, l.path))
}

// Name is what people call the party.
func (p Party) Name() string {
	if p.Kswapd {
		return "kswapd"
	}
	return cmp.Or(place(p.Container, p.Cgroup), "no cgroup")
}

func (e *evictions) pair(by, owner Party, pages, reparented uint64) {
	if pages == 0 {
		return
	}
	e.total += pages
	e.reparented += reparented
	key := pairKey{by.key(), owner.key()}
	p := e.pairs[key]
	if p == nil {
		if len(e.pairs) == maxPairs {
			e.other += pages
			return
		}
		if e.pairs == nil {
			e.pairs = make(map[pairKey]*Eviction)
		}
		p = &Eviction{By: by, Owner: owner}
		e.pairs[key] = p
	}
	p.Pages += pages
	p.Reparented += reparented
}

func (e *evictions) file(f event.File, evicted, added uint64) {
	key := f
	key.Path = ""
	one := e.files[key]
	if one == nil {
		if len(e.files) == maxFiles {
			return
		}
		if e.files == nil {
			e.files = make(map[event.File]*EvictedFile)
		}
		one = &EvictedFile{File: f}
		e.files[key] = one
	}
	one.Path = cmp.Or(one.Path, f.Path)
	one.Evicted += evicted
	one.Added += added
}

// episode takes what one run of reclaim pushed out, as far as it concerns the
// domain: its own cache, or others' by its tasks.
func (e *evictions) episode(b *builder, by Party, evicted []event.Evicted) {
	for _, v := range evicted {
		if b.concerns(v.Cgroup) || b.concerns(by.Cgroup) || b.everywhere() {
			e.pair(by, Party{Cgroup: v.Cgroup, Container: v.Container}, v.Pages, v.Reparented)
			if v.File != nil {
				e.file(*v.File, v.Pages, 0)
			}
		}
	}
}

// evictions settles which source the story has its figures from: intervals count
// everything, episodes only what they tell, and the two must not be added up.
func (b *builder) evictions() {
	from, t := &b.fromCache, &Traffic{Source: event.TypeCache}
	switch {
	case b.traffic:
		t.Added, t.Evicted, t.Refaulted = b.added, b.evicted, b.refaulted
	case b.fromReclaim.total > 0:
		from, t.Source = &b.fromReclaim, event.TypeReclaim
		t.Evicted = from.total
	default:
		return
	}
	t.Pairs = sorted(from.pairs, func(a, b Eviction) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(a.By.Name(), b.By.Name()), cmp.Compare(a.Owner.Name(), b.Owner.Name()),
			a.By.key().compare(b.By.key()), a.Owner.key().compare(b.Owner.key()))
	})
	t.OtherPages, t.Reparented = from.other, from.reparented
	for _, p := range t.Pairs[min(len(t.Pairs), topPairs):] {
		t.OtherPages += p.Pages
	}
	t.Pairs = t.Pairs[:min(len(t.Pairs), topPairs)]
	files := sorted(from.files, func(a, b EvictedFile) int {
		return cmp.Or(cmp.Compare(b.Evicted, a.Evicted), cmp.Compare(label.File(&a.File), label.File(&b.File)),
			cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Inode, b.Inode))
	})
	files = slices.DeleteFunc(files, func(f EvictedFile) bool { return f.Evicted == 0 })
	t.Files = files[:min(len(files), topFiles)]
	b.s.Cache = t
}

// place is the name by which people know a cgroup.
func place(c *event.Container, g *event.Cgroup) string { return label.Place(c, g) }
