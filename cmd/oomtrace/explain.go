package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/output/text"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
	"github.com/oomtrace/oomtrace/tracer/oom"
	"github.com/oomtrace/oomtrace/tracer/oom/kernlog"
)

const explainHelp = `Reads a kernel log and tells of every OOM kill in it: who was killed, whose limit was reached, what
the memory was. Takes dmesg, journalctl -k (also -o json), syslog files, /dev/kmsg, serial consoles,
and text that quotes them. Needs neither root nor Linux.

usage: oomtrace explain [flags] [FILE|-]        journalctl -k | oomtrace explain

exit status: 0 when there was an OOM report; 1 when not; 2 usage.
`

// explainFlags are the flags of explain.
type explainFlags struct {
	output    string
	pageBytes int
	noColor   bool
}

func (f *explainFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&f.output, "output", "o", outputText, "`FORMAT` of stdout: text, or json with one object a line")
	fs.IntVar(&f.pageBytes, "page-bytes", 0, "`SIZE` of a page on the machine of the log, where the log does not tell")
	fs.BoolVar(&f.noColor, "no-color", false, "no colours on a terminal either; NO_COLOR in the environment does the same")
	fs.BoolP("help", "h", false, "show this")
}

func (f *explainFlags) check(fs *pflag.FlagSet) error {
	if err := oneOf("-o, --output", f.output, outputText, outputJSON); err != nil {
		return err
	}
	if fs.Changed("page-bytes") {
		if err := checkPageBytes(f.pageBytes); err != nil {
			return err
		}
	}
	if fs.NArg() > 1 {
		return usagef("unexpected argument %q", fs.Arg(1)).hinted("explain reads one file; for more: cat FILE... | oomtrace explain -")
	}
	return nil
}

func checkPageBytes(n int) error {
	if n < 4096 || n > 1<<18 || n&(n-1) != 0 {
		return usagef("--page-bytes: %d is no size of a page", n).hinted("getconf PAGESIZE prints it on the machine; most have 4096")
	}
	return nil
}

// explain tells of the OOM kills in a kernel log.
func explain(ctx context.Context, e *env, args []string) error {
	var f explainFlags
	fs := pflag.NewFlagSet("oomtrace explain", pflag.ContinueOnError)
	f.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(explainHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	in, name, err := e.inputOf(fs, "explain", "a kernel log", "journalctl -k | oomtrace explain, or oomtrace explain /var/log/kern.log")
	if err != nil {
		return err
	}
	defer in.Close()

	write := e.explainer(&f)
	o := kernlog.Options{
		PageBytes: f.pageBytes, Now: time.Now(), Location: time.Local,
		Container: container.FromPath, Badness: badness,
	}
	found := false
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	text := &untilDone{ctx: reading, r: in}
	for kill, err := range kernlog.Read(text, o) {
		if err != nil {
			return fmt.Errorf("read %s: %w", name, cause(err))
		}
		found = true
		kill.Verdict = oom.Judge(&oom.Case{Kill: kill})
		if err := write(kill); errors.Is(err, syscall.EPIPE) {
			return errReaderGone
		} else if err != nil {
			return writeError(err)
		}
	}
	if ctx.Err() == nil && !found {
		if what, tool := encoding(text.head); what != "" {
			return fmt.Errorf("%s is no text but %s: %s FILE | oomtrace explain", name, what, tool)
		}
		return fmt.Errorf("%s holds no OOM report of a kernel", name)
	}
	return nil
}

// encoding tells text that was packed by how it begins, and what unpacks it.
func encoding(head []byte) (what, tool string) {
	for _, e := range [...]struct{ magic, what, tool string }{
		{"\x1f\x8b", "gzip", "zcat"},
		{"\xfd7zXZ", "xz", "xzcat"},
		{"BZh", "bzip2", "bzcat"},
		{string(zstdMagic), "zstd (a capture? then oomtrace report)", "zstdcat"},
		{"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"},
		{"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"},
	} {
		if bytes.HasPrefix(head, []byte(e.magic)) {
			return e.what, e.tool
		}
	}
	return "", ""
}

// untilDone is a Reader that ends when it is told to, also while r waits for
// more: what has been read until then is still told.
type untilDone struct {
	ctx  context.Context
	r    io.Reader
	read chan chunk
	rest []byte
	err  error
	head []byte // the first bytes
}

type chunk struct {
	text []byte
	err  error
}

func (u *untilDone) Read(p []byte) (int, error) {
	if u.read == nil {
		u.read = make(chan chunk)
		go u.pump()
	}
	for len(u.rest) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		select {
		case c := <-u.read:
			u.rest, u.err = c.text, c.err
		case <-u.ctx.Done():
			u.err = io.EOF
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	if u.head == nil {
		u.head = bytes.Clone(p[:min(n, 6)])
	}
	return n, nil
}

// pump reads ahead by one buffer.
func (u *untilDone) pump() {
	var bufs [2][128 << 10]byte
	for i := 0; ; i ^= 1 {
		n, err := u.r.Read(bufs[i][:])
		select {
		case u.read <- chunk{bufs[i][:n], err}:
		case <-u.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// inputOf opens what a command is to read, and names it.
func (e *env) inputOf(fs *pflag.FlagSet, command, what, example string) (io.ReadCloser, string, error) {
	switch name := fs.Arg(0); {
	case fs.NArg() == 0:
		if f, ok := e.stdin.(*os.File); ok && isTerminal(f) {
			return nil, "", usagef("%s needs %s", command, what).hinted("for example: %s", example)
		}
		fallthrough
	case name == "-":
		return io.NopCloser(e.stdin), "stdin", nil
	case name == "":
		return nil, "", usagef("the name of the file is empty")
	default:
		file, err := os.Open(name)
		if err != nil {
			return nil, "", fmt.Errorf("open %s: %w", name, cause(err))
		}
		return file, name, nil
	}
}

func isTerminal(f *os.File) bool {
	_, terminal := terminalWidth(f)
	return terminal
}

func badness(w kernlog.Weight) int64 {
	f := oom.Figures{Anon: w.Pages, PageTableBytes: w.PageTableBytes, PageBytes: w.PageBytes, ScoreAdj: w.ScoreAdj}
	return oom.Badness(f, w.TotalPages)
}

// explainer gives the function that writes an event to stdout.
func (e *env) explainer(f *explainFlags) func(*event.OOMKill) error {
	if f.output == outputJSON {
		w := jsonl.New(e.stdout)
		return func(k *event.OOMKill) error { return w.Write(k) }
	}
	columns, terminal := terminalWidth(e.stdout)
	w := text.New(e.stdout, text.Options{
		Width: columns, PageBytes: f.pageBytes, Location: time.Local,
		Color: terminal && e.colors(f.noColor),
	})
	return func(k *event.OOMKill) error { return w.Write(k) }
}
