//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestSelectGuests(t *testing.T) {
	const all = "5.10 v1, 5.10 v2, 6.1 v1, 6.1 v2, 6.12 v2, 7.3 v2"
	tests := []struct {
		kernels []string
		cgroup  string
		want    string
	}{
		{nil, "both", all},
		{[]string{"all"}, "both", all},
		{[]string{"6.1", "all"}, "v1", "5.10 v1, 6.1 v1"},
		{[]string{"7.3", "5.10", "5.10"}, "both", "5.10 v1, 5.10 v2, 7.3 v2"},
		{[]string{"6.12"}, "v2", "6.12 v2"},
		{[]string{"6.12"}, "v1", "error: no guest has kernel 6.12 with cgroup v1"},
		{[]string{"6"}, "v2", "error: --kernel 6: want all, 5.10, 6.1, 6.12, 7.3"},
		{nil, "1", "error: --cgroup 1"},
	}
	for _, tt := range tests {
		guests, err := selectGuests(tt.kernels, tt.cgroup)
		var names []string
		for _, g := range guests {
			names = append(names, g.String())
		}
		got := strings.Join(names, ", ")
		if err != nil {
			got = fmt.Sprint("error: ", err)
		}
		if got != tt.want && !(err != nil && strings.HasPrefix(got, tt.want)) {
			t.Errorf("%v %s:\ngot  %s\nwant %s", tt.kernels, tt.cgroup, got, tt.want)
		}
	}
}

func TestParseFlags(t *testing.T) {
	t.Setenv("OOMTRACE_VM_CACHE", "/cache")
	o, err := parseFlags([]string{"--kernel", "6.1", "--kernel=7.3", "--file", "/a/b:/c/", "--env", "A=1", "--", "/x", "--kernel", "y"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(o.kernels, o.files, o.env, o.command, " ", o.cache), "[6.1 7.3] [{/a/b /c/b}] [A=1] [/x --kernel y] /cache"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, args := range [][]string{
		{}, {"--"}, {"--jobs", "0", "x"}, {"--env", "A", "x"}, {"--file", "/a:b", "x"}, {"--file", "", "x"},
		{"--node", "-1", "x"}, {"--node", "1024", "x"},
		{"--systemd", "x"}, {"--systemd", "--cgroup", "v1", "x"},
	} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestParseFile(t *testing.T) {
	for in, want := range map[string]file{
		"/a/b":     {"/a/b", "/b"},
		"/a/b:":    {"/a/b", "/b"},
		"/a/b:/c":  {"/a/b", "/c"},
		"/a/b/:/":  {"/a/b", "/b"},
		"/a/:/c/d": {"/a", "/c/d"},
	} {
		if got, err := parseFile(in); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", in, got, err, want)
		}
	}
}
