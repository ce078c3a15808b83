package tracer

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// work is the workload half of this binary: it enters a cgroup, then does what
// it is told, one word after the other.
//
//	anon=MiB        touch so much anonymous memory and keep it
//	small=MiB       the same, a page at a time
//	zero=MiB        have the kernel fill so much of it
//	hog             touch anonymous memory until killed
//	write=FILE,MiB  write a file and sync it
//	read=FILE,SIZE,seq|random,MiB
//	rounds=FILE,SIZE,MiB  read so much at random for each byte of stdin, and say
//	                on stdout how many nanoseconds of CPU that took
//	map=FILE,MiB    map a file and read each page of it
//	fadvise=FILE    drop its cache
//	touch=FILE      map it and touch every page, without read-ahead
//	truncate=FILE,MiB
//	unlink=FILE
//	tmpfs=FILE,MiB  write without sync
//	sharer          start a process that shares this one's memory
//	threads=N,WORDS… the rest in N threads at once
//	stubborn=FILE   write to it for ever, whatever the kernel says
//	brood=N,MiB     start N processes that touch so much memory and wait
//	massacre=DIR,N,MiB  N times: make a cgroup, have a process killed in it, remove it
//	shm=MiB         likewise of shared anonymous memory
//	tables=N        touch N pages, each with a page table of its own
//	vforker         wait in vfork, in another thread, for a child that waits for ever
//	swapoff=FILE
//	kill=PID
//	wait            for ever
//	adj=N           set oom_score_adj
//	comm=NAME
//	nohuge          no huge pages: memory comes in pages of 4 KiB
//	bind=NODE       take memory from that node only
//	exec=FILE,ARGS… become another program
//
// and what fill does (work_fill_linux_test.go).
func work(args []string) int {
	if err := os.WriteFile(args[0], []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		fmt.Fprintln(os.Stderr, "work: enter cgroup:", err)
		return 1
	}
	// Whoever runs the tests may be protected from the OOM killer; its
	// workloads are not.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)
	for i, word := range args[1:] {
		if err := do(word, args[i+2:]); err != nil {
			fmt.Fprintf(os.Stderr, "work: %s: %v\n", word, err)
			return 1
		}
		if strings.HasPrefix(word, "threads=") {
			break
		}
	}
	return 0
}

// A process goes by the name of its first thread, so the workload stays on it.
func init() {
	if len(os.Args) > 2 && os.Args[1] == "work" {
		runtime.LockOSThread()
	}
}

