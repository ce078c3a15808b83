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
	// What ends between the count of the interval and the reading is counted here,
	// while its duration stands with the next interval already. Told here, it is
	// not told there again (last.Longest[0] keeps it).
	for cpu := range now.Longest[0] {
		ended, next := now.Longest[interval&1][cpu], now.Longest[(interval+1)&1][cpu]
		if of(ended) == uint16(interval) && ended != last.Longest[0][cpu] {
			d.Longest = max(d.Longest, ended&(1<<48-1))
		}
		if last.Longest[0][cpu] = 0; of(next) == uint16(interval+1) {
			d.Longest = max(d.Longest, next&(1<<48-1))
			last.Longest[0][cpu] = next
		}
	}
	// Where a longer one of another interval hides it, the histogram says between
	// what it was.
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

// of gives the interval that a word of the longest stall belongs to.
func of(word uint64) uint16 { return uint16(word >> 48) }

// Forget frees what is kept of cgroups that are gone, here and in the kernel.
func (s *Stalls) Forget(gone func(cgroup uint64) bool) {
	for key := range s.last {
		if gone(key.Cgroup) || gone(key.Domain) {
			delete(s.last, key)
			_ = s.maps["stalls"].Delete(key)
		}
	}
}
