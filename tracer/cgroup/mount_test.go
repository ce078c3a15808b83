package cgroup

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// Each case is a host in a directory: fs/ is its root, proc/ its /proc. In the
// files, $ stands for the host's directory.
func TestFindMount(t *testing.T) {
	v1Root := with(v1Files(), map[string]string{"release_agent": "\n"})
	v2Root := map[string]string{"cgroup.controllers": "cpuset cpu io memory pids\n", "memory.stat": "anon 1\n"}
	merge := func(parts ...map[string]string) map[string]string {
		all := make(map[string]string)
		for _, p := range parts {
			maps.Copy(all, p)
		}
		return all
	}
	hybrid := merge(
		below("fs/memory", v1Root),
		map[string]string{
			"fs/unified/cgroup.controllers": "hugetlb\n",
			"proc/cgroups":                  procCgroups,
			"proc/self/cgroup":              "4:memory:/a\n0::/\n",
			"proc/self/mountinfo": `31 23 0:28 / $/fs rw,relatime - tmpfs tmpfs rw,mode=755
41 31 0:38 / $/fs/unified rw,relatime - cgroup2 cgroup2 rw
35 31 0:32 / $/fs/memory rw,relatime shared:9 master:3 - cgroup cgroup rw,memory
`,
		})
	unified := merge(
		below("fs", v2Root),
		map[string]string{
			"proc/cgroups":        procV2,
			"proc/self/mountinfo": "31 23 0:28 / $/fs rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
		})

	tests := []struct {
		name  string
		files map[string]string
		root  string // below the host's directory
		want  Mount
		err   string // part of the error
	}{
		{name: "hybrid", files: hybrid, want: Mount{Root: "fs/memory", Version: 1, HierarchyID: 4}},
		{name: "hybrid, directory above", files: hybrid, root: "fs", want: Mount{Root: "fs/memory", Version: 1, HierarchyID: 4}},
		{name: "hybrid, hierarchy itself", files: hybrid, root: "fs/memory/", want: Mount{Root: "fs/memory", Version: 1, HierarchyID: 4}},
		{name: "hybrid, the wrong hierarchy", files: hybrid, root: "fs/unified", err: "looked for memory in cgroup.controllers"},
		{name: "unified", files: unified, want: Mount{Root: "fs", Version: 2}},
		{name: "unified, named", files: unified, root: "fs", want: Mount{Root: "fs", Version: 2}},
		{
			name:  "unified, no line in /proc/cgroups",
			files: with(unified, map[string]string{"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"}),
			want:  Mount{Root: "fs", Version: 2},
		},
		{
			name:  "unified with a cgroup called memory",
			files: merge(unified, below("fs/memory", v2Files())),
			root:  "fs",
			want:  Mount{Root: "fs", Version: 2},
		},
		{
			name: "mounted together, a blank in the path",
			files: merge(below("f s/cpu,memory", v1Root), map[string]string{
				"proc/cgroups":        procCgroups,
				"proc/self/mountinfo": `35 31 0:32 / $/f\040s/cpu,memory rw - cgroup cgroup rw,cpu,memory` + "\n",
			}),
			want: Mount{Root: "f s/cpu,memory", Version: 1, HierarchyID: 4},
		},
		{
			name:  "mounted together, directory above",
			files: merge(below("fs/cpu,memory", v1Root), map[string]string{"proc/cgroups": procCgroups}),
			root:  "fs",
			want:  Mount{Root: "fs/cpu,memory", Version: 1, HierarchyID: 4},
		},
		{
			name:  "id from the process when there is no /proc/cgroups",
			files: with(hybrid, map[string]string{"proc/cgroups": ""}),
			want:  Mount{Root: "fs/memory", Version: 1, HierarchyID: 4},
		},
		{
			name:  "id nowhere",
			files: with(hybrid, map[string]string{"proc/cgroups": "", "proc/self/cgroup": "0::/\n"}),
			err:   "id of the memory hierarchy",
		},
		{
			name: "container in a cgroup namespace",
			files: merge(below("fs", v2Files()), map[string]string{
				"proc/self/mountinfo": "31 23 0:28 / $/fs rw - cgroup2 cgroup rw\n",
			}),
			want: Mount{Root: "fs", Version: 2, Partial: true},
		},
		{
			name: "container that shares the host's pid namespace",
			files: merge(below("fs", v2Files()), below("proc/1/root/sys/fs/cgroup", v2Root), map[string]string{
				"proc/self/mountinfo": "31 23 0:28 / $/fs rw - cgroup2 cgroup rw\n",
				"proc/1/mountinfo":    "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			}),
			want: Mount{Root: "proc/1/root/sys/fs/cgroup", Version: 2},
		},
		{
			name: "switched off",
			files: map[string]string{
				"proc/cgroups":          "memory\t0\t1\t0\n",
				"proc/self/mountinfo":   "31 23 0:28 / $/fs rw - cgroup2 cgroup rw\n",
				"fs/cgroup.controllers": "cpu\n",
			},
			err: "cgroup_enable=memory",
		},
		{name: "nothing", files: map[string]string{"proc/self/mountinfo": "garbage\n"}, err: "mount -t cgroup2"},
		{name: "no such directory", files: unified, root: "nowhere", err: "name the directory"},
		{name: "an empty directory", files: map[string]string{"fs/": ""}, root: "fs", err: "looked for memory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			host := t.TempDir()
			files := make(map[string]string)
			for name, content := range test.files {
				files[name] = strings.ReplaceAll(content, "$", host)
			}
			write(t, host, files)
			root := test.root
			if root != "" {
				root = filepath.Join(host, root)
			}
			got, err := FindMount(root, filepath.Join(host, "proc"))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Root = filepath.Join(host, test.want.Root)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestFindMountErrors(t *testing.T) {
	_, err := FindMount(t.TempDir(), t.TempDir())
	if !errors.Is(err, ErrNoMemory) {
		t.Errorf("%v is not ErrNoMemory", err)
	}
	_, err = FindMount("/nowhere/at/all", t.TempDir())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not ErrNotExist", err)
	}
}

func TestPathOf(t *testing.T) {
	const hybrid = "9:name=systemd:/\n4:cpu,memory:/docker/a:b\n0::/user.slice\n"
	tests := []struct {
		name, file string
		version    int
		want, err  string
	}{
		{"version 1", hybrid, 1, "/docker/a:b", ""},
		{"version 2", hybrid, 2, "/user.slice", ""},
		{"root", "0::/\n", 2, "/", ""},
		{"no newline", "0::/a", 2, "/a", ""},
		{"removed", "0::/a (deleted)\n", 2, "/a", ""},
		{"odd name", "0::/b (deleted)\n", 2, "/b (deleted)", ""},
		{"namespace", "0::/../other\n", 2, "", "namespace"},
		{"namespace root", "4:memory:/..\n", 1, "", "namespace"},
		{"dots in a name", "0::/..a\n", 2, "/..a", ""},
		{"no line", "0::/\n", 1, "", "no line for the memory controller"},
		{"memory in a name only", "4:name=memory:/x\n", 1, "", "no line"},
		{"garbage", "::\n\x00\n4:memory\nx:memory:/y\n", 1, "", "no line"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, t.TempDir(), map[string]string{"42/cgroup": test.file, "fs/b (deleted)/": ""})
			m := Mount{Root: dir + "/fs", Version: test.version}
			got, err := m.PathOf(dir, 42)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("%q, %v; want an error with %q", got, err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
	m := Mount{Root: "/nowhere", Version: 1}
	if _, err := m.PathOf(t.TempDir(), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
	dir := write(t, t.TempDir(), map[string]string{"7/cgroup": "4:memory:/../x\n"})
	if _, err := m.PathOf(dir, 7); !errors.Is(err, ErrNamespace) {
		t.Errorf("%v is not ErrNamespace", err)
	}
}

func TestNormalize(t *testing.T) {
	v1 := Mount{Root: "/host/sys/fs/cgroup/memory", Version: 1}
	v2 := Mount{Root: "/sys/fs/cgroup", Version: 2}
	tests := []struct {
		m         Mount
		arg, want string
	}{
		{v1, "foo", "/foo"},
		{v1, "/foo", "/foo"},
		{v1, "foo/", "/foo"},
		{v1, "foo//bar/./baz", "/foo/bar/baz"},
		{v1, "foo/../bar", "/bar"},
		{v1, "../../etc", "/etc"},
		{v1, "/foo\n", "/foo"},
		{v1, "", "/"},
		{v1, "/", "/"},
		{v1, "/host/sys/fs/cgroup/memory/foo/", "/foo"},
		{v1, "/host/sys/fs/cgroup/memory", "/"},
		{v1, "/host/sys/fs/cgroup/memoryfoo", "/host/sys/fs/cgroup/memoryfoo"},
		{v1, "/sys/fs/cgroup/memory/foo", "/foo"},
		{v1, "4:memory:/foo\n", "/foo"},
		{v1, "4:cpu,memory:/foo", "/foo"},
		{v1, "memory:/foo", "/foo"},
		{v1, "memory:foo", "/foo"},
		{v1, "cpu,memory:foo/bar", "/foo/bar"},
		{v1, "cpu:/foo", "/cpu:/foo"},
		{v1, "/memory:foo", "/memory:foo"},
		{v1, "a.slice:docker:0", "/a.slice:docker:0"},
		{v1, "12:34", "/12:34"},
		{v2, "0::/foo", "/foo"},
		{v2, "/sys/fs/cgroup/foo", "/foo"},
		{v2, "/sys/fs/cgroup", "/"},
		{v2, "a b", "/a b"},
		{Mount{Version: 2}, "x", "/x"},
		{Mount{Root: "/", Version: 2}, "/x", "/x"},
	}
	for _, test := range tests {
		if got := test.m.Normalize(test.arg); got != test.want {
			t.Errorf("version %d, %q: %q, want %q", test.m.Version, test.arg, got, test.want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"foo", "/sys/fs/cgroup/memory/a", "4:memory:/..", "memory:", "\x00\n", "0::", "../.."} {
		f.Add(s)
	}
	m := Mount{Root: "/sys/fs/cgroup/memory", Version: 1}
	f.Fuzz(func(t *testing.T, arg string) {
		got := m.Normalize(arg)
		if !strings.HasPrefix(got, "/") || got != filepath.Clean(got) {
			t.Errorf("%q is not clean", got)
		}
	})
}

func FuzzMountinfo(f *testing.F) {
	f.Add("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory")
	f.Add(`1 2 0:3 / /a\040b\1 - cgroup2 x rw`)
	f.Add("1 2 3 4 5 6 - -")
	f.Fuzz(func(t *testing.T, line string) {
		parseMount(line)
		cgroupLine(line)
	})
}

func TestID(t *testing.T) {
	dir := t.TempDir()
	if id, err := ID(dir); err != nil || id == 0 {
		t.Errorf("%d, %v", id, err)
	}
	if _, err := ID(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	write(t, dir, map[string]string{"file": "x"})
	if _, err := ID(dir + "/file"); err == nil {
		t.Error("a file has an id")
	}
}
