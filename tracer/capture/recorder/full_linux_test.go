package recorder

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// smallDisk is a file system of 8 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("needs root to mount a tmpfs: run `make test`")
	}
	dir := t.TempDir()
	if err := syscall.Mount("oomtrace-test", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// On a disk that is smaller than the budget the oldest makes room: said once,
// nothing that is new is lost, and incidents are written all the same.
func TestSmallDisk(t *testing.T) {
	disk, s := smallDisk(t), new(said)
	dir := filepath.Join(disk, "rec")
	o := options(dir, s)
	o.Keep, o.KeepIncidentBytes, o.Before = 64<<20, 2<<20, 50*time.Millisecond
	r := start(t, o)
	const n = 12000
	for i := range n {
		write(t, r, stall(i, 1000))
		if i%100 == 0 {
			taken(t, r)
		}
	}
	write(t, r, kill("i1", "web"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got := numbers(read(t, files(t, dir, ringDir)...))
	if len(got) < 1000 || got[len(got)-1] != n-1 || s.count("no space is left") != 1 || s.count("lost") > 0 {
		t.Errorf("%d stalls, said:\n%s", len(got), s.all())
	}
	for i := 1; i < len(got); i++ {
		if got[i] != got[i-1]+1 {
			t.Errorf("%d follows %d", got[i], got[i-1])
		}
	}
	if incidents := files(t, dir, incidentDir); len(incidents) != 1 {
		t.Errorf("incidents %q, said:\n%s", incidents, s.all())
	}
}

// Others have filled the disk before the recorder had anything: it says so once,
// counts what it loses, and goes on when there is space again, saying how much
// was lost.
func TestFullDisk(t *testing.T) {
	disk, s := smallDisk(t), new(said)
	dir := filepath.Join(disk, "rec")
	r := start(t, options(dir, s))
	hog, err := os.Create(filepath.Join(disk, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = hog.Write(bytes.Repeat([]byte{1}, 4096))
	}
	if !full(err) {
		t.Fatal(err)
	}
	for i := range 3 {
		write(t, r, stall(i, 100))
		taken(t, r)
	}
	until(t, "it is said", func() bool { return s.count("no space left on device: events are lost") == 1 })
	if err := os.Remove(hog.Name()); err != nil {
		t.Fatal(err)
	}
	hog.Close()
	for i := 3; s.count("lost meanwhile") == 0; i++ {
		write(t, r, stall(i, 100))
		taken(t, r)
		time.Sleep(50 * time.Millisecond) // it tries once a second
		if i > 1000 {
			t.Fatalf("it does not recover; said:\n%s", s.all())
		}
	}
	write(t, r, stall(9999, 100))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	events := read(t, files(t, dir, ringDir)...)
	got := numbers(events)
	var lost uint64
	for _, e := range events {
		if l, ok := e.(*event.Lost); ok {
			lost += l.Count
		}
	}
	if len(got) < 2 || got[len(got)-1] != 9999 || lost != uint64(got[0]) || slices.Contains(got, 0) || s.count("events are lost") != 1 {
		t.Errorf("stalls %v, %d lost; said:\n%s", got, lost, s.all())
	}
}

// A file that fails in any other way is closed, and another begun.
func TestBrokenSegment(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	r := start(t, options(dir, s))
	write(t, r, stall(1, 10))
	taken(t, r)
	until(t, "the stall is on disk", func() bool { return len(numbers(read(t, files(t, dir, ringDir)...))) == 1 })
	r.disk.ring.current.Close()
	for i := 2; s.count("lost meanwhile") == 0; i++ {
		write(t, r, stall(i, 10))
		taken(t, r)
		time.Sleep(50 * time.Millisecond)
		if i > 1000 {
			t.Fatalf("it does not recover; said:\n%s", s.all())
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	got := numbers(read(t, files(t, dir, ringDir)...))
	if len(got) < 2 || got[0] != 1 || slices.Contains(got, 2) || s.count("events are lost") != 1 {
		t.Errorf("stalls %v; said:\n%s", got, s.all())
	}
}