func do(word string, rest []string) error {
	verb, arg, _ := strings.Cut(word, "=")
	args := strings.Split(arg, ",")
	number := func(i int) int {
		n, _ := strconv.Atoi(args[i])
		return n
	}
	switch verb {
	case "anon":
		return touch(number(0))
	case "small":
		return touchSmall(number(0))
	case "zero":
		return readZero(number(0))
	case "hog":
		for {
			if err := touch(1); err != nil {
				return err
			}
		}
	case "write", "tmpfs":
		f, err := os.Create(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		block := make([]byte, mib)
		for range number(1) {
			if _, err := f.Write(block); err != nil {
				return err
			}
		}
		if verb == "tmpfs" {
			return nil
		}
		return f.Sync()
	case "read":
		return readFile(args[0], number(1), args[2] == "random", number(3))
	case "rounds":
		return readRounds(args[0], number(1), number(2))
	case "map":
		return mapFile(args[0], number(1))
	case "fadvise":
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	case "touch":
		return touchFile(args[0])
	case "truncate":
		return os.Truncate(args[0], int64(number(1))*mib)
	case "unlink":
		return os.Remove(args[0])
	case "adj":
		return os.WriteFile("/proc/self/oom_score_adj", []byte(args[0]), 0)
	case "comm":
		return unix.Prctl(unix.PR_SET_NAME, uintptrOf(args[0]), 0, 0, 0)
	case "nohuge":
		return unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	case "bind":
		nodes := uint64(1) << number(0)
		if _, _, errno := unix.Syscall(unix.SYS_SET_MEMPOLICY, unix.MPOL_BIND, uintptr(unsafe.Pointer(&nodes)), 64); errno != 0 {
			return errno
		}
		return nil
	case "exec":
		return unix.Exec(args[0], args, os.Environ())
	case "sharer":
		return spawn(unix.CLONE_VM|uint32(unix.SIGCHLD), 0)
	case "threads":
		var wg sync.WaitGroup
		errs := make([]error, number(0))
		for i := range errs {
			wg.Go(func() {
				for _, w := range rest {
					errs[i] = errors.Join(errs[i], do(strings.ReplaceAll(w, "%", strconv.Itoa(i)), nil))
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	case "stubborn":
		return stubborn(args[0])
	case "brood":
		for range number(0) {
			if _, err := brood(-1, number(1)); err != nil {
				return err
			}
		}
		return nil
	case "shm":
		return touchEach(number(0)*mib, 4096, unix.MAP_SHARED)
	case "tables":
		return touchEach(number(0)*2*mib, 2*mib, unix.MAP_PRIVATE)
	case "vforker":
		runtime.GOMAXPROCS(4)
		debug.SetGCPercent(-1) // it could not stop the thread that waits
		go func() {
			runtime.LockOSThread()
			_ = spawn(unix.CLONE_VM|unix.CLONE_VFORK|uint32(unix.SIGCHLD), 0)
		}()
		return childOfOurs()
	case "swapoff":
		return swapoff(args[0])
	case "kill":
		return unix.Kill(number(0), unix.SIGKILL)
	case "massacre":
		return massacre(args[0], number(1), number(2))
	case "wait":
		for {
			time.Sleep(time.Hour)
		}
	}
	return fill(verb, args)
}

func touch(n int) error { return touchKiB(n << 10) }

func mapFile(name string, n int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, n*mib, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	sum := byte(0)
	for i := 0; i < len(b); i += 4096 {
		sum += b[i]
	}
	if sum != 0 {
		return errors.New("the file is not the one that was written")
	}
	return nil
}

// smallPages gives memory that no huge page backs, so that each page faults.
func smallPages(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	return b, unix.Madvise(b, unix.MADV_NOHUGEPAGE)
}

func touchSmall(n int) error {
	b, err := smallPages(n)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	return nil
}

func readZero(n int) error {
	b, err := smallPages(n)
	if err != nil {
		return err
	}
	f, err := os.Open("/dev/zero")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(b)
	return err
}

var touched atomic.Uint64 // so that reading is not optimised away

func touchFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := unix.Madvise(b, unix.MADV_RANDOM); err != nil { // no read-ahead
		return err
	}
	sum := uint64(0)
	for i := 0; i < len(b); i += os.Getpagesize() {
		sum += uint64(b[i])
	}
	touched.Add(sum)
	return nil
}

func readFile(name string, size int, random bool, n int) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if random {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
			return err
		}
	}
	block := make([]byte, size)
	blocks := int64(n) * mib / int64(size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range blocks {
		at := i
		if random {
			at = r.Int64N(blocks)
		}
		if _, err := f.ReadAt(block, at*int64(size)); err != nil {
			return err
		}
	}
	return nil
}

func readRounds(name string, size, n int) error {
	cpu := func() int64 {
		var t unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
		return t.Nano()
	}
	for ask := make([]byte, 1); ; {
		if _, err := os.Stdin.Read(ask); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		began := cpu()
		if err := readFile(name, size, true, n); err != nil {
			return err
		}
		fmt.Println(cpu() - began)
	}
}

// killed tells whether a process ended by SIGKILL.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	ws, ok := exit.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

func uintptrOf(s string) uintptr {
	b := append([]byte(s), 0)
	return uintptr(unsafe.Pointer(&b[0]))
}
