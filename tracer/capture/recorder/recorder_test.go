package recorder

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// patience is how long a test waits for what comes by itself.
const patience = 30 * time.Second

// said keeps what a person would have been told.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// count is how many lines hold a text.
func (s *said) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, line := range s.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func options(dir string, s *said) Options {
	return Options{
		Dir: dir, Keep: 4 << 20, KeepIncidents: 100, KeepIncidentBytes: 4 << 20, Before: time.Minute, After: 50 * time.Millisecond,
		Triggers: []Trigger{{Kind: Kill}, {Kind: Pause}, {Kind: Thrash}, {Kind: Stall, Over: 500 * time.Millisecond}}, Say: s.say,
	}
}

func start(t *testing.T, o Options) *Recorder {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r, &event.Header{Meta: event.Meta{Type: event.TypeHeader, Time: time.Now().UTC()}, Schema: event.Schema, Host: "web-1"})
	return r
}

func write(t *testing.T, r *Recorder, events ...event.Event) {
	t.Helper()
	for _, e := range events {
		if err := r.Write(e); err != nil {
			t.Fatal(err)
		}
	}
}

// stall is an event that is over now and does not compress well: bytes of noise.
func stall(n int, noise int) *event.Reclaim {
	text := make([]byte, noise)
	for i := range text {
		text[i] = byte('!' + rand.IntN(90))
	}
	return &event.Reclaim{
		Meta: event.Meta{Type: event.TypeReclaim, Time: time.Now().UTC()}, Kind: event.ReclaimMemcgLimit,
		Process: event.Process{PID: int32(n), Comm: "java"}, Cgroup: &event.Cgroup{ID: 7, Path: "/pods/web", Version: 2},
		Container: &event.Container{Name: "web"}, DurationNS: 1000, GFPFlags: string(text),
	}
}

func kill(incident, container string) *event.OOMKill {
	k := &event.OOMKill{Meta: event.Meta{Type: event.TypeOOMKill, Time: time.Now().UTC()}, Incident: incident, Source: event.SourceBPF}
	k.Victim.Cgroup = &event.Cgroup{ID: 9, Path: "/pods/" + incident, Version: 2}
	if container != "" {
		k.Victim.Container = &event.Container{Name: container}
	}
	return k
}

// read gives the events of some files, and fails for damage.
func read(t *testing.T, names ...string) []event.Event {
	t.Helper()
	var out []event.Event
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for r, err := range capture.Read(f, capture.Options{}) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e, err := r.Event()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, e)
		}
	}
	return out
}

func files(t *testing.T, dir, sub string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, sub, "*.zst"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// numbers gives the pids of the stalls, which tests count with.
func numbers(events []event.Event) []int {
	var out []int
	for _, e := range events {
		if r, ok := e.(*event.Reclaim); ok {
			out = append(out, int(r.Process.PID))
		}
	}
	return out
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// taken waits until the disk has all frames so far.
func taken(t *testing.T, r *Recorder) {
	t.Helper()
	r.mu.Lock()
	r.flush()
	r.mu.Unlock()
	until(t, "frames are written", func() bool { return len(r.frames) == 0 })
}

// An incident's file holds the time before and after, who is who, and stands
// alone.
func TestIncident(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	r := start(t, o)
	old := stall(1, 10)
	old.Time = time.Now().Add(-2 * o.Before).UTC()
	write(t, r, old)
	taken(t, r)
	write(t, r, stall(2, 10), stall(3, 10), kill("i1", "../we\x1b[31mb/\n"), stall(4, 10))
	until(t, "the incident is written", func() bool { return len(files(t, dir, incidentDir)) == 1 })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	name := files(t, dir, incidentDir)[0]
	if base := filepath.Base(name); !strings.HasSuffix(base, "Z-kill-we__31mb.zst") {
		t.Errorf("named %s", base)
	}
	events := read(t, name)
	if h, ok := events[0].(*event.Header); !ok || h.Host != "web-1" {
		t.Errorf("it begins with %+v", events[0])
	}
	if got := numbers(events); !slices.Equal(got, []int{2, 3, 4}) {
		t.Errorf("stalls %v, want 2, 3 and 4", got)
	}
	known := map[uint64]string{}
	for _, e := range events {
		switch e := e.(type) {
		case *event.CgroupChange:
			if e.State == event.CgroupKnown {
				known[e.Cgroup.ID] = e.Cgroup.Path
			}
		case *event.Reclaim:
			if known[7] != "/pods/web" {
				t.Errorf("%v before who is who: %v", e.Process.PID, known)
			}
		}
	}
	if known[9] != "/pods/i1" {
		t.Errorf("known: %v", known)
	}
	if s.count("kill in") != 1 {
		t.Errorf("said: %s", s.all())
	}
	if got := numbers(read(t, files(t, dir, ringDir)...)); !slices.Equal(got, []int{1, 2, 3, 4}) {
		t.Errorf("the ring has %v", got)
	}
}

// Every kind of trigger makes a file; what follows in the same place joins it;
// files are never overwritten.
func TestTriggers(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	o.After = time.Second // others join for as long
	r := start(t, o)
	at := time.Now().UTC()
	place := event.Cgroup{ID: 5, Path: "/a", Version: 1}
	long := stall(1, 10)
	long.DurationNS = int64(501 * time.Millisecond)
	short := stall(1, 10)
	short.DurationNS = int64(500 * time.Millisecond)
	write(t, r,
		kill("i1", "web"), kill("i2", "web"), kill("i3", "db"), short, long,
		&event.OOMPause{Meta: event.Meta{Type: event.TypeOOMPause, Time: at}, State: event.PauseBegin, Cgroup: place},
		&event.OOMPause{Meta: event.Meta{Type: event.TypeOOMPause, Time: at}, State: event.PauseEnd, Cgroup: place},
		&event.Thrash{Meta: event.Meta{Type: event.TypeThrash, Time: at}, State: event.StateBegin, Cgroup: place},
	)
	r.Pin("signal")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range files(t, dir, incidentDir) {
		_, what, _ := strings.Cut(filepath.Base(name), "-")
		got = append(got, strings.TrimSuffix(what, suffix))
	}
	slices.Sort(got)
	want := []string{"kill-db", "kill-web", "pause-a", "signal", "stall-web", "thrash-a"}
	if !slices.Equal(got, want) || s.count("kill in web (incident i1) and 1 more") != 1 {
		t.Errorf("incidents %q, want %q; said:\n%s", got, want, s.all())
	}
	temp := filepath.Join(dir, "x.part")
	for i, want := range []string{"x.zst", "x-2.zst", "x-3.zst"} {
		if err := os.WriteFile(temp, []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if name, err := publish(temp, filepath.Join(dir, "x.zst")); err != nil || filepath.Base(name) != want {
			t.Errorf("%s, %v; want %s", name, err, want)
		}
	}
}

// usage is what a directory's files take, in blocks.
func usage(t testing.TB, dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if st, err := d.Info(); err == nil {
				sum += blocks(st.Size())
			}
		}
		return nil
	})
	return sum
}

