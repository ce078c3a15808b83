package container

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

// configuredRoots are where the configuration of a host's runtimes puts their
// state. What a daemon was told by its command line is not known.
func (h host) configuredRoots() []Root {
	var roots []Root
	add := func(runtime, dir string) {
		if filepath.IsAbs(dir) && len(dir) <= maxName {
			roots = append(roots, Root{runtime, filepath.Clean(dir)})
		}
	}
	var docker struct {
		DataRoot string `json:"data-root"`
	}
	if b, err := h.read("/etc/docker/daemon.json", maxState); err == nil && json.Unmarshal(b, &docker) == nil {
		add(Docker, docker.DataRoot)
	}
	if b, err := h.read("/etc/containerd/config.toml", maxState); err == nil {
		top, _, _ := strings.Cut("\n"+string(b), "\n[") // before the first table
		add(Containerd, setting(top, "state"))
	}
	if b, err := h.read("/etc/containers/storage.conf", maxState); err == nil {
		for _, key := range [...]string{"runroot", "graphroot"} {
			dir := setting(string(b), key)
			add(CRIO, dir)
			add(Podman, dir)
		}
	}
	return roots
}

// setting finds a string in a TOML file, where it stands on a line of its own; ""
// when it does not.
func setting(text, key string) string {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(name) != key {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') {
			if end := strings.IndexByte(value[1:], value[0]); end >= 0 && !strings.Contains(value[1:1+end], `\`) {
				return value[1 : 1+end]
			}
		}
	}
	return ""
}
