package recorder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
)

const (
	ringDir     = "ring"
	incidentDir = "incidents"
	lockFile    = "lock"
	suffix      = ".zst"
	part        = ".part" // of an incident that is being written

	blockBytes = 4096
)

// disk is the directory. It belongs to one goroutine.
type disk struct {
	*Options
	lock *os.File
	pack *capture.Packer
	ring ring
	pins []*pin
	kept []kept // incidents, oldest first
	// failing is said once; retry is when the disk is tried again.
	failing bool
	retry   time.Time
	lost    losses
}

// kept is the finished file of an incident.
type kept struct {
	name string
	size int64
}

// blocks is what a file of so many bytes takes.
func blocks(size int64) int64 { return (size + blockBytes - 1) / blockBytes * blockBytes }

func openDisk(o *Options) (*disk, error) {
	pack, err := capture.NewPacker()
	if err != nil {
		return nil, err
	}
	d := &disk{Options: o, pack: pack}
	if err := d.open(); err != nil {
		return nil, err
	}
	return d, nil
}

// open takes the directory over as it is.
func (d *disk) open() error {
	for _, dir := range []string{ringDir, incidentDir} {
		if err := os.MkdirAll(filepath.Join(d.Dir, dir), 0o700); err != nil {
			return fmt.Errorf("recorder: %w", err)
		}
	}
	lock, err := lockDir(d.Dir)
	if err != nil {
		return err
	}
	d.lock = lock
	if err := d.scanRing(); err != nil {
		lock.Close()
		return err
	}
	if err := d.scanIncidents(); err != nil {
		lock.Close()
		return err
	}
	return nil
}

func (d *disk) close() error {
	err := d.ring.closeSegment()
	if d.lock != nil {
		d.lock.Close()
	}
	if d.lost.count > 0 {
		d.Say("%d events were lost: %s", d.lost.count, d.lost.why)
	}
	if err != nil {
		return fmt.Errorf("recorder: %w", err)
	}
	return nil
}

// take writes a frame to the ring and to the incidents that are open.
func (d *disk) take(f *frame) {
	events := f.events
	early := d.failing && time.Now().Before(d.retry)
	if d.lost.count > 0 && !early {
		f = d.withLosses(f)
	}
	packed := d.pack.Pack(nil, f.lines)
	var err error
	if !early {
		err = d.write(f, packed)
	}
	for _, p := range d.pins {
		d.extend(p, f, packed)
	}
	switch {
	case early:
		d.lost.add(events, notWritten)
	case err != nil:
		d.lost.add(events, notWritten)
		d.retry = time.Now().Add(time.Second)
		if !d.failing {
			d.failing = true
			d.Say("%v: events are lost until it can be written again; the trace goes on", err)
		}
	default:
		if d.failing {
			d.failing = false
			d.Say("%s can be written again; %d events were lost meanwhile", d.Dir, d.lost.count)
		}
		d.lost = losses{} // the frame tells of them
	}
}

const notWritten = "the disk could not be written"

// write adds a frame to the ring. It makes room first, so that the budget holds
// at every moment.
func (d *disk) write(f *frame, packed []byte) error {
	if err := d.present(); err != nil {
		return err
	}
	for {
		err := d.ring.append(d.pack, f, packed)
		if !full(err) {
			if err != nil {
				_ = d.ring.closeSegment()
				return fmt.Errorf("ring in %s: %w", d.Dir, plain(err))
			}
			return nil
		}
		if !d.ring.dropOldest(true) {
			return fmt.Errorf("ring in %s: %w", d.Dir, plain(err))
		}
		if !d.ring.short {
			d.ring.short = true
			d.Say("%s: no space is left: the oldest part of the ring makes room", d.Dir)
		}
	}
}

// present makes the directory anew when somebody has removed it.
func (d *disk) present() error {
	switch {
	case d.ring.dir == "": // it could not be made
	case d.ring.present():
		return nil
	default:
		d.Say("%s was removed: recording begins anew", d.Dir)
	}
	_ = d.ring.closeSegment()
	if d.lock != nil {
		d.lock.Close()
		d.lock = nil
	}
	d.ring = ring{}
	return d.open()
}

// withLosses puts the tale of what was lost before the lines of a frame.
func (d *disk) withLosses(f *frame) *frame {
	twin := *f
	twin.lines = append(line(d.lost.event()), f.lines...)
	twin.events++
	return &twin
}

// full tells whether an error means that there is no space.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// plain strips the path off an error of a file whose directory is named already.
func plain(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// mend cuts a file behind its last intact frame, and gives the size that it has
// then.
func mend(name string) (before, after int64, err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	for frame, err := range capture.Frames(f) {
		switch {
		case err == nil:
			after = frame.Pos + int64(frame.Size)
		case !capture.IsDamage(err):
			return 0, 0, err
		}
	}
	if after < st.Size() {
		err = f.Truncate(after)
	}
	return st.Size(), after, err
}

// scanIncidents finds the files of incidents, and ends those that an earlier
// recorder could not.
func (d *disk) scanIncidents() error {
	dir := filepath.Join(d.Dir, incidentDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("recorder: %w", err)
	}
	d.kept = nil
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if hidden, ok := strings.CutSuffix(e.Name(), part); ok && strings.HasPrefix(hidden, ".") {
			if d.active(name) {
				continue
			}
			final := filepath.Join(dir, hidden[1:])
			_, size, err := mend(name)
			switch {
			case err != nil:
				return fmt.Errorf("recorder: incident %s: %w", final, err)
			case size == 0:
				_ = os.Remove(name)
				continue
			}
			if final, err = publish(name, final); err != nil {
				return fmt.Errorf("recorder: %w", err)
			}
			d.Say("incident %s: the recorder ended before it was complete; what there was is kept", final)
			d.kept = append(d.kept, kept{final, size})
			continue
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() && strings.HasSuffix(e.Name(), suffix) {
			d.kept = append(d.kept, kept{name, st.Size()})
		}
	}
	slices.SortFunc(d.kept, func(a, b kept) int { return strings.Compare(a.name, b.name) })
	d.retain(0)
	return nil
}
