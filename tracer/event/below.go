package event

import "strings"

// Within tells whether a path is that of a cgroup or of one below it, in the same
// hierarchy. The cgroup's path may end in a slash.
func Within(path, top string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(top, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// Below tells whether a cgroup's path lies below another's, of the same hierarchy;
// none lies below itself, and nothing below one that is not known ("").
func Below(path, top string) bool {
	return top != "" && path != top && strings.HasPrefix(path, strings.TrimSuffix(top, "/")+"/")
}
