package tracer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// The benchmarks print what they measured beside the budget that it is held
// to; docs/architecture.md has the budgets. They never fail for being slow:
// machines are shared. Run them by `make bench`.

func report(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

func median[T int64 | float64 | time.Duration](v []T) T {
	slices.Sort(v)
	return v[len(v)/2]
}

// quantile of a sorted slice.
func quantile[T any](v []T, q float64) T { return v[min(int(float64(len(v))*q), len(v)-1)] }

// thrash starts the workload of the budgets: 4 KiB random reads of a file twice the
// size of the cgroup's limit. It does as many rounds as are asked for, all in one
// process, and each gives the CPU time that it took.
func thrash(b *testing.B, g *group, dir string) (round func() time.Duration) {
	g.limit(32 * mib)
	file := filepath.Join(dir, "file")
	g.run("write=" + file + ",64")
	_, round, _ = g.startRounds("rounds=" + file + ",4096,64")
	round() // fills the cgroup
	return round
}

// BenchmarkHooks gives the nanoseconds of each program on a hot hook, beside an
// empty program on the same hook in the same run.
func BenchmarkHooks(b *testing.B) {
	needRoot(b)
	round := thrash(b, newGroup(b), scratch(b))
	empty, detach := attachEmpty(b, "")
	defer detach()
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	tr, stop := benchTrace(b, Options{Families: Families()}, nil)
	defer stop()
	var cpu time.Duration
	for b.Loop() {
		for range 3 {
			cpu += round()
		}
	}
	fmt.Println("BPF time for each run of a program, and of an empty one on the same hook:")
	for _, c := range tr.session.Choices {
		if c.Way == nil {
			continue
		}
		for _, p := range c.Way.Programs {
			twin := empty.Programs["empty_"+p.Target]
			if twin == nil {
				continue
			}
			ours, n := perRun(b, tr.session.Programs[p.Name])
			base, _ := perRun(b, twin)
			if n == 0 {
				continue
			}
			budget := ""
			if strings.HasPrefix(p.Target, "mm_filemap_") {
				budget = "  budget <= 2.5x"
			}
			report("%-34s %9d runs %7.1f ns   empty %6.1f ns   %.2fx%s", p.Target, n, ours, base, ours/base, budget)
		}
	}
	var all time.Duration
	for _, p := range tr.session.Programs {
		s, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		all += s.Runtime
	}
	report("all programs together, the kernel's clock for it included: %v of the %v of CPU that the workload took, %.1f %%",
		all, cpu, 100*float64(all)/float64(cpu))
}

// attachEmpty attaches the empty programs whose names have `part` in them.
func attachEmpty(b *testing.B, part string) (empty *ebpf.Collection, detach func()) {
	b.Helper()
	spec, err := bpf.LoadCore()
	if err != nil {
		b.Fatal(err)
	}
	for name := range spec.Programs {
		if name == "flood" || !strings.Contains(name, part) {
			delete(spec.Programs, name)
		}
	}
	if empty, err = ebpf.NewCollection(spec); err != nil {
		b.Fatal(err)
	}
	var links []link.Link
	for _, p := range empty.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			b.Fatal(err)
		}
		links = append(links, l)
	}
	return empty, func() {
		for _, l := range links {
			l.Close()
		}
		empty.Close()
	}
}

func perRun(b *testing.B, p *ebpf.Program) (float64, uint64) {
	s, err := p.Stats()
	if err != nil {
		b.Fatal(err)
	}
	if s.RunCount == 0 {
		return 0, 0
	}
	return float64(s.Runtime) / float64(s.RunCount), uint64(s.RunCount)
}

