package tracer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// slowDevice is a block device in memory (null_blk) that serves one request at a
// time, each in its delay and no less. Whoever has one more request waits.
type slowDevice struct {
	t     *testing.T
	delay time.Duration
	name  string
}

func newSlowDevice(t *testing.T, delay time.Duration) *slowDevice {
	t.Helper()
	const all = "/sys/kernel/config/nullb"
	name := fmt.Sprintf("oomtrace%d", delay.Milliseconds())
	dir := filepath.Join(all, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "power"), []byte("0"), 0), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	for _, v := range [][2]string{
		{"size", "64"}, {"blocksize", "4096"}, {"memory_backed", "1"}, {"submit_queues", "1"}, {"hw_queue_depth", "1"},
		{"irqmode", "2"}, {"completion_nsec", strconv.FormatInt(delay.Nanoseconds(), 10)}, {"power", "1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, v[0]), []byte(v[1]), 0); err != nil {
			t.Fatal(err)
		}
	}
	d := &slowDevice{t, delay, name}
	if !exists("/sys/block/" + name) { // it was numbered before 6.0
		index, err := os.ReadFile(filepath.Join(dir, "index"))
		if err != nil {
			t.Fatal(err)
		}
		d.name = "nullb" + strings.TrimSpace(string(index))
	}
	if err := os.WriteFile("/sys/block/"+d.name+"/queue/scheduler", []byte("none"), 0); err != nil {
		t.Fatal(err)
	}
	return d
}

// swapOn has the machine swap to the device, and to nothing else.
func (d *slowDevice) swapOn() {
	d.t.Helper()
	dev := "/dev/" + d.name
	if err := swapon(dev, swapHead(64*mib)); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := swapoff(dev); err != nil {
			d.t.Error(err)
		}
	})
}

// served is what the device has done: requests, and the time it had one.
type served struct {
	reads, writes uint64
	busy          time.Duration
}

func (d *slowDevice) served() served {
	d.t.Helper()
	text, err := os.ReadFile("/sys/block/" + d.name + "/stat")
	field := strings.Fields(string(text))
	if err != nil || len(field) < 11 {
		d.t.Fatalf("%q: %v", text, err)
	}
	n := func(i int) uint64 {
		v, _ := strconv.ParseUint(field[i], 10, 64)
		return v
	}
	return served{n(0), n(4), time.Duration(n(9)) * time.Millisecond}
}

func (s served) since(before served) served {
	return served{s.reads - before.reads, s.writes - before.writes, s.busy - before.busy}
}

// Reclaim that swaps out to a slow device is told to take as long as the device does,
// by the device's own count, whatever the kernel's way to reclaim: an episode has the
// device's delay in it for each request but its last, which nobody waits for.
func TestSlowDevice(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		t.Skip("swaps to a device made by a kernel module: only in a guest (make test-guests)")
	}
	bestTier(t, func(t *testing.T, tier string) {
		top := newGroup(t)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim, FamilyStalls}, Cgroups: []Selector{{ID: top.id()}}})
		type run struct {
			delay  time.Duration
			g      *group
			served served
		}
		runs := []run{{delay: 0}, {delay: 20 * time.Millisecond}, {delay: 80 * time.Millisecond}}
		for i := range runs {
			t.Run(runs[i].delay.String(), func(t *testing.T) {
				d := newSlowDevice(t, runs[i].delay)
				d.swapOn()
				g := top.child("delay" + runs[i].delay.String())
				if g.m.Version == 2 {
					g.set("memory.max", strconv.Itoa(16*mib))
				} else {
					g.set("memory.limit_in_bytes", strconv.Itoa(16*mib))
				}
				before := d.served()
				g.run("nohuge", "anon=18")
				runs[i].g, runs[i].served = g, d.served().since(before)
			})
		}
		events := x.stop()
		if t.Failed() {
			return
		}
		var quick, usual, each time.Duration // each: for a request, at the shorter delay
		for _, r := range runs {
			s, told := counted(t, events, r.g)[event.ReclaimMemcgLimit], []int64(nil)
			for _, e := range of[*event.Reclaim](events) {
				if e.Cgroup != nil && e.Cgroup.Path == r.g.path && e.Kind == event.ReclaimMemcgLimit {
					told = append(told, e.DurationNS)
				}
			}
			if s == nil || uint64(len(told)) != s.count || r.served.writes <= s.count {
				t.Fatalf("%v: counted %+v, %d told, served %+v", r.delay, s, len(told), r.served)
			}
			slices.Sort(told)
			total, half := time.Duration(s.total), time.Duration(told[len(told)/2])
			t.Logf("%v: %d episodes, %v, half of them %v and more; %d requests written, %d read, busy for %v", r.delay, s.count, total,
				half, r.served.writes, r.served.reads, r.served.busy)
			if r.delay == 0 {
				quick, usual = total, half
				continue
			}
			waited := time.Duration(r.served.writes-s.count) * r.delay
			if total < waited*95/100 || total > r.served.busy*3/2+2*quick {
				t.Errorf("stalled for %v, want at least %v; the device was busy for %v, without a delay it is %v", total, waited, r.served.busy, quick)
			}
			// An episode may wait for a request that was on its way when it began.
			if half < r.delay*95/100 {
				t.Errorf("half of the episodes took less than %v, the delay is %v", half, r.delay)
			}
			perWrite := total / time.Duration(r.served.writes)
			if grown := perWrite - each; each > 0 && (grown < 30*time.Millisecond || grown > 120*time.Millisecond || half < 3*usual) {
				t.Errorf("a request costs %v more when the device takes 60ms longer; half of the episodes took %v, without a delay %v", grown, half, usual)
			}
			each = perWrite
		}
	})
}

