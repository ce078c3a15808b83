package tracer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// containerd starts one, and gives its socket and state directory.
func (r *runtimes) containerd() (socket, state string) {
	r.Helper()
	state = r.at("containerd")
	socket = filepath.Join(state, "s")
	config := r.write("containerd.toml", fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = 0
[grpc]
  address = %q
[ttrpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = %t
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
`, r.at("containerd-root"), state, socket, socket+".ttrpc", r.at("opt"), pauseImage, r.systemd, r.at("cni-bin"), r.at("cni-conf")))
	r.daemon(socket, "containerd", "--config", config)
	return socket, state
}

const pauseImage = "localhost/oomtrace-pause:1"

func (r *runtimes) ctr(status int, socket, namespace string, args ...string) {
	r.Helper()
	r.run(status, "ctr", append([]string{"--address", socket, "--namespace", namespace}, args...)...)
}

func TestContainerd(t *testing.T) {
	r := newDriven(t, "system.slice")
	socket, state := r.containerd()
	ns := strings.TrimPrefix(r.top.path, "/")
	r.ctr(0, socket, ns, "images", "import", "--snapshotter", "native", r.image(hogImage))
	x := r.trace(Options{Cgroups: []Selector{{Container: "cart"}, {Container: "till"}}}, container.Root{Runtime: container.Containerd, Dir: state})
	run := func(name string, options ...string) {
		t.Helper()
		args := append([]string{"run", "--rm", "--snapshotter", "native", "--memory-limit", strconv.Itoa(hogLimit)}, r.driven("--runc-systemd-cgroup")...)
		r.ctr(137, socket, ns, append(append(append(args, options...), hogImage, name), hog()...)...)
	}
	cart := r.top.path + "/cart" // containerd's own choice
	if r.systemd {               // which it leaves to others
		var place string
		place, cart = r.place("somewhere")
		run("cart", "--cgroup", place)
	} else {
		run("cart")
	}
	place, till := r.place("elsewhere")
	run("till", "--cgroup", place)
	place, _ = r.place("other")
	run("other", "--cgroup", place)
	for name, path := range map[string]string{"cart": cart, "till": till} {
		// The image is in containerd's database alone.
		want := &event.Container{ID: name, Name: name, Runtime: container.Containerd}
		r.wantContainer(killIn(x, path), want, want)
	}
	if n := len(killsBelow(x.stop(), r.top.path)); n != 2 {
		t.Errorf("%d kills told, want two", n)
	}
}

// cri runs a container in a pod as a kubelet would, and gives the pod's cgroup
// and the container's id.
func (r *runtimes) cri(socket, namespace, pod, uid, name string, podLimit, limit uint64) (cgroup *group, id string) {
	r.Helper()
	program := os.Getenv("OOMTRACE_TEST_CRI")
	if program == "" {
		r.Fatal("OOMTRACE_TEST_CRI does not say where the client of the CRI is (make unit does)")
	}
	cgroup = r.pod(uid, podLimit)
	args := []string{
		"-socket", socket, "-namespace", namespace, "-pod", pod, "-uid", uid, "-parent", cgroup.path,
		"-name", name, "-image", hogImage, "-limit", strconv.FormatUint(limit, 10), "-logs", r.at("pod-logs"),
	}
	cmd := exec.Command(program, append(args, hog()...)...)
	f := strings.Fields(r.wait(0, cmd))
	if len(f) < 3 || f[2] != "137" {
		r.Fatalf("cri said %q", f)
	}
	return cgroup, f[1]
}

// pod makes a pod's cgroup as the kubelet does, with a limit unless that is 0.
func (r *runtimes) pod(uid string, limit uint64) *group {
	r.Helper()
	if r.systemd {
		slice := "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
		properties := []string{"0"}
		if limit != 0 {
			properties = []string{"1", "MemoryMax", "t", strconv.FormatUint(limit, 10)}
		}
		r.run(0, "busctl", append(append([]string{
			"call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
			"StartTransientUnit", "ssa(sv)a(sa(sv))", slice, "replace",
		}, properties...), "0")...)
		r.Cleanup(func() { r.run(0, "systemctl", "stop", slice) })
		return &group{r.T, r.top.m, r.top.path + "/kubepods-burstable.slice/" + slice}
	}
	g := r.top.child("kubepods").child("burstable").child("pod" + uid)
	if limit != 0 {
		g.limit(limit)
	}
	return g
}

// A real pod: sandbox and container, as the kubelet makes them. When the pod's
// limit is lower than the container's, it is the pod that fires.
func TestPod(t *testing.T) {
	const uid = "0f2b6a1e-3c4d-4e5f-8a9b-0c1d2e3f4a5b"
	r := newDriven(t, "kubepods.slice")
	socket, state := r.containerd()
	r.ctr(0, socket, "k8s.io", "images", "import", "--snapshotter", "native", r.image(hogImage, pauseImage))
	for _, c := range []struct {
		name            string
		pod, container  uint64
		selector        Selector
		firesPodsLimit  bool
		unseenByTheName bool
		driverless      bool // it is the same with any cgroup driver
	}{
		{"container's limit", 0, hogLimit, Selector{Pod: "shop/web-0"}, false, false, false},
		{"pod's limit", hogLimit, 2 * hogLimit, Selector{Pod: "web-0"}, true, false, false},
		{"by container", 0, hogLimit, Selector{Container: "web"}, false, false, true},
		{"by uid", 0, hogLimit, Selector{Pod: uid}, false, false, true},
		{"another pod", 0, hogLimit, Selector{Pod: "shop2/web-0"}, false, true, true},
	} {
		if r.systemd && c.driverless {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := r.in(t)
			x := r.trace(Options{Cgroups: []Selector{c.selector}}, container.Root{Runtime: container.Containerd, Dir: state})
			cgroup, id := r.cri(socket, "shop", "web-0", uid, "web", c.pod, c.container)
			if c.unseenByTheName {
				if n := len(killsBelow(x.stop(), r.top.path)); n != 0 {
					t.Errorf("%d kills told", n)
				}
				return
			}
			pod := &event.Pod{Name: "web-0", Namespace: "shop", UID: uid}
			victim := &event.Container{ID: id, Name: "web", Runtime: container.Containerd, Image: hogImage, Pod: pod}
			domain := victim
			if c.firesPodsLimit {
				domain = &event.Container{Pod: pod}
			}
			k := killIn(x, r.below(cgroup.path, "cri-containerd", id))
			r.wantContainer(k, victim, domain)
			if c.firesPodsLimit && k.Domain.Cgroup.Path != cgroup.path {
				t.Errorf("domain %s, want %s", k.Domain.Cgroup.Path, cgroup.path)
			}
			if c.firesPodsLimit && !slices.ContainsFunc(k.Verdict.Evidence, func(s string) bool { return strings.Contains(s, "is that of pod shop/web-0,") }) {
				t.Errorf("the verdict does not name the pod: %q", k.Verdict.Evidence)
			}
			x.stop()
		})
	}
}

// dockerd starts one, and gives the arguments that lead docker to it, and its
// data root.
func (r *runtimes) dockerd() (host []string, data string) {
	r.Helper()
	socket := filepath.Join(r.at("docker"), "s")
	data = r.at("docker-data")
	// Its containerd lives by itself, so that no process of its outlasts the test.
	containerd, _ := r.containerd()
	r.daemon(socket, "dockerd", "--host", "unix://"+socket, "--data-root", data, "--exec-root", r.at("docker-exec"),
		"--pidfile", filepath.Join(r.dir, "docker.pid"), "--containerd", containerd, "--config-file", r.write("daemon.json", "{}"),
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--oom-score-adjust", "0", "--storage-driver", "vfs",
		"--default-ulimit", "nofile=1024:4096", "--cgroup-parent", r.parent(), "--exec-opt", "native.cgroupdriver="+r.driver())
	return []string{"--host", "unix://" + socket}, data
}

func TestDocker(t *testing.T) {
	r := newDriven(t, "system.slice")
	host, data := r.dockerd()
	r.run(0, "docker", append(host, "load", "--input", r.image(hogImage))...)
	x := r.trace(Options{Cgroups: []Selector{{Container: "web"}}}, container.Root{Runtime: container.Docker, Dir: data})
	docker := func(name string) string {
		id := filepath.Join(r.dir, name+".id")
		args := append(host, "run", "--rm", "--name", name, "--cidfile", id, "--network", "none",
			"--memory", strconv.Itoa(hogLimit), "--label", "io.kubernetes.pod.name=lie", hogImage)
		r.run(137, "docker", append(args, hog()...)...)
		text, err := os.ReadFile(id)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	id := docker("web")
	docker("web2")
	want := &event.Container{ID: id, Name: "web", Runtime: container.Docker, Image: hogImage}
	r.wantContainer(killIn(x, r.below(r.top.path, "docker", id)), want, want)
	if n := len(killsBelow(x.stop(), r.top.path)); n != 1 {
		t.Errorf("%d kills told", n)
	}
}

// podman, alone and in a pod of its own.
func TestPodman(t *testing.T) {
	r := newDriven(t, "machine.slice")
	storage := r.at("storage")
	conf := r.write("containers.conf", fmt.Sprintf(`[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
apparmor_profile = "unconfined"
[engine]
cgroup_manager = %q
runtime = "runc"
events_logger = "file"
conmon_path = [%q]
conmon_env_vars = [%q, %q]
infra_image = %q
[engine.runtimes]
runc = [%q]
[network]
network_config_dir = %q
`, r.driver(), r.tree+"/usr/bin/conmon", "PATH="+r.path(), "LD_LIBRARY_PATH="+r.libraries(), hogImage, r.tree+"/usr/sbin/runc", r.at("networks")))
	policy := r.write("policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	storageConf := r.write("storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", storage, r.at("run")))
	podman := func(status int, args ...string) string {
		t.Helper()
		cmd := r.command("podman", append([]string{
			"--root", storage, "--runroot", r.at("run"), "--tmpdir", r.at("libpod"), "--storage-driver", "vfs", "--cgroup-manager", r.driver(),
		}, args...)...)
		cmd.Env = append(cmd.Env, "CONTAINERS_CONF="+conf, "CONTAINERS_STORAGE_CONF="+storageConf)
		return r.wait(status, cmd)
	}
	podman(0, "load", "--signature-policy", policy, "--input", r.image(hogImage))
	x := r.trace(Options{}, container.Root{Runtime: container.Podman, Dir: storage})
	flags := []string{"run", "--detach=false", "--cidfile", filepath.Join(r.dir, "id"), "--network", "host", "--memory", strconv.Itoa(hogLimit), "--memory-swap", strconv.Itoa(hogLimit)}
	podman(137, append(append(flags, "--cgroup-parent", r.parent(), "--name", "mail", hogImage), hog()...)...)
	text, err := os.ReadFile(filepath.Join(r.dir, "id"))
	if err != nil {
		t.Fatal(err)
	}
	want := &event.Container{ID: string(text), Name: "mail", Runtime: container.Podman, Image: hogImage}
	path := r.top.path + "/libpod-" + want.ID
	if r.systemd {
		path += ".scope"
	}
	r.wantContainer(killIn(x, path), want, want)

	pod := podman(0, "pod", "create", "--name", "office", "--network", "host", "--cgroup-parent", r.parent(), "--infra-command", "/bin/sleep 1000")
	defer podman(0, "pod", "rm", "--force", "--time", "0", pod)
	flags[3] = filepath.Join(r.dir, "id2")
	podman(137, append(append(flags, "--pod", "office", "--name", "calendar", hogImage), hog()...)...)
	if text, err = os.ReadFile(filepath.Join(r.dir, "id2")); err != nil {
		t.Fatal(err)
	}
	want = &event.Container{ID: string(text), Name: "calendar", Runtime: container.Podman, Image: hogImage, Pod: &event.Pod{UID: pod}}
	k := waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
		k := killsBelow(events, r.top.path)
		return k[len(k)-1], len(k) > 1
	})
	r.wantContainer(k, want, want)
	x.stop()
}
