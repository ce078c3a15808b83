package event

import "strings"

// Below tells whether a cgroup's path lies below another's, of the same hierarchy;
// none lies below itself, and nothing below one that is not known ("").
func Below(path, top string) bool {
	return top != "" && path != top && strings.HasPrefix(path, strings.TrimSuffix(top, "/")+"/")
}
