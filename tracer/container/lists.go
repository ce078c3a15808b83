package container

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

var errNoList = errors.New("no list of containers")

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
	// One by one: a list that a user made up may hold millions.
	all := make(map[string]facts)
	d := json.NewDecoder(bytes.NewReader(b))
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return nil, fmt.Errorf("%s: %w", path, cmp.Or(err, errNoList))
	}
	for d.More() {
		var e struct {
			ID       string   `json:"id"`
			Names    []string `json:"names"`
			Metadata string   `json:"metadata"`
		}
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if !isID(e.ID) {
			continue
		}
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
	if _, err := d.Token(); err != nil { // its end
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if l.files == nil {
		l.files = make(map[fileAt]listed)
	}
	l.files[at] = listed{now, all}
	return all, nil
}
