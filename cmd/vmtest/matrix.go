//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// suite is one Debian suite and which of the machine's mirrors carries it.
type suite struct {
	name     string
	security bool
	// frozen suites get no more uploads, so their signed lists are past the
	// date until which they were promised to be current.
	frozen bool
}

// archive is a set of suites that apt looks at together.
type archive struct {
	name   string
	suites []suite
}

var (
	bullseye = archive{"bullseye", []suite{
		{name: "bullseye", frozen: true},
		{name: "bullseye-updates", frozen: true},
		{name: "bullseye-security", security: true, frozen: true},
	}}
	bookworm = archive{"bookworm", []suite{
		{name: "bookworm"},
		{name: "bookworm-updates"},
		{name: "bookworm-backports"},
		{name: "bookworm-security", security: true},
	}}
	newest = archive{"newest", []suite{
		{name: "trixie-backports"},
		{name: "sid"},
	}}
)

// series is a kernel that oomtrace promises to work on.
type series struct {
	name    string
	cgroups []string
	archive archive
	// fallback is the wider series that will do when Debian has dropped this
	// one. Backports keep only the latest kernels.
	fallback string
}

// matrix is every kernel under test. Debian builds 6.12 and later without the
// memory controller of cgroup v1.
var matrix = []series{
	{name: "5.10", cgroups: []string{"v1", "v2"}, archive: bullseye},
	{name: "6.1", cgroups: []string{"v1", "v2"}, archive: bookworm},
	{name: "6.12", cgroups: []string{"v2"}, archive: bookworm},
	{name: "7.3", cgroups: []string{"v2"}, archive: newest, fallback: "7"},
}

// guest is one cell of the matrix.
type guest struct {
	series series
	cgroup string
}

func (g guest) String() string { return g.series.name + " " + g.cgroup }

// selectGuests picks the cells that --kernel and --cgroup ask for, in the
// order of the matrix. No kernels means all.
func selectGuests(kernels []string, cgroup string) ([]guest, error) {
	if !slices.Contains([]string{"v1", "v2", "both"}, cgroup) {
		return nil, fmt.Errorf("--cgroup %s: want v1, v2 or both", cgroup)
	}
	var known []string
	for _, s := range matrix {
		known = append(known, s.name)
	}
	for _, k := range kernels {
		if k != "all" && !slices.Contains(known, k) {
			return nil, fmt.Errorf("--kernel %s: want all, %s", k, strings.Join(known, ", "))
		}
	}
	all := len(kernels) == 0 || slices.Contains(kernels, "all")
	var guests []guest
	for _, s := range matrix {
		if !all && !slices.Contains(kernels, s.name) {
			continue
		}
		for _, c := range s.cgroups {
			if cgroup == "both" || cgroup == c {
				guests = append(guests, guest{s, c})
			}
		}
	}
	if len(guests) == 0 {
		return nil, fmt.Errorf("no guest has kernel %s with cgroup %s: Debian builds 6.12 and later without the v1 memory controller",
			strings.Join(kernels, ", "), cgroup)
	}
	return guests, nil
}
