package container

import (
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// podAbove finds the nearest pod on the path above a container of a runtime.
// Podman lets a pod's cgroup, which has no name but the pod's id, be anywhere;
// containers are in it right away.
func podAbove(path, runtime string) *event.Pod {
	if _, name := cut(path); runtime == Podman && isID(name) {
		return &event.Pod{UID: name}
	}
	for path != "" {
		above, name := cut(path)
		if uid, ok := podUID(above, name); ok {
			return &event.Pod{UID: uid}
		}
		path = above
	}
	return nil
}

// podUID recognises a pod's own cgroup: kubepods[/QOS]/podUID of the cgroupfs
// driver, kubepods[-QOS]-podUID.slice of the systemd driver; of podman
// libpod_parent/ID and machine-libpod_pod_ID.slice.
func podUID(above, name string) (string, bool) {
	if slice, ok := strings.CutSuffix(name, ".slice"); ok {
		if _, id, ok := strings.Cut(slice, "-libpod_pod_"); ok {
			return id, isID(id)
		}
		return sliceUID(slice)
	}
	if isID(name) {
		_, parent := cut(above)
		return name, parent == "libpod_parent"
	}
	uid, ok := strings.CutPrefix(name, "pod")
	if !ok || !isUID(uid) {
		return "", false
	}
	above, parent := cut(above)
	if parent == "burstable" || parent == "besteffort" || parent == "guaranteed" {
		_, parent = cut(above)
	}
	return uid, parent == "kubepods"
}

// sliceUID finds the pod in the name of a slice, without its suffix. The kubelet
// writes a uid's hyphens as underscores there, because a hyphen separates the
// levels of slices. What stands before kubepods is a cluster's own.
func sliceUID(slice string) (string, bool) {
	i := strings.LastIndex(slice, "-pod")
	if i < 0 {
		return "", false
	}
	parent := slice[:i]
	for _, qos := range [...]string{"-burstable", "-besteffort", "-guaranteed"} {
		if cut, ok := strings.CutSuffix(parent, qos); ok {
			parent = cut
			break
		}
	}
	if parent != "kubepods" && !strings.HasSuffix(parent, "-kubepods") {
		return "", false
	}
	uid := strings.ReplaceAll(slice[i+len("-pod"):], "_", "-")
	return uid, isUID(uid)
}

// isUID says whether s can be a pod's uid: a UUID as the API server makes them,
// the 32 hexadecimal digits of a static pod, or what its manifest says instead.
func isUID(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
