package tracer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// ramDisk makes a compressed RAM disk of 160 MiB, and gives its device; "" where the
// kernel has none.
func ramDisk(t testing.TB) string {
	t.Helper()
	const control = "/sys/class/zram-control/"
	number, err := os.ReadFile(control + "hot_add")
	if err != nil {
		return ""
	}
	name := "zram" + strings.TrimSpace(string(number))
	t.Cleanup(func() {
		if err := os.WriteFile(control+"hot_remove", number, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile("/sys/block/"+name+"/disksize", []byte("160M"), 0); err != nil {
		t.Fatal(err)
	}
	return "/dev/" + name
}

// mounted mounts a file system, and gives where; flags are those of its unmounting.
func mounted(t testing.TB, source, fs, options string, flags int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(source, dir, fs, 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, flags); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Two files that only their file systems tell apart, for one is a copy of the other,
// inode numbers and generations included.
func TestTwins(t *testing.T) {
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		t.Skip("needs mkfs.ext4: on the host")
	}
	needRoot(t)
	content, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(filepath.Join(content, "file"), make([]byte, 4*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-d", content, image, "16M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	bytes, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	var files [2]string
	for i := range files {
		dev := ramDisk(t)
		if dev == "" {
			t.Skip("this kernel has no zram")
		}
		if err := os.WriteFile(dev, bytes, 0); err != nil {
			t.Fatal(err)
		}
		files[i] = filepath.Join(mounted(t, dev, "ext4", "", 0), "file")
	}
	g := newGroup(t)
	x := startTrace(t, Options{Families: []string{FamilyCache}, Interval: 100 * time.Millisecond, Cgroups: []Selector{{ID: g.id()}}})
	var words []string
	for range 2 { // the second time without a block of metadata in between
		words = append(words, "read="+files[0]+",4096,seq,4", "read="+files[1]+",4096,seq,4", "fadvise="+files[0], "fadvise="+files[1])
	}
	g.run(words...)
	events := x.stop()
	for _, file := range files {
		var s unix.Stat_t
		if err := unix.Stat(file, &s); err != nil {
			t.Fatal(err)
		}
		dev := fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev))
		var added, removed uint64
		for _, c := range of[*event.Cache](events) {
			for _, f := range c.Files {
				if f.Dev == dev && f.Inode == s.Ino {
					added += f.Added
					removed += f.Removed
				}
			}
		}
		if added != 2048 || removed != 2048 {
			t.Errorf("inode %d of %s: %d pages added, %d removed, want 2048 each", s.Ino, dev, added, removed)
		}
	}
}
