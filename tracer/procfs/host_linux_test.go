package procfs

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// The readers on this kernel's own /proc, with memory of which we know how much
// there is of each kind.
func TestHost(t *testing.T) {
	const size = 8 << 20
	anon, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	shm, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // for -count
		_ = unix.Munmap(anon)
		_ = unix.Munmap(shm)
	})
	for i := 0; i < size; i += 4096 {
		anon[i], shm[i] = 1, 1
	}
	var r Root
	pid := os.Getpid()
	k, err := r.Kinds(pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.Anonymous+k.Heap < size || k.Shmem < size || k.Shmem > size+1<<20 || k.Libraries < 1<<20 || k.Stack == 0 {
		t.Errorf("%+v", k)
	}
	sum, err := r.Rollup(pid)
	if err != nil {
		t.Fatal(err)
	}
	// The runtime goes on meanwhile.
	if d := int64(*sum.PSS) - int64(k.PSS()); d > 2<<20 || d < -2<<20 {
		t.Errorf("rollup %d, kinds %d", *sum.PSS, k.PSS())
	}
	s, err := r.Status(pid)
	if err != nil || *s.Shmem < size || *s.Anon < size || *s.PageTables == 0 || s.Threads == 0 || s.UID != int64(os.Getuid()) {
		t.Errorf("%+v, %v", s, err)
	}
	st, err := r.Stat(pid)
	if err != nil || st.PPID != os.Getppid() {
		t.Errorf("%+v, %v", st, err)
	}
	if n, err := r.OOMScore(pid); err != nil || n < 0 || n > 2000 {
		t.Error(n, err)
	}
	if c, err := r.Cmdline(pid); err != nil || c[0] != os.Args[0] {
		t.Error(c, err)
	}
	if r.CPUs() < 1 {
		t.Error("no CPU")
	}
	m, err := r.Meminfo()
	if err != nil || m.Total == nil || m.Anon == nil || m.SlabReclaimable == nil {
		t.Errorf("%+v, %v", m, err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := cmd.Process.Pid
	// Until it is a zombie, which nobody has waited for, and the last of its other
	// threads is gone. A list of threads may end early while one of them exits.
	for {
		st, err := r.Stat(dead)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := r.Status(dead); st.Dead() && err == nil && s.Threads == 1 {
			break
		}
	}
	if _, err := r.Rollup(dead); err != ErrNoMemory {
		t.Error(err)
	}
	if err := r.Smaps(dead, func(*Mapping) {}); err != ErrNoMemory {
		t.Error(err)
	}
	if s, err := r.Status(dead); err != nil || s.Size != nil {
		t.Errorf("%+v %v", s, err)
	}
	if st, err := r.Stat(2); err == nil && st.KernelThread() && os.Getuid() == 0 { // kthreadd
		if _, err := r.Rollup(2); err != ErrNoMemory {
			t.Error(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
