package cgroup

import (
	"os"
	"strings"
)

// mountPoint is what we need of one line of /proc/PID/mountinfo.
type mountPoint struct {
	root    string // directory within the file system that is mounted
	dir     string // where
	fstype  string
	options string // of the file system: version 1 names its controllers here
}

func readMountinfo(name string) ([]mountPoint, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var mounts []mountPoint
	for line := range strings.Lines(string(data)) {
		if m, ok := parseMount(line); ok {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

// parseMount reads a line such as
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
//
// where the number of fields before the hyphen varies.
func parseMount(line string) (mountPoint, bool) {
	f := strings.Fields(line)
	for i := 6; i+3 < len(f); i++ {
		if f[i] == "-" {
			return mountPoint{
				root:    unoctal(f[3]),
				dir:     unoctal(f[4]),
				fstype:  f[i+1],
				options: f[i+3],
			}, true
		}
	}
	return mountPoint{}, false
}

// unoctal undoes the kernel's escapes of blanks and backslashes (\040).
func unoctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
