package recorder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

const (
	stamp = "20060102T150405.000Z" // in names of files, UTC
	// slack is how long after an incident its last frame is closed.
	slack = capture.FrameAge + 500*time.Millisecond
	// openPins is how many incidents are written at once; further ones join the
	// last.
	openPins = 16
	// longest is how many times After an incident may be prolonged by others of
	// the same place.
	longest = 10
	// reserve is room for the line that says what did not fit.
	reserve = blockBytes
)

// pin is an incident on its way to a file.
type pin struct {
	moment  time.Time
	trigger string
	place   string // whose it is, in words; may be empty
	id      string // of a kill's incident

	until, latest time.Time // by our clock
	end           time.Time // by that of events
	file          *os.File
	temp, name    string
	size          int64
	header        []byte // the last that was written
	told          map[uint64]*place
	span
	also  int // further incidents in it
	short uint64
	err   error
}

// newPin reads off an event where it happened.
func newPin(trigger string, e event.Event, at time.Time) *pin {
	p := &pin{moment: at, trigger: trigger}
	switch e := e.(type) {
	case *event.OOMKill:
		p.id = e.Incident
		p.place = cmp.Or(called(e.Victim.Container, e.Victim.Cgroup), called(e.Domain.Container, e.Domain.Cgroup), e.Victim.Comm)
	case *event.OOMPause:
		p.place = called(e.Container, &e.Cgroup)
	case *event.Thrash:
		p.place = called(e.Container, &e.Cgroup)
	case *event.Reclaim:
		p.place = cmp.Or(called(e.Container, e.Cgroup), e.Process.Comm)
	case *event.Throttle:
		p.place = cmp.Or(called(e.Container, e.Cgroup), e.Process.Comm)
	}
	return p
}

// called is a place in a few words.
func called(c *event.Container, cg *event.Cgroup) string {
	if c != nil {
		name := cmp.Or(c.Name, c.Unit, c.ID[:min(len(c.ID), 12)])
		if c.Pod != nil && c.Pod.Name != "" {
			name = strings.Trim(c.Pod.Namespace+"-"+c.Pod.Name+"-"+name, "-")
		}
		if name != "" {
			return name
		}
	}
	if cg == nil || cg.Path == "" {
		return ""
	}
	return path.Base(cg.Path)
}

// fileName makes of any text one that is safe in a directory and on a command
// line.
func fileName(text string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, text)
	return strings.Trim(safe[:min(len(safe), 80)], ".-_")
}

// line is an event as one line.
func line(e event.Event) []byte {
	var b bytes.Buffer
	_ = jsonl.New(&b).Write(e) // what we make ourselves can be encoded
	return b.Bytes()
}

// begin opens the files of incidents, with what came before them.
func (d *disk) begin(pins []*pin) {
	for _, p := range pins {
		now := time.Now()
		if old := d.joins(p, now); old != nil {
			old.also++
			old.until, old.end = now.Add(d.After), later(old.end, p.moment.Add(d.After))
			if old.until.After(old.latest) {
				old.until = old.latest
			}
			continue
		}
		p.until, p.latest = now.Add(d.After), now.Add(longest*d.After)
		p.end = p.moment.Add(d.After)
		p.told = make(map[uint64]*place)
		d.pins = append(d.pins, p)
		if err := d.start(p); err != nil {
			p.fail(err)
		}
	}
}

