package container

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	dockerFile = "var/lib/docker/containers/" + id + "/config.v2.json"
	labelled   = `{"ID":"` + id + `","Name":"/plain","Config":{"Image":"evil:1","Labels":{"io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"` + uid + `"}}}`
)

// Anybody can label a container as Kubernetes does. That is believed where the path
// names the same pod.
func TestLabelsOfAnother(t *testing.T) {
	_, proc := aHost(t, map[string]string{dockerFile: labelled})
	r := NewResolver(Options{ProcRoot: proc})
	for path, want := range map[string]*event.Container{
		"/docker/" + id: called("plain", "evil:1", by(Docker, id)),
		"/kubepods/pod" + static + "/docker-" + id: in(static, called("plain", "evil:1", by(Docker, id))),
		podPath + "/docker-" + id + ".scope":       web0(called("web", "evil:1", by(Docker, id))),
	} {
		if got := r.Resolve(path, nil).Container; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", path, show(got), show(want))
		}
	}
}

// What a user's runtimes say goes for cgroups of that user, and names no pods but
// those of the user's own Kubernetes.
func TestClaimsOfUsers(t *testing.T) {
	claim := func(cgroup string) string { return strings.Replace(runcUnified, "/a/b", cgroup, 1) }
	const theirs = "/user.slice/user-1000.slice/user@1000.service/"
	_, proc := aHost(t, map[string]string{
		"etc/passwd":                                                        "ann:x:1000:1000::/home/ann:/bin/sh\n",
		"run/user/1000/runc/one/state.json":                                 claim("/batch/job"),
		"run/user/1000/runc/two/state.json":                                 claim(theirs + "job"),
		"run/user/1000/runc/three/state.json":                               claim("/user.slice/user-1001.slice/job"),
		"home/ann/.local/share/docker/containers/" + id + "/config.v2.json": strings.Replace(labelled, "shop", "fake", 1),
	})
	fake := web0(called("web", "evil:1", by(Docker, id)))
	fake.Pod.Namespace = "fake"
	r := NewResolver(Options{ProcRoot: proc})
	for _, c := range []struct {
		path string
		want *event.Container
	}{
		{theirs + "job", called("two", "", by(Runc, "two"))},
		{"/batch/job", nil}, // right after, while what was read is fresh
		{"/user.slice/user-1001.slice/job", nil},
		{"/lxc.payload.x" + theirs + "job", named(LXC, "x")},
		{theirs + "kubepods/pod" + uid + "/docker-" + id, fake},
		{"/kubepods/pod" + uid, pod(uid)},
	} {
		got := r.Resolve(c.path, nil).Container
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.path, show(got), show(c.want))
		}
	}
}

// A pod has to be in the path also of a container that was found by its path, or
// by its start.
func TestAnnotationsOfAnother(t *testing.T) {
	spec := strings.Replace(criState, `"/x"`, `"/a/b"`, 1)
	want := func(runtime, id string) *event.Container { return called("web", "registry/shop:2", by(runtime, id)) }
	_, proc := aHost(t, map[string]string{"run/crun/db/status": crunState, "bundles/db/config.json": spec})
	if got := NewResolver(Options{ProcRoot: proc}).Resolve("/a/b", nil).Container; !reflect.DeepEqual(got, want(Containerd, "db")) {
		t.Errorf("by its path: %s", show(got))
	}
	_, proc = aHost(t, map[string]string{"bundles/db/config.json": spec})
	if got := NewResolver(Options{ProcRoot: proc}).Resolve("/a/b", &Start{Runtime: Crun, ID: "db", Bundle: "/bundles/db"}).Container; !reflect.DeepEqual(got, want(Containerd, "db")) {
		t.Errorf("by its start: %s", show(got))
	}
}

// An id that people gave may be there twice.
func TestIDInTwoNamespaces(t *testing.T) {
	bundle := func(cgroup, image string) string {
		return fmt.Sprintf(`{"annotations":{"org.opencontainers.image.ref.name":%q},"linux":{"cgroupsPath":%q}}`, image, cgroup)
	}
	const tasks = "run/containerd/io.containerd.runtime.v2.task/"
	_, proc := aHost(t, map[string]string{
		tasks + "alpha/redis/config.json":   bundle("/alpha/redis", "wrong:1"),
		tasks + "default/redis/config.json": bundle("/default/redis", "right:1"),
		tasks + "zulu/redis/config.json":    bundle("/zulu/redis", "wrong:2"),
		tasks + "zulu/other/config.json":    bundle("/zulu/other", "wrong:3"),
	})
	r := NewResolver(Options{ProcRoot: proc})
	for path, want := range map[string]*event.Container{
		"/default/redis":     called("redis", "right:1", by(Containerd, "redis")),
		"/default/redis/sub": called("redis", "right:1", by(Containerd, "redis")),
		"/default/other":     by(Containerd, "other"),
		"/zulu/redis":        called("redis", "wrong:2", by(Containerd, "redis")),
	} {
		if got := r.Resolve(path, nil).Container; !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", path, show(got), show(want))
		}
	}
}

