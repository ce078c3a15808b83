package tracer

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// profileOf runs a workload in a cgroup of its own under a profile of that, and
// gives what was told until it is enough. The workload does not end by itself:
// the names of its functions are to be had while it lives.
func profileOf(t *testing.T, period uint64, enough func([]*event.Profile) bool, words ...string) []*event.Profile {
	t.Helper()
	g := newGroup(t)
	x := startTrace(t, Options{
		Families: []string{FamilyProfile}, Cgroups: []Selector{{ID: g.id()}}, Period: period, Interval: 50 * time.Millisecond,
	})
	g.start(words...)
	waitFor(x, func(events []event.Event) (bool, bool) { return true, enough(of[*event.Profile](events)) })
	events := x.stop()
	if lost := of[*event.Lost](events); len(lost) > 0 {
		t.Errorf("lost: %+v", lost[0])
	}
	out := of[*event.Profile](events)
	for _, p := range out {
		if p.Cgroup == nil || p.Cgroup.ID != g.id() {
			t.Fatalf("a profile of cgroup %+v", p.Cgroup)
		}
		if p.Period != period || p.Samples == 0 || p.Bytes != p.Samples*period*uint64(os.Getpagesize()) || p.Process.PID == 0 || p.IntervalNS <= 0 {
			t.Fatalf("profile %+v", p)
		}
	}
	return out
}

// faultsIn counts the faults with a function among the user frames, and those of
// them that have it within a caller.
func faultsIn(profiles []*event.Profile, function, caller string) (in, called uint64) {
	for _, p := range profiles {
		i := slices.IndexFunc(p.UserStack, func(f event.Frame) bool { return f.Function == function })
		if i < 0 {
			continue
		}
		in += p.Samples
		if slices.ContainsFunc(p.UserStack[i+1:], func(f event.Frame) bool { return f.Function == caller }) {
			called += p.Samples
		}
	}
	return in, called
}

// aboutAll tells whether a count of faults is that of so many pages: a few more are
// made where page tables were missing, or a fault had to be taken twice.
func aboutAll(faults, pages uint64) bool { return faults >= pages && faults <= pages+pages/64+2 }

const worker = "github.com/oomtrace/oomtrace/tracer."

// Every page that a Go program touches for the first time is found in the
// function that touches it, and under the name that the thread has then. What
// kernel code touches for the program has the kernel's stack besides.
func TestProfileGo(t *testing.T) {
	needRoot(t)
	page := uint64(os.Getpagesize())
	profiles := profileOf(t, 1, func(profiles []*event.Profile) bool {
		in, _ := faultsIn(profiles, worker+"touchSmall", worker+"work")
		zero, _ := faultsIn(profiles, worker+"readZero", worker+"work")
		return in >= 6*mib/page && zero >= 3*mib/page
	}, "small=4", "comm=renamed", "small=2", "zero=3", "wait")
	in, called := faultsIn(profiles, worker+"touchSmall", worker+"work")
	if !aboutAll(in, 6*mib/page) || called != in {
		t.Errorf("%d faults in touchSmall, %d of them within work, of %d pages", in, called, 6*mib/page)
	}
	var renamed, kernel uint64
	for _, p := range profiles {
		if p.Process.Comm == "renamed" && len(p.UserStack) > 0 && p.UserStack[0].Function == worker+"touchSmall" {
			renamed += p.Samples
		}
		if slices.ContainsFunc(p.Stack, func(f string) bool { return strings.HasPrefix(f, "vfs_read+") }) &&
			slices.ContainsFunc(p.UserStack, func(f event.Frame) bool { return f.Function == worker+"readZero" }) {
			kernel += p.Samples
		}
		for _, f := range p.UserStack {
			if strings.HasSuffix(f.Module, "tracer.test") && f.Offset == 0 {
				t.Fatalf("frame without offset: %+v", f)
			}
		}
	}
	if !aboutAll(renamed, 2*mib/page) {
		t.Errorf("%d faults of the renamed process, of %d pages", renamed, 2*mib/page)
	}
	if !aboutAll(kernel, 3*mib/page) {
		t.Errorf("%d faults in read(2), of %d pages", kernel, 3*mib/page)
	}
}

// With a period the estimate is that of the whole: each CPU counts for itself,
// so it is off by a period for each, and for what else was counted between.
func TestProfilePeriod(t *testing.T) {
	needRoot(t)
	var bytes uint64
	touched := func(profiles []*event.Profile) bool {
		bytes = 0
		waiting := false
		for _, p := range profiles {
			if slices.ContainsFunc(p.UserStack, func(f event.Frame) bool { return f.Function == worker+"touchSmall" }) {
				bytes += p.Bytes
			}
			waiting = waiting || p.Process.Comm == "done"
		}
		return waiting
	}
	// What comes after it says that it is over.
	profileOf(t, 13, touched, "small=16", "comm=done", "zero=1", "wait")
	if bytes < 15*mib || bytes > 17*mib {
		t.Errorf("%d bytes estimated of 16 MiB", bytes)
	}
}

