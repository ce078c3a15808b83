//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestComplaintsIn(t *testing.T) {
	tests := []struct {
		line string
		bad  bool
	}{
		{"[    0.000000] Kernel command line: console=ttyS1 panic=-1 oops=panic", false},
		{"[    1.2] Out of memory: Killed process 93 (hog) total-vm:1kB", false},
		{"[    1.2] Memory cgroup out of memory: Killed process 93 (hog)", false},
		{"[    1.2] hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0", false},
		{"[    1.2] DEBUG: nothing", false},
		{"[    1.2] traps: hog[93] general protection fault ip:401000 sp:7ffd error:0 in hog[401000+1000]", false},
		{"[    1.2] hog[93]: segfault at 0 ip 0000000000401000", false},

		{"[    1.2] BUG: kernel NULL pointer dereference, address: 0000000000000008", true},
		{"[    1.2] Oops: 0002 [#1] SMP NOPTI", true},
		{"[    1.2] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI", true},
		{"[    1.2] general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", true},
		{"[    1.2] kernel BUG at mm/slub.c:305!", true},
		{"[    1.2] watchdog: BUG: soft lockup - CPU#0 stuck for 123s! [hog:93]", true},
		{"[    1.2] BUG: KASAN: use-after-free in foo", true},
		{"[    1.2] Kernel panic - not syncing: sysrq triggered crash", true},
		{"[    1.2] traps: PANIC: double fault, error_code: 0x0", true},
		{"[    1.2] WARNING: CPU: 0 PID: 93 at kernel/bpf/verifier.c:1 check+0x1/0x2", true},
		{"[    1.2] UBSAN: array-index-out-of-bounds in mm/x.c:1:2", true},
	}
	for _, tt := range tests {
		log := "[    0.1] Linux version 6.1\n" + tt.line + "\n[    9.9] reboot: Restarting system\n"
		got := complaintsIn(log)
		if bad := len(got) > 0; bad != tt.bad {
			t.Errorf("%q: fails a guest: %v", tt.line, bad)
		}
		if tt.bad && len(got) == 1 && got[0] != tt.line {
			t.Errorf("complaint %q, want %q", got[0], tt.line)
		}
	}
}

func TestExcerpt(t *testing.T) {
	log := strings.Repeat("before\n", 100) + "BUG: x\n" + strings.Repeat("after\n", 100)
	bad := excerpt(log, complaintsIn(log))
	if !strings.HasPrefix(bad, "before\nbefore\nBUG: x\nafter\n") {
		t.Errorf("an excerpt starts two lines before the complaint, not at %.30q", bad)
	}
	if tail := excerpt("a\nb\n", nil); tail != "a\nb\n" {
		t.Errorf("a short log is cut to %q", tail)
	}
}

func TestJudge(t *testing.T) {
	tests := map[string]struct {
		verdict    string
		complaints []string
		want       string // "" if the guest passes
	}{
		"passed":        {`{"Release":"6.1","Status":0}`, nil, ""},
		"failed":        {`{"Release":"6.1","Status":3}`, nil, "exit status 3"},
		"complaint":     {`{"Release":"6.1","Status":0}`, []string{"BUG: x"}, "kernel complained"},
		"no command":    {`{"Release":"6.1","Status":127,"Error":"not found"}`, nil, "not found"},
		"crash":         {``, []string{"Kernel panic"}, "crashed"},
		"silent":        {``, nil, "ended before"},
		"torn by crash": {`{"Release":"6.1","Sta`, []string{"Oops"}, "crashed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := (&outcome{complaints: tt.complaints}).judge([]byte(tt.verdict))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