// Of several that say that a cgroup is theirs, the last one started is right: the
// others were stopped, and not deleted.
func TestStoppedBefore(t *testing.T) {
	for last, want := range []string{"b", "c", "a"} {
		root, proc := aHost(t, nil)
		for i, name := range []string{"b", "c", "a"} {
			file := "run/runc/" + name + "/state.json"
			put(t, root, file, strings.Replace(runcUnified, `"web"`, `"`+name+`"`, 1))
			at := time.Now().Add(time.Duration((i-last+2)%3-10) * time.Minute)
			if err := os.Chtimes(filepath.Join(root, file), at, at); err != nil {
				t.Fatal(err)
			}
		}
		if got := NewResolver(Options{ProcRoot: proc}).Resolve("/a/b", nil).Container; !reflect.DeepEqual(got, called(want, "", by(Runc, want))) {
			t.Errorf("%s: %s", want, show(got))
		}
	}
}

// State that is older than a cgroup is of another one that was at its path.
func TestBornLater(t *testing.T) {
	root, proc := aHost(t, map[string]string{
		"run/runc/old/state.json": runcUnified, "run/crun/older/status": crunState,
		"run/containerd/io.containerd.runtime.v2.task/default/ctr/config.json": `{"linux":{"cgroupsPath":"/c/d"}}`,
	})
	born := time.Now()
	for i, file := range []string{"run/runc/old/state.json", "run/crun/older/status", "run/containerd/io.containerd.runtime.v2.task/default/ctr/config.json"} {
		at := born.Add(-time.Duration(1+i) * time.Second)
		if err := os.Chtimes(filepath.Join(root, file), at, at); err != nil {
			t.Fatal(err)
		}
	}
	r := NewResolver(Options{ProcRoot: proc})
	old := called("old", "", by(Runc, "old"))
	for _, c := range []struct {
		path string
		born time.Time
		want *event.Container
	}{
		{"/a/b", born, nil},
		{"/a/b", born.Add(-2 * time.Second), old},
		{"/a/b", time.Time{}, old},                               // was there before the trace
		{"/a/b/below", born, old},                                // made by what runs in it
		{"/c/d", born, called("ctr", "", by(Containerd, "ctr"))}, // written beforehand
	} {
		got := r.Resolve(c.path, &Start{Born: c.born})
		if !reflect.DeepEqual(got.Container, c.want) || got.Complete != (c.want != nil) {
			t.Errorf("%s: %s, want %s", c.path, show(got.Container), show(c.want))
		}
	}
}

// Containers that come, go and are replaced are noticed, and what has not changed
// is not read again.
func TestIndexFollows(t *testing.T) {
	root, proc := aHost(t, map[string]string{"run/runc/web/state.json": runcUnified})
	dir := filepath.Join(root, "run/runc")
	r := NewResolver(Options{ProcRoot: proc})
	resolve := func(path string) *event.Container {
		r.index.at = time.Time{}
		return r.Resolve(path, nil).Container
	}
	changed := func(at time.Time) {
		t.Helper()
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	web := called("web", "", by(Runc, "web"))
	long := time.Now().Add(-time.Hour)
	changed(long)
	if got := resolve("/a/b"); !reflect.DeepEqual(got, web) {
		t.Fatalf("%s", show(got))
	}
	put(t, root, "run/runc/web/state.json", strings.Replace(runcUnified, "/a/b", "/a/c", 1))
	if got := resolve("/a/b"); !reflect.DeepEqual(got, web) {
		t.Errorf("read again: %s", show(got))
	}
	now := time.Now().Add(time.Minute) // just now, on however slow a machine
	changed(now)
	if got := resolve("/a/c"); !reflect.DeepEqual(got, web) {
		t.Errorf("replaced: %s", show(got))
	}
	// So soon after a change the directory's time does not tell of another.
	put(t, root, "run/runc/db/state.json", strings.Replace(runcUnified, "/a/b", "/a/d", 1))
	changed(now)
	if got := resolve("/a/d"); !reflect.DeepEqual(got, called("db", "", by(Runc, "db"))) {
		t.Errorf("added: %s", show(got))
	}
	if err := os.RemoveAll(filepath.Join(dir, "web")); err != nil {
		t.Fatal(err)
	}
	changed(now)
	if got := resolve("/a/c"); got != nil {
		t.Errorf("removed: %s", show(got))
	}
	changed(long)
	resolve("/a/d")
	// Its directory is made first, its state later.
	put(t, root, "run/runc/late/x", "")
	changed(long.Add(time.Second))
	resolve("/a/e")
	put(t, root, "run/runc/late/state.json", strings.Replace(runcUnified, "/a/b", "/a/e", 1))
	changed(long.Add(time.Second))
	if got := resolve("/a/e"); !reflect.DeepEqual(got, called("late", "", by(Runc, "late"))) {
		t.Errorf("late: %s", show(got))
	}
}

// A runtime's directory that cannot be listed is said to be why names are missing.
func TestUnlistedRoot(t *testing.T) {
	for _, file := range []string{"run/runc", "run/containerd/io.containerd.runtime.v2.task"} {
		root, proc := aHost(t, map[string]string{filepath.Dir(file) + "/x": ""})
		if err := os.Symlink("/"+file, filepath.Join(root, file)); err != nil { // to itself
			t.Fatal(err)
		}
		if got := NewResolver(Options{ProcRoot: proc}).Resolve("/a/b", nil); got.Complete || got.Trouble == nil || !strings.Contains(got.Trouble.Error(), "/"+file+": too many levels of symbolic links") {
			t.Errorf("%s: %+v", file, got)
		}
	}
}

// Files that lie among the directories are no trouble.
func TestFilesAmongThem(t *testing.T) {
	_, proc := aHost(t, map[string]string{
		"run/runc/lock": "", "run/crun/.cache/x": "", "run/containerd/io.containerd.runtime.v2.task/x": "", "run/containerd/io.containerd.runtime.v2.task/ns/x": "",
		"run/runc/web/state.json": runcUnified,
	})
	r := NewResolver(Options{ProcRoot: proc})
	if got := r.Resolve("/c", nil); got.Trouble != nil {
		t.Errorf("%v", got.Trouble)
	}
	if got := r.Resolve("/a/b", nil).Container; !reflect.DeepEqual(got, called("web", "", by(Runc, "web"))) {
		t.Errorf("%s", show(got))
	}
}

// What is no regular file is not opened: whoever waits to write to a pipe goes on
// waiting, and a device that acts on being opened does not.
func TestNotOpened(t *testing.T) {
	root, proc := aHost(t, map[string]string{filepath.Dir(dockerFile) + "/x": ""})
	pipe := filepath.Join(root, dockerFile)
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if f, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
			f.Close()
		}
	}()
	r := NewResolver(Options{ProcRoot: proc})
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got := r.Resolve("/docker/"+id, nil); !strings.Contains(fmt.Sprint(got.Trouble), "no regular file") {
			t.Fatalf("%v", got.Trouble)
		}
		select {
		case <-written:
			t.Fatal("the pipe was opened")
		default:
		}
	}
	f, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0) // let it go
	if err != nil {
		t.Fatal(err)
	}
	<-written
	f.Close()
}