// joins finds the open incident that another one is part of.
func (d *disk) joins(p *pin, now time.Time) *pin {
	for _, old := range d.pins {
		if old.trigger == p.trigger && old.place == p.place && now.Before(old.latest) {
			return old
		}
	}
	if len(d.pins) >= openPins {
		return d.pins[len(d.pins)-1]
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (p *pin) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// create makes the file, under another name.
func (d *disk) create(p *pin) error {
	dir := filepath.Join(d.Dir, incidentDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := p.moment.Format(stamp) + "-" + fileName(p.trigger)
	if place := fileName(p.place); place != "" {
		name += "-" + place
	}
	p.name = filepath.Join(dir, name+suffix)
	p.temp = filepath.Join(dir, "."+name+suffix+part)
	for n := 2; ; n++ {
		var err error
		p.file, err = os.OpenFile(p.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil || !os.IsExist(err) || n > 99 {
			return err
		}
		p.temp = filepath.Join(dir, fmt.Sprintf(".%s-%d%s%s", name, n, suffix, part))
	}
}

// restore makes the file anew when somebody has removed it: what is in it is
// there as long as it is open.
func (d *disk) restore(p *pin) error {
	old := p.file
	if st, err := old.Stat(); err != nil || linked(st) {
		return err
	}
	defer old.Close()
	if err := d.create(p); err != nil {
		return err
	}
	_, err := io.Copy(p.file, io.NewSectionReader(old, 0, p.size))
	return err
}

// start makes the file and copies the frames of the time before.
func (d *disk) start(p *pin) error {
	if err := d.create(p); err != nil {
		return err
	}
	since := p.moment.Add(-d.Before)
	first := slices.IndexFunc(d.ring.index, func(r ref) bool { return !r.to.Before(since) })
	if first < 0 {
		return nil
	}
	frames := slices.Clone(d.ring.index[first:]) // the ring may have to make room meanwhile
	// The newest are what matters most, and what is yet to come.
	room := d.incidentRoom() / 4 * 3
	for n := len(frames) - 1; n >= 0; n-- {
		if room -= frames[n].length + blockBytes; room < 0 {
			d.Say("incident %s: the budget of incidents holds only its last part", p.name)
			frames = frames[n+1:]
			break
		}
	}
	known := make(map[uint64]*place)
	for _, f := range frames {
		maps.Copy(known, f.places)
	}
	for _, f := range frames {
		packed, err := f.packed()
		if err != nil {
			continue // dropped or removed meanwhile
		}
		if err := d.add(p, f.header, known, f.span, packed); err != nil {
			return err
		}
	}
	return nil
}

// packed reads a frame back from its segment.
func (r *ref) packed() ([]byte, error) {
	f, err := os.Open(r.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, r.length)
	_, err = io.ReadFull(io.NewSectionReader(f, r.pos, r.length), b)
	return b, err
}

// extend adds a frame that has just come to an incident that is open.
func (d *disk) extend(p *pin, f *frame, packed []byte) {
	if p.err != nil || f.from.After(p.end) {
		return
	}
	if p.short > 0 {
		p.short += f.events
		return
	}
	if err := d.add(p, f.header, f.places, f.span, packed); err != nil {
		p.fail(err)
	}
}

// add writes a frame to an incident's file, and before it who its cgroups are.
func (d *disk) add(p *pin, header []byte, places map[uint64]*place, s span, packed []byte) error {
	var out []byte
	if !bytes.Equal(header, p.header) {
		out = d.pack.Pack(out, header)
		clear(p.told) // ids of another boot, perhaps
	}
	var who []byte
	for _, id := range slices.Sorted(maps.Keys(places)) {
		pl := places[id]
		if old := p.told[id]; old == pl || old != nil && reflect.DeepEqual(old, pl) {
			continue
		}
		p.told[id] = pl
		who = append(who, line(&event.CgroupChange{
			Meta: event.Meta{Type: event.TypeCgroup, Time: s.from}, State: event.CgroupKnown, Cgroup: pl.cgroup, Container: pl.container,
		})...)
	}
	if len(who) > 0 {
		out = d.pack.Pack(out, who)
	}
	out = append(out, packed...)
	size := int64(len(out))
	if !d.retain(blocks(p.size+size) - blocks(p.size) + reserve) {
		p.short += s.events
		return nil
	}
	if err := d.grow(p, out); err != nil {
		return err
	}
	p.header = header
	if p.events == 0 {
		p.from = s.from
	}
	p.to, p.events = later(p.to, s.to), p.events+s.events
	return nil
}

// grow adds bytes to the file. When there is no space the ring makes some.
func (d *disk) grow(p *pin, b []byte) error {
	for {
		_, err := p.file.Write(b)
		if err == nil {
			p.size += int64(len(b))
			return nil
		}
		_ = p.file.Truncate(p.size)
		_, _ = p.file.Seek(p.size, io.SeekStart)
		if !full(err) || !d.ring.dropOldest(false) {
			return err
		}
	}
}

// end closes the incidents whose time is over.
func (d *disk) end(now time.Time) {
	// A copy: what ends has the sizes of all added up.
	d.pins = slices.DeleteFunc(slices.Clone(d.pins), func(p *pin) bool {
		// The last frames may still be open. One that failed waits for nothing, for
		// the next in its place would join it, though the disk may be well again.
		if p.err == nil && now.Before(p.until.Add(slack)) {
			return false
		}
		if err := d.finish(p); err != nil {
			d.Say("incident %s could not be written: %v", cmp.Or(p.name, p.trigger), plain(err))
			if p.temp != "" {
				_ = os.Remove(p.temp)
			}
		}
		return true
	})
}

func (d *disk) finish(p *pin) error {
	if p.file == nil {
		return p.err
	}
	defer func() { p.file.Close() }()
	if p.short > 0 && p.err == nil {
		l := losses{count: p.short, since: p.to, why: "the budget of incidents is used up"}
		p.fail(d.grow(p, d.pack.Pack(nil, line(l.event()))))
		d.Say("incident %s: %d events are not in it: the budget of incidents is used up", p.name, p.short)
	}
	if p.size == 0 {
		return cmp.Or(p.err, errors.New("nothing happened in that time"))
	}
	if p.err != nil {
		d.Say("incident %s is not complete: %v", p.name, plain(p.err))
	}
	if err := d.restore(p); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	name, err := publish(p.temp, p.name)
	if err != nil {
		return err
	}
	// It is the newest, whatever the clock, and so its name, says.
	d.kept = append(d.kept, kept{name, p.size})
	size := p.size
	p.size = 0 // it counts as kept from now on
	d.retain(0)
	what := p.trigger
	if p.place != "" {
		what += " in " + p.place
	}
	if p.id != "" {
		what += " (incident " + p.id + ")"
	}
	if p.also > 0 {
		what += fmt.Sprintf(" and %d more", p.also)
	}
	d.Say("%s: %s, %d events of %v, %d KiB", what, name, p.events, p.to.Sub(p.from).Round(time.Second), (size+1023)/1024)
	return nil
}

// publish gives a file its name, or one like it where that is taken: no incident
// is ever overwritten. The lock keeps other recorders away meanwhile.
func publish(temp, name string) (string, error) {
	final := name
	for n := 2; ; n++ {
		if _, err := os.Lstat(final); os.IsNotExist(err) {
			break
		}
		final = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, suffix), n, suffix)
	}
	if err := os.Rename(temp, final); err != nil {
		return "", err
	}
	dir, err := os.Open(filepath.Dir(final))
	if err != nil {
		return final, nil
	}
	defer dir.Close()
	_ = dir.Sync() // not every file system can
	return final, nil
}

func (d *disk) incidentBytes() int64 {
	var sum int64
	for _, k := range d.kept {
		sum += blocks(k.size)
	}
	for _, p := range d.pins {
		sum += blocks(p.size)
	}
	return sum
}

// incidentRoom is what an incident could take, were all finished ones to go.
func (d *disk) incidentRoom() int64 {
	room := d.KeepIncidentBytes - reserve
	for _, p := range d.pins {
		room -= blocks(p.size)
	}
	return room
}

// retain removes the oldest incidents until the number of them is right and so
// many bytes more are within the budget; it tells whether they are.
func (d *disk) retain(more int64) bool {
	for len(d.kept) > 0 && (len(d.kept) > d.KeepIncidents || d.incidentBytes()+more > d.KeepIncidentBytes) {
		oldest := d.kept[0]
		if err := os.Remove(oldest.name); err != nil && !os.IsNotExist(err) {
			return false
		}
		d.kept = d.kept[1:]
		d.Say("removed %s, the oldest incident, to keep within the budget", oldest.name)
	}
	return d.incidentBytes()+more <= d.KeepIncidentBytes
}

// active tells whether a file is that of an open incident.
func (d *disk) active(temp string) bool {
	return slices.ContainsFunc(d.pins, func(p *pin) bool { return p.temp == temp })
}
