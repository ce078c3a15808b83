package container

import (
	"reflect"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

const (
	id     = "4c01db0b339c8f1e2a7c3e0d8b6f5a49b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7"
	id2    = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0"
	uid    = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	uid_   = "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9"
	static = "00112233445566778899aabbccddeeff"
)

func by(runtime, id string) *event.Container { return &event.Container{ID: id, Runtime: runtime} }

func in(pod string, c *event.Container) *event.Container {
	c.Pod = &event.Pod{UID: pod}
	return c
}

func inside(outer, c *event.Container) *event.Container {
	c.Parent = outer
	return c
}

func pod(uid string) *event.Container { return in(uid, &event.Container{}) }

func named(runtime, name string) *event.Container {
	return &event.Container{Name: name, Runtime: runtime}
}

func unit(unit, name string) *event.Container {
	return &event.Container{Name: name, Runtime: Systemd, Unit: unit}
}

var paths = []struct {
	path string
	want *event.Container
}{
	// docker
	{"/docker/" + id, by(Docker, id)},
	{"/docker/" + id + "/", by(Docker, id)},
	{"docker/" + id, by(Docker, id)},
	{"/docker/" + id + "/init.scope", by(Docker, id)},
	{"/docker/" + id + "/system.slice/nginx.service", by(Docker, id)},
	{"/docker/" + id + "/docker/" + id2, inside(by(Docker, id), by(Docker, id2))},
	{"/system.slice/docker-" + id + ".scope", by(Docker, id)},
	{"/system.slice/docker.service/docker/" + id, by(Docker, id)},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope", by(Docker, id)},
	{"/system.slice:docker:" + id, by(Docker, id)},
	{"/actions_job/" + id, by(Unknown, id)}, // docker --cgroup-parent
	{"/docker", nil},
	{"/docker/buildkit", nil},
	{"/docker/" + id[:63], nil},
	{"/docker/" + id + "0", nil},
	{"/docker/" + strings.ToUpper(id), nil},

	// containerd
	{"/default/" + id, by(Containerd, id)},
	{"/default/redis-1", by(Containerd, "redis-1")},
	{"/default/redis-1/sub", by(Containerd, "redis-1")},
	{"/k8s.io/" + id, by(Containerd, id)},
	{"/moby/" + id, by(Containerd, id)},
	{"/default", nil},
	{"/default/-odd", nil},
	{"/mine/redis-1", nil}, // any directory could be called that
	{"/mine/" + id, by(Unknown, id)},
	{"/a/default/redis-1", nil},
	{"/system.slice/nerdctl-" + id + ".scope", by(Containerd, id)},

	// Kubernetes, cgroupfs driver
	{"/kubepods/burstable/pod" + uid + "/" + id, in(uid, by(Unknown, id))},
	{"/kubepods/besteffort/pod" + uid + "/" + id, in(uid, by(Unknown, id))},
	{"/kubepods/pod" + uid + "/" + id, in(uid, by(Unknown, id))},
	{"/kubepods/pod" + uid + "/" + id + "/a/b", in(uid, by(Unknown, id))},
	{"/kubepods/burstable/pod" + static + "/" + id, in(static, by(Unknown, id))},
	{"/kubepods/burstable/pod" + uid + "/crio-" + id, in(uid, by(CRIO, id))},
	{"/kubepods/burstable/pod" + uid + "/crio-conmon-" + id, pod(uid)},
	{"/kubepods/burstable/pod" + uid, pod(uid)},
	{"/kubepods/pod" + uid + "/other", pod(uid)},
	{"/kubepods/burstable", nil},
	{"/kubepods", nil},
	{"/elsewhere/pod" + uid, nil},

	// Kubernetes, systemd driver
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + id + ".scope", in(uid, by(Containerd, id))},
	{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/cri-containerd-" + id + ".scope", in(uid, by(Containerd, id))},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + static + ".slice/docker-" + id + ".scope", in(static, by(Docker, id))},
	{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + id + ".scope", in(uid, by(CRIO, id))},
	{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-" + id + ".scope/container", in(uid, by(CRIO, id))},
	{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-conmon-" + id + ".scope", pod(uid)},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice", pod(uid)},
	{"/kubepods.slice/kubepods-burstable.slice", nil},
	{"/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + id, in(uid, by(Containerd, id))},
	{"/system.slice/containerd.service/kubepods-pod" + uid_ + ".slice:cri-containerd:" + id, in(uid, by(Containerd, id))},
	{"/kubepods-besteffort-pod" + static + ".slice:crio:" + id, in(static, by(CRIO, id))},
	{"/kubepods-besteffort-pod" + static + ".slice:crio-conmon:" + id, nil},
	{"/kubepods-pod" + uid_ + ".slice:other:" + id, in(uid, by(Unknown, id))},
	{"/system.slice:libpod-conmon:" + id, nil},

	// Kubernetes in a container
	{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + id + ".scope", in(uid, by(Containerd, id))},
	{"/docker/" + id2 + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid_ + ".slice/cri-containerd-" + id + ".scope", inside(by(Docker, id2), in(uid, by(Containerd, id)))},
	{"/docker/" + id2 + "/kubepods/burstable/pod" + uid + "/" + id, inside(by(Docker, id2), in(uid, by(Unknown, id)))},
	{"/docker/" + id2 + "/kubelet/kubepods/pod" + uid, inside(by(Docker, id2), pod(uid))},
	{"/docker/" + id2 + "/system.slice/containerd.service", by(Docker, id2)},
	{"/kubepods/pod" + uid + "/" + id2 + "/docker/" + id, inside(in(uid, by(Unknown, id2)), in(uid, by(Docker, id)))},

	// podman
	{"/machine.slice/libpod-" + id + ".scope", by(Podman, id)},
	{"/machine.slice/libpod-" + id + ".scope/container", by(Podman, id)},
	{"/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id + ".scope", in(id2, by(Podman, id))},
	{"/machine.slice/machine-libpod_pod_" + id2 + ".slice", pod(id2)},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", by(Podman, id)},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_" + id2 + ".slice/libpod-" + id + ".scope/container", in(id2, by(Podman, id))},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/podman-1234.scope", unit("podman-1234.scope", "podman-1234")},
	{"/system.slice/" + id + "-5f3c.service", unit(id+"-5f3c.service", id+"-5f3c")}, // podman's health check
	{"/libpod_parent/libpod-" + id, by(Podman, id)},
	{"/libpod_parent/" + id2 + "/libpod-" + id, in(id2, by(Podman, id))},
	{"/libpod_parent/" + id2, pod(id2)},
	{"/libpod_parent/conmon", nil},
	{"/anywhere/" + id2 + "/libpod-" + id, in(id2, by(Podman, id))}, // podman pod create --cgroup-parent
	{"/docker/" + id2 + "/libpod_parent/libpod-" + id, inside(by(Docker, id2), by(Podman, id))},
	{"/system.slice/web.service/libpod-payload-" + id, by(Podman, id)},
	{"/system.slice/web.service/runtime", unit("web.service", "web")},
	{"/machine.slice/libpod-conmon-" + id + ".scope", unit("libpod-conmon-"+id+".scope", "libpod-conmon-"+id)},

	// lxc
	{"/lxc.payload.web", named(LXC, "web")},
	{"/lxc.payload.my.web/system.slice/nginx.service", named(LXC, "my.web")},
	{"/lxc.payload/web", named(LXC, "web")},
	{"/lxc/101/ns", named(LXC, "101")},
	{"/lxc/101", named(LXC, "101")},
	{"/lxc/a/lxc/b", inside(named(LXC, "a"), named(LXC, "b"))},
	{"/lxc.payload.a/docker/" + id, inside(named(LXC, "a"), by(Docker, id))},
	{"/lxc.monitor.web", nil},
	{"/lxc.monitor/web", nil},
	{"/lxc.payload.", nil},
	{"/lxc", nil},

	// machined
	{"/machine.slice/systemd-nspawn@web.service", &event.Container{Name: "web", Runtime: Nspawn, Unit: "systemd-nspawn@web.service"}},
	{"/machine.slice/systemd-nspawn@web.service/payload/system.slice/x.service", &event.Container{Name: "web", Runtime: Nspawn, Unit: "systemd-nspawn@web.service"}},
	{`/machine.slice/machine-my\x2dweb.scope`, &event.Container{Name: "my-web", Runtime: Nspawn, Unit: `machine-my\x2dweb.scope`}},
	{`/machine.slice/machine-qemu\x2d1\x2ddebian.scope`, unit(`machine-qemu\x2d1\x2ddebian.scope`, "machine-qemu-1-debian")},
	{"/machine.slice/other.service", unit("other.service", "other")},
	{"/machine.slice", nil},

	// nomad, ECS
	{"/nomad/" + uid + ".redis", &event.Container{ID: uid, Name: "redis", Runtime: Unknown}},
	{"/nomad.slice/share.slice/" + uid + ".my.task.scope", &event.Container{ID: uid, Name: "my.task", Runtime: Unknown}},
	{"/nomad.slice/share.slice/docker-" + id + ".scope", by(Docker, id)},
	{"/elsewhere/" + uid + ".redis", nil},
	{"/ecs/" + static + "/" + id, by(Unknown, id)},
	{"/ecs/cluster/" + uid + "/" + id, by(Unknown, id)},
	{"/ecs/" + static + "/" + static + "-1234567890", by(Unknown, static+"-1234567890")},
	{"/ecs/" + static, nil},
	{"/ecstasks.slice/ecstasks-" + static + ".slice/docker-" + id + ".scope", by(Docker, id)},

	// systemd
	{"/system.slice/nginx.service", unit("nginx.service", "nginx")},
	{"/system.slice/var-lib-docker-containers-" + id + "-mounts-shm.mount", unit("var-lib-docker-containers-"+id+"-mounts-shm.mount", "var-lib-docker-containers-"+id+"-mounts-shm")},
	{"/system.slice/nginx.service/worker", unit("nginx.service", "nginx")},
	{"/system.slice/system-getty.slice/getty@tty1.service", unit("getty@tty1.service", "getty@tty1")},
	{`/system.slice/system-foo\x2dbar.slice/foo\x2dbar@a\x2db.service`, unit(`foo\x2dbar@a\x2db.service`, "foo-bar@a-b")},
	{"/user.slice/user-1000.slice/session-3.scope", unit("session-3.scope", "session-3")},
	{"/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service", unit("editor.service", "editor")},
	{"/user.slice/user-1000.slice/user@1000.service", unit("user@1000.service", "user@1000")},
	{"/system.slice/cups.socket", unit("cups.socket", "cups")},
	{"/init.scope", unit("init.scope", "init")},
	{`/system.slice/a\x.service`, unit(`a\x.service`, `a\x`)},
	{"/system.slice/.service", nil},
	{"/system.slice/a b.service", nil},
	{"/system.slice", nil},
	{"/user.slice/user-1000.slice", nil},
	{"/system.slice/custom-" + id + ".scope", by(Unknown, id)},

	// neither
	{"/", nil},
	{"", nil},
	{"//", nil},
	{"/../..", nil},
	{"/foo/bar", nil},
	{"/process_api/" + static, nil},
	{"/\x00\xff/\x1b[31m", nil},
}

func TestFromPath(t *testing.T) {
	for _, test := range paths {
		if got := FromPath(test.path); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q:\n got %s\nwant %s", test.path, show(got), show(test.want))
		}
	}
}

func show(c *event.Container) string {
	if c == nil {
		return "nothing"
	}
	s := c.Runtime + " id=" + c.ID + " name=" + c.Name + " unit=" + c.Unit
	if c.Pod != nil {
		s += " pod=" + c.Pod.Namespace + "/" + c.Pod.Name + "=" + c.Pod.UID
	}
	if c.Image != "" {
		s += " image=" + c.Image
	}
	if c.Parent != nil {
		s += " in [" + show(c.Parent) + "]"
	}
	return s
}

// Whatever lies below a container and is none itself belongs to it.
func TestChildrenInherit(t *testing.T) {
	for _, test := range paths {
		if test.want == nil {
			continue
		}
		below := strings.TrimRight(test.path, "/") + "/some/child"
		if got := FromPath(below); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q:\n got %s\nwant %s", below, show(got), show(test.want))
		}
	}
}

func FuzzFromPath(f *testing.F) {
	for _, test := range paths {
		f.Add(test.path)
	}
	runtimes := map[string]bool{
		Docker: true, Containerd: true, CRIO: true, Podman: true,
		LXC: true, Nspawn: true, Systemd: true, Unknown: true,
	}
	f.Fuzz(func(t *testing.T, path string) {
		c := FromPath(path)
		switch {
		case c == nil:
		case c.Runtime == "":
			if c.ID != "" || c.Name != "" || c.Unit != "" || c.Pod == nil || c.Pod.UID == "" {
				t.Errorf("no runtime: %s", show(c))
			}
		case !runtimes[c.Runtime]:
			t.Errorf("runtime %q", c.Runtime)
		case c.ID == "" && c.Name == "":
			t.Errorf("neither id nor name: %s", show(c))
		case !strings.Contains(path, c.ID) || !strings.Contains(path, c.Unit):
			t.Errorf("%s is not from %q", show(c), path)
		}
	})
}

func BenchmarkFromPath(b *testing.B) {
	for name, path := range map[string]string{
		"docker": "/docker/" + id,
		"pod":    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + id + ".scope",
		"unit":   "/system.slice/nginx.service",
		"none":   "/foo/bar",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				FromPath(path)
			}
		})
	}
}
