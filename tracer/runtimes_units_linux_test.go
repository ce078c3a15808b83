package tracer

import (
	"strconv"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// Services and scopes that systemd starts are told by their units. A slice has
// none: where its limit fires the cgroup says so.
func TestUnits(t *testing.T) {
	r := newDriven(t, "system.slice")
	if !r.systemd {
		t.Skip("needs systemd as process 1: run `make test-runtimes`")
	}
	const killed = -1
	limit := "--property=MemoryMax=" + strconv.Itoa(hogLimit)
	cases := []struct {
		name, unit, path string
		status           int // of systemd-run
		options          []string
		domain           string // when another cgroup's limit fires
	}{
		{"cart", "cart.service", "/system.slice/cart.service", 1, []string{"--wait", limit}, ""},
		{"shop@a-b", `shop@a\x2db.service`, `/system.slice/system-shop.slice/shop@a\x2db.service`, 1, []string{"--wait", limit}, ""},
		{"batch", "batch.scope", "/system.slice/batch.scope", killed, []string{"--scope", limit}, ""},
		{"mail", "mail.service", "/office.slice/office-post.slice/mail.service", 1, []string{"--wait", "--slice=office-post.slice"}, "/office.slice"},
	}
	r.run(0, "systemctl", "set-property", "--runtime", "office.slice", "MemoryMax="+strconv.Itoa(hogLimit))
	var asked []Selector
	for _, c := range cases {
		asked = append(asked, Selector{Container: c.name})
	}
	run := func(status int, unit string, options ...string) {
		t.Helper()
		args := append([]string{"--quiet", "--collect", "--unit=" + unit}, options...)
		r.run(status, "systemd-run", append(append(args, "--"), hog()...)...)
	}
	x := r.trace(Options{Cgroups: asked})
	run(1, "other.service", "--wait", limit)
	for _, c := range cases {
		run(c.status, c.unit, c.options...)
		k := killIn(x, c.path)
		want := &event.Container{Name: c.name, Runtime: container.Systemd, Unit: c.unit}
		domain := want
		if c.domain != "" {
			domain = nil
			if k.Domain.Cgroup.Path != c.domain {
				t.Errorf("%s: domain %s, want %s", c.unit, k.Domain.Cgroup.Path, c.domain)
			}
		}
		r.wantContainer(k, want, domain)
	}
	if n := len(of[*event.OOMKill](x.stop())); n != len(cases) {
		t.Errorf("%d kills told, want those of the %d units that were asked for", n, len(cases))
	}
}
