package procfs

import (
	"bytes"
	"strconv"
	"strings"
)

// Stat is what we need of /proc/PID/stat.
type Stat struct {
	Comm    string // as it was set: any bytes but NUL, at most 15
	State   byte   // R, S, D, T, Z, ...
	PPID    int
	Flags   uint64 // PF_ bits of the kernel
	Threads int
	StartNS int64 // since boot, CLOCK_BOOTTIME, rounded down to 10 ms
}

// KernelThread says whether it is one of the kernel's own (PF_KTHREAD).
func (s *Stat) KernelThread() bool { return s.Flags&0x00200000 != 0 }

// Dead says whether it has exited: what is left is for its parent to see. Other
// threads of a dead thread group leader may live on.
func (s *Stat) Dead() bool { return s.State == 'Z' || s.State == 'X' || s.State == 'x' }

// tick is the length of one unit of stat's times: USER_HZ is 100 on every
// architecture that oomtrace runs on.
const tick = 10_000_000

// Stat reads who a process is.
func (r Root) Stat(pid int) (Stat, error) {
	name := r.Dir(pid) + "/stat"
	data, err := read(name)
	if err != nil {
		return Stat{}, err
	}
	s, ok := parseStat(string(data))
	if !ok {
		return Stat{}, malformed(name)
	}
	return s, nil
}

// parseStat reads a line "PID (comm) S PPID ...". comm may hold parentheses,
// blanks and newlines, but none of these comes behind it.
func parseStat(text string) (Stat, bool) {
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return Stat{}, false
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return Stat{}, false
	}
	s := Stat{Comm: text[begin+1 : end], State: f[0][0]}
	ppid, err1 := strconv.ParseInt(f[1], 10, 32)
	flags, err2 := strconv.ParseUint(f[6], 10, 64)
	threads, err3 := strconv.ParseInt(f[17], 10, 32)
	start, err4 := strconv.ParseInt(f[19], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || start < 0 || start > (1<<63-1)/tick {
		return Stat{}, false
	}
	s.PPID, s.Flags, s.Threads, s.StartNS = int(ppid), flags, int(threads), start*tick
	return s, true
}

// Status is what we need of /proc/PID/status. Sizes are bytes; those of a process
// without an address space are nil.
//
// The kernel keeps resident pages in per-CPU (before 6.2: per-thread) parts, and
// some versions print the sum without them: see docs/kernels.md, "How exact".
type Status struct {
	UID          int64 // real, in the reader's user namespace
	ContainerPID int   // in the process's own pid namespace; 0 when that is the reader's
	Threads      int

	Size  *uint64 // VmSize: the address space, touched or not
	Peak  *uint64 // VmHWM: the most that was ever resident
	Anon  *uint64 // RssAnon, since 4.5
	File  *uint64 // RssFile, since 4.5: mapped page cache
	Shmem *uint64 // RssShmem, since 4.5: mapped tmpfs, memfd and shared anonymous memory
	Swap  *uint64 // VmSwap
	// PageTables is VmPTE: those of all levels since 4.15.
	PageTables *uint64
	Data       *uint64 // VmData: private writable, touched or not
	Stack      *uint64 // VmStk: the first thread's stack, touched or not
	Text       *uint64 // VmExe: the executable's code
	Libraries  *uint64 // VmLib: other code that is mapped from files
	Locked     *uint64 // VmLck
	Hugetlb    *uint64 // HugetlbPages, in no other figure
}

// RSS is what is resident, nil when that is not known.
func (s *Status) RSS() *uint64 {
	if s.Anon == nil || s.File == nil || s.Shmem == nil {
		return nil
	}
	sum := *s.Anon + *s.File + *s.Shmem
	return &sum
}

// Status reads what the kernel counts of a process's memory. Of a process whose
// first thread has exited while others live, it reads one of those, for they
// still hold the memory.
func (r Root) Status(pid int) (Status, error) {
	name := r.Dir(pid) + "/status"
	data, err := read(name)
	if err != nil {
		return Status{}, err
	}
	s, state := parseStatus(data)
	if s.Size != nil || state != 'Z' || s.Threads < 2 {
		return s, nil
	}
	threads, err := r.Threads(pid)
	if err != nil {
		return s, nil
	}
	for _, tid := range threads {
		data, err := read(r.Dir(pid) + "/task/" + strconv.Itoa(tid) + "/status")
		if err != nil {
			continue
		}
		if alive, _ := parseStatus(data); alive.Size != nil {
			alive.UID, alive.ContainerPID = s.UID, s.ContainerPID
			return alive, nil
		}
	}
	return s, nil
}

func parseStatus(data []byte) (s Status, state byte) {
	for line := range bytes.Lines(data) {
		// The kernel escapes newlines in Name, so that no process can fake a line.
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\n"), []byte{':'})
		if !ok {
			continue
		}
		if into := s.size(string(name)); into != nil {
			*into = kilobytes(value)
			continue
		}
		f := strings.Fields(string(value))
		if len(f) == 0 {
			continue
		}
		switch string(name) {
		case "State":
			state = f[0][0]
		case "Threads":
			n, _ := decimal(f[0])
			s.Threads = int(n)
		case "Uid":
			s.UID, _ = strconv.ParseInt(f[0], 10, 64)
		case "NSpid":
			if n, ok := decimal(f[len(f)-1]); ok && len(f) > 1 {
				s.ContainerPID = int(n)
			}
		}
	}
	return s, state
}

func (s *Status) size(name string) **uint64 {
	switch name {
	case "VmSize":
		return &s.Size
	case "VmHWM":
		return &s.Peak
	case "RssAnon":
		return &s.Anon
	case "RssFile":
		return &s.File
	case "RssShmem":
		return &s.Shmem
	case "VmSwap":
		return &s.Swap
	case "VmPTE":
		return &s.PageTables
	case "VmData":
		return &s.Data
	case "VmStk":
		return &s.Stack
	case "VmExe":
		return &s.Text
	case "VmLib":
		return &s.Libraries
	case "VmLck":
		return &s.Locked
	case "HugetlbPages":
		return &s.Hugetlb
	}
	return nil
}

// kilobytes reads "    1234 kB" as bytes; nil for anything else.
func kilobytes(value []byte) *uint64 {
	number, ok := bytes.CutSuffix(bytes.TrimSpace(value), []byte(" kB"))
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(string(number), 10, 54)
	if err != nil {
		return nil
	}
	n <<= 10
	return &n
}
