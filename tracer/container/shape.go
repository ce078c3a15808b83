package container

import (
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// prefixes are what runtimes put before the id in a cgroup's name.
var prefixes = [...]struct{ prefix, runtime string }{
	{"docker", Docker},
	{"cri-containerd", Containerd},
	{"nerdctl", Containerd},
	{"crio", CRIO},
	{"libpod", Podman},
	{"libpod-payload", Podman}, // podman --cgroups=split
}

func runtimeOf(prefix string) string {
	for _, p := range prefixes {
		if p.prefix == prefix {
			return p.runtime
		}
	}
	return Unknown
}

// prefixed is docker-ID.scope and its like, which systemd drivers make, and the
// same without ".scope" from cgroupfs drivers. A scope with an id but a prefix
// that we do not know is a container still. The monitors beside the containers
// (libpod-conmon-ID.scope) are none.
func prefixed(_, name string) (event.Container, bool) {
	name, scope := strings.CutSuffix(name, ".scope")
	i := strings.LastIndexByte(name, '-')
	if i < 1 || !isID(name[i+1:]) {
		return event.Container{}, false
	}
	prefix := name[:i]
	runtime := runtimeOf(prefix)
	if runtime == Unknown && (!scope || strings.HasSuffix(prefix, "conmon")) {
		return event.Container{}, false
	}
	return event.Container{ID: name[i+1:], Runtime: runtime}, true
}

// mismatch is SLICE:PREFIX:ID, the systemd driver's notation taken for a
// directory's name by a runtime that was set to cgroupfs.
func mismatch(_, name string) (event.Container, bool) {
	slice, rest, ok := strings.Cut(name, ".slice:")
	if !ok {
		return event.Container{}, false
	}
	prefix, id, ok := strings.Cut(rest, ":")
	if !ok || !isID(id) || strings.HasSuffix(prefix, "conmon") {
		return event.Container{}, false
	}
	c := event.Container{ID: id, Runtime: runtimeOf(prefix)}
	if uid, ok := sliceUID(slice); ok {
		c.Pod = &event.Pod{UID: uid}
	}
	return c, true
}

// lxc is lxc.payload.NAME, or /lxc/NAME and lxc.payload/NAME of older versions.
func lxc(above, name string) (event.Container, bool) {
	called, ok := strings.CutPrefix(name, "lxc.payload.")
	if !ok {
		_, parent := cut(above)
		ok = parent == "lxc" || parent == "lxc.payload"
	}
	return event.Container{Name: called, Runtime: LXC}, ok && called != ""
}

// nomad is ALLOC.TASK[.scope], somewhere below nomad or nomad.slice, of the
// drivers that run processes without a container runtime.
func nomad(above, name string) (event.Container, bool) {
	const uuid = 36
	if len(name) < uuid+2 || name[uuid] != '.' || !isUUID(name[:uuid]) || !below(above, "nomad", "nomad.slice") {
		return event.Container{}, false
	}
	task := strings.TrimSuffix(name[uuid+1:], ".scope")
	return event.Container{ID: name[:uuid], Name: task, Runtime: Unknown}, task != ""
}

// ecs is /ecs/TASK/TASK-NUMBER, which Fargate makes; where the agent drives
// docker there is a common id, which bare recognises.
func ecs(above, name string) (event.Container, bool) {
	_, task := cut(above)
	if task == "" || !below(above, "ecs") {
		return event.Container{}, false
	}
	number, ok := strings.CutPrefix(name, task+"-")
	if !ok || !isHex(task, 32) || number == "" || strings.Trim(number, "0123456789") != "" {
		return event.Container{}, false
	}
	return event.Container{ID: name, Runtime: Unknown}, true
}

// containerdNamespace is /NAMESPACE/ID at the top, for the namespaces whose
// names are known. Ids there may be any name that containerd permits.
func containerdNamespace(above, name string) (event.Container, bool) {
	switch strings.TrimPrefix(above, "/") {
	case "k8s.io", "moby", "default":
		if isContainerdID(name) {
			return event.Container{ID: name, Runtime: Containerd}, true
		}
	}
	return event.Container{}, false
}

// bare is a directory that is called by a container's id and nothing else.
func bare(above, name string) (event.Container, bool) {
	if !isID(name) {
		return event.Container{}, false
	}
	_, parent := cut(above)
	switch parent {
	case "docker":
		return event.Container{ID: name, Runtime: Docker}, true
	case "libpod_parent": // a pod of podman's, with containers below
		return event.Container{}, false
	}
	return event.Container{ID: name, Runtime: Unknown}, true
}

// below says whether one of the directories of a path has one of these names.
func below(path string, names ...string) bool {
	for path != "" {
		var dir string
		path, dir = cut(path)
		for _, name := range names {
			if dir == name {
				return true
			}
		}
	}
	return false
}

// isID says whether s is an id as docker, podman and Kubernetes' runtimes make
// them.
func isID(s string) bool { return isHex(s, 64) }

func isHex(s string, length int) bool {
	if len(s) != length {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isUUID(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' &&
		isHex(s[:8], 8) && isHex(s[9:13], 4) && isHex(s[14:18], 4) && isHex(s[19:23], 4) && isHex(s[24:], 12)
}

// isContainerdID is containerd's own rule: letters and digits, with single dots,
// hyphens and underscores between them, 76 bytes at most.
func isContainerdID(s string) bool {
	if s == "" || len(s) > 76 {
		return false
	}
	between := true // at the start, or after a separator
	for i := range len(s) {
		switch c := s[i]; {
		case isAlphanumeric(c):
			between = false
		case (c == '.' || c == '-' || c == '_') && !between:
			between = true
		default:
			return false
		}
	}
	return !between
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
