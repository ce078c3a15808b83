package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/oom"
)

// fakeCgroups is a window on a tree of files whose time is set by hand.
type fakeCgroups struct {
	t   *testing.T
	w   *window
	now uint64
}

func newFakeCgroups(t *testing.T) *fakeCgroups {
	f := &fakeCgroups{t: t, now: uint64(time.Hour)}
	mount := cgroup.Mount{Root: t.TempDir(), Version: 2}
	f.w = newWindow(cgroup.NewTree(mount, cgroup.Options{}), func() uint64 { return f.now })
	f.w.cpu = func() uint64 { return 0 }
	return f
}

func (f *fakeCgroups) set(path, limit string, usage, anon, cache int) {
	f.t.Helper()
	dir := filepath.Join(f.w.mount.Root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"memory.max": limit, "memory.current": strconv.Itoa(usage), "memory.stat": fmt.Sprintf("anon %d\ninactive_file %d\n", anon, cache),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

// pass lets time pass, sweep by sweep.
func (f *fakeCgroups) pass(d time.Duration) {
	for end := f.now + uint64(d); f.now < end; f.now += uint64(sweepEvery) {
		f.w.sweep()
	}
}

func TestWindow(t *testing.T) {
	const id = 7
	f := newFakeCgroups(t)
	f.set("/a", strconv.Itoa(100*mib), 10*mib, 10*mib, 0)
	f.w.add(id, "/a")
	f.pass(time.Minute)
	f.set("/a", strconv.Itoa(100*mib), 50*mib, 30*mib, 20*mib)
	f.pass(2 * time.Second)
	f.set("/a", strconv.Itoa(100*mib), 99*mib, 99*mib, 0)
	f.pass(time.Second)

	points := f.w.before(id, f.now)
	// 10 MiB: the first and the last time that it was so; then the two others,
	// likewise, with all that they consisted of.
	var needs []uint64
	for _, p := range points {
		needs = append(needs, (p.Usage-p.Cache)>>20)
	}
	if len(needs) < 4 || needs[0] != 10 || needs[1] != 10 || needs[2] != 30 || needs[len(needs)-1] != 99 {
		t.Fatalf("%v", needs)
	}
	if level := points[1].At - points[0].At; level < 58*time.Second {
		t.Errorf("level for %v", level)
	}
	if points[0].At > -62*time.Second || points[len(points)-1].At >= 0 || points[len(points)-1].At < -time.Second {
		t.Errorf("from %v to %v", points[0].At, points[len(points)-1].At)
	}
	if early := f.w.before(id, f.now-uint64(time.Minute)); len(early) == 0 || early[len(early)-1].Usage != 10*mib || early[len(early)-1].At >= 0 {
		t.Errorf("a minute before: %+v", early)
	}
}

// What has no limit is never what runs out, and is not read.
func TestWindowNoLimit(t *testing.T) {
	f := newFakeCgroups(t)
	f.set("/a", "max", 10*mib, 10*mib, 0)
	f.w.add(7, "/a")
	f.pass(time.Minute)
	if points := f.w.before(7, f.now); points != nil {
		t.Errorf("%+v", points)
	}
	// A limit that comes later is seen.
	f.set("/a", strconv.Itoa(20*mib), 10*mib, 10*mib, 0)
	f.pass(15 * time.Second)
	if points := f.w.before(7, f.now); len(points) == 0 {
		t.Error("limited since, not read")
	}
}

// A removed cgroup's course is there when its kill is told, and not for ever.
func TestWindowRemoved(t *testing.T) {
	f := newFakeCgroups(t)
	f.set("/a", strconv.Itoa(20*mib), 10*mib, 10*mib, 0)
	f.w.add(7, "/a")
	f.pass(time.Second)
	if err := os.RemoveAll(filepath.Join(f.w.mount.Root, "a")); err != nil {
		t.Fatal(err)
	}
	f.w.remove(7)
	f.pass(10 * time.Second)
	if points := f.w.before(7, f.now); len(points) == 0 {
		t.Error("forgotten at once")
	}
	f.pass(keepGone)
	if len(f.w.courses) != 0 || len(f.w.order) != 0 {
		t.Errorf("kept: %d, %d", len(f.w.courses), len(f.w.order))
	}
}

// Many readings are thinned: the first and the latest stay, and the nearer, the
// denser.
func TestCourseThins(t *testing.T) {
	c := &course{}
	const n = 5000
	for i := range n {
		c.keep(oom.Point{At: time.Duration(i+1) * time.Second, Usage: uint64(i)})
	}
	if len(c.points) != maxPoints || c.points[0].At != time.Second || c.points[maxPoints-1].At != n*time.Second || c.points[maxPoints-2].At != (n-1)*time.Second {
		t.Fatalf("%d points, from %v to %v and %v", len(c.points), c.points[0].At, c.points[maxPoints-2].At, c.points[maxPoints-1].At)
	}
	recent, old := 0, 0
	for i, p := range c.points {
		if i > 0 && p.At <= c.points[i-1].At {
			t.Errorf("out of order: %v after %v", p.At, c.points[i-1].At)
		}
		switch {
		case p.At > (n-60)*time.Second:
			recent++
		case p.At < n/2*time.Second:
			old++
		}
	}
	if recent < 12 || old < 3 {
		t.Errorf("%d of the last minute, %d of the older half", recent, old)
	}
}

// What one sweep takes beyond its share is made up for by those after it.
func TestSpend(t *testing.T) {
	var now uint64
	var owed time.Duration
	const sweeps, share, each = 1000, 200 * time.Microsecond, 8 * time.Millisecond
	calls := 0
	for range sweeps {
		spend(func() uint64 { return now }, &owed, share, func() bool {
			now += uint64(each)
			calls++
			return true
		})
	}
	if took := time.Duration(now); took > sweeps*share+each || took < sweeps*share-each {
		t.Errorf("%d calls took %v of %v", calls, took, sweeps*share)
	}
	// Who has nothing to do saves nothing up.
	owed = 0
	for range 5 {
		spend(func() uint64 { return now }, &owed, share, func() bool { return false })
	}
	if owed != 0 {
		t.Errorf("owed %v", owed)
	}
}

// Mappings are read while there is time, not when a kill may be next.
func TestFarFromLimit(t *testing.T) {
	const limit = 64 * mib
	at := func(d time.Duration, usage, cache uint64) oom.Point {
		return oom.Point{At: d, Usage: usage * mib, Cache: cache * mib}
	}
	for _, c := range []struct {
		name        string
		before, now oom.Point
		far         bool
	}{
		{"slowly", at(0, 30, 0), at(time.Second, 32, 0), true},
		{"not at all", at(0, 32, 0), at(time.Second, 32, 0), true},
		{"full of cache", at(0, 64, 40), at(time.Second, 64, 38), true},
		{"fast", at(0, 16, 0), at(100*time.Millisecond, 32, 0), false},
		{"nearly full", at(0, 56, 0), at(time.Second, 57, 0), false},
		{"nearly empty", at(0, 8, 0), at(time.Second, 10, 0), false},
	} {
		if got := farFromLimit(c.before, c.now, limit); got != c.far {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
