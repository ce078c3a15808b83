package container

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// facts are what a runtime's state says of a container; what it does not say is
// empty.
type facts struct {
	runtime     string
	name, image string
	pod         event.Pod
	// inPod is what it is called in that pod, which is to be believed only if the
	// cgroup's path names the same pod; nil when pod and name are sure.
	inPod *string
}

// maxName bounds names and images: what is longer was not made by a runtime.
const maxName = 1024

func sane(s string) string {
	if len(s) > maxName {
		return ""
	}
	return s
}

func (f facts) sane() facts {
	f.name, f.image = sane(f.name), sane(f.image)
	f.pod = event.Pod{Name: sane(f.pod.Name), Namespace: sane(f.pod.Namespace), UID: sane(f.pod.UID)}
	return f
}

// parse reads JSON that may have been caught half written.
func parse(file string, b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// byID looks a container up by its id, of which a cgroup bears witness, in one
// root. The error is errAbsent when it is not there.
func (p place) byID(id, cgroup string, lists *lists) (facts, error) {
	switch p.Runtime {
	case Docker:
		return p.docker(id)
	case Containerd:
		return p.containerd(id, cgroup)
	case CRIO:
		return p.crio(id)
	case Podman:
		return p.podman(id, lists)
	}
	return facts{}, errAbsent
}

// docker reads config.v2.json, which dockerd writes when the container is made,
// and again at each change.
func (p place) docker(id string) (facts, error) {
	file := p.Dir + "/containers/" + id + "/config.v2.json"
	b, err := p.host.read(file, maxState)
	if err != nil {
		return facts{}, err
	}
	var c struct {
		ID, Name string
		Config   struct {
			Image  string
			Labels map[string]string
		}
	}
	if err := parse(file, b, &c); err != nil {
		return facts{}, err
	}
	if c.ID != id {
		return facts{}, fmt.Errorf("%s is of another container", file)
	}
	f := facts{runtime: Docker, name: strings.TrimPrefix(c.Name, "/"), image: c.Config.Image}
	// Kubernetes through cri-dockerd. Anybody may label a container so.
	k := f
	k.kubernetes(c.Config.Labels)
	if k = k.sane(); k.pod != (event.Pod{}) {
		f.pod, f.inPod = k.pod, &k.name
	}
	return f.sane(), nil
}

// kubernetes takes what the kubelet labels its containers with.
func (f *facts) kubernetes(labels map[string]string) {
	pod := event.Pod{
		Name: labels["io.kubernetes.pod.name"], Namespace: labels["io.kubernetes.pod.namespace"], UID: labels["io.kubernetes.pod.uid"],
	}
	if pod.Name == "" || pod.UID == "" {
		return
	}
	f.pod = pod
	switch name := labels["io.kubernetes.container.name"]; name {
	case "":
	case "POD": // the sandbox
		f.name = ""
	default:
		f.name = name
	}
}

// bundle is what counts of an OCI runtime's configuration.
type bundle struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

func (p place) bundle(file string) (*bundle, error) {
	b, err := p.host.read(file, maxState)
	if err != nil {
		return nil, err
	}
	c := new(bundle)
	if err := parse(file, b, c); err != nil {
		return nil, err
	}
	return c, nil
}

// tasksDirs are where containerd 1.x and 2.x keep the bundles of running
// containers: of shims of version 2, which 2.x has alone, and of version 1.
var tasksDirs = [...]string{"/io.containerd.runtime.v2.task", "/io.containerd.runtime.v1.linux"}

// namespaces lists the directories that hold them, one for each of containerd's
// namespaces. The error is why some may be missing.
func (p place) namespaces() (dirs []string, failed error) {
	for _, sub := range tasksDirs {
		names, err := p.host.list(p.Dir + sub)
		if err != nil && !errors.Is(err, errAbsent) {
			failed = err
		}
		for _, ns := range names {
			dirs = append(dirs, p.Dir+sub+"/"+ns)
		}
	}
	return dirs, failed
}

// containerd reads the bundle's config.json, which is there before the container
// starts and until it is deleted. An id that people gave may be that of another
// container in another namespace: that has asked for another cgroup.
func (p place) containerd(id, cgroup string) (facts, error) {
	dirs, failed := p.namespaces()
	for _, dir := range dirs {
		c, err := p.bundle(dir + "/" + id + "/config.json")
		switch {
		case err == nil && !isID(id) && !strings.HasPrefix(path.Clean("/"+cgroup)+"/", expand(c.Linux.CgroupsPath)+"/"):
		case err == nil:
			f := c.facts(id)
			f.runtime = cmp.Or(f.runtime, Containerd)
			if path.Base(dir) == "moby" { // docker's own files know more
				f.runtime, f.name = Docker, ""
			}
			return f, nil
		case !errors.Is(err, errAbsent):
			failed = err
		}
	}
	return facts{}, cmp.Or(failed, errAbsent)
}

// facts reads a bundle's annotations. An id that people gave is a name where
// there is no other.
func (c *bundle) facts(id string) facts {
	a := c.Annotations
	var f facts
	switch {
	case a["io.kubernetes.cri.container-type"] != "":
		f = facts{
			runtime: Containerd, name: a["io.kubernetes.cri.container-name"],
			image: cmp.Or(a["io.kubernetes.cri.image-name"], a["io.kubernetes.cri.podsandbox.image-name"]),
			pod: event.Pod{
				Name:      a["io.kubernetes.cri.sandbox-name"],
				Namespace: a["io.kubernetes.cri.sandbox-namespace"],
				UID:       a["io.kubernetes.cri.sandbox-uid"],
			},
		}
		return f.sane()
	case a["io.container.manager"] == "libpod":
		return facts{runtime: Podman} // its names are in the storage's list
	case a["io.kubernetes.cri-o.ContainerType"] != "":
		f = facts{
			runtime: CRIO, image: cmp.Or(a["io.kubernetes.cri-o.ImageName"], a["io.kubernetes.cri-o.Image"]),
			pod: event.Pod{Name: a["io.kubernetes.cri-o.KubeName"], Namespace: a["io.kubernetes.cri-o.Namespace"]},
		}
		// Labels are the kubelet's; a pod's own annotations were written before
		// them and cannot stand in their place.
		f.kubernetes(a)
		if a["io.kubernetes.cri-o.ContainerType"] == "sandbox" {
			f.name = ""
		} else if f.name == "" {
			var meta struct{ Name string }
			if json.Unmarshal([]byte(a["io.kubernetes.cri-o.Metadata"]), &meta) == nil {
				f.name = meta.Name
			}
		}
		return f.sane()
	}
	f = facts{name: a["nerdctl/name"], image: a["org.opencontainers.image.ref.name"]}
	if f.name == "" && !isID(id) {
		f.name = id
	}
	return f.sane()
}

// drivers are the directories of a storage root that hold containers, one for
// each storage driver that was ever used.
func (p place) drivers() ([]string, error) {
	names, err := p.host.list(p.Dir)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, name := range names {
		if strings.HasSuffix(name, "-containers") {
			dirs = append(dirs, p.Dir+"/"+name)
		}
	}
	return dirs, nil
}

// crio reads the bundle's config.json in the run root, or its copy in the
// storage root.
func (p place) crio(id string) (facts, error) {
	dirs, err := p.drivers()
	if err != nil {
		return facts{}, err
	}
	failed := errAbsent
	for _, dir := range dirs {
		c, err := p.bundle(dir + "/" + id + "/userdata/config.json")
		switch {
		case err == nil:
			if f := c.facts(id); f.runtime == CRIO {
				return f, nil
			}
		case !errors.Is(err, errAbsent):
			failed = err
		}
	}
	return facts{}, failed
}

// storageLists are the lists of containers in a driver's directory.
var storageLists = [...]string{"/containers.json", "/volatile-containers.json"}

// podman reads the storage's list of containers, which has a container before it
// is started. Pods are in podman's database alone.
func (p place) podman(id string, lists *lists) (facts, error) {
	dirs, err := p.drivers()
	if err != nil {
		return facts{}, err
	}
	failed := errAbsent
	for _, dir := range dirs {
		for _, file := range storageLists {
			found, err := lists.read(p.host, dir+file)
			if err != nil {
				if !errors.Is(err, errAbsent) {
					failed = err
				}
				continue
			}
			f, ok := found[id]
			if !ok {
				continue
			}
			return f, nil
		}
	}
	return facts{}, failed
}
