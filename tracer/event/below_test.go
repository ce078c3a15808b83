package event

import "testing"

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		path, top string
		want      bool
	}{
		{"/a/b", "/a", true},
		{"/a/b/c", "/a", true},
		{"/a", "/", true},
		{"/a", "/a", false},
		{"/", "/", false},
		{"/ab", "/a", false},
		{"/a", "/a/b", false},
		{"/a", "", false},
		{"", "/", false},
		{"", "", false},
	} {
		if got := Below(c.path, c.top); got != c.want {
			t.Errorf("Below(%q, %q) = %v", c.path, c.top, got)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		path, top string
		want      bool
	}{
		{"/a/b", "/a", true}, {"/a", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/a", "/", true}, {"/", "/", true},
		{"/a", "/a/", true}, {"/a/b", "/a/", true}, {"/ab", "/a/", false}, {"", "/a", false},
	} {
		if got := Within(c.path, c.top); got != c.want {
			t.Errorf("Within(%q, %q) = %v", c.path, c.top, got)
		}
	}
}