// A page that must be read from its file is a major fault.
func TestProfileMajor(t *testing.T) {
	needRoot(t)
	file := filepath.Join(scratch(t), "file")
	pages := uint64(2 * mib / os.Getpagesize())
	major := make(map[string]uint64)
	profileOf(t, 1, func(profiles []*event.Profile) bool {
		clear(major)
		for _, p := range profiles {
			if len(p.UserStack) > 0 && p.UserStack[0].Function == worker+"touchFile" {
				major[p.Fault] += p.Samples
			}
		}
		return major[event.FaultMajor]+major[event.FaultMinor] >= pages
	}, "write="+file+",2", "fadvise="+file, "touch="+file, "wait")
	if !aboutAll(major[event.FaultMajor]+major[event.FaultMinor], pages) || major[event.FaultMajor] < pages/2 {
		t.Errorf("faults %v over %d pages", major, pages)
	}
}

const growC = `
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) void fill_known(char *p, long n) { madvise(p, n, MADV_NOHUGEPAGE); for (long i = 0; i < n; i += 4096) ((volatile char *)p)[i] = 1; }
__attribute__((noinline)) int grow_known(long n) { char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); fill_known(p, n); return p[n - 4096]; }
int main(void) { grow_known(8 << 20); return pause(); }
`

const growCpp = `
#include <sys/mman.h>
#include <unistd.h>
namespace shop { template <class T> struct Cart {
	__attribute__((noinline)) int fill(long n) { T *p = (T *)mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); madvise(p, n, MADV_NOHUGEPAGE); for (long i = 0; i < n; i += 4096) ((volatile T *)p)[i] = 1; return p[n - 4096]; }
}; }
__attribute__((noinline)) int checkout(long n) { shop::Cart<char> c; return c.fill(n) - 1; }
int main() { checkout(8 << 20); return pause(); }
`

// compile makes a program of C or C++.
func compile(t *testing.T, compiler, name, source string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath(compiler); err != nil {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" && os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
			t.Fatalf("%v: `make deps` installs it", err)
		}
		t.Skip(err) // guests have no compiler
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, name), filepath.Join(dir, "grow")
	if err := os.WriteFile(in, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(compiler, append(flags, "-o", out, in)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// Functions of C and C++ are named, with the build id of what they are in.
func TestProfileC(t *testing.T) {
	needRoot(t)
	const buildID = "0123456789abcdef0123456789abcdef01234567"
	flags := []string{"-O0", "-fno-omit-frame-pointer", "-Wl,--build-id=0x" + buildID}
	for _, c := range []struct{ compiler, name, source, function, caller string }{
		{"gcc", "grow.c", growC, "fill_known", "grow_known"},
		{"g++", "grow.cc", growCpp, "shop::Cart<char>::fill", "checkout"},
	} {
		t.Run(c.compiler, func(t *testing.T) {
			program := compile(t, c.compiler, c.name, c.source, flags...)
			pages := uint64(8 * mib / os.Getpagesize())
			profiles := profileOf(t, 1, func(profiles []*event.Profile) bool {
				in, _ := faultsIn(profiles, c.function, c.caller)
				return in >= pages
			}, "exec="+program)
			in, called := faultsIn(profiles, c.function, c.caller)
			if !aboutAll(in, pages) || called != in {
				t.Errorf("%d faults in %s, %d of them within %s, of %d pages", in, c.function, called, c.caller, pages)
			}
			for _, p := range profiles {
				for _, f := range p.UserStack {
					if f.Function == c.function && (f.Module != program || f.BuildID != buildID || f.Offset == 0 || p.Process.Comm != "grow") {
						t.Fatalf("frame %+v of %s", f, p.Process.Comm)
					}
				}
			}
		})
	}
}

// A stall says which of the program's code ran into it, with its kernel stack.
func TestStallUserStack(t *testing.T) {
	bestTier(t, func(t *testing.T, tier string) {
		dir := scratch(t)
		g := newGroup(t).limit(24 * mib)
		x := startTrace(t, Options{Tier: tier, Families: []string{FamilyReclaim}, Stacks: true, Cgroups: []Selector{{ID: g.id()}}})
		g.run("write=" + filepath.Join(dir, "file") + ",48")
		stalls, of48 := 0, 0
		for _, r := range of[*event.Reclaim](x.stop()) {
			if r.Kind != event.ReclaimMemcgLimit || r.Process.Comm == "" {
				continue
			}
			stalls++
			i := slices.IndexFunc(r.UserStack, func(f event.Frame) bool { return f.Function == worker+"do" })
			if i >= 0 && slices.ContainsFunc(r.UserStack[:i], func(f event.Frame) bool { return f.Function == "syscall.write" }) &&
				slices.ContainsFunc(r.Stack, func(f string) bool { return strings.HasPrefix(f, "vfs_write+") }) {
				of48++
			}
		}
		// Some are the runtime's own faults.
		if of48 == 0 || of48 < stalls*9/10 {
			t.Errorf("%d of %d stalls are of the write", of48, stalls)
		}
	})
}
