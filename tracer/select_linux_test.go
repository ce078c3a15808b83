package tracer

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
)

// unattached is a tracer that only knows names: what needs no kernel.
func unattached(t testing.TB, version int, procRoot string) *Tracer {
	mount := cgroup.Mount{Root: t.TempDir(), Version: version}
	return &Tracer{
		mount: mount, page: 4096, procRoot: procRoot, names: newNames(cgroup.NewTree(mount, cgroup.Options{}), unresolved(), procRoot),
		roots: make(map[uint64]bool), samples: make(map[uint64]sample), opts: Options{Warn: func(string) {}},
	}
}

// unresolved are identities of which nobody is running who looks for names.
func unresolved() *identities {
	return newIdentities(container.NewResolver(container.Options{}), func(string) {})
}

const (
	dockerID   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	dockerPath = "/system.slice/docker-" + dockerID + ".scope"
	podUID     = "6c1f4e9a-1d2b-4c3d-8e4f-5a6b7c8d9e0f"
	podPath    = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6c1f4e9a_1d2b_4c3d_8e4f_5a6b7c8d9e0f.slice"
	podChild   = podPath + "/cri-containerd-" + dockerID + ".scope"
)

func TestMatches(t *testing.T) {
	tr := unattached(t, 2, t.TempDir())
	for _, c := range []struct {
		name string
		sel  Selector
		path string
		want bool
	}{
		{"path", Selector{Path: "/a/b"}, "/a/b", true},
		{"path without its slash", Selector{Path: "a/b/"}, "/a/b", true},
		{"full path", Selector{Path: tr.mount.Root + "/a/b"}, "/a/b", true},
		{"full path on any host", Selector{Path: "/sys/fs/cgroup/a/b"}, "/a/b", true},
		{"descendants follow from the filter", Selector{Path: "/a"}, "/a/b", false},
		{"a sibling that begins alike", Selector{Path: "/a/b"}, "/a/bc", false},
		{"container id", Selector{Container: dockerID}, dockerPath, true},
		{"prefix of 12", Selector{Container: dockerID[:12]}, dockerPath, true},
		{"prefix of 8", Selector{Container: dockerID[:8]}, dockerPath, true},
		{"prefix of 7 is too short", Selector{Container: dockerID[:7]}, dockerPath, false},
		{"another id", Selector{Container: "f" + dockerID[1:]}, dockerPath, false},
		{"no container", Selector{Container: dockerID}, "/a/b", false},
		{"unit", Selector{Container: "nginx.service"}, "/system.slice/nginx.service", true},
		{"unit by its name", Selector{Container: "nginx"}, "/system.slice/nginx.service", true},
		{"unit by its escaped name", Selector{Container: `a\x2db`}, `/system.slice/a\x2db.service`, true},
		{"another unit", Selector{Container: "nginx2"}, "/system.slice/nginx.service", false},
		{"pod", Selector{Pod: podUID}, podPath, true},
		{"a container in the pod", Selector{Pod: podUID}, podChild, true},
		{"another pod", Selector{Pod: "0" + podUID[1:]}, podPath, false},
		{"a container without pod", Selector{Pod: podUID}, dockerPath, false},
		{"not a pod at all", Selector{Pod: podUID}, "/a", false},
		{"nothing", Selector{}, dockerPath, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tr.matches(c.sel, c.path, container.FromPath(c.path)); got != c.want {
				t.Errorf("%+v matches %s: %v", c.sel, c.path, got)
			}
		})
	}
}

func TestSelected(t *testing.T) {
	tr := unattached(t, 2, t.TempDir())
	tree := tr.names.tree
	tree.Add(1, "/")
	tree.Add(2, "/a")
	tree.Add(3, "/a/b")
	tree.Add(4, "/ab")
	if !tr.selected(4) || !tr.selected(99) {
		t.Error("without a filter everything is selected")
	}
	tr.opts.Cgroups = []Selector{{Path: "/a"}}
	tr.roots[2] = true
	for id, want := range map[uint64]bool{1: false, 2: true, 3: true, 4: false, 99: false} {
		if got := tr.selected(id); got != want {
			t.Errorf("%d: %v", id, got)
		}
	}
	tree.Remove(3)
	if !tr.selected(3) {
		t.Error("a kill is often told after its cgroup is gone")
	}
}

func TestFind(t *testing.T) {
	tr := unattached(t, 2, fakeRoot(t, map[string]string{"42/cgroup": "0::/a/b\n", "43/cgroup": "0::/elsewhere\n"}))
	for _, path := range []string{"/a/b", podChild} {
		if err := os.MkdirAll(tr.mount.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.names.tree.Scan(); err != nil {
		t.Fatal(err)
	}
	id, err := cgroup.ID(tr.mount.Dir("/a/b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sel  Selector
		want int // how many
		err  string
	}{
		{Selector{ID: id}, 1, ""},
		{Selector{ID: 1}, 0, "no memory cgroup with id 1 below"},
		{Selector{PID: 42}, 1, ""},
		{Selector{PID: 43}, 0, "process 43 is in cgroup /elsewhere, which is not below"},
		{Selector{PID: 44}, 0, "44"},
		{Selector{Path: "/a"}, 1, ""},
		{Selector{Path: "/not/yet"}, 0, ""},
		{Selector{Pod: podUID}, 2, ""},
		{Selector{Container: dockerID[:12]}, 1, ""},
		{Selector{Container: "nobody"}, 0, ""},
	} {
		got, err := tr.find(c.sel)
		if len(got) != c.want {
			t.Errorf("%+v: %v", c.sel, got)
		}
		if c.err == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.sel, err)
			}
			continue
		}
		var s *SelectorError
		if !errors.As(err, &s) || !strings.Contains(err.Error(), c.err) || s.Selector != c.sel {
			t.Errorf("%+v: %v, want %q", c.sel, err, c.err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	caps, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	required := 0
	for _, c := range caps {
		if !strings.HasPrefix(c.Name, "CAP_") || c.For == "" {
			t.Errorf("%+v", c)
		}
		if c.Required {
			required++
		}
	}
	if required != 2 {
		t.Errorf("%d are required: CAP_BPF and CAP_PERFMON are", required)
	}
}

// For an ordinary user one error names all that is missing, and the remedy. As
// root the test is run once more, by an ordinary user.
func TestPrivilegesMissing(t *testing.T) {
	if os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestPrivilegesMissing$", "-test.v")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPrivilegesMissing") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	err := privileges()
	var u *Unsupported
	if !errors.As(err, &u) || len(u.Missing) != 1 || len(u.Remedy) != 1 {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"missing privileges: CAP_BPF (", "), CAP_PERFMON (", "run as root", "setcap "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if strings.Contains(u.Missing[0], "CAP_SYSLOG") {
		t.Errorf("%q names what can be done without", u.Missing[0])
	}
	if _, openErr := Open(Options{}); openErr == nil || openErr.Error() != err.Error() {
		t.Errorf("open: %v", openErr)
	}
}
