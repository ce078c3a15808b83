package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
)

const replayHelp = `Reads captures back as if live: files that -w and record have written, or the lines of -o json, also
compressed. Of several, also from several hosts, the events are put together in the order in which
they ended. A directory stands for all captures in it. Needs neither root nor Linux.

usage: oomtrace replay [flags] FILE...        oomtrace replay - for stdin

exit status: 0 done; 1 when a part of a file could not be read, after all that could; 2 usage.
`

// replay reads captures back into any output.
func replay(ctx context.Context, e *env, args []string) error {
	var f replayFlags
	fs := pflag.NewFlagSet("oomtrace replay", pflag.ContinueOnError)
	f.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(replayHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	if err := e.sparesTerminal(f.form); err != nil {
		return err
	}
	p := &player{env: e, replayFlags: &f, output: replayOutputMakers()[f.form]}
	return p.run(ctx, fs.Args())
}

// run opens captures and plays them.
func (p *player) run(ctx context.Context, names []string) error {
	for _, name := range names {
		s, err := p.open(name)
		if err != nil {
			return err
		}
		s.index = len(p.inputs)
		p.inputs = append(p.inputs, s)
	}
	var gone atomic.Bool
	var cancel context.CancelFunc
	p.ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	stopWatching := watchReader(p.stdout, func() {
		gone.Store(true)
		cancel()
	})
	err := p.play()
	stopWatching()
	switch {
	case errors.Is(err, syscall.EPIPE), gone.Load():
		return errReaderGone
	case err != nil:
		return writeError(err)
	case p.failed():
		return errReported
	}
	return nil
}

// input is one argument: a file, or the files of a directory one behind the
// other.
type input struct {
	index  int
	name   string
	files  []string // empty for stdin
	host   string   // by the last header
	match  *capture.Matcher
	events atomic.Int64 // read, taken or not
	damage int          // how often it was told
	broken bool
	newer  bool // its schema, which was told
}

// player is a replay that goes on.
type player struct {
	*env
	*replayFlags
	ctx    context.Context
	inputs []*input
	output func(p *player, severalHosts bool) replayOutput
}

func (p *player) open(name string) (*input, error) {
	in := &input{name: name, files: []string{name}, match: p.filter.Matcher()}
	if name == "-" {
		in.name, in.files = "stdin", nil
		return in, nil
	}
	st, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, cause(err))
	}
	if st.IsDir() {
		if in.files, err = captureFiles(name); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(in.files[0])
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", in.files[0], cause(err))
	}
	return in, f.Close()
}

// captureFiles are those of a directory, in the order of their names; in that of
// a recorder they are the segments of its ring.
func captureFiles(dir string) ([]string, error) {
	for _, pattern := range []string{filepath.Join("ring", "*.zst"), "*.zst"} {
		// Glob fails for patterns that are wrong only.
		if files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)); len(files) > 0 {
			slices.Sort(files)
			return files, nil
		}
	}
	return nil, fmt.Errorf("%s is a directory without captures (*.zst)", dir)
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// records reads an input. What cannot be read is told here.
func (p *player) records(in *input) iter.Seq2[*capture.Record, error] {
	o := capture.Options{Decode: p.decodes() || p.filter.Places(), Want: func(r *capture.Record) bool {
		in.events.Add(1)
		return p.filter.Cheap(r)
	}}
	if len(p.inputs) > 1 {
		o.Workers = 1
	}
	return func(yield func(*capture.Record, error) bool) {
		if in.files == nil {
			p.read(in, in.name, &untilDone{ctx: p.ctx, r: p.stdin}, o, yield)
			return
		}
		for _, name := range in.files {
			f, err := os.Open(name)
			if err != nil {
				in.broken = true
				p.say("open %s: %v", name, cause(err))
				continue
			}
			more := p.read(in, name, f, o, yield)
			f.Close()
			if !more {
				return
			}
		}
	}
}

// mostDamage is how many parts of an input that cannot be read are told.
const mostDamage = 20

func (p *player) read(in *input, name string, r io.Reader, o capture.Options, yield func(*capture.Record, error) bool) bool {
	for rec, err := range capture.Read(r, o) {
		if err == nil {
			if !yield(rec, nil) {
				return false
			}
			continue
		}
		in.broken = true
		switch in.damage++; {
		case !capture.IsDamage(err):
			p.say("read %s: %v", name, cause(err))
		case in.damage <= mostDamage:
			p.say("%s: %v", name, err)
		case in.damage == mostDamage+1:
			p.say("%s: more is damaged", name)
		}
	}
	return true
}

func (p *player) failed() bool {
	failed := false
	for _, in := range p.inputs {
		nothing := in.events.Load() == 0
		if nothing && !in.broken {
			p.say("%s holds no events", in.name)
		}
		failed = failed || in.broken || nothing
	}
	return failed
}

// play gives the events of all inputs to the output. Its errors are of writing.
func (p *player) play() error {
	streams := make([]*capture.Stream, len(p.inputs))
	hosts := make(map[string]bool)
	for i, in := range p.inputs {
		streams[i] = capture.NewStream(p.records(in))
		defer streams[i].Close()
		if r, _ := streams[i].Head(); r != nil {
			p.heading(in, r)
		}
		hosts[in.host] = true
	}
	out := p.output(p, len(hosts) > 1)
	told := make(map[string]bool) // headers
	pace := pace{speed: p.speed}
	for i, s := range capture.Merge(streams) {
		in := p.inputs[i]
		r, _ := s.Head()
		if r.Type == event.TypeHeader {
			p.heading(in, r)
			if told[string(r.Line)] {
				continue // it stands at the head of each segment
			}
			told[string(r.Line)] = true
		}
		ok, err := in.match.Match(r)
		if err != nil {
			in.broken = true
			p.say("%s: %s event: %v", in.name, r.Type, err)
		}
		if !ok {
			continue
		}
		if !pace.wait(p.ctx, r) {
			break
		}
		if err := out.put(in, r); err != nil {
			return err
		}
	}
	return out.close()
}

// heading notes whose events follow.
func (p *player) heading(in *input, r *capture.Record) {
	if r.Type != event.TypeHeader {
		return
	}
	if e, err := r.Event(); err == nil {
		if h, ok := e.(*event.Header); ok {
			in.host = h.Host
			if h.Schema > event.Schema && !in.newer {
				in.newer = true
				p.say("%s: its schema is %d, this version knows %d: what is shown may be wrong; a newer oomtrace reads it", in.name, h.Schema, event.Schema)
			}
		}
	}
}

// pace holds events back as the clock did.
type pace struct {
	speed float64 // 1 is real time; 0 does not hold back
	first time.Time
	begun time.Time
}

// longestWait is as good as for ever.
const longestWait = 100 * 365 * 24 * time.Hour

// wait returns when an event is due; false when the replay is to end.
func (p *pace) wait(ctx context.Context, r *capture.Record) bool {
	if ctx.Err() != nil {
		return false
	}
	if p.speed == 0 || r.Type == event.TypeHeader || r.Time.IsZero() {
		return true
	}
	if p.first.IsZero() {
		p.first, p.begun = r.End(), time.Now()
	}
	after := float64(r.End().Sub(p.first)) / p.speed
	due := p.begun.Add(time.Duration(min(after, float64(longestWait)))) // more than a Duration holds would be the past
	if left := time.Until(due); left > 0 {
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return false
		}
	}
	return true
}
