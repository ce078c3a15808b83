//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// readCpio lists a newc archive as "mode name data" lines.
func readCpio(t *testing.T, archive []byte) []string {
	t.Helper()
	var list []string
	for len(archive) >= 110 {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(archive[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		if magic := string(archive[:6]); magic != "070701" {
			t.Fatalf("magic %q after %q", magic, list)
		}
		mode, size, nameSize := field(1), field(6), field(11)
		data := (110 + nameSize + 3) &^ 3
		name := string(archive[110 : 110+nameSize-1])
		if name == "TRAILER!!!" {
			return list
		}
		list = append(list, fmt.Sprintf("%o %s %s", mode, name, archive[data:data+size]))
		archive = archive[(data+size+3)&^3:]
	}
	t.Fatal("no trailer")
	return nil
}

func TestCpioRoundTrip(t *testing.T) {
	src := t.TempDir()
	for name, text := range map[string]string{"a": "", "sub/b": "12345", "sub/c.sh": "#!"} {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Ext(name) == ".sh" {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/b", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}

	var archive bytes.Buffer
	c := newCpioWriter(&archive)
	for _, f := range []file{
		{src, "/dir/tree"},
		{filepath.Join(src, "link"), "/followed"},
		{filepath.Join(src, "a"), "/followed"}, // the first wins
	} {
		if err := addTree(c, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"40755 dir ",
		"40755 dir/tree ",
		"100644 dir/tree/a ",
		"120777 dir/tree/link sub/b",
		"40755 dir/tree/sub ",
		"100644 dir/tree/sub/b 12345",
		"100755 dir/tree/sub/c.sh #!",
		"100644 followed 12345",
	}
	if got := readCpio(t, archive.Bytes()); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCpioKeepsError(t *testing.T) {
	c := newCpioWriter(io.Discard)
	c.add("/short", modeRegular, 5, strings.NewReader("1"))
	c.add("/next", modeRegular, 0, nil)
	if err := c.close(); !errors.Is(err, io.EOF) {
		t.Errorf("a file that shrank gives %v", err)
	}
	c = newCpioWriter(io.Discard)
	c.add("/huge", modeRegular, 1<<32, nil)
	if err := c.close(); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a file of 4 GiB gives %v", err)
	}
}

func TestOpenKernel(t *testing.T) {
	tests := map[string]struct {
		files []string
		image string
		err   string
	}{
		"image in boot":    {[]string{"boot/vmlinuz-6.1", "lib/modules/6.1/modules.builtin"}, "boot/vmlinuz-6.1", ""},
		"image in modules": {[]string{"usr/lib/modules/7.3/vmlinuz"}, "usr/lib/modules/7.3/vmlinuz", ""},
		"no image":         {[]string{"lib/modules/6.1/modules.builtin"}, "", "no vmlinuz"},
		"two kernels":      {[]string{"usr/lib/modules/7.3/vmlinuz", "usr/lib/modules/7.4/vmlinuz"}, "", "holds 2 kernels"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := t.TempDir()
			for _, f := range tt.files {
				path := filepath.Join(tree, f)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			k, err := openKernel(tree)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || k.image != filepath.Join(tree, tt.image) {
				t.Errorf("got %+v, %v", k, err)
			}
		})
	}
}
