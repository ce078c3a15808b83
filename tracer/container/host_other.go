//go:build !linux

package container

import (
	"os"
	"path/filepath"
)

func (h host) open(path string) (*os.File, error) {
	f, err := os.Open(filepath.Join(h.root, path))
	return f, absent(err)
}

func (h host) openDir(path string) (*os.File, error) { return h.open(path) }

func (h host) stat(path string) (stamp, error) {
	info, err := os.Stat(filepath.Join(h.root, path))
	if err != nil {
		return stamp{}, absent(err)
	}
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}, nil
}
