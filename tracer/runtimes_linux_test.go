package tracer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// runtimes is what the tests with real container runtimes stand on: programs out
// of unpacked packages, with state, sockets and cgroups of their own.
type runtimes struct {
	*testing.T
	tree string // of the packages
	dir  string // for everything that is made
	top  *group // above the cgroups of all containers
	// systemd makes the cgroups, in a slice of its own; else the runtimes do.
	systemd bool
}

// hogImage is what containers are made of, and its name in every runtime.
const hogImage = "localhost/oomtrace-hog:1"

// newRuntimes skips a test where the runtimes' packages are not there: in the
// guests of cmd/vmtest they are not.
func newRuntimes(t *testing.T) *runtimes {
	needRoot(t)
	tree := os.Getenv("OOMTRACE_TEST_RUNTIMES")
	if tree == "" {
		if os.Getenv("OOMTRACE_TEST_ALL") != "" && os.Getenv("OOMTRACE_TEST_GLOBAL") == "" {
			t.Fatal("OOMTRACE_TEST_RUNTIMES does not say where the container runtimes are (make unit does)")
		}
		t.Skip("needs container runtimes: run `make unit`")
	}
	// Daemons make these, whatever they are told; no flag moves them.
	for _, dir := range []string{"/run/containerd", "/run/docker", "/run/docker/plugins"} {
		if !exists(dir) {
			t.Cleanup(func() { removeDirectories(dir) })
		}
	}
	dir, err := os.MkdirTemp(diskDir(t), "oomt-") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &runtimes{T: t, tree: tree, dir: dir, top: newGroup(t)}
	top := r.top
	t.Cleanup(func() {
		removeCgroups(top)
		if err := removeAll(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newDriven is newRuntimes with the cgroup driver that OOMTRACE_TEST_DRIVER names.
// With systemd as the driver containers are in a slice of systemd's, where a
// machine has them: vmtest's guest is the test's own.
func newDriven(t *testing.T, slice string) *runtimes {
	r := newRuntimes(t)
	if r.systemd = os.Getenv("OOMTRACE_TEST_DRIVER") == "systemd"; r.systemd {
		r.top = &group{t, r.top.m, "/" + slice}
	}
	return r
}

// in is the same in a subtest.
func (r *runtimes) in(t *testing.T) *runtimes {
	return &runtimes{t, r.tree, r.dir, &group{t, r.top.m, r.top.path}, r.systemd}
}

// place is a cgroup for a container: how OCI runtimes are told it, and its path.
func (r *runtimes) place(name string) (cgroupsPath, path string) {
	if r.systemd {
		return r.parent() + ":oomtrace:" + name, r.top.path + "/oomtrace-" + name + ".scope"
	}
	return r.top.path + "/" + name, r.top.path + "/" + name
}

// below is the path of a container that a daemon put below a cgroup.
func (r *runtimes) below(parent, prefix, id string) string {
	if r.systemd {
		return parent + "/" + prefix + "-" + id + ".scope"
	}
	return parent + "/" + id
}

// parent is the cgroup above all containers as runtimes are told it.
func (r *runtimes) parent() string {
	if r.systemd {
		return filepath.Base(r.top.path)
	}
	return r.top.path
}

func (r *runtimes) driver() string {
	if r.systemd {
		return "systemd"
	}
	return "cgroupfs"
}

// driven gives options that ask for systemd's driver where it is in use.
func (r *runtimes) driven(options ...string) []string {
	if r.systemd {
		return options
	}
	return nil
}

// removeCgroups removes what runtimes have left below the test's cgroup, in all
// hierarchies.
func removeCgroups(g *group) {
	tops, _ := filepath.Glob("/sys/fs/cgroup/*" + g.path)
	for _, top := range append(tops, g.dir()) {
		removeDirectories(top) // that of the memory controller is looked at when it goes
	}
}

// removeDirectories removes a directory and those below it, as far as there is
// nothing else in them.
func removeDirectories(top string) {
	var dirs []string
	_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = os.Remove(dir)
	}
}

// removeAll removes a directory that runtimes may have left mounts in.
func removeAll(dir string) error {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- { // the last mounted first
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
	return os.RemoveAll(dir)
}

// at is a path in the test's own directory, which is made.
func (r *runtimes) at(elem ...string) string {
	r.Helper()
	dir := filepath.Join(append([]string{r.dir}, elem...)...)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		r.Fatal(err)
	}
	return dir
}

func (r *runtimes) write(name, text string) string {
	r.Helper()
	path := filepath.Join(r.at(filepath.Dir(name)), filepath.Base(name))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
	return path
}

// command is a program of the packages'. It finds libraries and further programs
// in them, but runs with this machine's libc.
func (r *runtimes) command(name string, args ...string) *exec.Cmd {
	r.Helper()
	path := ""
	for _, dir := range []string{"usr/sbin", "usr/bin", "bin"} {
		if try := filepath.Join(r.tree, dir, name); exists(try) {
			path = try
		}
	}
	if path == "" {
		r.Fatalf("no %s in %s", name, r.tree)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(),
		"PATH="+r.path(), "LD_LIBRARY_PATH="+r.libraries(),
		"HOME="+r.dir, "XDG_RUNTIME_DIR="+r.at("xdg"), "TMPDIR="+r.at("tmp"),
	)
	return cmd
}

func (r *runtimes) path() string {
	return r.tree + "/usr/sbin:" + r.tree + "/usr/bin:" + r.tree + "/sbin:" + r.tree + "/bin:" + os.Getenv("PATH")
}

func (r *runtimes) libraries() string {
	return r.tree + "/usr/lib/x86_64-linux-gnu:" + r.tree + "/lib/x86_64-linux-gnu"
}

// run runs a program, and wants it to end with a status.
func (r *runtimes) run(status int, name string, args ...string) string {
	r.Helper()
	return r.wait(status, r.command(name, args...))
}

func (r *runtimes) wait(status int, cmd *exec.Cmd) string {
	r.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != status {
		r.Fatalf("%s %q: %v, want status %d\n%s%s", filepath.Base(cmd.Path), cmd.Args[1:], err, status, out.Bytes(), errs.Bytes())
	}
	return strings.TrimSpace(out.String())
}

// daemon starts a program that serves until the test is over, and waits for its
// socket.
func (r *runtimes) daemon(socket, name string, args ...string) {
	r.Helper()
	cmd := r.command(name, args...)
	log, err := os.Create(filepath.Join(r.at("logs"), name))
	if err != nil {
		r.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-done
		}
		if r.Failed() {
			text, _ := os.ReadFile(log.Name())
			r.Logf("%s said:\n%s", name, text[max(0, len(text)-8000):])
		}
	})
	for deadline := time.Now().Add(patience); !exists(socket); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-done:
			text, _ := os.ReadFile(log.Name())
			done <- err
			r.Fatalf("%s ended: %v\n%s", name, err, text)
		default:
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s has no socket at %s", name, socket)
		}
	}
}

