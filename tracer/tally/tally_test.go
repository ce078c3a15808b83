package tally

import (
	"cmp"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
)

func TestRise(t *testing.T) {
	for _, c := range []struct{ last, now, want, after uint64 }{
		{0, 0, 0, 0},
		{0, 5, 5, 5},
		{5, 5, 0, 5},
		{5, 7, 2, 7},
		{7, 3, 0, 7}, // a moment's fall: the higher reading stays
		{0, ^uint64(0), ^uint64(0), ^uint64(0)},
	} {
		last := c.last
		if got := rise(&last, c.now); got != c.want || last != c.after {
			t.Errorf("from %d to %d: %d and %d, want %d and %d", c.last, c.now, got, last, c.want, c.after)
		}
	}
}

func TestCountsAddByCause(t *testing.T) {
	var c Counts
	c.add(bpf.CoreCauseCAUSE_ADD, 1)
	c.add(bpf.CoreCauseCAUSE_EVICT, 20)
	c.add(bpf.CoreCauseCAUSE_TRUNCATE, 300)
	c.add(bpf.CoreCauseCAUSE_INVALIDATE, 4000)
	c.add(99, 5)
	if want := (Counts{1, 20, 300, 4000}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
}

// What was reparented is told of both sides.
func TestSinceReparented(t *testing.T) {
	c := NewCache(nil)
	for _, step := range []struct {
		counts           bpf.CoreEvictCounts
		pages, inherited uint64
	}{{bpf.CoreEvictCounts{Pages: 5, Reparented: 2}, 5, 2}, {bpf.CoreEvictCounts{Pages: 9, Reparented: 2}, 4, 0}, {bpf.CoreEvictCounts{Pages: 10, Reparented: 3}, 1, 1}} {
		now := newReading()
		now.evicted[byBob] = step.counts
		got := c.since(now)
		by, of := got[alice].EvictedBy[0], got[bob].EvictedOf[0]
		if by.Pages != step.pages || by.Reparented != step.inherited || of.Pages != step.pages || of.Reparented != step.inherited {
			t.Errorf("%+v: by %+v, of %+v", step, by, of)
		}
	}
}

// Each counter is clamped for itself.
func TestCountsSince(t *testing.T) {
	last := Counts{10, 10, 10, 10}
	now := Counts{15, 10, 9, 30}
	if got, want := now.since(&last), (Counts{5, 0, 0, 20}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if want := (Counts{15, 10, 10, 30}); last != want {
		t.Errorf("kept %+v, want %+v", last, want)
	}
}

const alice, bob = 11, 12 // cgroups

var (
	aliceFile = bpf.CoreFileKey{Owner: alice, Inode: 100, Dev: 8, Generation: 1}
	byBob     = bpf.CoreEvictKey{Owner: alice, Evictor: bob, Kind: uint64(bpf.CoreReclaimKindRECLAIM_LIMIT)}
	byKswapd  = bpf.CoreEvictKey{Owner: alice, Kind: uint64(bpf.CoreReclaimKindRECLAIM_KSWAPD)}
)

func file(born uint64, c Counts) bpf.CoreFileCounts {
	return bpf.CoreFileCounts{Born: born, Pages: bpf.CoreCacheCounts{Added: c.Added, Evicted: c.Evicted, Truncated: c.Truncated, Invalidated: c.Invalidated}}
}

// read is a reading with all four kinds of maps.
func read(total Counts, f bpf.CoreFileCounts, bob, kswapd, refaults uint64) *reading {
	r := newReading()
	r.totals[alice], r.files[aliceFile], r.refaults[alice] = total, f, refaults
	r.evicted[byBob], r.evicted[byKswapd] = bpf.CoreEvictCounts{Pages: bob}, bpf.CoreEvictCounts{Pages: kswapd}
	return r
}

func sorted(t map[uint64]*Traffic) map[uint64]*Traffic {
	for _, tr := range t {
		slices.SortFunc(tr.EvictedBy, func(a, b Evictor) int { return cmp.Compare(b.Pages, a.Pages) })
	}
	return t
}

func TestSince(t *testing.T) {
	theFile := func(c Counts) []File { return []File{{Inode: 100, Dev: 8, Generation: 1, Counts: c}} }
	c := NewCache(nil)
	for _, step := range []struct {
		name string
		now  *reading
		want map[uint64]*Traffic
	}{
		{"the first counts from zero", read(Counts{10, 4, 1, 0}, file(1, Counts{9, 4, 0, 0}), 3, 1, 2), map[uint64]*Traffic{
			alice: {Counts{10, 4, 1, 0}, 2, theFile(Counts{9, 4, 0, 0}), []Evictor{{bob, bpf.CoreReclaimKindRECLAIM_LIMIT, 3, 0}, {0, bpf.CoreReclaimKindRECLAIM_KSWAPD, 1, 0}}, nil},
			bob:   {EvictedOf: []Evicted{{alice, bpf.CoreReclaimKindRECLAIM_LIMIT, 3, 0}}},
		}},
		{"the same again is nothing", read(Counts{10, 4, 1, 0}, file(1, Counts{9, 4, 0, 0}), 3, 1, 2), map[uint64]*Traffic{}},
		{"what came on top", read(Counts{12, 9, 1, 1}, file(1, Counts{10, 9, 0, 0}), 3, 6, 2), map[uint64]*Traffic{
			alice: {Counts{2, 5, 0, 1}, 0, theFile(Counts{1, 5, 0, 0}), []Evictor{{0, bpf.CoreReclaimKindRECLAIM_KSWAPD, 5, 0}}, nil},
		}},
		{"a run was moving: a fall is nothing", read(Counts{11, 9, 1, 1}, file(1, Counts{9, 9, 0, 0}), 2, 6, 2), map[uint64]*Traffic{}},
		{"and is not counted twice", read(Counts{13, 9, 1, 1}, file(1, Counts{11, 9, 0, 0}), 3, 6, 2), map[uint64]*Traffic{
			alice: {Counts{1, 0, 0, 0}, 0, theFile(Counts{1, 0, 0, 0}), nil, nil},
		}},
		{"refaults alone", read(Counts{13, 9, 1, 1}, file(1, Counts{11, 9, 0, 0}), 3, 6, 7), map[uint64]*Traffic{
			alice: {Refaulted: 5},
		}},
		{"a file that was forgotten and born again", read(Counts{16, 9, 1, 1}, file(2, Counts{3, 0, 0, 0}), 3, 6, 7), map[uint64]*Traffic{
			alice: {Counts{3, 0, 0, 0}, 0, theFile(Counts{3, 0, 0, 0}), nil, nil},
		}},
		{"born again beyond where it was", read(Counts{46, 9, 1, 1}, file(3, Counts{30, 0, 0, 0}), 3, 6, 7), map[uint64]*Traffic{
			alice: {Counts{30, 0, 0, 0}, 0, theFile(Counts{30, 0, 0, 0}), nil, nil},
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			if got := sorted(c.since(step.now)); !reflect.DeepEqual(got, step.want) {
				t.Errorf("%+v, want %+v", got[alice], step.want[alice])
			}
		})
	}
}

// Files that the kernel side has forgotten are forgotten here too.
func TestSinceForgetsFiles(t *testing.T) {
	c := NewCache(nil)
	c.since(read(Counts{1, 0, 0, 0}, file(1, Counts{1, 0, 0, 0}), 0, 0, 0))
	if len(c.files) != 1 {
		t.Fatalf("%d files", len(c.files))
	}
	c.since(newReading())
	if len(c.files) != 0 {
		t.Errorf("%d files are kept", len(c.files))
	}
	// Totals stay: their map is no LRU.
	got := c.since(read(Counts{3, 0, 0, 0}, file(1, Counts{1, 0, 0, 0}), 0, 0, 0))
	if got[alice] == nil || got[alice].Added != 2 {
		t.Errorf("%+v", got[alice])
	}
}

// Pages that belong to no cgroup have an owner too: 0.
func TestSinceKeepsOwnersApart(t *testing.T) {
	now := newReading()
	now.totals[0] = Counts{Added: 1}
	now.totals[alice] = Counts{Added: 2}
	now.refaults[bob] = 3
	got := NewCache(nil).since(now)
	want := map[uint64]*Traffic{0: {Counts: Counts{Added: 1}}, alice: {Counts: Counts{Added: 2}}, bob: {Refaulted: 3}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestReadingAddsRuns(t *testing.T) {
	now := read(Counts{1, 1, 1, 1}, file(1, Counts{1, 1, 1, 1}), 5, 0, 0)
	run := bpf.CoreRun{Owner: alice, Inode: 100, Dev: 8, Generation: 1, Evictor: bob, Cause: uint32(bpf.CoreCauseCAUSE_EVICT),
		Kind: uint32(bpf.CoreReclaimKindRECLAIM_LIMIT), Pages: 7}
	now.add(&run)
	run.Cause, run.Pages = uint32(bpf.CoreCauseCAUSE_EVICT_REPARENTED), 3
	now.add(&run)
	run.Cause, run.Pages = uint32(bpf.CoreCauseCAUSE_ADD), 2
	now.add(&run)
	run.Inode, run.Owner = 101, bob // a file that has no entry yet, of an owner that has none
	now.add(&run)
	if got, want := now.totals[alice], (Counts{3, 11, 1, 1}); got != want {
		t.Errorf("total %+v, want %+v", got, want)
	}
	if got := now.totals[bob]; got != (Counts{Added: 2}) {
		t.Errorf("new owner's total %+v", got)
	}
	if got, want := now.files[aliceFile], file(1, Counts{3, 11, 1, 1}); got != want {
		t.Errorf("file %+v, want %+v", got, want)
	}
	if len(now.files) != 1 {
		t.Errorf("a file without birth: %v", now.files)
	}
	if now.evicted[byBob] != (bpf.CoreEvictCounts{Pages: 15, Reparented: 3}) || now.evicted[byKswapd] != (bpf.CoreEvictCounts{}) {
		t.Errorf("evicted by bob %+v, by kswapd %+v", now.evicted[byBob], now.evicted[byKswapd])
	}
}

func TestSameRun(t *testing.T) {
	base := bpf.CoreRun{Owner: 1, Inode: 2, Evictor: 3, Dev: 4, Generation: 5, Cause: 1, Kind: 1, Pages: 10}
	for name, c := range map[string]struct {
		change func(*bpf.CoreRun)
		want   bool
	}{
		"unchanged":    {func(*bpf.CoreRun) {}, true},
		"grown":        {func(r *bpf.CoreRun) { r.Pages++ }, true},
		"another one":  {func(r *bpf.CoreRun) { r.Pages = 1 }, false},
		"owner":        {func(r *bpf.CoreRun) { r.Owner++ }, false},
		"inode":        {func(r *bpf.CoreRun) { r.Inode++ }, false},
		"evictor":      {func(r *bpf.CoreRun) { r.Evictor++ }, false},
		"device":       {func(r *bpf.CoreRun) { r.Dev++ }, false},
		"generation":   {func(r *bpf.CoreRun) { r.Generation++ }, false},
		"cause":        {func(r *bpf.CoreRun) { r.Cause++ }, false},
		"kind of task": {func(r *bpf.CoreRun) { r.Kind++ }, false},
	} {
		again := base
		c.change(&again)
		if got := sameRun(base, again); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A session that counts no page cache has none of its maps.
func TestReadWithoutMaps(t *testing.T) {
	if got, err := NewCache(nil).Read(); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// history is what the kernel side keeps after one episode in each of these
// seconds, the later in place of the earlier.
func history(seconds ...uint64) *bpf.CoreHistory {
	h := new(bpf.CoreHistory)
	for _, s := range seconds {
		h.Seconds[s%uint64(len(h.Seconds))] = bpf.CoreHistorySecond{Second: s, Episodes: 1, Stalled: 1000, Reclaimed: 32}
	}
	return h
}

func span(from, to uint64) []uint64 {
	var out []uint64
	for s := from; s <= to; s++ {
		out = append(out, s)
	}
	return out
}

func TestSum(t *testing.T) {
	for _, c := range []struct {
		name   string
		h      *bpf.CoreHistory
		now    time.Duration
		window time.Duration
		want   uint64 // episodes
	}{
		{"nothing", history(), time.Hour, 10 * time.Second, 0},
		{"nothing, just booted", history(), 3 * time.Second, 10 * time.Second, 0},
		{"just booted", history(0, 1, 2), 2 * time.Second, 10 * time.Second, 3},
		{"at the very boot", history(0), 0, 10 * time.Second, 1},
		{"this second", history(1000), 1000*time.Second + 999*time.Millisecond, 10 * time.Second, 1},
		{"the window's first second", history(991), 1000 * time.Second, 10 * time.Second, 1},
		{"the second before it", history(990), 1000 * time.Second, 10 * time.Second, 0},
		{"all of the window", history(span(900, 1000)...), 1000 * time.Second, 10 * time.Second, 10},
		{"slots wrap", history(span(10, 20)...), 20 * time.Second, 10 * time.Second, 10},
		{"stale slots", history(append(span(100, 110), 1000)...), 1000 * time.Second, 10 * time.Second, 1},
		{"what came after the moment", history(1000, 1001), 1000 * time.Second, 10 * time.Second, 1},
		{"all that is kept", history(span(900, 1000)...), 1000 * time.Second, 16 * time.Second, 16},
		{"more than is kept", history(span(900, 1000)...), 1000 * time.Second, time.Hour, 16},
		{"no window", history(1000), 1000 * time.Second, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := sum(c.h, uint64(c.now), c.window)
			want := History{Episodes: c.want, Stalled: time.Duration(1000 * c.want), Reclaimed: 32 * c.want}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}