const waitsForKswapd = "throttle_direct_reclaim"

// Direct reclaim of the node waits for kswapd when less than half of the minimum
// watermark is free. Here that is raised beyond what is free, and kswapd has to
// swap until it is.
func TestKswapdWait(whole *testing.T) {
	filled := false
	eachTier(whole, func(t *testing.T, tier string) {
		options := Options{Tier: tier, Families: []string{FamilyReclaim, FamilyStalls}}
		if tier == TierTracepoint {
			x := startTrace(t, options)
			if !slices.ContainsFunc(x.tracer.Header().Missing, func(m event.Missing) bool { return strings.Contains(m.What, waitsForKswapd) }) {
				t.Error("the header does not say that waits for kswapd cannot be seen")
			}
			x.stop()
			return
		}
		if os.Getenv("OOMTRACE_TEST_KSWAPD") == "" {
			t.Skip("may run the machine out of memory altogether: only in a guest of its own (OOMTRACE_TEST_KSWAPD, CONTRIBUTING.md)")
		}
		before := fileField(t, "/proc/vmstat", "pgscan_direct_throttle ")
		x := startTrace(t, options)
		began := time.Now()
		if !filled {
			fillMachine(whole)
			filled = true
		}
		setWatermark(t, 2*(fileField(t, "/proc/meminfo", "MemFree:")+16<<10))
		waitFor(x, func(events []event.Event) (bool, bool) {
			return true, slices.ContainsFunc(of[*event.Reclaim](events), func(r *event.Reclaim) bool { return r.Kind == event.ReclaimDirectThrottled })
		})
		setWatermark(t, lowWatermark)
		after := fileField(t, "/proc/vmstat", "pgscan_direct_throttle ")
		events := x.stop()
		took := time.Since(began)

		waits := uint64(0)
		var sum, longest time.Duration
		for _, r := range of[*event.Reclaim](events) {
			if r.Kind != event.ReclaimDirectThrottled {
				continue
			}
			waits++
			if r.Domain != nil || r.Reclaimed != 0 || r.Order != nil || r.Scanned != nil || !strings.HasPrefix(r.GFPFlags, "0x") {
				t.Errorf("%s", show(r))
			}
			sum += time.Duration(r.DurationNS)
			longest = max(longest, time.Duration(r.DurationNS))
		}
		t.Logf("%d waits, the kernel counts %d; %v, the longest %v of %v", waits, after-before, sum, longest, took)
		// It also counts those that find enough free at the second look, and those
		// that are not over yet.
		if waits == 0 || waits > after-before || waits+4 < (after-before)*3/4 {
			t.Errorf("%d waits, the kernel counts %d", waits, after-before)
		}
		if longest == 0 || longest > took {
			t.Errorf("the longest took %v of %v", longest, took)
		}
		var count uint64
		var total time.Duration
		for _, e := range of[*event.Stalls](events) {
			if e.Kind == event.ReclaimDirectThrottled {
				count += e.Count
				total += time.Duration(e.TotalNS)
			}
		}
		if count != waits || total != sum {
			t.Errorf("counted %d waits of %v, told %d of %v", count, total, waits, sum)
		}
	})
}

// lowWatermark is what leaves room to raise it; huge pages have it at many times
// that. KiB.
const lowWatermark = 8 << 10

func setWatermark(t *testing.T, kib uint64) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/min_free_kbytes", []byte(strconv.FormatUint(kib, 10)), 0); err != nil {
		t.Fatal(err)
	}
}

// fillMachine fills the memory with what can be swapped, all but 48 MiB, until the
// test is over. A task takes a little more all the time.
func fillMachine(t *testing.T) {
	t.Helper()
	swap := filepath.Join(scratch(t), "swap")
	if err := makeSwap(swap, 128*mib); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := swapoff(swap); err != nil {
			t.Error(err)
		}
	})
	usual := fileField(t, "/proc/sys/vm/min_free_kbytes", "")
	t.Cleanup(func() { setWatermark(t, usual) })
	setWatermark(t, lowWatermark)
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	top := newGroup(t)
	big, late := top.child("big"), top.child("late")
	fill := (fileField(t, "/proc/meminfo", "MemFree:") - 48<<10) >> 10
	start := func(g *group, usage uint64, words ...string) {
		g.start(words...)
		for deadline := time.Now().Add(patience); *g.figures().Usage < usage; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q: not yet %d bytes", words, usage)
			}
		}
	}
	start(big, fill*mib, fmt.Sprintf("anon=%d", fill), "wait")
	start(late, 2*mib, "leak=16,5")
}

// fileField reads the number behind a name at the beginning of a line; without a
// name it is all there is.
func fileField(t *testing.T, path, name string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}
