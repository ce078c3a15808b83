package tally

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/oomtrace/oomtrace/bpf"
)

// TimeUnit is the unit of histograms of time, in nanoseconds.
const TimeUnit = 1024

// StallKey is whose tasks stalled, and why.
type StallKey = bpf.CoreStallKey

// Stall is how tasks of one cgroup stalled between two readings, for one
// reason.
type Stall struct {
	StallKey
	Total     uint64 // ns
	Longest   uint64 // ns
	Scanned   *uint64
	Reclaimed uint64
	Durations Histogram // in TimeUnit
}

// Stalls reads the histograms of stalls.
type Stalls struct {
	maps     map[string]*ebpf.Map
	last     map[StallKey]*bpf.CoreStallCounts
	interval uint32
}

// NewStalls reads from the maps of an attached session.
func NewStalls(maps map[string]*ebpf.Map) *Stalls {
	return &Stalls{maps: maps, last: make(map[StallKey]*bpf.CoreStallCounts)}
}

// Read gives the stalls since the last Read. Only what has happened is in it.
// Beside an error is what could be read.
func (s *Stalls) Read() ([]Stall, error) {
	ended := s.interval
	s.interval++
	err := s.maps["stall_interval"].Put(uint32(0), s.interval)
	if err != nil {
		err = fmt.Errorf("map stall_interval: %w", err)
	}
	var out []Stall
	read := each(s.maps["stalls"], func(k StallKey, v bpf.CoreStallCounts) {
		last := s.last[k]
		if last == nil {
			last = new(bpf.CoreStallCounts)
			s.last[k] = last
		}
		if d, ok := stallSince(k, &v, last, ended); ok {
			out = append(out, d)
		}
	})
	return out, errors.Join(err, read)
}

// stallSince gives what came on top of an earlier reading. The buckets say how
// many stalls there were: a program that is at work while the map is read may
// have counted a part of one.
func stallSince(k StallKey, now, last *bpf.CoreStallCounts, interval uint32) (Stall, bool) {
	durations := Histogram(now.Buckets[:]).since(last.Buckets[:])
	if durations == nil {
		return Stall{}, false
	}
	d := Stall{StallKey: k, Durations: durations, Total: rise(&last.Total, now.Total), Reclaimed: rise(&last.Reclaimed, now.Reclaimed)}
	scanned, scans := rise(&last.Scanned, now.Scanned), rise(&last.Scans, now.Scans)
	if scans > 0 {
		d.Scanned = &scanned
	}
	for _, word := range now.Longest[interval&1] {
		if uint32(word>>48) == interval&0xffff {
			d.Longest = max(d.Longest, word&(1<<48-1))
		}
	}
	// One that ended just as the interval did may be counted on this side and its
	// duration on the other; the histogram says between what it was.
	for i := len(durations) - 1; i >= 0; i-- {
		if durations[i] != 0 {
			lower, upper := bounds(i)
			d.Longest = max(d.Longest, lower*TimeUnit)
			if i < len(durations)-1 {
				d.Longest = min(d.Longest, upper*TimeUnit-1)
			}
			break
		}
	}
	return d, true
}

// Forget frees what is kept of cgroups that are gone, here and in the kernel.
func (s *Stalls) Forget(gone func(cgroup uint64) bool) {
	for key := range s.last {
		if gone(key.Cgroup) || gone(key.Domain) {
			delete(s.last, key)
			_ = s.maps["stalls"].Delete(key)
		}
	}
}
