package container

import (
	"reflect"
	"strings"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/event"
)

func TestParseStart(t *testing.T) {
	for line, want := range map[string]*Start{
		"runc run web": {Runtime: Runc, ID: "web", Bundle: ""},
		"/usr/sbin/runc run --bundle /b/web/ web":                                                         {Runtime: Runc, ID: "web", Bundle: "/b/web"},
		"runc --root /r run -b /b -d --no-pivot w.1":                                                      {Runtime: Runc, ID: "w.1", Bundle: "/b"},
		"runc --root /r --log /l --log-format json create --bundle /run/b/" + id + " --pid-file /p " + id: {Runtime: Runc, ID: id, Bundle: "/run/b/" + id},
		"/usr/bin/crun --systemd-cgroup create --bundle=/b --pid-file /p db":                              {Runtime: Crun, ID: "db", Bundle: "/b"},
		"runc restore -b=/b web":                                                                          {Runtime: Runc, ID: "web", Bundle: "/b"},
		"runc run --bundle relative web":                                                                  {Runtime: Runc, ID: "web", Bundle: ""},
		"runc run --bundle web":                                                                           {Runtime: Runc, ID: "web", Bundle: ""}, // which is an error of whoever typed it
		"runc exec web sh":                                                                                nil,
		"runc init":                                                                                       nil,
		"runc run -h":                                                                                     nil,
		"runc run ..":                                                                                     nil,
		"runc run a/b":                                                                                    nil,
		"bash -c run":                                                                                     nil,
		"/lib/systemd/systemd --system deserialize":                                                       nil,
		"": nil,
	} {
		if got := ParseStart(strings.Split(line, " ")); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
	if ParseStart(nil) != nil || ParseStart([]string{"runc", "run", "w\x1b[31m"}) != nil {
		t.Error("no id")
	}
}

// What the command line says of a container that nothing else names, or no more.
func TestStarted(t *testing.T) {
	const bundled = "bundles/web/config.json"
	spec := `{"annotations":{"org.opencontainers.image.ref.name":"shop:1"},"linux":{"cgroupsPath":"/a/b"}}`
	for _, test := range []struct {
		name     string
		files    map[string]string
		path     string
		start    *Start
		want     *event.Container
		complete bool
	}{
		{"all is gone", nil, "/a/b", &Start{Runtime: Runc, ID: "web", Bundle: "/bundles/web"}, called("web", "", by(Runc, "web")), false},
		{"the bundle is there", map[string]string{bundled: spec}, "/a/b", &Start{Runtime: Crun, ID: "web", Bundle: "/bundles/web"}, called("web", "shop:1", by(Crun, "web")), true},
		{"another's bundle", map[string]string{bundled: strings.Replace(spec, "/a/b", "/a/c", 1)}, "/a/b", &Start{Runtime: Runc, ID: "web", Bundle: "/bundles/web"}, called("web", "", by(Runc, "web")), false},
		{"the state says it", map[string]string{"run/runc/shop/state.json": strings.Replace(runcUnified, `"web"`, `"shop"`, 1)}, "/a/b", &Start{Runtime: Runc, ID: "web", Bundle: ""}, called("shop", "", by(Runc, "shop")), true},
		{"in a scope", nil, "/system.slice/odd.scope", &Start{Runtime: Runc, ID: "web", Bundle: ""}, called("web", "", by(Runc, "web")), false},
		{"in docker", nil, "/docker/" + id + "/x", &Start{Runtime: Runc, ID: "web", Bundle: ""}, by(Docker, id), false},
		{"CRI, by a containerd whose root is not known", map[string]string{"odd/io.containerd.runtime.v2.task/k8s.io/" + id + "/config.json": strings.Replace(criState, "/x", "/kubepods/pod"+uid+"/"+id, 1)},
			"/kubepods/pod" + uid + "/" + id, &Start{Runtime: Runc, ID: id, Bundle: "/odd/io.containerd.runtime.v2.task/k8s.io/" + id}, web0(called("web", "registry/shop:2", by(Containerd, id))), true},
		{"another id than the path's", nil, "/kubepods/pod" + uid + "/" + id, &Start{Runtime: Runc, ID: id2, Bundle: ""}, in(uid, by(Unknown, id)), false},
		{"by nobody", nil, "/a/b", nil, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, proc := aHost(t, test.files)
			got := NewResolver(Options{ProcRoot: proc}).Resolve(test.path, test.start)
			if !reflect.DeepEqual(got.Container, test.want) || got.Complete != test.complete {
				t.Errorf("%s:\n got %s, %v\nwant %s, %v", test.path, show(got.Container), got.Complete, show(test.want), test.complete)
			}
		})
	}
}

func FuzzParseStart(f *testing.F) {
	f.Add("runc\x00run\x00--bundle\x00/b\x00web")
	f.Add("crun\x00create\x00-b=/b\x00x")
	f.Fuzz(func(t *testing.T, line string) {
		s := ParseStart(strings.Split(line, "\x00"))
		if s != nil && (!isOCIID(s.ID) || s.Runtime != Runc && s.Runtime != Crun || strings.Contains(s.Bundle, "/../") || s.Bundle != "" && s.Bundle[0] != '/') {
			t.Errorf("%q: %+v", line, s)
		}
	})
}