// The budgets hold at every moment of a storm, and what is kept is the newest,
// without a gap but those that are told.
func TestBudget(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	o.Keep, o.KeepIncidentBytes, o.KeepIncidents = 2<<20, 1<<20, 3
	r := start(t, o)
	stop, worst := make(chan struct{}), make(chan [2]int64)
	go func() {
		var most [2]int64
		for {
			most[0] = max(most[0], usage(t, filepath.Join(dir, ringDir)))
			most[1] = max(most[1], usage(t, filepath.Join(dir, incidentDir)))
			select {
			case <-stop:
				worst <- most
				return
			default:
			}
		}
	}()
	const n = 20000
	for i := range n {
		write(t, r, stall(i, 1000))
		if i%2000 == 1999 {
			write(t, r, kill(fmt.Sprint("i", i), fmt.Sprint("c", i)))
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if most := <-worst; most[0] > o.Keep || most[1] > o.KeepIncidentBytes || most[0] < o.Keep/2 {
		t.Errorf("at most %d bytes of %d in the ring, %d of %d in incidents", most[0], o.Keep, most[1], o.KeepIncidentBytes)
	}
	if got := files(t, dir, incidentDir); len(got) > 3 || len(got) == 0 {
		t.Errorf("%d incidents are kept, want 1 to 3", len(got))
	}
	events := read(t, files(t, dir, ringDir)...)
	var lost uint64
	for _, e := range events {
		if l, ok := e.(*event.Lost); ok {
			lost += l.Count
		}
	}
	got := numbers(events)
	if len(got) == 0 || got[len(got)-1] != n-1 && s.count("lost") == 0 {
		t.Errorf("the ring ends with %v", got[max(len(got)-3, 0):])
	}
	missing := uint64(0)
	for i := 1; i < len(got); i++ {
		missing += uint64(got[i] - got[i-1] - 1)
	}
	if missing > 0 && lost == 0 && s.count("lost") == 0 {
		t.Errorf("%d are missing inside, and nothing tells", missing)
	}
}

// An incident that is larger than its budget keeps its newest part, and says
// what is missing.
func TestLargeIncident(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	o.Keep, o.KeepIncidentBytes = 8<<20, 1<<20
	r := start(t, o)
	for i := range 3000 {
		write(t, r, stall(i, 1000))
		if i%100 == 0 {
			taken(t, r) // smaller frames, none lost
		}
	}
	write(t, r, kill("i1", "web"))
	for i := range 3000 {
		write(t, r, stall(3000+i, 1000))
		if i%100 == 0 {
			taken(t, r)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names := files(t, dir, incidentDir)
	if len(names) != 1 || usage(t, filepath.Join(dir, incidentDir)) > o.KeepIncidentBytes {
		t.Fatalf("%q of %d bytes; said:\n%s", names, usage(t, filepath.Join(dir, incidentDir)), s.all())
	}
	got := numbers(read(t, names[0]))
	if got[0] == 0 || !slices.Contains(got, 2999) || s.count("holds only its last part") != 1 {
		t.Errorf("stalls %d to %d; said:\n%s", got[0], got[len(got)-1], s.all())
	}
}

func TestFileName(t *testing.T) {
	for text, want := range map[string]string{
		"web": "web", "../../etc/passwd": "etc_passwd", ".hidden": "hidden", "a b\x00c\n": "a_b_c", "-rf": "rf",
		"naïve": "na_ve", "": "", "...": "", strings.Repeat("x", 200): strings.Repeat("x", 80), "\x1b[2J": "2J",
	} {
		if got := fileName(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