// Lists that are torn, or none, are not believed; what in one is no container is
// passed over.
func TestLists(t *testing.T) {
	const file = "var/lib/containers/storage/overlay-containers/containers.json"
	path := "/libpod_parent/libpod-" + id
	for text, want := range map[string]string{
		podmanList:                               "",
		`[null,{"id":"x"},` + podmanList[1:]:     "",
		"[]":                                     "nothing of container",
		"":                                       "containers.json: EOF",
		"{}":                                     "containers.json: no list of containers",
		"null":                                   "containers.json: no list of containers",
		podmanList[:len(podmanList)-1]:           "containers.json: ",
		podmanList[:len(podmanList)-60]:          "containers.json: unexpected EOF",
		strings.Replace(podmanList, ":", ";", 1): "containers.json: invalid character",
	} {
		_, proc := aHost(t, map[string]string{file: text})
		got := NewResolver(Options{ProcRoot: proc}).Resolve(path, nil)
		if got.Complete != (want == "") || want != "" && !strings.Contains(got.Trouble.Error(), want) {
			t.Errorf("%q: %s, %v; want %q", text, show(got.Container), got.Trouble, want)
		}
	}
}

// Podman and CRI-O may share a storage: each is found where it has containers.
func TestSurveyOfStorage(t *testing.T) {
	const podmans, crios = "var/lib/containers/storage/overlay-containers/containers.json", "run/containers/storage/overlay-containers/" + id + "/userdata/config.json"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"podman alone", map[string]string{podmans: podmanList, "run/containers/storage/overlay-containers/" + id + "/userdata/config.json": `{"annotations":{"io.container.manager":"libpod"}}`}, "podman /var/lib/containers/storage 2"},
		{"podman, without containers", map[string]string{"var/lib/containers/storage/libpod/x": ""}, "podman /var/lib/containers/storage 0"},
		{"cri-o alone", map[string]string{crios: crioState, podmans: `[{"id":"` + id + `","metadata":"{\"pod-id\":\"x\"}"}]`}, "cri-o /run/containers/storage 1"},
		{"neither", map[string]string{"var/lib/containers/storage/x": ""}, ""},
	} {
		_, proc := aHost(t, c.files)
		var lines []string
		for _, f := range NewResolver(Options{ProcRoot: proc}).Survey() {
			if f.Containers != nil && (f.Runtime == Podman || f.Runtime == CRIO) {
				lines = append(lines, fmt.Sprint(f.Runtime, " ", f.Dir, " ", *f.Containers))
			}
		}
		if got := strings.Join(lines, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	empty := t.TempDir()
	_, proc := aHost(t, nil)
	for _, f := range NewResolver(Options{ProcRoot: proc, Roots: []Root{{CRIO, empty}}}).Survey() {
		if f.Dir == empty && (f.Containers == nil || *f.Containers != 0 || f.Err != "") {
			t.Errorf("asked for: %+v", f)
		}
	}
}