// BenchmarkThrash gives the CPU time of the workload traced against untraced. Most of
// it goes into the disk, and differs from round to round by more than tracing takes.
// So the same reads are done from a device in memory too, where what tracing adds is
// seen well, and that is set against what they take from the disk.
func BenchmarkThrash(b *testing.B) {
	traced := func() func() {
		_, stop := benchTrace(b, Options{Families: Families()}, nil)
		return stop
	}
	empty := func() func() {
		_, detach := attachEmpty(b, "filemap")
		return detach
	}
	pause := func() func() {
		time.Sleep(300 * time.Millisecond) // as long as opening takes
		return func() {}
	}
	needRoot(b)
	g := newGroup(b)
	for b.Loop() {
		fmt.Println("CPU time of a workload that thrashes its page cache, traced (everything on, histograms and refaults too) over untraced:")
		disk := tolls(thrash(b, g, scratch(b)), 15, traced, pause)
		report("from a disk:   %s   budget <= 1.03", spread(disk[0].ratios))
		report("               %s   not traced either: what the method is good for", spread(disk[1].ratios))
		dir := inMemory(b)
		if dir == "" {
			report("no zram here: what tracing adds is not seen any better")
			continue
		}
		memory := tolls(thrash(b, g, dir), 25, traced, empty, pause)
		report("from memory:   %s", spread(memory[0].ratios))
		report("               %s   empty programs on the two hooks of the page cache", spread(memory[1].ratios))
		report("               %s   not traced either", spread(memory[2].ratios))
		adds, takes := median(memory[0].added), median(disk[0].untraced)
		report("what it adds there, to what the same reads take from the disk: %v to %v, %.3f   budget <= 1.03",
			time.Duration(adds), time.Duration(takes), 1+adds/takes)
	}
}

// toll is what something adds to the workload's rounds: CPU time in ns.
type toll struct{ untraced, added, ratios []float64 }

// tolls gives those of several things that are begun in turn. Of some rounds the
// quickest counts, for neighbours on the machine only make them slower, and against
// the mean of what comes before and after, for its speed drifts. One that does not
// count goes first: what a pause leaves in the CPU's caches makes more of a
// difference than tracing does.
func tolls(round func() time.Duration, times int, begin ...func() (end func())) []toll {
	quickest := func() float64 {
		round()
		least := round()
		for range 4 {
			least = min(least, round())
		}
		return float64(least)
	}
	all := make([]toll, len(begin))
	before := quickest()
	for range times {
		for i := range begin {
			end := begin[i]()
			with := quickest()
			end()
			after := quickest()
			without := (before + after) / 2
			t := &all[i]
			t.untraced, t.added, t.ratios = append(t.untraced, without), append(t.added, with-without), append(t.ratios, with/without)
			before = after
		}
	}
	return all
}

