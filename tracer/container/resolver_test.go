package container

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// aHost makes a host's file system of files, and gives its root and the proc that
// leads there.
func aHost(t testing.TB, files map[string]string) (root, proc string) {
	t.Helper()
	proc = t.TempDir()
	root = filepath.Join(proc, "1/root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		put(t, root, name, text)
	}
	return root, proc
}

func put(t testing.TB, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	os.Remove(path) // writing over it would wait for the disk
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What runtimes write, cut to what counts and a little beside it.
const (
	dockerState = `{"StreamConfig":{},"State":{"Running":true},"ID":"` + id + `","Created":"2026-01-02T03:04:05Z","Path":"nginx","Config":{"Hostname":"h","Image":"nginx:1.27","Labels":{"io.kubernetes.pod.name":"lie"}},"Name":"/web","Driver":"overlay2"}`
	criState    = `{"ociVersion":"1.0.2","process":{"args":["x"]},"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"registry/shop:2","io.kubernetes.cri.sandbox-id":"` + id2 + `","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"` + uid + `"},"linux":{"cgroupsPath":"/x"}}`
	criSandbox  = `{"annotations":{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.podsandbox.image-name":"pause:3","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"` + uid + `"}}`
	crioState   = `{"annotations":{"io.container.manager":"cri-o","io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.ContainerID":"` + id + `","io.kubernetes.cri-o.Name":"k8s_web_web-0_shop_` + uid + `_0","io.kubernetes.cri-o.Image":"sha256:1234","io.kubernetes.cri-o.ImageName":"registry/shop:2","io.kubernetes.cri-o.Metadata":"{\"name\":\"web\",\"attempt\":1}","io.kubernetes.cri-o.KubeName":"lie","io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"` + uid + `"}}`
	crioBare    = `{"annotations":{"io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.Image":"registry/shop:2","io.kubernetes.cri-o.Metadata":"{\"name\":\"web\"}"}}`
	crioSandbox = `{"annotations":{"io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.cri-o.ImageName":"pause:3","io.kubernetes.cri-o.KubeName":"web-0","io.kubernetes.cri-o.Namespace":"shop","io.kubernetes.container.name":"POD","io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"` + uid + `"}}`
	podmanList  = `[{"id":"` + id2 + `","names":["other"],"metadata":"{\"image-name\":\"other:1\",\"name\":\"other\"}"},{"id":"` + id + `","names":["mail"],"image":"abc","layer":"def","metadata":"{\"image-name\":\"docker.io/library/mail:3\",\"image-id\":\"abc\",\"name\":\"mail\",\"created-at\":1}","created":"2026-01-02T03:04:05Z"}]`
	runcState   = `{"id":"web","init_process_pid":7,"config":{"rootfs":"/r","labels":["org.opencontainers.image.ref.name=shop:1","bundle=/b=c"]},"cgroup_paths":{"cpu":"/sys/fs/cgroup/cpu/a/b","memory":"/sys/fs/cgroup/memory/a/b"}}`
	runcUnified = `{"id":"web","config":{"labels":["bundle=/b"]},"cgroup_paths":{"":"/sys/fs/cgroup/a/b"}}`
	crunState   = `{"pid":7,"cgroup-path":"/a/b","bundle":"/bundles/db","rootfs":"/r"}`
)

func called(name, image string, c *event.Container) *event.Container {
	c.Name, c.Image = name, image
	return c
}

func web0(c *event.Container) *event.Container {
	c.Pod = &event.Pod{Name: "web-0", Namespace: "shop", UID: uid}
	return c
}

var (
	criTask = "run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json"
	podPath = "/kubepods.slice/kubepods-pod" + uid_ + ".slice"
)

var states = []struct {
	name  string
	files map[string]string
	path  string
	want  *event.Container
}{
	{"docker", map[string]string{"var/lib/docker/containers/" + id + "/config.v2.json": dockerState},
		"/docker/" + id, called("web", "nginx:1.27", by(Docker, id))},
	{"docker under another parent", map[string]string{"var/lib/docker/containers/" + id + "/config.v2.json": dockerState},
		"/actions_job/" + id, called("web", "nginx:1.27", by(Docker, id))},
	{"docker in a snap", map[string]string{"var/snap/docker/common/var-lib-docker/containers/" + id + "/config.v2.json": dockerState},
		"/system.slice/docker-" + id + ".scope/init.scope", called("web", "nginx:1.27", by(Docker, id))},
	{"docker by labels of the kubelet, another pod's", map[string]string{"var/lib/docker/containers/" + id + "/config.v2.json": strings.Replace(dockerState, `"io.kubernetes.pod.name":"lie"`, `"io.kubernetes.pod.name":"lie","io.kubernetes.pod.uid":"`+static+`"`, 1)},
		podPath + "/docker-" + id + ".scope", in(uid, called("web", "nginx:1.27", by(Docker, id)))},
	{"docker with a data root of its own", map[string]string{
		"etc/docker/daemon.json": `{"log-level":"info","data-root":"/data/docker/"}`, "data/docker/containers/" + id + "/config.v2.json": dockerState,
	}, "/docker/" + id, called("web", "nginx:1.27", by(Docker, id))},
	{"containerd with a state directory of its own", map[string]string{
		"etc/containerd/config.toml": "version = 2\n# state = \"/no\"\nstate = '/data/run' # here\n[plugins]\n  state = \"/other\"\n",
		"data/run/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json": criState,
	}, podPath + "/cri-containerd-" + id + ".scope", web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"CRI-O with a storage of its own", map[string]string{
		"etc/containers/storage.conf":                                 "[storage]\ndriver = \"overlay\"\n# runroot = \"/no\"\n  runroot=\"/data/run\"\ngraphroot = \"relative\"\n",
		"data/run/overlay-containers/" + id + "/userdata/config.json": crioState,
	}, podPath + "/crio-" + id + ".scope", web0(called("web", "registry/shop:2", by(CRIO, id)))},
	{"configurations that are none", map[string]string{
		"etc/docker/daemon.json": "[", "etc/containerd/config.toml": "state = \"\nstate", "etc/containers/storage.conf/x": "",
		"var/lib/docker/containers/" + id + "/config.v2.json": dockerState,
	}, "/docker/" + id, called("web", "nginx:1.27", by(Docker, id))},
	{"docker in docker", map[string]string{"var/lib/docker/containers/" + id + "/config.v2.json": dockerState},
		"/docker/" + id + "/docker/" + id2, inside(called("web", "nginx:1.27", by(Docker, id)), by(Docker, id2))},

	{"containerd's CRI", map[string]string{criTask: criState},
		podPath + "/cri-containerd-" + id + ".scope", web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"containerd's CRI, cgroupfs", map[string]string{criTask: criState},
		"/kubepods/burstable/pod" + uid + "/" + id, web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"containerd 1.x with shims of version 1", map[string]string{"run/containerd/io.containerd.runtime.v1.linux/k8s.io/" + id + "/config.json": criState},
		podPath + "/cri-containerd-" + id + ".scope", web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"k0s", map[string]string{"run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json": criState},
		podPath + "/cri-containerd-" + id + ".scope", web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"k3s", map[string]string{"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json": criState},
		podPath + "/cri-containerd-" + id + ".scope", web0(called("web", "registry/shop:2", by(Containerd, id)))},
	{"a sandbox", map[string]string{criTask: criSandbox},
		podPath + "/cri-containerd-" + id + ".scope", web0(called("", "pause:3", by(Containerd, id)))},
	{"kind", map[string]string{
		"var/lib/docker/containers/" + id + "/config.v2.json":                         dockerState,
		"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id2 + "/config.json": criState,
	}, "/docker/" + id + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid_ + ".slice/cri-containerd-" + id2 + ".scope",
		inside(called("web", "nginx:1.27", by(Docker, id)), web0(called("web", "registry/shop:2", by(Containerd, id2))))},
	{"ctr, in any cgroup", map[string]string{"run/containerd/io.containerd.runtime.v2.task/mine/redis-1/config.json": `{"linux":{"cgroupsPath":"/some/where"}}`},
		"/some/where/below", called("redis-1", "", by(Containerd, "redis-1"))},
	{"ctr, systemd driver", map[string]string{"run/containerd/io.containerd.runtime.v2.task/mine/redis-1/config.json": `{"linux":{"cgroupsPath":"a-b.slice:ctr:redis"}}`},
		"/a.slice/a-b.slice/ctr-redis.scope", called("redis-1", "", by(Containerd, "redis-1"))},
	{"nerdctl", map[string]string{"run/containerd/io.containerd.runtime.v2.task/default/" + id + "/config.json": `{"annotations":{"nerdctl/name":"cart"}}`},
		"/system.slice/nerdctl-" + id + ".scope", called("cart", "", by(Containerd, id))},

	{"CRI-O", map[string]string{"run/containers/storage/overlay-containers/" + id + "/userdata/config.json": crioState},
		podPath + "/crio-" + id + ".scope/container", web0(called("web", "registry/shop:2", by(CRIO, id)))},
	{"CRI-O, without the kubelet's labels", map[string]string{"run/containers/storage/overlay-containers/" + id + "/userdata/config.json": crioBare},
		podPath + "/crio-" + id + ".scope", in(uid, called("web", "registry/shop:2", by(CRIO, id)))},
	{"CRI-O's sandbox", map[string]string{"run/containers/storage/overlay-containers/" + id + "/userdata/config.json": crioSandbox},
		podPath + "/crio-" + id + ".scope", web0(called("", "pause:3", by(CRIO, id)))},
	{"CRI-O, cgroupfs, by the storage alone", map[string]string{
		"var/lib/containers/storage/overlay-containers/" + id + "/userdata/config.json": crioState,
		"var/lib/containers/storage/overlay-containers/containers.json":                 `[{"id":"` + id + `","names":["k8s_web"],"metadata":"{\"pod-id\":\"x\",\"name\":\"k8s_web\"}"}]`,
	}, "/kubepods/pod" + uid + "/crio-" + id, web0(called("web", "registry/shop:2", by(CRIO, id)))},

	{"podman", map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": podmanList},
		"/machine.slice/libpod-" + id + ".scope/container", called("mail", "docker.io/library/mail:3", by(Podman, id))},
	{"podman, with a transient store", map[string]string{"run/containers/storage/overlay-containers/volatile-containers.json": podmanList},
		"/machine.slice/libpod-" + id + ".scope", called("mail", "docker.io/library/mail:3", by(Podman, id))},
	{"podman, in a pod", map[string]string{"var/lib/containers/storage/vfs-containers/containers.json": podmanList},
		"/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id + ".scope", in(id2, called("mail", "docker.io/library/mail:3", by(Podman, id)))},
	{"podman, of a user", map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
		"home/ann/.local/share/containers/storage/overlay-containers/volatile-containers.json": podmanList,
	}, "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", called("mail", "docker.io/library/mail:3", by(Podman, id))},

	{"runc", map[string]string{"run/runc/web/state.json": runcState}, "/a/b", called("web", "shop:1", by(Runc, "web"))},
	{"runc, a cgroup below", map[string]string{"run/runc/web/state.json": runcUnified}, "/a/b/c/d", called("web", "", by(Runc, "web"))},
	{"runc, a cgroup beside", map[string]string{"run/runc/web/state.json": runcUnified}, "/a/bc", nil},
	{"runc in docker", map[string]string{
		"var/lib/docker/containers/" + id + "/config.v2.json": dockerState,
		"run/runc/web/state.json":                             strings.Replace(runcUnified, "/a/b", "/docker/"+id+"/x.scope", 1),
	}, "/docker/" + id + "/x.scope", called("web", "nginx:1.27", by(Docker, id))}, // what runs in docker is docker's
	{"runc, systemd driver", map[string]string{"run/runc/web/state.json": strings.Replace(runcUnified, "/a/b", "/system.slice/runc-web.scope", 1)},
		"/system.slice/runc-web.scope", called("web", "", by(Runc, "web"))},
	{"runc of a user", map[string]string{"run/user/1000/runc/web/state.json": strings.Replace(runcUnified, "/a/b", "/user.slice/user-1000.slice/web", 1)},
		"/user.slice/user-1000.slice/web", called("web", "", by(Runc, "web"))},
	{"crun", map[string]string{"run/crun/db/status": crunState, "bundles/db/config.json": `{"annotations":{"org.opencontainers.image.ref.name":"db:9"}}`},
		"/a/b", called("db", "db:9", by(Crun, "db"))},

	{"lxc", nil, "/lxc.payload.web/system.slice/x.service", named(LXC, "web")},
	{"a unit", nil, "/system.slice/nginx.service", unit("nginx.service", "nginx")},
	{"no container", nil, "/a/b", nil},
}

// below is what the tracer gives for a hierarchy of version 1 or 2.
func below1or2(dir string) string {
	dir = strings.TrimPrefix(dir, "/sys/fs/cgroup")
	return filepath.Clean("/" + strings.TrimPrefix(dir, "/memory"))
}

func TestResolve(t *testing.T) {
	for _, test := range states {
		t.Run(test.name, func(t *testing.T) {
			_, proc := aHost(t, test.files)
			r := NewResolver(Options{ProcRoot: proc, Below: below1or2})
			got := r.Resolve(test.path, nil)
			if !reflect.DeepEqual(got.Container, test.want) {
				t.Errorf("%s:\n got %s\nwant %s", test.path, show(got.Container), show(test.want))
			}
			if !got.Complete && test.want != nil && (test.want.Name != "" || test.want.Image != "") {
				t.Errorf("not complete: %v", got.Trouble)
			}
		})
	}
}

// A pod's own cgroup has the names that its containers tell.
func TestPodsByTheirContainers(t *testing.T) {
	_, proc := aHost(t, map[string]string{criTask: criState})
	r := NewResolver(Options{ProcRoot: proc})
	if got := r.Resolve(podPath, nil).Container; !reflect.DeepEqual(got, pod(uid)) {
		t.Errorf("before: %s", show(got))
	}
	r.Resolve(podPath+"/cri-containerd-"+id+".scope", nil)
	if got, want := r.Resolve(podPath, nil).Container, web0(&event.Container{}); !reflect.DeepEqual(got, want) {
		t.Errorf("after: %s", show(got))
	}
}

// Podman's pods are known by what is in them.
func TestPodmanPodAnywhere(t *testing.T) {
	_, proc := aHost(t, map[string]string{"var/lib/containers/storage/overlay-containers/containers.json": podmanList})
	r := NewResolver(Options{ProcRoot: proc})
	r.Resolve("/my/"+id2+"/libpod-"+id, nil)
	if got := r.Resolve("/my/"+id2, nil).Container; !reflect.DeepEqual(got, pod(id2)) {
		t.Errorf("%s", show(got))
	}
}

// Whatever is wrong with a container's state: the id alone, and why.
func TestTrouble(t *testing.T) {
	const file = "var/lib/docker/containers/" + id + "/config.v2.json"
	path := "/docker/" + id
	for _, c := range []struct {
		name string
		make func(t *testing.T, root string)
		want string
	}{
		{"no root", func(t *testing.T, root string) {}, "nothing of container " + id[:12] + " in /var/lib/docker, "},
		{"empty", func(t *testing.T, root string) { put(t, root, file, "") }, "config.v2.json: unexpected end of JSON"},
		{"torn", func(t *testing.T, root string) { put(t, root, file, dockerState[:200]) }, "config.v2.json: unexpected end of JSON"},
		{"garbage", func(t *testing.T, root string) { put(t, root, file, "\x00\xff\x1b[31m") }, "config.v2.json: invalid character"},
		{"another type", func(t *testing.T, root string) { put(t, root, file, `{"ID":["`+id+`"],"Name":7}`) }, "config.v2.json: json: cannot unmarshal"},
		{"of another", func(t *testing.T, root string) { put(t, root, file, strings.Replace(dockerState, id, id2, 1)) }, "is of another container"},
		{"no name", func(t *testing.T, root string) { put(t, root, file, `{"ID":"`+id+`"}`) }, "nothing of container"},
		{"a name that is none", func(t *testing.T, root string) {
			put(t, root, file, `{"ID":"`+id+`","Name":"`+strings.Repeat("x", maxName+1)+`"}`)
		}, "nothing of container"},
		{"too large", func(t *testing.T, root string) {
			put(t, root, file, dockerState)
			if err := os.Truncate(filepath.Join(root, file), maxState+1); err != nil {
				t.Fatal(err)
			}
		}, "too large"},
		{"a directory", func(t *testing.T, root string) { put(t, root, file+"/x", "") }, "no regular file"},
		{"a pipe", func(t *testing.T, root string) {
			put(t, root, filepath.Dir(file)+"/x", "")
			if err := syscall.Mkfifo(filepath.Join(root, file), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "no regular file"},
		{"a link that leads out", func(t *testing.T, root string) {
			outside := filepath.Join(t.TempDir(), "outside")
			put(t, "/", outside, dockerState)
			put(t, root, filepath.Dir(file)+"/x", "")
			if err := os.Symlink(outside, filepath.Join(root, file)); err != nil {
				t.Fatal(err)
			}
		}, "nothing of container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, proc := aHost(t, nil)
			c.make(t, root)
			got := NewResolver(Options{ProcRoot: proc}).Resolve(path, nil)
			if !reflect.DeepEqual(got.Container, by(Docker, id)) || got.Complete || got.Trouble == nil || !strings.Contains(got.Trouble.Error(), c.want) {
				t.Errorf("%s, complete %v: %v; want %q", show(got.Container), got.Complete, got.Trouble, c.want)
			}
			os.Remove(filepath.Join(root, file))
		})
	}
}

// State that is written late, or was caught half written, is read when it is
// there.
func TestLate(t *testing.T) {
	root, proc := aHost(t, map[string]string{"run/runc/web/state.json": runcUnified[:50]})
	r := NewResolver(Options{ProcRoot: proc})
	if got := r.Resolve("/a/b", nil); got.Container != nil || got.Complete || got.Trouble == nil {
		t.Errorf("torn: %s, %v, %v", show(got.Container), got.Complete, got.Trouble)
	}
	put(t, root, "run/runc/web/state.json", runcUnified)
	r.index.at = r.index.at.Add(-fresh) // as if a moment had passed
	if got := r.Resolve("/a/b", nil); !got.Complete || got.Container == nil || got.Container.ID != "web" {
		t.Errorf("whole: %s, %v", show(got.Container), got.Trouble)
	}
	// The next container of that cgroup is another.
	if err := os.RemoveAll(filepath.Join(root, "run/runc/web")); err != nil {
		t.Fatal(err)
	}
	r.index.at = r.index.at.Add(-fresh)
	if got := r.Resolve("/a/b", nil); got.Container != nil {
		t.Errorf("gone: %s", show(got.Container))
	}
}

// A link to elsewhere on the host is followed there, not into our own files.
func TestLinkOnTheHost(t *testing.T) {
	root, proc := aHost(t, map[string]string{"data/docker/containers/" + id + "/config.v2.json": dockerState, "var/lib/x": ""})
	if err := os.Symlink("/data/docker", filepath.Join(root, "var/lib/docker")); err != nil {
		t.Fatal(err)
	}
	if got := NewResolver(Options{ProcRoot: proc}).Resolve("/docker/"+id, nil); got.Container.Name != "web" {
		t.Errorf("%s: %v", show(got.Container), got.Trouble)
	}
}

// Roots that are asked for are looked at first, on the host and with us.
func TestGivenRoots(t *testing.T) {
	_, proc := aHost(t, map[string]string{"var/lib/docker/containers/" + id + "/config.v2.json": strings.Replace(dockerState, "/web", "/old", 1)})
	ours := t.TempDir()
	put(t, ours, "containers/"+id+"/config.v2.json", dockerState)
	r := NewResolver(Options{ProcRoot: proc, Roots: []Root{{Docker, ours}, {Podman, "/not/there"}}})
	if got := r.Resolve("/docker/"+id, nil).Container; got.Name != "web" {
		t.Errorf("%s", show(got))
	}
	if got := r.Missing(); !reflect.DeepEqual(got, []Root{{Podman, "/not/there"}}) {
		t.Errorf("missing: %v", got)
	}
	var lines []string
	for _, f := range r.Survey() {
		n := "?"
		if f.Containers != nil {
			n = fmt.Sprint(*f.Containers)
		}
		if f.Dir == ours || strings.HasPrefix(f.Err, "there is no") || f.Dir == "/var/lib/docker" {
			lines = append(lines, fmt.Sprint(f.Runtime, " ", f.Dir, " ", n, " ", f.Err))
		}
	}
	want := []string{"docker " + ours + " 1 ", "docker /var/lib/docker 1 ", "podman /not/there ? there is no such directory"}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("survey\n%q\n%q", lines, want)
	}
}

func TestParseRoot(t *testing.T) {
	for in, want := range map[string]Root{
		"docker=/data/docker/": {Docker, "/data/docker"}, "cri-o=/a=b": {CRIO, "/a=b"},
		"docker": {}, "rkt=/x": {}, "docker=x": {}, "=/x": {}, "docker=": {},
	} {
		got, err := ParseRoot(in)
		if got != want || (err == nil) != (want != Root{}) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"/a/b/": "/a/b", "a/b": "", "": "", "a-b-c.slice:p:n": "/a.slice/a-b.slice/a-b-c.slice/p-n.scope",
		":p:n": "/system.slice/p-n.scope", "-.slice:p:n": "/p-n.scope", "a.slice::n": "/a.slice/n.scope",
		"a.slice:p:n.slice": "/a.slice/n.slice", "a:b": "", "x/y.slice:p:n": "", "a.scope:p:n": "",
	} {
		if got := expand(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Whatever the files hold, the container is the one that the path names, and it
// has no control over where else is read.
func FuzzState(f *testing.F) {
	for _, s := range []string{dockerState, criState, criSandbox, crioState, crioBare, podmanList, runcState, runcUnified, crunState, "", "{}", "[]", "null"} {
		f.Add([]byte(s))
	}
	files := []string{
		"var/lib/docker/containers/" + id + "/config.v2.json", criTask,
		"run/containers/storage/overlay-containers/" + id + "/userdata/config.json",
		"var/lib/containers/storage/overlay-containers/containers.json",
		"run/runc/web/state.json", "run/crun/web/status",
	}
	root, proc := aHost(f, nil)
	f.Fuzz(func(t *testing.T, state []byte) {
		for _, name := range files {
			put(t, root, name, string(state))
		}
		r := NewResolver(Options{ProcRoot: proc})
		for _, path := range []string{"/docker/" + id, "/x/" + id, podPath + "/crio-" + id + ".scope", podPath + "/cri-containerd-" + id + ".scope", "/libpod-" + id} {
			c := r.Resolve(path, nil).Container
			if c == nil || c.ID != id || len(c.Name) > maxName || len(c.Image) > maxName {
				t.Errorf("%s: %s", path, show(c))
			}
			if c != nil && strings.HasPrefix(path, podPath) && (c.Pod == nil || c.Pod.UID != uid) {
				t.Errorf("%s: %s", path, show(c))
			}
		}
		if c := r.Resolve("/a/b", nil).Container; c != nil && c.ID != "web" {
			t.Errorf("/a/b: %s", show(c))
		}
	})
}
