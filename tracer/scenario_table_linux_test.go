package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func v2only(what string) func(*stage) string {
	return func(s *stage) string {
		if s.g.m.Version == 1 {
			return what
		}
		return ""
	}
}

func guestOnly(s *stage) string {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
		return "touches the whole machine: only in a guest (make test-guests)"
	}
	return ""
}

// burst checks that a plateau was seen, and the burst above it. In an emulated
// guest the poll may be too slow for that, and then the verdict has to be less
// sure.
func burst(s *stage, k *event.OOMKill) {
	if guestOnly(s) == "" && k.Verdict.Confidence == event.ConfidenceLow {
		return
	}
	if w := k.Window; w == nil || w.Shape != event.ShapeBurst || w.NeedFirst > 16*mib || k.Verdict.Confidence != event.ConfidenceMedium {
		s.t.Errorf("window %s, %s", show(w), k.Verdict.Confidence)
	}
}

var (
	any3   = []string{event.ConfidenceLow, event.ConfidenceMedium, event.ConfidenceHigh}
	atMost = []string{event.ConfidenceLow, event.ConfidenceMedium}
	sure   = []string{event.ConfidenceMedium, event.ConfidenceHigh}
	high   = []string{event.ConfidenceHigh}
)

// counting is how many of 900 threads and Go's own the poll must have counted: it
// does not look again for less than what CPUs charge in advance.
const counting = 840

