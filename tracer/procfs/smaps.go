package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Rollup is /proc/PID/smaps_rollup, since 4.14: exact figures, for the kernel
// walks the page tables to get them. They take its mmap lock for reading
// meanwhile, about 1 ms for each 100 MiB of small pages.
//
// PSS is the resident size in which a page that n processes map counts 1/n for
// each, so that the sum over all processes counts every page once.
type Rollup struct {
	RSS, PSS *uint64
	// PSSAnon, PSSFile and PSSShmem are PSS by what the pages are, since 5.4.
	PSSAnon, PSSFile, PSSShmem *uint64
	Anonymous                  *uint64 // RSS that belongs to no file
	PrivateClean, PrivateDirty *uint64
	SharedClean, SharedDirty   *uint64
	AnonHuge                   *uint64 // in transparent huge pages
	Hugetlb                    *uint64 // Private_ and Shared_Hugetlb, in no other figure
	Swap                       *uint64
	SwapPSS                    *uint64
	Locked                     *uint64
}

// Rollup reads the sums over an address space. Needs the right to ptrace the
// process (its own user, or CAP_SYS_PTRACE). The error is ErrNoMemory when the
// process has no address space, and fs.ErrNotExist also where the kernel has no
// such file.
func (r Root) Rollup(pid int) (Rollup, error) {
	data, err := r.space(pid, "smaps_rollup")
	if err != nil {
		return Rollup{}, err
	}
	defer data.Close()
	var sum Rollup
	err = eachMapping(data, func(*Mapping) {}, func(name string, value *uint64) {
		if into := sum.field(name); into != nil {
			add(into, value)
		}
	})
	return sum, r.bare(pid, err, sum.RSS == nil)
}

func (sum *Rollup) field(name string) **uint64 {
	switch name {
	case "Rss":
		return &sum.RSS
	case "Pss":
		return &sum.PSS
	case "Pss_Anon":
		return &sum.PSSAnon
	case "Pss_File":
		return &sum.PSSFile
	case "Pss_Shmem":
		return &sum.PSSShmem
	case "Anonymous":
		return &sum.Anonymous
	case "Private_Clean":
		return &sum.PrivateClean
	case "Private_Dirty":
		return &sum.PrivateDirty
	case "Shared_Clean":
		return &sum.SharedClean
	case "Shared_Dirty":
		return &sum.SharedDirty
	case "AnonHugePages":
		return &sum.AnonHuge
	case "Private_Hugetlb", "Shared_Hugetlb":
		return &sum.Hugetlb
	case "Swap":
		return &sum.Swap
	case "SwapPss":
		return &sum.SwapPSS
	case "Locked":
		return &sum.Locked
	}
	return nil
}

// Mapping is one entry of /proc/PID/smaps: a range of addresses with what it
// maps and what of it is in memory.
type Mapping struct {
	Size  uint64
	Perms string // r, w, x and p (private) or s (shared), or hyphens
	Dev   string // "major:minor" in decimal; "0:0" without a file
	Inode uint64
	Path  string // the file's, or a name in brackets; newlines undone
	RSS   uint64
	PSS   uint64
	Anon  uint64 // the part of RSS that belongs to no file, copies of a file's private pages included
	Swap  uint64
	// SwapPSS is Swap as PSS has it: a page in swap that n processes map counts
	// 1/n for each. Since 4.3.
	SwapPSS uint64
	Huge    uint64 // AnonHugePages
	Locked  uint64
}

// Smaps calls fn for each mapping of an address space, in ascending order. The
// Mapping is valid during the call. Needs what Rollup needs, costs a little more,
// and the sum may be of different moments when the process goes on mapping.
func (r Root) Smaps(pid int, fn func(*Mapping)) error {
	data, err := r.space(pid, "smaps")
	if err != nil {
		return err
	}
	defer data.Close()
	empty := true
	err = eachMapping(data, func(m *Mapping) { empty = false; fn(m) }, nil)
	return r.bare(pid, err, empty)
}

