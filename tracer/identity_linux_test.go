package tracer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/container"
)

// running are identities that are looked for, with a runtime's root of their own,
// what they have warned of, and a channel that hears of news.
func running(t *testing.T) (s *identities, root string, warnings func() []string, news chan struct{}) {
	root = t.TempDir()
	var mu sync.Mutex
	var told []string
	news = make(chan struct{}, 1)
	s = newIdentities(container.NewResolver(container.Options{ProcRoot: t.TempDir(), Roots: []container.Root{
		{Runtime: container.Docker, Dir: root + "/docker"}, {Runtime: container.Runc, Dir: root + "/runc"},
	}}), func(msg string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, msg)
	})
	s.wake = func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	go s.run()
	t.Cleanup(s.close)
	return s, root, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}, news
}

func putState(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A runtime writes its state after the cgroup was made: the news come by
// themselves, once the first process is in it.
func TestIdentifiedLate(t *testing.T) {
	s, root, _, news := running(t)
	s.appeared(7, "/a/b", time.Now())
	if c := s.of(7, "/a/b"); c != nil {
		t.Fatalf("%s", show(c))
	}
	s.entered(7, "/a/b", nil)
	putState(t, root+"/runc/web/state.json", `{"id":"web","cgroup_paths":{"":"/sys/fs/cgroup/a/b"}}`)
	select {
	case <-news:
	case <-time.After(patience):
		t.Fatal("not identified")
	}
	if got := s.takeNews(); len(got) != 1 || !got[7] {
		t.Errorf("news %v", got)
	}
	if c := s.of(7, "/a/b"); c == nil || c.Name != "web" {
		t.Errorf("%s", show(c))
	}
	// Gone with all its state, it keeps its name; another cgroup of that path has
	// none of it.
	if err := os.RemoveAll(root + "/runc"); err != nil {
		t.Fatal(err)
	}
	if c := s.await(7, "/a/b"); c == nil || c.Name != "web" {
		t.Errorf("%s", show(c))
	}
	deadline := time.Now().Add(patience)
	for id := uint64(8); s.await(id, "/a/b") != nil; id++ { // the index may be a millisecond old
		if time.Now().After(deadline) {
			t.Fatal("another cgroup of that path has its name")
		}
	}
	s.sweep(func(id uint64) bool { return id != 7 })
	if c := s.of(7, "/a/b"); c != nil {
		t.Errorf("swept, and still %s", show(c))
	}
}

// Names that never come are warned of once, however many containers lack them.
func TestWarnedOnce(t *testing.T) {
	s, root, warnings, _ := running(t)
	for i := range uint64(5) {
		id := strings.Repeat(string('a'+rune(i)), 64)
		putState(t, root+"/docker/containers/"+id+"/config.v2.json", "garbage")
		if c := s.await(i, "/docker/"+id); c == nil || c.ID != id || c.Name != "" {
			t.Errorf("%s", show(c))
		}
		s.entered(i, "/docker/"+id, nil)
	}
	settled := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.known {
			if !n.complete {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(patience); !settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the attempts do not end")
		}
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "(docker)") || !strings.Contains(w[0], "config.v2.json: invalid character") {
		t.Errorf("%q", w)
	}
}

// A container that is renamed has its new name after a while, and keeps it when its
// state is gone.
func TestRenamed(t *testing.T) {
	s, root, _, news := running(t)
	s.renames = 10 * time.Millisecond
	path := "/docker/" + dockerID
	state := func(name string) {
		t.Helper()
		file := root + "/docker/containers/" + dockerID + "/config.v2.json"
		putState(t, file+".new", `{"ID":"`+dockerID+`","Name":"/`+name+`"}`)
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"old", "new"} {
		state(name)
		s.entered(7, path, nil)
		for deadline := time.After(patience); s.of(7, path).Name != name; {
			select {
			case <-news:
				if got := s.takeNews(); len(got) != 1 || !got[7] {
					t.Errorf("news %v", got)
				}
			case <-deadline:
				t.Fatalf("%s, want %s", show(s.of(7, path)), name)
			}
		}
	}
	if err := os.RemoveAll(root + "/docker"); err != nil {
		t.Fatal(err)
	}
	looked := func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.known[7].tried
	}
	for last, deadline := time.Now(), time.Now().Add(patience); !looked().After(last); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not looked at again")
		}
	}
	if c := s.of(7, path); c.Name != "new" {
		t.Errorf("%s", show(c))
	}
	s.departed(7)
	queued := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.due)
	}
	for deadline := time.Now().Add(patience); queued() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a container that is gone stays in the queue")
		}
	}
}

// An attempt that began before a container's runtime was seen to start it does not
// stand in for one that knows of that.
func TestAwaitAfterStart(t *testing.T) {
	s := unresolved()
	deadline := time.Now().Add(patience) // an event waits for 5 ms, which a busy machine may need for more
	for id := uint64(1); ; id++ {
		s.appeared(id, "/a/b", time.Now())
		s.mu.Lock()
		early, n := make(chan struct{}), s.known[id]
		n.trying, n.tried = early, time.Now()
		s.mu.Unlock()
		s.entered(id, "/a/b", []string{"runc", "run", "web"})
		go func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			n.trying = nil
			close(early)
		}()
		if c := s.await(id, "/a/b"); c != nil && c.Name == "web" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a kill does not get the name")
		}
	}
}