func scenarios() []scenario {
	return []scenario{
		{
			each: true, name: "burst", limit: 24, cause: event.CauseLimitTooSmall, sure: atMost,
			run: func(s *stage) []int32 { return s.killed("hog") },
		},
		{
			name: "leak slow", limit: 32, cause: event.CauseLeak, sure: []string{event.ConfidenceMedium},
			run: func(s *stage) []int32 { return s.killed("leak=256,60") },
			check: func(s *stage, k *event.OOMKill) {
				w := k.Window
				if w == nil || w.Shape != event.ShapeSteady || w.Slope == nil || *w.Slope < mib || *w.Slope > 6*mib || w.NeedLast < 30*mib {
					s.t.Errorf("window %s", show(w)) // 4.2 MiB a second and less, for sleeping takes longer than asked
				}
			},
		},
		{
			name: "leak fast", limit: 32, cause: event.CauseLeak, sure: atMost,
			run: func(s *stage) []int32 { return s.killed("leak=1024,80") },
		},
		{
			name: "burst above a plateau", limit: 32, cause: event.CauseLimitTooSmall, sure: atMost,
			run:   func(s *stage) []int32 { return s.killed("anon=4", "sleep=5000", "hog") },
			check: burst,
		},
		{
			name: "healthy page cache, then a burst", limit: 32, cause: event.CauseLimitTooSmall, sure: atMost,
			run: func(s *stage) []int32 {
				file := filepath.Join(scratch(s.t), "file")
				return s.killed("write="+file+",48", "read="+file+",65536,seq,48", "sleep=5000", "hog")
			},
			check: burst,
		},
		{
			name: "tmpfs", limit: 32, cause: event.CauseTmpfs, sure: sure,
			run: func(s *stage) []int32 { return s.killed("tmpfs="+filepath.Join(s.tmpfs(), "file")+",24", "hog") },
		},
		{
			name: "mlock", limit: 32, cause: event.CausePageCachePinned, sure: sure,
			run: func(s *stage) []int32 { return s.killed("mlock="+filepath.Join(scratch(s.t), "file")+",25", "hog") },
		},
		{
			name: "ramfs", limit: 32, cause: event.CausePageCachePinned, sure: sure,
			run: func(s *stage) []int32 {
				return s.killed("tmpfs="+filepath.Join(s.mount("ramfs", ""), "file")+",25", "hog")
			},
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "locked or unevictable") },
		},
		{
			name: "dirty files", limit: 40, cause: event.CausePageCachePinned, sure: sure, not: noSlowDisk,
			run: func(s *stage) []int32 {
				dir := scratch(s.t)
				s.slowDisk(dir)
				return s.killed("tmpfs="+filepath.Join(dir, "file")+",31", "hog") // written, not synced
			},
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "faster than the disk takes it") },
		},
		{
			name: "inodes and dentries", limit: 16, cause: event.CauseKernelMemory, sure: sure,
			run:   func(s *stage) []int32 { return s.killed("inodes=" + s.tmpfs() + ",60000") },
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "slab") },
		},
		{
			name: "page tables", limit: 32, cause: event.CauseKernelMemory, sure: sure,
			run:   func(s *stage) []int32 { return s.killed("sparse=64") },
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "page tables grow with the address space") },
		},
		{
			name: "thread stacks", limit: 24, cause: event.CauseKernelMemory, sure: sure,
			not: func(s *stage) string {
				if s.g.m.Version == 1 && guestOnly(s) == "" {
					return "with cgroup v1 on 5.10 each thread costs 27 KiB, and the limit is reached before all are there"
				}
				return ""
			},
			run: func(s *stage) []int32 {
				counted := filepath.Join(s.t.TempDir(), "counted")
				cmd := s.g.start("stacks=900", "until="+counted, "hog")
				s.until("the threads are counted", func() bool { return s.g.m.Version == 2 || lastThreads(s) >= counting })
				if err := os.WriteFile(counted, nil, 0o644); err != nil {
					s.t.Fatal(err)
				}
				_ = cmd.Wait()
				return []int32{int32(cmd.Process.Pid)}
			},
			check: func(s *stage, k *event.OOMKill) {
				s.mentions(k, "a kernel stack of 16 KiB")
				if s.g.m.Version == 2 {
					return
				}
				n := 0
				_, rest, _ := strings.Cut(strings.Join(k.Verdict.Evidence, " "), "there were ")
				if _, err := fmt.Sscanf(rest, "%d threads", &n); err != nil || n < counting || n > 950 {
					s.t.Errorf("%d threads told (%v), 900 and those of Go made", n, err)
				}
			},
		},
		{
			name: "sockets", limit: 32, cause: event.CauseKernelMemory, sure: any3,
			not:   v2only("cgroup v1 counts socket buffers apart from memory (memory.kmem.tcp)"),
			run:   func(s *stage) []int32 { return s.killed("sockets=22", "hog") },
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "socket buffers") },
		},
		{
			name: "fork storm", limit: 48, cause: event.CauseForkStorm, sure: sure,
			run: func(s *stage) []int32 {
				s.g.start("comm=forker", "forks=400,256", "wait")
				return nil
			},
			check: func(s *stage, k *event.OOMKill) {
				if k.Victim.Comm != "forker" {
					s.t.Errorf("victim %+v", k.Victim.Process)
				}
			},
		},
		{
			each: true, name: "ancestor's limit", limit: 56, victim: "big", cause: event.CauseAncestorLimit, below: "*", sure: high,
			run: func(s *stage) []int32 {
				big, small := s.g.child("big"), s.g.child("small")
				victim := big.start("adj=600", "anon=28", "wait") // else the kernel takes whichever is larger by a page
				s.until("the big one has its memory", func() bool { return *big.figures().Usage > 28*mib })
				small.start("anon=32", "wait")
				return []int32{int32(victim.Process.Pid)}
			},
		},
		{
			each: true, name: "a limit above its parent's", limit: 24, victim: "child", cause: event.CauseAncestorLimit, below: "*", sure: high,
			run: func(s *stage) []int32 { return []int32{s.g.child("child").limit(64 * mib).runKilled("hog")} },
		},
		{
			each: true, name: "whole group", limit: 32, cause: event.CauseGroupPolicy, below: "*", group: true, sure: high,
			not: v2only("cgroup v1 has no memory.oom.group"),
			run: func(s *stage) []int32 {
				s.g.set("memory.oom.group", "1")
				for range 2 {
					s.g.start("wait")
				}
				return s.killed("hog")
			},
			check: func(s *stage, k *event.OOMKill) {
				if len(k.Killed) != 3 {
					s.t.Errorf("killed %s", show(k.Killed))
				}
			},
		},
		{
			name: "swap full", limit: 24, cause: event.CauseSwapFull, below: "*", sure: high,
			not: func(s *stage) string {
				if why := guestOnly(s); why != "" {
					return why
				}
				if s.g.m.Version == 1 && !exists(filepath.Join(s.g.dir(), "memory.memsw.limit_in_bytes")) {
					return "this kernel does not account swap on cgroup v1"
				}
				return ""
			},
			run: func(s *stage) []int32 {
				s.swapOn(64)
				if s.g.m.Version == 2 {
					s.g.set("memory.swap.max", strconv.Itoa(12*mib))
				} else {
					s.g.set("memory.memsw.limit_in_bytes", strconv.Itoa(36*mib))
				}
				return s.killed("hog")
			},
		},
		{
			each: true, name: "shared memory map", limit: 24, cause: event.CauseLimitTooSmall, sure: atMost,
			run: func(s *stage) []int32 { s.killed("sharer", "hog"); return nil }, // either may be chosen
			check: func(s *stage, k *event.OOMKill) {
				if len(k.Killed) != 2 || k.Killed[1].Reason != "shared_mm" {
					s.t.Errorf("killed %s", show(k.Killed))
				}
			},
		},
		{
			each: true, name: "in vfork", limit: 24, cause: event.CauseLimitTooSmall, sure: atMost,
			run: func(s *stage) []int32 { return s.killed("vforker", "hog") },
			check: func(s *stage, k *event.OOMKill) {
				child := slices.ContainsFunc(k.Candidates, func(c event.Candidate) bool {
					return c.PPID == k.Victim.PID && (c.Unkillable == "vfork" || k.Timeline.SelectedNS == nil) // as in TestVfork
				})
				if !child || len(k.Killed) != 2 || k.Killed[1].PPID != k.Victim.PID {
					s.t.Errorf("candidates %s, killed %s", show(k.Candidates), show(k.Killed))
				}
			},
		},
		{
			each: true, name: "limit lowered", limit: 64, cause: event.CauseLimitTooSmall, sure: high,
			not: v2only("cgroup v1 refuses a limit below what is in use"),
			run: func(s *stage) []int32 {
				cmd := s.g.startStopped(32*mib, "anon=32", "wait")
				s.g.set("memory.max", strconv.Itoa(16*mib))
				return []int32{int32(cmd.Process.Pid)}
			},
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "lowered to 16.0 MiB") },
		},
		{
			// All of the machine may be chosen, so oom_score_adj has to say who.
			each: true, name: "nodes of a cpuset", limit: 512, nodes: event.ConstraintCpuset, cause: event.CauseCpusetOrPolicy, sure: high, not: oneNode,
			run: func(s *stage) []int32 {
				s.cpuset("1")
				return s.killed("adj=800", "hog")
			},
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "nodes (1) of a cpuset") },
		},
		{
			each: true, name: "nodes of a memory policy", limit: 512, nodes: event.ConstraintMempolicy, cause: event.CauseCpusetOrPolicy, sure: high, not: oneNode,
			run:   func(s *stage) []int32 { return s.killed("adj=800", "bind=1", "hog") },
			check: func(s *stage, k *event.OOMKill) { s.mentions(k, "nodes (1) of a memory policy") },
		},
	}
}
