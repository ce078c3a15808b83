package tally

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
)

// Sample is how often the same stacks of one process were met.
type Sample struct {
	Key bpf.CoreSampleKey
	bpf.CoreSample
}

// Profile reads the samples of page faults.
type Profile struct {
	slot *ebpf.Map // holds the map that the programs count in
	spec *ebpf.MapSpec
	live *ebpf.Map
}

// NewProfile gives the programs of an attached session a map to count in; until
// then they count nothing.
func NewProfile(maps map[string]*ebpf.Map) (*Profile, error) {
	spec, err := bpf.LoadProfile()
	if err != nil {
		return nil, fmt.Errorf("read object profile: %w", err)
	}
	p := &Profile{slot: maps["samples"], spec: spec.Maps["samples"].InnerMap}
	p.live, err = p.swap()
	return p, err
}

// swap hands a fresh map to the programs. When it returns none of them uses the
// one before any more.
func (p *Profile) swap() (*ebpf.Map, error) {
	fresh, err := ebpf.NewMap(p.spec)
	if err != nil {
		return nil, fmt.Errorf("map samples: %w", err)
	}
	if err := p.slot.Put(uint32(0), fresh); err != nil {
		fresh.Close()
		return nil, fmt.Errorf("map samples: %w", err)
	}
	return fresh, nil
}

// Read gives what was counted since it was called last, each sample once.
func (p *Profile) Read() ([]Sample, error) {
	fresh, err := p.swap()
	if err != nil {
		return nil, err // they go on counting in the one that is there
	}
	full := p.live
	p.live = fresh
	defer full.Close()
	var out []Sample
	var s Sample
	entries := full.Iterate()
	for entries.Next(&s.Key, &s.CoreSample) {
		out = append(out, s)
	}
	if err := entries.Err(); err != nil {
		return out, fmt.Errorf("map samples: %w", err)
	}
	return out, nil
}

// Close frees the map.
func (p *Profile) Close() { p.live.Close() }
