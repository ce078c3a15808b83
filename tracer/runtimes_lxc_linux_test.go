package tracer

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// LXC's cgroups are called by their containers. It makes them itself, without
// systemd.
func TestLXC(t *testing.T) {
	r := newRuntimes(t)
	store := r.at("lxc")
	// It keeps its locks there, whatever else it is told.
	t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/lxc/lock", r.dir)) })
	start := func(name string) {
		t.Helper()
		config := r.write(name+".conf", fmt.Sprintf(`lxc.uts.name = %[1]s
lxc.rootfs.path = dir:%[2]s
lxc.rootfs.mount = %[3]s
lxc.net.0.type = none
lxc.apparmor.profile = unconfined
lxc.cgroup.memory.limit_in_bytes = %[4]d
lxc.cgroup2.memory.max = %[4]d
lxc.cgroup.dir.container = %[5]s/lxc.payload.%[1]s
lxc.cgroup.dir.monitor = %[5]s/lxc.monitor.%[1]s
`, name, r.rootfs(), r.at("lxc-root"), hogLimit, r.top.path[1:]))
		r.run(0, "lxc-start", append([]string{"--foreground", "--lxcpath", store, "--rcfile", config, "--name", name, "--"}, hog()...)...)
	}
	x := r.trace(Options{Cgroups: []Selector{{Container: "web"}}})
	start("other")
	start("web")
	want := &event.Container{Name: "web", Runtime: container.LXC}
	r.wantContainer(killIn(x, r.top.path+"/lxc.payload.web"), want, want)
	if n := len(killsBelow(x.stop(), r.top.path)); n != 1 {
		t.Errorf("%d kills told", n)
	}
}
