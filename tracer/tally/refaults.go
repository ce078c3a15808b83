package tally

import (
	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
)

// Sampling: of this many pages of a file one is followed from its eviction to
// its return (bpf/refault.h).
const Sampling = 256

// Return is the sampled pages of one owner that came back between two readings,
// after reclaim for one domain had evicted them.
type Return struct {
	Domain   uint64    // 0: not one cgroup, or not known
	After    Histogram // in TimeUnit
	Distance Histogram // in sampled pages that were evicted for the domain meanwhile
}

// Returns is what sampling saw of one owner's page cache between two readings.
type Returns struct {
	Added    uint64 // sampled pages, those that came back included
	ByDomain []Return
}

// Refaults reads what came back after eviction.
type Refaults struct {
	maps map[string]*ebpf.Map
	last map[bpf.CoreRefaultKey]*bpf.CoreRefaultCounts
}

// NewRefaults reads from the maps of an attached session.
func NewRefaults(maps map[string]*ebpf.Map) *Refaults {
	return &Refaults{maps: maps, last: make(map[bpf.CoreRefaultKey]*bpf.CoreRefaultCounts)}
}

// Read gives what was seen since the last Read, by owner. Beside an error is
// what could be read.
func (r *Refaults) Read() (map[uint64]*Returns, error) {
	out := make(map[uint64]*Returns)
	of := func(owner uint64) *Returns {
		if out[owner] == nil {
			out[owner] = &Returns{}
		}
		return out[owner]
	}
	err := each(r.maps["refaults"], func(k bpf.CoreRefaultKey, v bpf.CoreRefaultCounts) {
		last := r.last[k]
		if last == nil {
			last = new(bpf.CoreRefaultCounts)
			r.last[k] = last
		}
		if added := rise(&last.Added, v.Added); added > 0 {
			of(k.Owner).Added += added
		}
		after := Histogram(v.After[:]).since(last.After[:])
		distance := Histogram(v.Distance[:]).since(last.Distance[:])
		if after != nil {
			of(k.Owner).ByDomain = append(of(k.Owner).ByDomain, Return{k.Domain, after, distance})
		}
	})
	return out, err
}

// Away is how many sampled pages that were evicted for a domain have not come
// back, since the session began; 0 when that is not known.
func (r *Refaults) Away(domain uint64) uint64 {
	var c bpf.CoreEvictionClock
	if err := r.maps["eviction_clocks"].Lookup(domain, &c); err != nil {
		return 0
	}
	return uint64(max(c.Away, 0))
}

// Forget frees what is kept of cgroups that are gone, here and in the kernel.
func (r *Refaults) Forget(gone func(cgroup uint64) bool) {
	for key := range r.last {
		if gone(key.Owner) || gone(key.Domain) {
			delete(r.last, key)
			_ = r.maps["refaults"].Delete(key)
		}
		if gone(key.Domain) {
			_ = r.maps["eviction_clocks"].Delete(key.Domain)
		}
	}
}
