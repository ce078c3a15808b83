package capture

import (
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// As live, a container's name and a pod's take what runs in them, containers in
// containers included.
func TestMatcherNames(t *testing.T) {
	pod := &event.Pod{Name: "web-0", Namespace: "shop", UID: "1234"}
	inner := &event.Container{ID: "0123456789ab", Name: "job", Parent: &event.Container{Name: "runner", Pod: pod}}
	unit := &event.Container{Name: "a-b", Unit: `a\x2db.service`}
	for _, c := range []struct {
		f    Filter
		of   *event.Container
		want bool
	}{
		{Filter{Containers: []string{"job"}}, inner, true},
		{Filter{Containers: []string{"01234567"}}, inner, true},
		{Filter{Containers: []string{"0123456"}}, inner, false},
		{Filter{Containers: []string{"runner"}}, inner, true},
		{Filter{Containers: []string{"job"}}, inner.Parent, false},
		{Filter{Pods: []string{"web-0"}}, inner, true},
		{Filter{Pods: []string{"shop/web-0"}}, inner, true},
		{Filter{Pods: []string{"1234"}}, inner, true},
		{Filter{Pods: []string{"other/web-0"}}, inner, false},
		{Filter{Pods: []string{"web-0"}}, unit, false},
		{Filter{Containers: []string{"a-b"}}, unit, true},
		{Filter{Containers: []string{`a\x2db`}}, unit, true},
		{Filter{Containers: []string{"runner"}}, nil, false},
	} {
		if got := c.f.Matcher().at(nil, c.of); got != c.want {
			t.Errorf("%+v of %+v: %v", c.f, c.of, got)
		}
	}
}