// hog is a command that wants more than any limit here and is killed for it. On an
// emulated CPU the tracer may be late by more than a brief container's life: there
// it lives for a second.
func hog() []string {
	dd := []string{"/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"}
	if os.Getenv("OOMTRACE_TEST_GLOBAL") != "" {
		return []string{"/bin/sh", "-c", "sleep 1; exec " + strings.Join(dd, " ")}
	}
	return dd
}

// limit of the containers: enough for what a runtime runs in them before.
const hogLimit = 24 * mib

// rootfs makes a root directory of busybox.
func (r *runtimes) rootfs() string {
	r.Helper()
	root := filepath.Join(r.dir, "rootfs")
	if exists(root) {
		return root
	}
	r.at("rootfs/bin")
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "etc"} {
		r.at("rootfs", dir)
	}
	busybox, err := os.ReadFile(filepath.Join(r.tree, "bin/busybox"))
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755)
	}
	if err != nil {
		r.Fatal(err)
	}
	for _, applet := range []string{"sh", "dd", "sleep"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			r.Fatal(err)
		}
	}
	return root
}

// bundle makes an OCI bundle that runs a command in a cgroup.
func (r *runtimes) bundle(name, cgroupsPath string, limit int64, annotations map[string]string, args ...string) string {
	r.Helper()
	spec := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]int{"uid": 0, "gid": 0}, "args": args, "cwd": "/",
			"env": []string{"PATH=/bin"}, "oomScoreAdj": 0,
		},
		"root":        map[string]any{"path": r.rootfs()},
		"annotations": annotations,
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
		},
		"linux": map[string]any{
			"cgroupsPath": cgroupsPath,
			"resources":   map[string]any{"memory": map[string]int64{"limit": limit}},
			"namespaces":  []map[string]string{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}},
		},
	}
	text, err := json.Marshal(spec)
	if err != nil {
		r.Fatal(err)
	}
	return filepath.Dir(r.write("bundles/"+name+"/config.json", string(text)))
}

// image makes an archive as `docker save` does, which all runtimes load.
func (r *runtimes) image(names ...string) string {
	r.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.AddFS(os.DirFS(r.rootfs())); err != nil {
		r.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.Fatal(err)
	}
	sum := sha256.Sum256(layer.Bytes())
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sleep","1000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, hex.EncodeToString(sum[:]))
	digest := sha256.Sum256([]byte(config))
	configName := hex.EncodeToString(digest[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		r.Fatal(err)
	}
	var all bytes.Buffer
	w = tar.NewWriter(&all)
	for _, f := range []struct {
		name string
		data []byte
	}{{configName, []byte(config)}, {"layer.tar", layer.Bytes()}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			r.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			r.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.Fatal(err)
	}
	return r.write("image.tar", all.String())
}

// trace starts a trace that knows where these runtimes keep their state.
func (r *runtimes) trace(o Options, roots ...container.Root) *trace {
	r.Helper()
	o.RuntimeRoots = roots
	if o.Families == nil {
		o.Families = []string{FamilyOOM, FamilyCgroup}
	}
	return startTrace(r.T, o)
}

// killIn waits for the kill of a process in a cgroup or below it.
func killIn(x *trace, path string) *event.OOMKill {
	x.t.Helper()
	return waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		k := killsBelow(events, path)
		return firstOf(k), len(k) > 0
	})
}

// wantContainer checks the victim's container, and that of the limit that fired.
func (r *runtimes) wantContainer(k *event.OOMKill, victim, domain *event.Container) {
	r.Helper()
	if got := show(k.Victim.Container); got != show(victim) {
		r.Errorf("victim's container\n got %s\nwant %s", got, show(victim))
	}
	if got := show(k.Domain.Container); got != show(domain) {
		r.Errorf("domain's container\n got %s\nwant %s", got, show(domain))
	}
}
