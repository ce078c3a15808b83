package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/text"
	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// replayOutput renders the events of a replay.
type replayOutput interface {
	// put takes the next event of an input.
	put(from *input, r *capture.Record) error
	// close writes what is left.
	close() error
}

// replayOutputMakers are the formats. What does not need whole events is faster
// without.
func replayOutputMakers() map[string]func(p *player, severalHosts bool) replayOutput {
	return map[string]func(*player, bool) replayOutput{
		outputText: newReplayText,
		outputJSON: func(p *player, _ bool) replayOutput {
			out := newSlack(p.stdout)
			return &replayJSON{jsonl.New(out), out}
		},
		outputFolded: newReplayRendered, outputPprof: newReplayRendered, outputTrace: newReplayRendered,
	}
}

func replayOutputs() []string {
	names := slices.Sorted(maps.Keys(replayOutputMakers()))
	slices.Reverse(names)
	return names
}

// decodes tells whether the output needs whole events.
func (p *player) decodes() bool { return p.form != outputJSON }

// replayJSON writes lines as they are.
type replayJSON struct {
	lines *jsonl.Writer
	out   *slack
}

func (o *replayJSON) put(_ *input, r *capture.Record) error { return o.lines.WriteLine(r.Line) }
func (o *replayJSON) close() error                          { return o.out.close() }

// replayRendered is for outputs that take the events of all hosts together.
type replayRendered struct {
	stackRenderer
	out   *slack
	hosts bool // to be told apart
}

func newReplayRendered(p *player, severalHosts bool) replayOutput {
	out := newSlack(p.stdout)
	return &replayRendered{newRenderer(p.form, out), out, severalHosts}
}

func (o *replayRendered) put(from *input, r *capture.Record) error {
	ev, err := r.Event()
	if err != nil {
		return nil // told by now
	}
	if o.hosts {
		o.From(from.host)
	}
	return o.Write(ev)
}

func (o *replayRendered) close() error {
	return errors.Join(o.Close(), o.out.close())
}

// replayText renders each host's events by a writer of its own: page sizes,
// days and incidents are theirs.
type replayText struct {
	player  *player
	out     *slack
	options text.Options
	names   bool // of hosts, before each line
	hosts   map[string]*outlet
}

func newReplayText(p *player, severalHosts bool) replayOutput {
	columns, terminal := terminalWidth(p.stdout)
	return &replayText{
		player: p, out: newSlack(p.stdout), names: severalHosts, hosts: make(map[string]*outlet),
		options: text.Options{
			Width: columns,
			Color: terminal && p.colors(p.noColor),
		},
	}
}

func (o *replayText) put(from *input, r *capture.Record) error {
	ev, err := r.Event()
	if err != nil {
		return nil // told by now
	}
	if c, ok := ev.(*event.CgroupChange); ok && c.State == event.CgroupKnown && o.player.filter.Types == nil {
		return nil // for programs: people see names where something happens
	}
	host := from.host
	to := o.hosts[host]
	if to == nil {
		options, out := o.options, io.Writer(o.out)
		if o.names {
			name := string(term.Elide(term.Clean(host), hostColumns))
			if name == "" {
				name = "?"
			}
			name += strings.Repeat(" ", max(hostColumns-term.Width(term.Text(name)), 0)) + "  "
			out = &prefixed{out: o.out, prefix: []byte(name)}
			if options.Width == 0 {
				options.Width = 100
			}
			options.Width = max(options.Width-hostColumns-2, 40)
		}
		to = &outlet{write: text.New(out, options).Write}
		o.hosts[host] = to
	}
	_, err = to.put(ev)
	return err
}

// hostColumns is how wide the names of hosts are shown.
const hostColumns = 16

func (o *replayText) close() error { return o.out.close() }

// prefixed puts a prefix before each line. It is given whole lines.
type prefixed struct {
	out    io.Writer
	prefix []byte
	buf    []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.buf = p.buf[:0]
	for line := range bytes.Lines(b) {
		p.buf = append(append(p.buf, p.prefix...), line...)
	}
	if _, err := p.out.Write(p.buf); err != nil {
		return 0, err
	}
	return len(b), nil
}

// slack gathers what is written, and passes it on when there is much or after a
// short while: stdin may go on giving, and a replay may be slow.
type slack struct {
	mu    sync.Mutex
	buf   *bufio.Writer
	timer *time.Timer
	armed bool
}

const slackTime = 50 * time.Millisecond

func newSlack(w io.Writer) *slack {
	s := &slack{buf: bufio.NewWriterSize(w, 128<<10)}
	s.timer = time.AfterFunc(time.Hour, s.late)
	s.timer.Stop()
	return s
}

func (s *slack) late() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	_ = s.buf.Flush() // the next write gives its error
}

func (s *slack) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.Write(b)
	if !s.armed && s.buf.Buffered() > 0 {
		s.armed = true
		s.timer.Reset(slackTime)
	}
	return n, err
}

func (s *slack) close() error {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Flush()
}