// space opens a file about a process's address space. Of a process whose first
// thread has exited it takes another.
func (r Root) space(pid int, file string) (io.ReadCloser, error) {
	dir := r.Dir(pid)
	if st, err := r.Stat(pid); err == nil && st.Dead() {
		threads, _ := r.Threads(pid)
		for _, tid := range threads {
			if tid == pid {
				continue
			}
			if f, err := os.Open(dir + "/task/" + strconv.Itoa(tid) + "/" + file); err == nil {
				return f, nil
			}
		}
		return nil, ErrNoMemory
	}
	f, err := os.Open(dir + "/" + file)
	if err != nil {
		err = gone(dir+"/"+file, err)
		if errors.Is(err, fs.ErrNotExist) {
			if st, again := r.Stat(pid); again == nil && (st.KernelThread() || st.Dead()) {
				err = ErrNoMemory
			}
		}
		return nil, err
	}
	return f, nil
}

// bare says why a file about an address space was empty, or ended with ESRCH.
func (r Root) bare(pid int, err error, empty bool) error {
	if err != nil && !errors.Is(err, syscall.ESRCH) || err == nil && !empty {
		return err
	}
	if _, err := r.Stat(pid); err != nil {
		return err
	}
	return ErrNoMemory
}

func add(into **uint64, value *uint64) {
	switch {
	case value == nil:
	case *into == nil:
		v := *value
		*into = &v
	default:
		**into += *value
	}
}

// maxLine is the longest line that is looked at: a path of PATH_MAX, every byte
// of it escaped, with room to spare. Of longer ones the rest is passed over.
const maxLine = 32 << 10

// eachMapping reads smaps and smaps_rollup, which have one form: a line about the
// range, then lines of "Name: value kB". field, when given, is told of every one
// of the latter.
func eachMapping(in io.Reader, fn func(*Mapping), field func(name string, value *uint64)) error {
	lines := bufio.NewReaderSize(in, maxLine)
	var m Mapping
	open := false
	for {
		line, err := lines.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			line = bytes.Clone(line)
			for err == bufio.ErrBufferFull {
				_, err = lines.ReadSlice('\n')
			}
		}
		if len(line) > 0 {
			if next, ok := parseRange(line); ok {
				if open {
					fn(&m)
				}
				m, open = next, true
			} else if name, value, ok := bytes.Cut(line, []byte{':'}); ok && open {
				v := kilobytes(value)
				m.set(string(name), v)
				if field != nil {
					field(string(name), v)
				}
			}
		}
		if err != nil {
			if open {
				fn(&m)
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func (m *Mapping) set(name string, v *uint64) {
	if v == nil {
		return
	}
	switch name {
	case "Rss":
		m.RSS = *v
	case "Pss":
		m.PSS = *v
	case "Anonymous":
		m.Anon = *v
	case "Swap":
		m.Swap = *v
	case "SwapPss":
		m.SwapPSS = *v
	case "AnonHugePages":
		m.Huge = *v
	case "Locked":
		m.Locked = *v
	}
}

// parseRange reads the line that a mapping begins with, such as
//
//	7f0d2c000000-7f0d2c021000 rw-p 00000000 00:00 0                          [heap]
//
// Lines of figures begin with a capital letter, so they are none.
func parseRange(line []byte) (Mapping, bool) {
	if c := line[0]; c < '0' || c > '9' && c < 'a' || c > 'f' {
		return Mapping{}, false
	}
	rest := strings.TrimSuffix(string(line), "\n")
	var f [5]string
	for i := range f {
		var ok bool
		f[i], rest, ok = strings.Cut(strings.TrimLeft(rest, " "), " ")
		if !ok && i < 4 {
			return Mapping{}, false
		}
	}
	from, to, ok := strings.Cut(f[0], "-")
	begin, err1 := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	inode, err3 := strconv.ParseUint(f[4], 10, 64)
	dev, ok2 := device(f[3])
	if !ok || !ok2 || err1 != nil || err2 != nil || err3 != nil || end < begin || len(f[1]) != 4 {
		return Mapping{}, false
	}
	return Mapping{Size: end - begin, Perms: f[1], Dev: dev, Inode: inode, Path: unescape(strings.TrimLeft(rest, " "))}, true
}

// device makes "259:2" of "103:02", as mountinfo has it.
func device(s string) (string, bool) {
	major, minor, ok := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 16, 32)
	b, err2 := strconv.ParseUint(minor, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return "", false
	}
	return strconv.FormatUint(a, 10) + ":" + strconv.FormatUint(b, 10), true
}

// unescape undoes the one escape of a mapping's path: a newline is \012. (A path
// that has these four characters itself cannot be told from it.)
func unescape(s string) string { return strings.ReplaceAll(s, `\012`, "\n") }
