package container

import "encoding/json"

// lists remembers the lists of containers that podman's storage keeps: one file
// for all, read again when it has changed.
type lists struct{ files map[fileAt]listed }

type fileAt struct {
	host host
	path string
}

type listed struct {
	stamp stamp
	facts map[string]facts // by id
}

func (l *lists) read(h host, path string) (map[string]facts, error) {
	at := fileAt{h, path}
	now, err := h.stat(path)
	if err != nil {
		return nil, err
	}
	if seen, ok := l.files[at]; ok && seen.stamp == now {
		return seen.facts, nil
	}
	b, err := h.read(path, maxStorage)
	if err != nil {
		return nil, err
	}
	var entries []struct {
		ID       string   `json:"id"`
		Names    []string `json:"names"`
		Metadata string   `json:"metadata"`
	}
	if err := parse(path, b, &entries); err != nil {
		return nil, err
	}
	all := make(map[string]facts, len(entries))
	for _, e := range entries {
		var meta struct {
			Name  string `json:"name"`
			Image string `json:"image-name"`
			PodID string `json:"pod-id"` // CRI-O's
		}
		_ = json.Unmarshal([]byte(e.Metadata), &meta) // what it does not say is not known
		if meta.PodID != "" {
			continue // CRI-O's bundles say more
		}
		f := facts{runtime: Podman, name: meta.Name, image: meta.Image}
		if len(e.Names) > 0 {
			f.name = e.Names[0] // what it was renamed to
		}
		all[e.ID] = f.sane()
	}
	if l.files == nil {
		l.files = make(map[fileAt]listed)
	}
	l.files[at] = listed{now, all}
	return all, nil
}
