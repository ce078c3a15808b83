package tracer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const mountinfo = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
30 22 8:2 / /a\040long\011name\134 rw - ext4 /dev/sda2 rw
31 22 8:2 /sub /mnt/sub rw - ext4 /dev/sda2 rw
32 22 8:3 /volumes/pg\040data /var/lib/pg rw - xfs /dev/sdb rw
33 22 8:3 /volumes/pg\040data /srv rw - xfs /dev/sdb rw
34 22 259:1048575 / /big rw - ext4 /dev/nvme rw
not a line
35 22 8 / /no-minor rw - ext4 x rw
36 22 99999999:1 / /big-major rw - ext4 x rw
`

func dev(major, minor uint32) uint32 { return major<<20 | minor }

func TestMounted(t *testing.T) {
	n := newNames(nil, nil, fakeRoot(t, map[string]string{"self/mountinfo": mountinfo}))
	for _, c := range []struct {
		name, path string
		dev        uint32
		want       string
	}{
		{"the root", "/etc/passwd", dev(8, 1), "/etc/passwd"},
		{"escapes; the largest part wins", "/sub/f", dev(8, 2), "/a long\tname\\/sub/f"},
		{"a part, at the shortest", "/volumes/pg data/base/1", dev(8, 3), "/srv/base/1"},
		{"the mounted directory itself", "/volumes/pg data", dev(8, 3), "/srv"},
		{"outside of any mount", "/volumes/other/f", dev(8, 3), "…/volumes/other/f"},
		{"outside, though it begins alike", "/volumes/pg data2/f", dev(8, 3), "…/volumes/pg data2/f"},
		{"20 bits of minor", "/f", dev(259, 1048575), "/big/f"},
		{"mounted nowhere", "/f", dev(7, 7), "…/f"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := n.mounted(c.dev, c.path); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if len(n.mounts) != 5 {
		t.Errorf("%d devices: %v", len(n.mounts), n.mounts)
	}
}

// A device that is not known makes the mounts be read again, but not for every
// file of it.
func TestMountsAreReadAgain(t *testing.T) {
	root := fakeRoot(t, map[string]string{"self/mountinfo": "22 1 8:1 / / rw - ext4 x rw\n"})
	n := newNames(nil, nil, root)
	if got := n.mounted(dev(8, 9), "/f"); got != "…/f" {
		t.Fatal(got)
	}
	if err := os.WriteFile(filepath.Join(root, "self/mountinfo"), []byte("22 1 8:9 / /new rw - ext4 x rw\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n.mountsRead = time.Now().Add(time.Hour) // just now, on however slow a machine
	if got := n.mounted(dev(8, 9), "/f"); got != "…/f" {
		t.Errorf("read again at once: %s", got)
	}
	n.mountsRead = time.Now().Add(-time.Minute)
	if got := n.mounted(dev(8, 9), "/f"); got != "/new/f" {
		t.Errorf("not read again: %s", got)
	}
}

func TestMountsUnreadable(t *testing.T) {
	if got := newNames(nil, nil, t.TempDir()).mounted(dev(8, 1), "/f"); got != "…/f" {
		t.Error(got)
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, root, rest string
		ok               bool
	}{
		{"/a/b", "/", "/a/b", true},
		{"/a/b", "/a", "/b", true},
		{"/a", "/a", "", true},
		{"/ab", "/a", "b", false},
		{"/b", "/a", "/b", false},
		{"/a", "/a/b", "/a", false},
	} {
		if rest, ok := below(c.path, c.root); ok != c.ok || ok && rest != c.rest {
			t.Errorf("%s below %s: %q, %v", c.path, c.root, rest, ok)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{
		"/plain": "/plain", `/a\040b`: "/a b", `/a\011b\012c`: "/a\tb\nc", `/a\134b`: `/a\b`,
		`/a\134040b`: `/a\040b`, // a backslash and digits, not a blank
		`/a\`:        `/a\`,
	} {
		if got := unescapeMount(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestFile(t *testing.T) {
	n := newNames(nil, nil, fakeRoot(t, map[string]string{"self/mountinfo": mountinfo}))
	name := func(dev, generation uint32, inode uint64, path string) {
		n.named(&decode.File{CoreRecFile: &bpf.CoreRecFile{Dev: dev, Generation: generation, Inode: inode}, Path: path})
	}
	name(dev(8, 1), 1, 100, "/var/log/x")
	name(dev(8, 1), 2, 100, "/reused")
	name(dev(8, 1), 1, 101, "…/deep/down")
	for _, c := range []struct {
		generation uint32
		inode      uint64
		want       string
	}{{1, 100, "/var/log/x"}, {2, 100, "/reused"}, {1, 101, "…/deep/down"}, {3, 100, ""}} {
		want := event.File{Dev: "8:1", Inode: c.inode, Path: c.want}
		if got := n.file(dev(8, 1), c.generation, c.inode); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := n.file(dev(259, 1048575), 0, 1).Dev; got != "259:1048575" {
		t.Error(got)
	}
}

func TestFilesAreBounded(t *testing.T) {
	n := newNames(nil, nil, t.TempDir())
	for i := range uint64(maxFiles + 10) {
		n.named(&decode.File{CoreRecFile: &bpf.CoreRecFile{Inode: i}, Path: "/f"})
	}
	if len(n.files) > maxFiles || len(n.files) < maxFiles/2 {
		t.Errorf("%d paths are kept", len(n.files))
	}
	if _, ok := n.files[fileID{inode: maxFiles + 9}]; !ok {
		t.Error("the latest is not kept")
	}
}

func TestNamesOfCgroups(t *testing.T) {
	tree := cgroup.NewTree(cgroup.Mount{Root: t.TempDir(), Version: 2}, cgroup.Options{})
	n := newNames(tree, unresolved(), t.TempDir())
	tree.Add(7, "/system.slice/nginx.service")
	if cg, c := n.cgroup(0); cg != nil || c != nil || n.domain(0) != nil {
		t.Errorf("id 0: %v, %v", cg, c)
	}
	cg, c := n.cgroup(7)
	if cg == nil || cg.ID != 7 || cg.Path != "/system.slice/nginx.service" || cg.Version != 2 || c == nil || c.Unit != "nginx.service" {
		t.Errorf("%+v, %+v", cg, c)
	}
	tree.Remove(7)
	if d := n.domain(7); d == nil || d.Path != "/system.slice/nginx.service" || d.Container == nil {
		t.Errorf("a cgroup that is gone: %+v", d)
	}
	if cg, c := n.cgroup(99); cg == nil || cg.ID != 99 || cg.Path != "" || cg.Version != 2 || c != nil {
		t.Errorf("unknown: %+v, %+v", cg, c)
	}
}
