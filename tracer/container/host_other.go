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

func stampOf(info os.FileInfo) stamp {
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
}
