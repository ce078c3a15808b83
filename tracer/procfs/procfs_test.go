package procfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fake makes a proc file system of some files.
func fake(t *testing.T, files map[string]string) Root {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Root(root)
}

func ptr(n uint64) *uint64 { return &n }

// statLine has what we read, and other numbers around it.
func statLine(comm, state string) string {
	return "42 (" + comm + ") " + state + " 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 123456 1048576 99 18446744073709551615 1 1 0\n"
}

func TestStat(t *testing.T) {
	for _, comm := range []string{"cat", "a b", ")", "(", "x) R 1 2 3", "a\nb", "\x1b[31m", "", ") S 1 (", "tab\tbed"} {
		s, err := fake(t, map[string]string{"42/stat": statLine(comm, "S")}).Stat(42)
		want := Stat{Comm: comm, State: 'S', PPID: 7, Flags: 4194560, Threads: 3, StartNS: 1234560_000_000}
		if err != nil || s != want {
			t.Errorf("%q: %+v, %v", comm, s, err)
		}
	}
	for _, text := range []string{"", "42", "42 (cat", "42 cat) S 1", "42 (cat) S 1 2", strings.ReplaceAll(statLine("cat", "S"), "123456", "x")} {
		if s, err := fake(t, map[string]string{"42/stat": text}).Stat(42); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	if _, err := fake(t, nil).Stat(42); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	k, z := Stat{Flags: 0x208040}, Stat{State: 'Z'}
	if !k.KernelThread() || z.KernelThread() || !z.Dead() || k.Dead() {
		t.Error("kernel thread, dead")
	}
}

const status = `Name:	a\nVmSize:	1 kB
Umask:	0022
State:	S (sleeping)
Tgid:	42
PPid:	7
Uid:	1000	0	0	0
NSpid:	42	17	3
VmPeak:	    3060 kB
VmSize:	    3000 kB
VmLck:	       4 kB
VmHWM:	    1604 kB
VmRSS:	    1604 kB
RssAnon:	     116 kB
RssFile:	    1488 kB
RssShmem:	       8 kB
VmData:	     360 kB
VmStk:	     132 kB
VmExe:	      20 kB
VmLib:	    1528 kB
VmPTE:	      44 kB
VmSwap:	      12 kB
HugetlbPages:	    2048 kB
Threads:	5
`

func TestStatus(t *testing.T) {
	s, err := fake(t, map[string]string{"42/status": status}).Status(42)
	if err != nil {
		t.Fatal(err)
	}
	want := Status{
		UID: 1000, ContainerPID: 3, Threads: 5,
		Size: ptr(3000 << 10), Peak: ptr(1604 << 10), Anon: ptr(116 << 10), File: ptr(1488 << 10), Shmem: ptr(8 << 10),
		Swap: ptr(12 << 10), PageTables: ptr(44 << 10), Data: ptr(360 << 10), Stack: ptr(132 << 10), Text: ptr(20 << 10),
		Libraries: ptr(1528 << 10), Locked: ptr(4 << 10), Hugetlb: ptr(2048 << 10),
	}
	if !reflect.DeepEqual(s, want) || *s.RSS() != 1612<<10 {
		t.Errorf("%+v", s)
	}
	// A kernel thread has no sizes, and no more has one that is dead.
	s, err = fake(t, map[string]string{"42/status": "Name:\tkworker\nState:\tI (idle)\nUid:\t0\t0\t0\t0\nThreads:\t1\nNSpid:\t42\n"}).Status(42)
	if err != nil || s.Size != nil || s.RSS() != nil || s.ContainerPID != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	// The first thread has exited, others hold the memory.
	dead := "State:\tZ (zombie)\nUid:\t5\nThreads:\t3\n"
	s, err = fake(t, map[string]string{"42/status": dead, "42/task/42/status": dead, "42/task/43/status": dead, "42/task/44/status": status}).Status(42)
	if err != nil || s.Size == nil || *s.Anon != 116<<10 || s.UID != 5 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSmall(t *testing.T) {
	r := fake(t, map[string]string{
		"1/oom_score": "667\n", "1/oom_score_adj": "-1000\n", "1/cmdline": "a\x00b c\x00\x00d\x00", "1/stat": statLine("init", "S"),
		"1/cgroup":    "12:cpu,cpuacct:/a\n4:memory:/a:b/c\n0::/unified\nno line\n1:x\n",
		"2/oom_score": "x\n", "2/cmdline": "",
		"3/task/3/stat": "", "3/task/11/stat": "", "3/task/x/stat": "", "20/stat": "", "self/stat": "", "100000000000/stat": "",
		"stat": "cpu  1 2\ncpu0 1\ncpu1 2\nintr cpu7\n", "sys/vm/swappiness": "60\n",
		"meminfo": "MemTotal:       24684284 kB\nMemAvailable:  1 kB\nActive(anon):   2 kB\nHugePages_Total:       5\nSwapTotal: 0 kB\nAnonPages: x kB\n",
	})
	if n, err := r.OOMScore(1); n != 667 || err != nil {
		t.Error(n, err)
	}
	if n, err := r.OOMScoreAdj(1); n != -1000 || err != nil {
		t.Error(n, err)
	}
	if n, err := r.OOMScore(2); err == nil {
		t.Error(n)
	}
	if _, err := r.OOMScore(9); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if c, err := r.Cmdline(1); !slices.Equal(c, []string{"a", "b c", "", "d"}) || err != nil {
		t.Errorf("%q %v", c, err)
	}
	if c, err := r.Cmdline(2); c != nil || err != nil {
		t.Errorf("%q %v", c, err)
	}
	want := []Membership{{12, []string{"cpu", "cpuacct"}, "/a"}, {4, []string{"memory"}, "/a:b/c"}, {0, nil, "/unified"}}
	if m, err := r.Cgroups(1); !reflect.DeepEqual(m, want) || err != nil {
		t.Errorf("%+v %v", m, err)
	}
	if p, err := r.PIDs(); !slices.Equal(p, []int{1, 2, 3, 20}) || err != nil {
		t.Error(p, err)
	}
	if p, err := r.Threads(3); !slices.Equal(p, []int{3, 11}) || err != nil {
		t.Error(p, err)
	}
	if r.CPUs() != 2 || fake(t, nil).CPUs() != 0 {
		t.Error(r.CPUs())
	}
	if n, err := r.Swappiness(); n != 60 || err != nil {
		t.Error(n, err)
	}
	m, err := r.Meminfo()
	if err != nil || *m.Total != 24684284<<10 || *m.Available != 1<<10 || *m.ActiveAnon != 2<<10 || *m.SwapTotal != 0 || m.Anon != nil {
		t.Errorf("%+v %v", m, err)
	}
	if err := gone("x", &fs.PathError{Err: syscall.ESRCH}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// entry is a mapping as smaps shows it.
func entry(head string, kib string, extra ...string) string {
	return head + "\nSize:                  4 kB\nRss:                 " + kib + " kB\nPss:                 " + kib + " kB\n" +
		strings.Join(append(extra, ""), "\n") + "VmFlags: rd wr mr mw me ac sd\n"
}

var smaps = strings.Join([]string{
	entry("00400000-00452000 r-xp 00000000 fd:01 10                                 /usr/bin/app", "1"),
	entry("00651000-00652000 rw-p 00051000 fd:01 10                                 /usr/bin/app", "2"),
	entry("01000000-01021000 rw-p 00000000 00:00 0                                  [heap]", "4"),
	entry("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ", "8", "SwapPss:              64 kB"),
	entry("7f0000001000-7f0000002000 rw-p 00000000 00:00 0 [anon: glibc: malloc]", "16"),
	entry("7f0000002000-7f0000003000 rw-p 00000000 00:00 0 [anon: glibc: pthread stack: 5]", "32"),
	entry("7f0000003000-7f0000004000 rw-s 00000000 00:01 55 /memfd:x (deleted)", "64"),
	entry("7f0000004000-7f0000005000 rw-s 00000000 00:2a 56 /run/tmp file\\012with: newline", "128"),
	entry("7f0000004800-7f0000005000 r-xp 00000000 00:2a 58 /run/program", "65536"),
	entry("7f0000005000-7f0000006000 r--s 00000000 fd:01 11 /var/data.db", "256"),
	entry("7f0000006000-7f0000007000 r--p 00000000 fd:01 12 /lib/libc.so.6", "512"),
	entry("7f0000007000-7f0000008000 rw-s 00000000 00:05 57 /dev/nvidia0", "1024"),
	entry("7f0000008000-7f0000009000 r-xp 00000000 00:00 0 [vdso]", "2048"),
	entry("7f0000009000-7f000000a000 rw-s 00000000 00:01 3 /dev/zero (deleted)", "4096"),
	entry("7f000000a000-7f000000b000 rw-s 00000000 00:0f 3 anon_inode:[io_uring]", "8192"),
	entry("7f000000b000-7f000000c000 rw-p 00000000 00:00 0 [anon:mine]", "16384"),
	entry("7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]", "32768"),
}, "")

func TestKinds(t *testing.T) {
	r := fake(t, map[string]string{"42/smaps": smaps, "42/stat": statLine("app", "S"), "42/mountinfo": "" +
		"22 27 0:21 / /sys rw - sysfs sysfs rw\n99 1 0:42 / /run rw,nosuid shared:5 - tmpfs tmpfs rw\n5 1 253:1 / / rw - ext4 /dev/x rw\n"})
	tmpfs, err := r.Tmpfs(42)
	if err != nil || !maps.Equal(tmpfs, map[string]bool{"0:42": true}) {
		t.Fatal(tmpfs, err)
	}
	k, err := r.Kinds(42, func(dev string) bool { return tmpfs[dev] })
	want := Kinds{
		Heap: 4 + 16, Stack: 32 + 32768, Libraries: 1 + 2 + 512 + 65536, Files: 256, Anonymous: 8 + 16384,
		Shmem: 64 + 128 + 4096, Other: 1024 + 2048 + 8192, Swap: 64,
	}
	for _, p := range []*uint64{&want.Heap, &want.Stack, &want.Libraries, &want.Files, &want.Anonymous, &want.Shmem, &want.Other, &want.Swap} {
		*p <<= 10
	}
	want.Mappings = 17
	if err != nil || k != want || k.PSS() != 131071<<10 {
		t.Errorf("%+v, want %+v, %v", k, want, err)
	}
	// Without the mounts only the name tells.
	if k, _ := r.Kinds(42, nil); k.Shmem != (64+4096)<<10 || k.Files != (256+128)<<10 {
		t.Errorf("%+v", k)
	}
}

func TestSmaps(t *testing.T) {
	var got []Mapping
	r := fake(t, map[string]string{"42/smaps": smaps, "42/stat": statLine("app", "S")})
	if err := r.Smaps(42, func(m *Mapping) { got = append(got, *m) }); err != nil {
		t.Fatal(err)
	}
	if want := (Mapping{Size: 0x52000, Perms: "r-xp", Dev: "253:1", Inode: 10, Path: "/usr/bin/app", RSS: 1 << 10, PSS: 1 << 10}); got[0] != want {
		t.Errorf("%+v", got[0])
	}
	if got[7].Path != "/run/tmp file\nwith: newline" || got[7].Dev != "0:42" {
		t.Errorf("%+v", got[7])
	}
	// A line that is too long loses its end, and what follows is read.
	long := entry("00400000-00452000 r-xp 00000000 fd:01 10 /"+strings.Repeat("x", 3*maxLine), "1") + smaps
	got = nil
	if err := fake(t, map[string]string{"42/smaps": long, "42/stat": statLine("app", "S")}).Smaps(42, func(m *Mapping) { got = append(got, *m) }); err != nil || len(got) != 18 || got[0].PSS != 1<<10 {
		t.Errorf("%d mappings, %v", len(got), err)
	}
	for _, c := range []struct {
		name string
		file map[string]string
		want error
	}{
		{"kernel thread", map[string]string{"42/smaps": "", "42/smaps_rollup": "", "42/stat": statLine("kworker", "I")}, ErrNoMemory},
		{"zombie", map[string]string{"42/smaps": "", "42/smaps_rollup": "", "42/stat": statLine("app", "Z")}, ErrNoMemory},
		{"gone", map[string]string{"42/smaps": "", "42/smaps_rollup": ""}, fs.ErrNotExist},
		{"never was", nil, fs.ErrNotExist},
	} {
		if err := fake(t, c.file).Smaps(42, func(*Mapping) {}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := fake(t, c.file).Rollup(42); !errors.Is(err, c.want) {
			t.Errorf("rollup of %s: %v", c.name, err)
		}
	}
}

func TestRollup(t *testing.T) {
	text := "55f23e7c5000-7ffe9701d000 ---p 00000000 00:00 0                          [rollup]\n" +
		"Rss:                1672 kB\nPss:                 323 kB\nPss_Anon:            116 kB\nPss_File:            207 kB\nPss_Shmem:             1 kB\n" +
		"Anonymous:           120 kB\nPrivate_Hugetlb:       4 kB\nShared_Hugetlb:        8 kB\nSwap:   2 kB\nSwapPss:  1 kB\n"
	sum, err := fake(t, map[string]string{"42/smaps_rollup": text, "42/stat": statLine("app", "S")}).Rollup(42)
	want := Rollup{
		RSS: ptr(1672 << 10), PSS: ptr(323 << 10), PSSAnon: ptr(116 << 10), PSSFile: ptr(207 << 10), PSSShmem: ptr(1 << 10),
		Anonymous: ptr(120 << 10), Hugetlb: ptr(12 << 10), Swap: ptr(2 << 10), SwapPSS: ptr(1 << 10),
	}
	if err != nil || !reflect.DeepEqual(sum, want) {
		t.Errorf("%+v, %v", sum, err)
	}
}
