package recorder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Two recorders do not share a directory, and a lock does not outlive its holder.
func TestLock(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	r := start(t, options(dir, s))
	_, err := Open(options(dir, s))
	var locked *LockedError
	if !errors.As(err, &locked) || locked.By != fmt.Sprint(os.Getpid()) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := start(t, options(dir, s)).Close(); err != nil {
		t.Error(err)
	}
}

// What an earlier recorder left is taken over: its torn frame is cut off, its
// unfinished incident is kept, and an incident of now still finds its frames.
func TestRestart(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	r := start(t, options(dir, s))
	write(t, r, stall(1, 10))
	taken(t, r)
	write(t, r, stall(2, 10))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	segment := files(t, dir, ringDir)[0]
	whole, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, incidentDir, ".20260301T120000.000Z-kill-x.zst.part")
	for _, err := range []error{
		os.WriteFile(segment, append(whole, whole[:len(whole)/3]...), 0o600),
		os.WriteFile(unfinished, whole[:len(whole)-3], 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r = start(t, options(dir, s))
	write(t, r, stall(3, 10), kill("i1", "web"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if s.count("was torn") != 1 || s.count("before it was complete") != 1 {
		t.Errorf("said:\n%s", s.all())
	}
	if got := numbers(read(t, files(t, dir, ringDir)...)); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("the ring has %v", got)
	}
	incidents := files(t, dir, incidentDir)
	if len(incidents) != 2 {
		t.Fatalf("incidents %q", incidents)
	}
	if got := numbers(read(t, incidents[0])); !slices.Equal(got, []int{1}) {
		t.Errorf("the unfinished incident has %v", got)
	}
	events := read(t, incidents[1])
	if got := numbers(events); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("the incident has %v", got)
	}
}

// A directory that is removed is made anew, said once, and recording goes on.
func TestRemoved(t *testing.T) {
	dir, s := filepath.Join(t.TempDir(), "rec"), new(said)
	r := start(t, options(dir, s))
	write(t, r, stall(1, 10))
	taken(t, r)
	until(t, "the segment is there", func() bool { return len(files(t, dir, ringDir)) == 1 })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 5; i++ {
		write(t, r, stall(i, 10))
		taken(t, r)
	}
	write(t, r, kill("i1", "web"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := numbers(read(t, files(t, dir, ringDir)...)); !slices.Equal(got, []int{2, 3, 4}) || s.count("was removed") != 1 {
		t.Errorf("the ring has %v; said:\n%s", got, s.all())
	}
	if got := files(t, dir, incidentDir); len(got) != 1 {
		t.Errorf("incidents %q", got)
	}
}
