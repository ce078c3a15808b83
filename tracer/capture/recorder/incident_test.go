package recorder

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// incidentsIn gives the ids of the kills in some files.
func incidentsIn(t *testing.T, names []string) []string {
	t.Helper()
	var ids []string
	for _, e := range read(t, names...) {
		if k, ok := e.(*event.OOMKill); ok {
			ids = append(ids, k.Incident)
		}
	}
	return ids
}

// A clock that was set back does not make the newest incident the oldest.
func TestClockSetBack(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	o.KeepIncidents = 1
	r := start(t, o)
	for n, id := range []string{"first", "second"} {
		k := kill(id, id)
		k.Time = k.Time.Add(-time.Duration(n) * 24 * time.Hour)
		write(t, r, k)
		until(t, id+" is written", func() bool { return s.count("kill in "+id+" (") == 1 })
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	names := files(t, dir, incidentDir)
	if got := incidentsIn(t, names); len(names) != 1 || len(got) == 0 || got[len(got)-1] != "second" {
		t.Errorf("kept are %q with %q; said:\n%s", names, got, s.all())
	}
}

// An incident whose file cannot be made takes no further one with it.
func TestFailedIncident(t *testing.T) {
	dir, s := t.TempDir(), new(said)
	o := options(dir, s)
	o.After = time.Hour
	r := start(t, o)
	incidents := filepath.Join(dir, incidentDir)
	if err := os.Rename(incidents, incidents+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(incidents, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, r, kill("first", "web"))
	until(t, "the failure is told", func() bool { return s.count("could not be written: not a directory") == 1 })
	if err := os.Remove(incidents); err != nil {
		t.Fatal(err)
	}
	write(t, r, kill("second", "web"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := incidentsIn(t, files(t, dir, incidentDir)); len(got) != 2 || got[1] != "second" {
		t.Errorf("kept are %q; said:\n%s", got, s.all())
	}
}

// An incident that is being written survives its directory, and so do those that
// have joined it.
func TestRemovedIncident(t *testing.T) {
	dir, s := filepath.Join(t.TempDir(), "rec"), new(said)
	o := options(dir, s)
	o.After = time.Hour
	r := start(t, o)
	write(t, r, kill("first", "web"))
	until(t, "what came before is in the file", func() bool {
		names, err := filepath.Glob(filepath.Join(dir, incidentDir, ".*"+part))
		if err != nil || len(names) != 1 {
			return false
		}
		st, err := os.Stat(names[0])
		return err == nil && st.Size() > 0
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, r, kill("second", "web"))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := incidentsIn(t, files(t, dir, incidentDir)); len(got) != 2 || got[0] != "first" || got[1] != "second" {
		t.Errorf("kept are %q; said:\n%s", got, s.all())
	}
}

// When some incidents end and others go on, each is counted once: no older one has
// to go for them.
func TestEndsCountOnce(t *testing.T) {
	s := new(said)
	o := options(t.TempDir(), s)
	o.KeepIncidentBytes = 1 << 20
	d, err := openDisk(&o)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, c := range []struct {
		place string
		size  int
		after time.Duration
	}{{"oldest", 8 << 10, -time.Hour}, {"ends", 8 << 10, -time.Minute}, {"goes on", 600 << 10, time.Hour}, {"ends too", 8 << 10, -time.Minute}} {
		p := &pin{moment: now, trigger: Kill, place: c.place}
		d.begin([]*pin{p})
		if err := d.grow(p, make([]byte, c.size)); err != nil {
			t.Fatal(err)
		}
		p.until = now.Add(c.after)
		if c.place == "oldest" {
			d.end(now)
		}
	}
	d.end(now)
	if len(d.kept) != 3 || len(d.pins) != 1 || s.count("removed") != 0 {
		t.Errorf("kept are %v, %d go on; said:\n%s", d.kept, len(d.pins), s.all())
	}
	d.end(now.Add(2 * time.Hour))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}
