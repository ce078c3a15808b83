package tracer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func newLook(t *testing.T) *Look {
	t.Helper()
	l, err := NewLook(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func rankNow(t *testing.T, l *Look, path string) *event.Rank {
	t.Helper()
	r, err := l.Rank(context.Background(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// herd is a cgroup with processes in it that hold memory and wait.
type herd struct {
	t    *testing.T
	look *Look
	top  *group
	dir  string // on a tmpfs
	n    int
	all  map[int32]chan error // gets what the process ended with
	log  killLog
	// exempts: processes may lower their oom_score_adj (CAP_SYS_RESOURCE).
	exempts bool
}

func newHerd(t *testing.T) *herd {
	needRoot(t)
	h := &herd{t: t, look: newLook(t), top: newGroup(t), dir: tmpfs(t), all: make(map[int32]chan error), log: openKillLog(t)}
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	if h.exempts = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0) == nil; h.exempts {
		if err := os.WriteFile("/proc/self/oom_score_adj", own, 0); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// killLog is the kernel's own word on whom it has killed, and in which order.
type killLog struct{ fd int }

func openKillLog(t *testing.T) killLog {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		t.Fatal(err)
	}
	return killLog{fd}
}

// next gives the next process that was killed, of any cgroup; false when there is
// none so far.
func (l killLog) next() (pid int32, ok bool) {
	record := make([]byte, 8192)
	for {
		n, err := unix.Read(l.fd, record)
		if err == unix.EPIPE { // records were overwritten
			continue
		}
		if err != nil {
			return 0, false
		}
		if _, rest, ok := strings.Cut(string(record[:n]), "Killed process "); ok {
			if _, err := fmt.Sscanf(rest, "%d ", &pid); err == nil {
				return pid, true
			}
		}
	}
}

// tmpfs is a directory whose files are memory of whoever writes them, and are in
// nobody's resident set.
func tmpfs(t *testing.T) string {
	t.Helper()
	return mounted(t, "oomtrace-test", "tmpfs", "", unix.MNT_DETACH)
}

// add starts a process, and waits until it has done what it was told and waits.
func (h *herd) add(g *group, words ...string) int32 {
	h.t.Helper()
	h.n++
	ready := filepath.Join(h.dir, fmt.Sprintf("ready-%d", h.n))
	cmd := exec.Command("/proc/self/exe", append(append([]string{"work", filepath.Join(g.dir(), "cgroup.procs")}, words...), "tmpfs="+ready+",0", "wait")...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	pid, end := int32(cmd.Process.Pid), make(chan error, 1)
	h.all[pid] = end
	over := make(chan struct{})
	go func() {
		end <- cmd.Wait()
		close(over)
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-over
	})
	for deadline := time.Now().Add(patience); !exists(ready); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%q is not ready", words)
		}
	}
	return pid
}

// kill lets memory run out: limit puts the limit of a cgroup just above what is
// used, and then that is filled.
func (h *herd) kill(in *group, limit func()) []int32 {
	h.t.Helper()
	limit()
	return h.fill(in, 12)
}

// fill uses memory up without any of the processes' growing: a file on a tmpfs is
// written.
func (h *herd) fill(in *group, size int) []int32 {
	h.t.Helper()
	file := filepath.Join(h.dir, "fill")
	victims := h.exhaust(in, fmt.Sprintf("tmpfs=%s,%d", file, size))
	if err := os.Remove(file); err != nil {
		h.t.Fatal(err)
	}
	return victims
}

// exhaust has a process use memory up that is itself spared where that can be. It
// gives those that the kernel killed, in the order in which it says so in its log.
// There may be more than one: a victim that is exiting ceases to count before all
// its memory is back.
func (h *herd) exhaust(in *group, words ...string) []int32 {
	h.t.Helper()
	if h.exempts {
		words = append([]string{"adj=-1000"}, words...)
	}
	// How it ends does not matter: killed in the end, or refused the memory.
	_ = in.start(words...).Wait()
	var victims []int32
	for pid, ok := h.log.next(); ok; pid, ok = h.log.next() {
		if h.all[pid] == nil {
			continue
		}
		select {
		case err := <-h.all[pid]:
			if !killed(err) {
				h.t.Errorf("victim %d ended with %v", pid, err)
			}
		case <-time.After(patience):
			h.t.Fatalf("victim %d lives", pid)
		}
		delete(h.all, pid)
		victims = append(victims, pid)
	}
	if len(victims) == 0 {
		h.t.Fatal("nobody was killed")
	}
	return victims
}

// tighten leaves 6 MiB above what is used.
func (g *group) tighten() {
	g.t.Helper()
	g.limit(*g.figures().Usage + 6*mib)
}

// want holds what rank said against what the kernel did.
func (h *herd) want(r *event.Rank, domain *group, victim int32) {
	h.t.Helper()
	if r.Domain.Cgroup == nil || r.Domain.Cgroup.ID != domain.id() {
		h.t.Errorf("domain %s, want %s", show(r.Domain), domain.path)
	}
	if r.Next == nil {
		h.t.Fatalf("nobody would be killed: %s", show(r))
	}
	if r.Next.PID == victim {
		return
	}
	// The kernel weighs what its counters say a moment later, and they are exact
	// to so many pages only: then the victim must be among those that are close.
	if slices.ContainsFunc(r.Close, func(p event.Process) bool { return p.PID == victim }) {
		h.t.Logf("close: rank said %d, the kernel killed %d", r.Next.PID, victim)
		return
	}
	h.t.Errorf("rank said %s, the kernel killed %d: %s", show(r.Next), victim, show(r.Processes))
}

// The first of rank is whom the kernel kills: over and over, with random sizes
// and oom_score_adj, in two cgroups below one limit or each with a limit of its
// own. Sizes are far apart, so that it must be right to the process.
func TestRankVictim(t *testing.T) {
	h := newHerd(t)
	h.top.limit(512 * mib)
	groups := []*group{h.top.child("a"), h.top.child("b")}
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	adjs := []int{0, 0, 0, 30, 100, 400}
	if h.exempts {
		adjs = append(adjs, -30, -200, -1000)
	}
	home := make(map[int32]*group)
	add := func() {
		g := groups[r.IntN(2)]
		words := []string{fmt.Sprintf("comm=beast) %d", r.IntN(100)), fmt.Sprintf("adj=%d", adjs[r.IntN(len(adjs))])}
		switch size := 14 + r.IntN(20); r.IntN(3) {
		case 0:
			words = append(words, fmt.Sprintf("shm=%d", size))
		default:
			words = append(words, fmt.Sprintf("anon=%d", size))
		}
		home[h.add(g, words...)] = g
	}
	for len(h.all) < 5 {
		add()
	}
	exact, clear, rounds := 0, 0, rounds(30)
	for range rounds {
		// Either the common limit is the tight one, or one of the two.
		domain := h.top
		if g := groups[r.IntN(2)]; r.IntN(3) == 0 && killable(rankNow(t, h.look, g.path)) {
			domain = g
		}
		asked := domain
		if domain == h.top {
			asked = groups[r.IntN(2)] // whose parent's limit it is
		}
		var said *event.Rank
		victim := h.kill(asked, func() {
			domain.tighten()
			said = rankNow(t, h.look, asked.path)
		})
		h.want(said, domain, victim[0])
		if said.Next.PID == victim[0] {
			exact++
		}
		if len(said.Close) == 0 {
			clear++
		}
		for _, p := range said.Processes {
			if p.OOMScore == nil || p.OOMScoreComputed == nil || *p.OOMScore-*p.OOMScoreComputed > 1 || *p.OOMScoreComputed-*p.OOMScore > 1 {
				t.Errorf("the kernel's score is another than ours: %s", show(p))
			}
			if home[p.PID] != asked {
				t.Errorf("%s is not in %s", show(p.Process), asked.path)
			}
		}
		for _, g := range append(groups, h.top) {
			g.limit(512 * mib)
		}
		for len(h.all) < 5 || !killable(rankNow(t, h.look, h.top.path)) {
			add()
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d rounds: rank's first was the victim in %d, in the rest one told to be close; nobody was close in %d", rounds, exact, clear)
	if clear < rounds/2 {
		t.Errorf("only %d of %d rounds were clear", clear, rounds)
	}
}

// rounds is fewer in a guest, which is slow.
func rounds(n int) int {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		return n / 4
	}
	return n
}

func killable(r *event.Rank) bool {
	return slices.ContainsFunc(r.Processes, func(p event.Ranked) bool { return p.Badness != nil })
}

// Processes of the very same size: the victim is the first, or one that is told
// to be close.
func TestRankClose(t *testing.T) {
	h := newHerd(t)
	h.top.limit(512 * mib)
	first, rounds := 0, rounds(8)
	for range rounds {
		for len(h.all) < 4 {
			h.add(h.top, "anon=20")
		}
		var said *event.Rank
		victim := h.kill(h.top, func() {
			h.top.tighten()
			said = rankNow(t, h.look, h.top.path)
		})
		h.want(said, h.top, victim[0])
		if len(said.Close) != 3 {
			t.Errorf("%d are close to %s", len(said.Close), show(said.Processes))
		}
		if said.Next.PID == victim[0] {
			first++
		}
		h.top.limit(512 * mib)
	}
	t.Logf("of equals, rank's first was killed in %d of %d rounds", first, rounds)
}

// Page tables count as much as what they map.
func TestRankPageTables(t *testing.T) {
	h := newHerd(t)
	h.top.limit(512 * mib)
	h.add(h.top, "anon=20")
	sparse := h.add(h.top, "sparse=30")
	h.add(h.top, "anon=16")
	var said *event.Rank
	victim := h.kill(h.top, func() {
		h.top.tighten()
		said = rankNow(t, h.look, h.top.path)
	})
	h.want(said, h.top, victim[0])
	if victim[0] != sparse || *said.Next.PageTables < 30*mib {
		t.Errorf("killed %d, want %d: %s", victim[0], sparse, show(said.Next))
	}
}

// Who is exempt is told with the reason, and last.
func TestRankExempt(t *testing.T) {
	h := newHerd(t)
	if !h.exempts {
		t.Skip("lowering oom_score_adj needs CAP_SYS_RESOURCE")
	}
	h.top.limit(512 * mib)
	exempt := h.add(h.top, "adj=-1000", "anon=30")
	victim := h.add(h.top, "anon=20")
	r := rankNow(t, h.look, h.top.path)
	last := r.Processes[len(r.Processes)-1]
	if len(r.Processes) != 2 || last.PID != exempt || last.Unkillable != "oom_score_adj" || last.Badness != nil || last.Position != 0 || r.Next.PID != victim {
		t.Errorf("%s", show(r))
	}
	if got := h.kill(h.top, h.top.tighten); got[0] != victim {
		t.Errorf("killed %d, want %d", got, victim)
	}
	if r := rankNow(t, h.look, h.top.path); r.Next != nil {
		t.Errorf("%s", show(r.Next))
	}
	// The first process and kernel threads, by the kernel's own word.
	for _, p := range rankNow(t, h.look, "").Processes {
		if p.PID == 1 && p.Unkillable != "init" && p.Unkillable != "oom_score_adj" {
			t.Errorf("%s", show(p))
		}
	}
}

// With memory.oom.group all of the group go, and rank counts them.
func TestRankGroup(t *testing.T) {
	h := newHerd(t)
	if h.top.m.Version == 1 {
		t.Skip("cgroup v1 has no memory.oom.group")
	}
	h.top.limit(512 * mib)
	job, other := h.top.child("job"), h.top.child("other")
	job.set("memory.oom.group", "1")
	for range 3 {
		h.add(job, "anon=14")
	}
	h.add(job, "anon=30")
	h.add(other, "anon=20")
	var said *event.Rank
	victims := h.kill(other, func() {
		h.top.tighten()
		said = rankNow(t, h.look, h.top.path)
	})
	if said.Group == nil || said.Group.ID != job.id() || said.GroupProcesses != 4 {
		t.Fatalf("group %s, %d processes", show(said.Group), said.GroupProcesses)
	}
	if victims[0] != said.Next.PID || len(victims) < 4 {
		t.Errorf("killed %d, next was %s", victims, show(said.Next))
	}
	if r := rankNow(t, h.look, job.path); len(r.Processes) != 0 {
		t.Errorf("left: %s", show(r.Processes))
	}
}

// Who runs in its parent's memory until it has executed a program is passed over
// by the kernel; its parent is not.
func TestRankVfork(t *testing.T) {
	h := newHerd(t)
	h.top.limit(512 * mib)
	t.Cleanup((&stage{t: t, g: h.top}).clear)
	parent := h.add(h.top, "anon=20", "vforker")
	h.add(h.top, "anon=5")
	r := rankNow(t, h.look, h.top.path)
	i := slices.IndexFunc(r.Processes, func(p event.Ranked) bool { return p.PPID == parent })
	if i < 0 || r.Processes[i].Unkillable != "vfork" || r.Processes[i].Badness != nil || *r.Processes[i].OOMScore != 0 || *r.Processes[i].AnonRSS < 20*mib {
		t.Fatalf("%s", show(r.Processes))
	}
	if r.Next.PID != parent {
		t.Errorf("%s", show(r.Next))
	}
	if victims := h.kill(h.top, h.top.tighten); victims[0] != parent {
		t.Errorf("killed %d, want %d", victims, parent)
	}
}
