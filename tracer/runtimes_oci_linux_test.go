package tracer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// runc and crun alone: a container's name is its id, and its cgroup may be called
// anything.
func TestRunc(t *testing.T) {
	r := newDriven(t, "system.slice")
	root := r.at("runc")
	x := r.trace(Options{Cgroups: []Selector{{Container: "web"}}}, container.Root{Runtime: container.Runc, Dir: root})
	runc := func(bundle, id string) {
		t.Helper()
		r.run(137, "runc", append(r.driven("--systemd-cgroup"), "--root", root, "run", "--bundle", bundle, id)...)
	}
	place, path := r.place("anything")
	runc(r.bundle("web", place, hogLimit, map[string]string{"org.opencontainers.image.ref.name": hogImage}, hog()...), "web")
	place, _ = r.place("other")
	runc(r.bundle("other", place, hogLimit, nil, hog()...), "other")

	want := &event.Container{ID: "web", Name: "web", Runtime: container.Runc, Image: hogImage}
	r.wantContainer(killIn(x, path), want, want)
	events := x.stop()
	if n := len(killsBelow(events, r.top.path)); n != 1 {
		t.Errorf("%d kills told, one of them was in the container that was asked for", n)
	}
	var last *event.CgroupChange
	for _, c := range of[*event.CgroupChange](events) {
		if c.Cgroup.Path == path {
			last = c
		}
	}
	if last == nil || last.State != "gone" || show(last.Container) != show(want) {
		t.Errorf("the last of its cgroup: %s", show(last))
	}
}

func TestCrun(t *testing.T) {
	r := newDriven(t, "system.slice")
	root := r.at("crun")
	x := r.trace(Options{}, container.Root{Runtime: container.Crun, Dir: root})
	place, path := r.place("anything")
	b := r.bundle("db", place, hogLimit, map[string]string{"org.opencontainers.image.ref.name": hogImage}, hog()...)
	cmd := r.command("crun", append(r.driven("--systemd-cgroup"), "--root", root, "run", "--bundle", b, "db")...)
	if r.top.m.Version == 1 {
		// It wants the unified hierarchy to be either all or absent.
		hide := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c",
			`mount -t tmpfs none /sys/fs/cgroup/unified && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)...)
		hide.Env, hide.Dir = cmd.Env, cmd.Dir
		cmd = hide
	}
	r.wait(137, cmd)
	want := &event.Container{ID: "db", Name: "db", Runtime: container.Crun, Image: hogImage}
	r.wantContainer(killIn(x, path), want, want)
	x.stop()
}

// Containers that live for some 20 ms, several at once, in cgroups whose paths do
// not name them: each kill has the right name.
func TestBriefContainers(t *testing.T) {
	const containers, together = 200, 4
	r := newRuntimes(t)
	root := r.at("runc")
	x := r.trace(Options{}, container.Root{Runtime: container.Runc, Dir: root})
	r.rootfs()
	var wg sync.WaitGroup
	next := make(chan int)
	failed := make(chan string, containers)
	for range together {
		wg.Go(func() {
			for i := range next {
				b := fmt.Sprint("b", i)
				cmd := r.command("runc", "--root", root, "run", "--bundle", r.dir+"/bundles/"+b, fmt.Sprint("shop-", i))
				if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 137 {
					failed <- fmt.Sprintf("%d: %v\n%s", i, err, out)
				}
			}
		})
	}
	for i := range containers {
		r.bundle(fmt.Sprint("b", i), fmt.Sprintf("%s/c%d", r.top.path, i*7919%containers), 16*mib, nil, hog()...)
		next <- i
	}
	close(next)
	wg.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	if t.Failed() {
		return
	}
	kills := waitFor(x, func(events []event.Event) ([]*event.OOMKill, bool) {
		k := killsBelow(events, r.top.path)
		return k, len(k) >= containers
	})
	x.stop()
	right := 0
	seen := make(map[string]bool)
	for _, k := range kills {
		var cgroup int
		if _, err := fmt.Sscanf(strings.TrimPrefix(k.Victim.Cgroup.Path, r.top.path), "/c%d", &cgroup); err != nil {
			t.Fatalf("%s: %v", k.Victim.Cgroup.Path, err)
		}
		i := 0
		for i*7919%containers != cgroup {
			i++
		}
		name := fmt.Sprint("shop-", i)
		want := &event.Container{ID: name, Name: name, Runtime: container.Runc}
		if show(k.Victim.Container) != show(want) || show(k.Domain.Container) != show(want) {
			t.Errorf("%s: victim %s, domain %s, want %s", k.Victim.Cgroup.Path, show(k.Victim.Container), show(k.Domain.Container), show(want))
			continue
		}
		right++
		if seen[name] {
			t.Errorf("a second kill in %s: %s", name, show(k))
		}
		seen[name] = true
	}
	t.Logf("%d of %d kills have the right name", right, containers)
	if right != containers || len(seen) != containers {
		t.Errorf("%d right, %d different names", right, len(seen))
	}
}

// The tracer reads of a container when all of it is gone: cgroup, state, bundle.
func TestNamesWhenAllIsGone(t *testing.T) {
	r := newRuntimes(t)
	root := r.at("runc")
	x := r.trace(Options{Families: []string{FamilyOOM, FamilyCgroup}}, container.Root{Runtime: container.Runc, Dir: root})
	held := make(chan struct{})
	x.mu.Lock()
	x.hold = held
	x.mu.Unlock()
	r.rootfs() // the first event now holds the reader up
	path := r.top.path + "/anything"
	r.top.child("holds").remove()
	b := r.bundle("gone", path, hogLimit, nil, hog()...)
	r.run(137, "runc", "--root", root, "run", "--bundle", b, "shop-7")
	if err := os.RemoveAll(b); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(root, "shop-7")) || exists(r.top.m.Dir(path)) {
		t.Fatal("it is not gone")
	}
	close(held)
	want := &event.Container{ID: "shop-7", Name: "shop-7", Runtime: container.Runc}
	r.wantContainer(killIn(x, path), want, want)
	x.stop()
}
