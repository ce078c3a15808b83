package tracer

import (
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/oom"
)

func TestReadNode(t *testing.T) {
	got := readNode(fakeRoot(t, map[string]string{"meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\nSwapTotal: 20 kB\nSwapFree: 0 kB\nAnonPages: 300 kB\n" +
		"Shmem: 40 kB\nSUnreclaim: 5 kB\nKernelStack: 6 kB\nPageTables: 7 kB\nSlab: many kB\nHugePages_Total: 0\n"}))
	want := oom.Node{Total: 1000 << 10, SwapTotal: 20 << 10, Anon: 300 << 10, Shmem: 40 << 10, Unreclaimable: 5 << 10, KernelStack: 6 << 10, PageTables: 7 << 10}
	if got == nil || *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := readNode(fakeRoot(t, map[string]string{"meminfo": "MemTotal: much\n"})); got != nil {
		t.Errorf("garbage: %+v", got)
	}
	if got := readNode(t.TempDir()); got != nil {
		t.Errorf("no meminfo: %+v", got)
	}
}

// The clocks of marks and of start times differ by the time that the machine
// slept, and by nothing else.
func TestSinceBoot(t *testing.T) {
	now := new(clock).now()
	a, b := sinceBoot(now), sinceBoot(now+uint64(time.Second))
	if d := b - a - time.Second; a < time.Duration(now)-time.Millisecond || d < -time.Millisecond || d > time.Millisecond {
		t.Errorf("%v and %v at %v", a, b, time.Duration(now))
	}
}