// inMemory mounts a file system on a RAM disk, and gives where; "" where there is none.
func inMemory(b *testing.B) string {
	dev := ramDisk(b)
	if dev == "" {
		return ""
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-O", "^has_journal", dev).CombinedOutput(); err != nil {
		b.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return mounted(b, dev, "ext4", "", 0)
}

// spread gives the median of ratios and how far they lie apart.
func spread(ratios []float64) string {
	slices.Sort(ratios)
	return fmt.Sprintf("median %.3f of %d, quartiles %.3f to %.3f", quantile(ratios, 0.5), len(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75))
}

func cpuOf(b *testing.B, g *group, words []string) time.Duration {
	cmd := g.start(words...)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	use := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkProfile gives the CPU time of a workload that only faults memory in,
// profiled against not, by period.
func BenchmarkProfile(b *testing.B) {
	needRoot(b)
	g := newGroup(b)
	words := []string{"small=128"}
	fmt.Println("CPU time of a workload that touches fresh memory, profiled over not:")
	for b.Loop() {
		for _, period := range []uint64{DefaultPeriod, 13, 1} {
			var ratios []float64
			for range 9 {
				without := cpuOf(b, g, words)
				_, stop := benchTrace(b, Options{Families: []string{FamilyProfile}, Period: period}, nil)
				with := cpuOf(b, g, words)
				stop()
				ratios = append(ratios, float64(with)/float64(without))
			}
			report("period %-4d %s", period, spread(ratios))
		}
	}
}

// BenchmarkKill gives the time from the victim's being marked to its event's
// reaching the sink.
func BenchmarkKill(b *testing.B) {
	needRoot(b)
	const kills = 101
	var late []time.Duration
	seen := make(chan time.Duration, 1024)
	_, stop := benchTrace(b, Options{}, func(e event.Event) error {
		if k, ok := e.(*event.OOMKill); ok {
			seen <- time.Since(k.Time)
		}
		return nil
	})
	defer stop()
	g := newGroup(b).limit(12 * mib)
	for b.Loop() {
		for range kills {
			g.runKilled("hog")
			late = append(late, <-seen)
		}
	}
	slices.Sort(late)
	fmt.Println("kill to event:")
	report("p50 %v   p99 %v   max %v of %d   budget p99 <= 5ms", quantile(late, 0.5), quantile(late, 0.99), late[len(late)-1], len(late))
	// "Killed process" is an error, level 3, and those below the console's are shown
	// there, a character at a time, by the task that kills.
	var level int
	text, _ := os.ReadFile("/proc/sys/kernel/printk")
	if _, err := fmt.Sscan(string(text), &level); err == nil && level > 3 {
		consoles, _ := os.ReadFile("/proc/consoles")
		name, _, _ := strings.Cut(string(consoles), " ")
		report("the kernel writes a line of each kill to its console (%q) meanwhile; not so after `dmesg -n 3`", name)
	}
}

// BenchmarkOpen gives the time until every hook is attached.
func BenchmarkOpen(b *testing.B) {
	needRoot(b)
	var took []time.Duration
	for b.Loop() {
		for range 9 {
			began := time.Now()
			t, err := Open(Options{Families: Families()})
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
			t.Close()
		}
	}
	fmt.Println("start to all hooks attached:")
	report("median %v of %d   budget <= 300ms", median(took), len(took))
}

// BenchmarkRing gives how many records a second go from the ring buffer into
// decoded records, as fast as the producer can, and paced at 1.5 million.
func BenchmarkRing(b *testing.B) {
	needRoot(b)
	spec, err := bpf.LoadCore()
	if err != nil {
		b.Fatal(err)
	}
	for name := range spec.Programs {
		if name != "flood" {
			delete(spec.Programs, name)
		}
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		b.Fatal(err)
	}
	defer coll.Close()
	rd, err := ringbuf.NewReader(coll.Maps["events"])
	if err != nil {
		b.Fatal(err)
	}
	defer rd.Close()
	for b.Loop() {
		fmt.Println("ring buffer into decoded records, two CPUs:")
		for _, pace := range []time.Duration{0, time.Second * 1000 / 1_500_000} {
			rate, lost := flood(b, coll.Programs["flood"], rd, pace)
			report("%-24s %.2f million a second, %.1f %% lost   budget >= 1 million, none lost",
				map[bool]string{true: "as fast as it can:", false: "1.5 million a second:"}[pace == 0], rate/1e6, lost*100)
		}
	}
}

// flood runs a producer of a thousand records a turn, one turn each pace, and
// reads them; it gives records read a second and the share that was lost.
func flood(b *testing.B, program *ebpf.Program, rd *ringbuf.Reader, pace time.Duration) (rate, lost float64) {
	const turns, each = 3000, 1000
	var done atomic.Bool
	began := time.Now()
	go func() {
		defer done.Store(true)
		for i := range turns {
			for time.Since(began) < time.Duration(i)*pace { // sleeping is too coarse
			}
			if _, err := program.Run(&ebpf.RunOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	var rec ringbuf.Record
	var n float64
	for !done.Load() || rec.Remaining > 0 {
		rd.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if rd.ReadInto(&rec) != nil {
			continue
		}
		if _, err := decode.Decode(rec.RawSample); err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n / time.Since(began).Seconds(), 1 - n/(turns*each)
}

// benchTrace starts a tracer; stop ends it.
func benchTrace(b *testing.B, o Options, sink Sink) (*Tracer, func()) {
	b.Helper()
	t, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	if sink == nil {
		sink = func(event.Event) error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx, sink) }()
	return t, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		t.Close()
	}
}
