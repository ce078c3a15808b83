package tracer

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// The state of running containers is removed, or becomes garbage: their kills are
// told with the id alone, after one warning. A trace that has seen the name before
// keeps it.
func TestStateLost(t *testing.T) {
	r := newRuntimes(t)
	host, data := r.dockerd()
	r.run(0, "docker", append(host, "load", "--input", r.image(hogImage))...)
	root := container.Root{Runtime: container.Docker, Dir: data}
	start := func(name string) (id string) {
		return r.run(0, "docker", append(host, "run", "--detach", "--name", name, "--network", "none", "--memory", strconv.Itoa(hogLimit), hogImage)...)
	}
	// kill has the container's hog killed; its main process goes on.
	kill := func(x *trace, id string) *event.OOMKill {
		t.Helper()
		n := len(kills(x, r.top.path+"/"+id))
		r.run(137, "docker", append(append(host, "exec", id), hog()...)...)
		return waitFor(x, func(events []event.Event) (*event.OOMKill, bool) {
			k := killsBelow(events, r.top.path+"/"+id)
			if len(k) <= n {
				return nil, false
			}
			return k[n], true
		})
	}
	stateOf := func(id string) string { return filepath.Join(data, "containers", id) }

	x := r.trace(Options{Families: []string{FamilyOOM}}, root)
	known := start("known")
	defer r.run(0, "docker", append(host, "rm", "--force", known)...)
	named := &event.Container{ID: known, Name: "known", Runtime: container.Docker, Image: hogImage}
	r.wantContainer(kill(x, known), named, named)
	if err := os.Rename(stateOf(known), stateOf(known)+".away"); err != nil {
		t.Fatal(err)
	}
	r.wantContainer(kill(x, known), named, named)
	x.stop()

	garbage := start("garbage")
	defer r.run(0, "docker", append(host, "rm", "--force", garbage)...)
	// dockerd writes its files again at every exec, so it gets no garbage.
	away, err := os.ReadFile(filepath.Join(stateOf(known)+".away", "config.v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	r.write("garbage/containers/"+known+"/config.v2.json", string(away))
	r.write("garbage/containers/"+garbage+"/config.v2.json", "\x00{\x1b[31m")
	for _, c := range []struct {
		id, warning string
		root        container.Root
	}{
		{known, "nothing of container " + known[:12], root},
		{garbage, "config.v2.json: invalid character", container.Root{Runtime: container.Docker, Dir: r.at("garbage")}},
	} {
		x := r.trace(Options{Cgroups: []Selector{{Container: c.id[:12]}}}, c.root)
		// Its path says whose it is; what is missing is the name.
		alone := &event.Container{ID: c.id, Runtime: container.Unknown}
		r.wantContainer(kill(x, c.id), alone, alone)
		r.wantContainer(kill(x, c.id), alone, alone)
		for deadline := time.Now().Add(patience); len(nameless(x)) == 0 && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		x.stop()
		n := 0
		for _, w := range nameless(x) {
			if strings.Contains(w, c.warning) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d warnings of %q in %q", n, c.warning, nameless(x))
		}
	}
	if err := os.Rename(stateOf(known)+".away", stateOf(known)); err != nil {
		t.Fatal(err)
	}
}

func kills(x *trace, path string) []*event.OOMKill {
	x.mu.Lock()
	defer x.mu.Unlock()
	return killsBelow(x.events, path)
}

// nameless gives the warnings about names.
func nameless(x *trace) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, w := range x.warnings {
		if strings.HasPrefix(w, "containers without names") {
			out = append(out, w)
		}
	}
	return out
}
