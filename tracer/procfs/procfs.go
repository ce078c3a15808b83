// Package procfs reads what /proc tells of processes and their memory: what the
// OOM killer weighs (status, oom_score, oom_score_adj), what an address space
// consists of (smaps, smaps_rollup), who a process is (stat, cmdline, cgroup), and
// the node's own figures (meminfo).
//
// All sizes are bytes. A figure that this kernel does not print is nil. The
// names in /proc are anybody's to choose, so every parser takes any bytes and
// nothing here is fit for a terminal as it stands.
package procfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoMemory says that a process has no address space: a kernel thread, or one
// that has exited and was not waited for yet.
var ErrNoMemory = errors.New("no address space")

// Root is where a proc file system is mounted. "" means /proc.
//
// Every method's error is fs.ErrNotExist when there is no such process (any
// more) and fs.ErrPermission when this one may not look at it.
type Root string

// name gives the path of a file of the root.
func (r Root) name(parts ...string) string {
	return cmp.Or(string(r), "/proc") + "/" + strings.Join(parts, "/")
}

// Dir is the directory of a process.
func (r Root) Dir(pid int) string { return r.name(strconv.Itoa(pid)) }

// maxFile bounds what is read of a file that is held in memory as a whole.
const maxFile = 1 << 20

func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, gone(name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, gone(name, err)
	}
	return data, nil
}

// gone makes fs.ErrNotExist of ESRCH, which a file says that was opened while its
// process still was there.
func gone(name string, err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return err
}

func malformed(name string) error {
	return &fs.PathError{Op: "parse", Path: name, Err: errors.New("not in the form that kernels write it")}
}

// PIDs lists the processes (thread group ids) that there are, in ascending order.
func (r Root) PIDs() ([]int, error) {
	dir, err := os.Open(r.name())
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	pids := numbers(names)
	if err != nil && len(pids) == 0 {
		return nil, err
	}
	return pids, nil
}

// Threads lists the thread ids of a process, in ascending order.
func (r Root) Threads(pid int) ([]int, error) {
	dir, err := os.Open(r.Dir(pid) + "/task")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, gone(dir.Name(), err)
	}
	return numbers(names), nil
}

func numbers(names []string) []int {
	var out []int
	for _, name := range names {
		if n, ok := decimal(name); ok {
			out = append(out, int(n))
		}
	}
	slices.Sort(out)
	return out
}

// decimal reads a pid or another number of the size of one.
func decimal(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil
}

// Cmdline gives a process's arguments. A process may write anything here; one
// that has none (kernel threads, zombies) gives nil. At most 1 MiB is read.
func (r Root) Cmdline(pid int) ([]string, error) {
	data, err := read(r.Dir(pid) + "/cmdline")
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), nil
}

// OOMScoreAdj is how the OOM killer is to treat a process, from -1000 (never
// kill it) to 1000.
func (r Root) OOMScoreAdj(pid int) (int, error) { return r.number(pid, "oom_score_adj") }

// OOMScore is the kernel's own badness of a process, normalised by the node's
// RAM and swap; package oom has the formula. 0 is also what the kernel says of
// processes that it would not kill.
func (r Root) OOMScore(pid int) (int, error) { return r.number(pid, "oom_score") }

func (r Root) number(pid int, file string) (int, error) {
	name := r.Dir(pid) + "/" + file
	data, err := read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, malformed(name)
	}
	return n, nil
}

// Membership is one line of /proc/PID/cgroup.
type Membership struct {
	Hierarchy   int      // 0 for version 2
	Controllers []string // none for version 2
	Path        string   // below the hierarchy's root, as seen from our cgroup namespace
}

// Cgroups tells which cgroups a process is in, one for each hierarchy.
func (r Root) Cgroups(pid int) ([]Membership, error) {
	data, err := read(r.Dir(pid) + "/cgroup")
	if err != nil {
		return nil, err
	}
	return parseCgroups(string(data)), nil
}

func parseCgroups(text string) []Membership {
	var out []Membership
	for line := range strings.Lines(text) {
		number, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		id, ok3 := decimal(number)
		if !ok || !ok2 || !ok3 || !strings.HasPrefix(path, "/") {
			continue
		}
		m := Membership{Hierarchy: int(id), Path: path}
		if controllers != "" {
			m.Controllers = strings.Split(controllers, ",")
		}
		out = append(out, m)
	}
	return out
}
