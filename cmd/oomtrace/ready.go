package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// readyFile appears, whole, when every hook is attached.
type readyFile struct {
	name string
	temp string // "" once it is published
}

// newReadyFile removes what an earlier trace left, and finds out early whether
// the file can be made.
func newReadyFile(name string) (*readyFile, error) {
	if st, err := os.Lstat(name); err == nil {
		if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("ready file %s: it is there already and no regular file: name another", name)
		}
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("ready file: %w", err)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".")
	if err != nil {
		return nil, fmt.Errorf("ready file %s: %w", name, err)
	}
	r := &readyFile{name: name, temp: f.Name()}
	_, err = fmt.Fprintln(f, os.Getpid())
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Chmod(r.temp, 0o644) // whoever waits for it may be somebody else
	}
	if err != nil {
		r.abort()
		return nil, fmt.Errorf("ready file %s: %w", name, err)
	}
	return r, nil
}

func (r *readyFile) publish() error {
	if err := os.Rename(r.temp, r.name); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	r.temp = ""
	return nil
}

func (r *readyFile) abort() {
	if r.temp != "" {
		_ = os.Remove(r.temp)
	}
}
