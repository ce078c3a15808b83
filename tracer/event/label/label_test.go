package label

import (
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func TestPlace(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	pod := &event.Pod{Namespace: "shop", Name: "web-1"}
	for _, c := range []struct {
		container *event.Container
		cgroup    *event.Cgroup
		want      string // Place
		word      string // before it, Called
	}{
		{nil, nil, "", ""},
		{nil, &event.Cgroup{}, "", ""},
		{nil, &event.Cgroup{ID: 7}, "cgroup 7", ""},
		{nil, &event.Cgroup{ID: 7, Path: "/"}, "/", ""},
		{nil, &event.Cgroup{Path: "/docker/" + id}, "/docker/0123456789ab…", ""},
		{nil, &event.Cgroup{Path: "/cri-containerd-" + id + ".scope/face"}, "/cri-containerd-0123456789ab….scope/face", ""},
		{&event.Container{}, &event.Cgroup{Path: "/a"}, "/a", ""},
		{&event.Container{ID: id}, &event.Cgroup{Path: "/a"}, "0123456789ab", "container "},
		{&event.Container{ID: "mine"}, nil, "mine", "container "},
		{&event.Container{ID: id, Unit: "x.service"}, nil, "x.service", ""},
		{&event.Container{ID: id, Name: "web"}, nil, "web", "container "},
		{&event.Container{ID: id, Name: "app", Pod: pod}, nil, "shop/web-1/app", "container "},
		{&event.Container{ID: id, Pod: pod}, nil, "shop/web-1", "container "},
		{&event.Container{ID: id, Pod: &event.Pod{UID: "u"}}, nil, "0123456789ab", "container "},
		{&event.Container{Name: "web"}, nil, "web", "container "},
		{&event.Container{Pod: pod}, &event.Cgroup{Path: "/a"}, "shop/web-1", "pod "},
		{&event.Container{Pod: &event.Pod{UID: "u"}}, &event.Cgroup{Path: "/a"}, "/a", ""},
	} {
		if got := Place(c.container, c.cgroup); got != c.want {
			t.Errorf("Place(%+v, %+v) = %q, want %q", c.container, c.cgroup, got, c.want)
		}
		if got := Called(c.container, c.cgroup); got != c.word+c.want {
			t.Errorf("Called(%+v, %+v) = %q, want %q", c.container, c.cgroup, got, c.word+c.want)
		}
	}
}

func TestFile(t *testing.T) {
	if got := File(&event.File{Dev: "8:1", Inode: 42}); got != "inode 42 on 8:1" {
		t.Errorf("got %q", got)
	}
	if got := File(&event.File{Path: "/a/b"}); got != "/a/b" {
		t.Errorf("got %q", got)
	}
}
