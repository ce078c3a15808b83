package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// hostMount is this machine's memory hierarchy. Tests that need it are skipped
// only where there is none at all.
func hostMount(t testing.TB) Mount {
	t.Helper()
	m, err := FindMount("", "/proc")
	if errors.Is(err, ErrNoMemory) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// makeCgroup makes a cgroup below the root and gives its path.
func makeCgroup(t testing.TB, m Mount, name string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make cgroups")
	}
	path := fmt.Sprintf("/oomtrace-test-%d%s", os.Getpid(), name)
	if err := os.Mkdir(m.Dir(path), 0o755); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(m.Dir(path)) })
	return path
}

func TestHostFiles(t *testing.T) {
	m := hostMount(t)
	path, err := m.PathOf("/proc", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.Dir(path)); err != nil {
		t.Skipf("our own cgroup is not visible here: %v", err)
	}
	f, err := m.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*uint64{
		"anon": f.Anon, "file": f.File, "shmem": f.Shmem, "mapped": f.FileMapped,
		"dirty": f.FileDirty, "writeback": f.FileWriteback,
		"active": f.ActiveFile, "inactive": f.InactiveFile, "unevictable": f.Unevictable,
	} {
		if v == nil {
			t.Errorf("no %s", name)
		}
	}
	s, err := m.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Fault == nil || s.RefaultFile == nil || s.File == nil {
		t.Errorf("%+v", s)
	}
	if m.Version == 1 || path != "/" {
		if usage, err := m.Usage(path); err != nil || usage == 0 || f.Usage == nil {
			t.Errorf("usage %d, %v", usage, err)
		}
	}
	if _, err := m.Read("/"); err != nil {
		t.Error(err)
	}
}

func TestHostTree(t *testing.T) {
	m := hostMount(t)
	tree := NewTree(m, Options{})
	if err := tree.Scan(); err != nil {
		t.Fatal(err)
	}
	path := makeCgroup(t, m, "")
	inner := path + "/x"
	if err := os.Mkdir(m.Dir(inner), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(m.Dir(inner))
	id, err := ID(m.Dir(inner))
	if err != nil {
		t.Fatal(err)
	}
	c, ok := tree.Resolve(id)
	if !ok || c.Path != inner || c.Version != m.Version {
		t.Fatalf("%+v, %t", c, ok)
	}
	if up, ok := tree.ByPath(path); !ok || !tree.Descends(id, up) {
		t.Error("its parent was not learnt")
	}
	if err := os.Remove(m.Dir(inner)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Read(inner); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading a cgroup that is gone: %v", err)
	}
	if err := tree.Scan(); err != nil {
		t.Fatal(err)
	}
	wantPath(t, tree, id, inner, false)
}

func TestHostHandle(t *testing.T) {
	m := hostMount(t)
	path := makeCgroup(t, m, "-handle")
	id, err := ID(m.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	got, err := pathByHandle(m.Root, id)
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("needs CAP_DAC_READ_SEARCH")
	}
	if err != nil || got != path {
		t.Errorf("%q, %v; want %q", got, err, path)
	}
	if err := os.Remove(m.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if got, err := pathByHandle(m.Root, id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its removal: %q, %v", got, err)
	}
	if _, err := pathByHandle(t.TempDir(), id); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no cgroup file system: %v", err)
	}
}

func BenchmarkHostRead(b *testing.B) {
	m := hostMount(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Read("/"); err != nil {
			b.Fatal(err)
		}
	}
}
