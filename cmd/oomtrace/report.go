package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/output/report"
)

const reportHelp = `Tells the story of one OOM kill out of a capture (oomtrace -w, record) or a kernel log: who was
killed, by whose limit, what memory was, what came before, what came back. Needs neither root nor Linux.

usage: oomtrace report [flags] FILE|LOG|-       oomtrace report -w kill.html trace.zst

exit status: 0 when there was an OOM kill and all of the input could be read; 1 when not; 2 usage.
`

// Outputs of report.
const (
	outputMarkdown = "markdown"
	outputHTML     = "html"
)

// reportFlags are the flags of report.
type reportFlags struct {
	output    string
	write     string
	incident  string
	all, list bool
	pageBytes int
	noColor   bool
}

func (f *reportFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&f.output, "output", "o", "", "`FORMAT`: text, markdown, json with one object a line, or html, one page that needs nothing else (default by the name of -w FILE, else text)")
	fs.StringVarP(&f.write, "write", "w", "", "write the report to `FILE` in place of stdout")
	fs.StringVar(&f.incident, "incident", "", "tell of the kill with this `ID` (default: the last)")
	fs.BoolVar(&f.all, "all", false, "tell of all kills")
	fs.BoolVar(&f.list, "list", false, "only list the kills: incident, time, victim, limit")
	fs.IntVar(&f.pageBytes, "page-bytes", 0, "of a log: `SIZE` of a page on its machine, where the log does not tell")
	fs.BoolVar(&f.noColor, "no-color", false, "no colours on a terminal either; NO_COLOR in the environment does the same")
	fs.BoolP("help", "h", false, "show this")
}

func (f *reportFlags) check(fs *pflag.FlagSet) error {
	switch {
	case fs.Changed("write") && f.write == "":
		return usagef("-w, --write: the name of the file is empty")
	case f.output == "" && f.list:
		f.output = outputText
	case f.output == "":
		f.output = formatOf(f.write)
	}
	if err := oneOf("-o, --output", f.output, outputText, outputMarkdown, outputJSON, outputHTML); err != nil {
		return err
	}
	if f.list && f.output != outputText && f.output != outputJSON {
		return usagef("--list gives text or json, not %s", f.output)
	}
	if given := countTrue(f.incident != "", f.all, f.list); given > 1 {
		return usagef("--incident, --all and --list exclude each other")
	}
	if fs.Changed("incident") && f.incident == "" {
		return usagef("--incident: the id is empty").hinted("--list shows the ids")
	}
	if fs.Changed("page-bytes") {
		if err := checkPageBytes(f.pageBytes); err != nil {
			return err
		}
	}
	if fs.NArg() > 1 {
		return usagef("unexpected argument %q", fs.Arg(1)).hinted("report reads one file")
	}
	return nil
}

func countTrue(all ...bool) (n int) {
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

// formatOf goes by the ending of a file's name.
func formatOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".html", ".htm":
		return outputHTML
	case ".md", ".markdown":
		return outputMarkdown
	case ".json", ".jsonl", ".ndjson":
		return outputJSON
	}
	return outputText
}

// reportCommand tells the story of kills in a capture or a kernel log.
func reportCommand(ctx context.Context, e *env, args []string) error {
	var f reportFlags
	fs := pflag.NewFlagSet("oomtrace report", pflag.ContinueOnError)
	f.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(reportHelp, fs)
	}
	if err := f.check(fs); err != nil {
		return err
	}
	file, name, err := e.inputOf(fs, "report", "a capture or a kernel log", "oomtrace report trace.zst, or journalctl -k | oomtrace report")
	if err != nil {
		return err
	}
	defer file.Close()
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := openStory(&untilDone{ctx: reading, r: file}, f.pageBytes)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, cause(err))
	}

	out, err := e.reportOutput(&f)
	if err != nil {
		return err
	}
	defer out.discard()
	told, damage := 0, damage{name: name}
	write := f.writer(e, out)
	stories := report.Read(in.records, report.Options{From: in.from, Incident: f.incident, All: f.all || f.list, At: killTime(name)})
	for s, err := range stories {
		if err != nil {
			damage.add(err)
			continue
		}
		told++
		if err := write.Write(s); err != nil {
			return out.failed(err)
		}
	}
	if err := write.Close(); err != nil {
		return out.failed(err)
	}
	if told == 0 {
		return errors.Join(damage.error(), f.nothing(name, in.from))
	}
	if err := out.publish(); err != nil {
		return err
	}
	return damage.error()
}

// killTime is the kill that a recorder's file is named by: what follows it within
// seconds is in the file too. No place is in the name when it has no letter that a
// file's name may have.
func killTime(name string) time.Time {
	at, rest, ok := strings.Cut(filepath.Base(name), "-kill")
	t, err := time.Parse("20060102T150405.000Z", at)
	if !ok || err != nil || !strings.HasPrefix(rest, "-") && !strings.HasPrefix(rest, ".") {
		return time.Time{}
	}
	return t
}

// nothing says that there was nothing to tell.
func (f *reportFlags) nothing(name, from string) error {
	switch {
	case f.incident != "":
		return fmt.Errorf("%s has no incident %s; oomtrace report --list shows those that it has", name, f.incident)
	case from == report.FromLog:
		return fmt.Errorf("%s holds no OOM report of a kernel, and is no capture", name)
	}
	return fmt.Errorf("%s holds no OOM kill", name)
}

// damage gathers what of the input could not be read.
type damage struct {
	name  string
	first error
	more  int
}

func (d *damage) add(err error) {
	if d.first == nil {
		d.first = err
	} else {
		d.more++
	}
}

func (d *damage) error() error {
	switch {
	case d.first == nil:
		return nil
	case d.more > 0:
		return fmt.Errorf("read %s: %w, and %d more such; what could be read was told", d.name, d.first, d.more)
	}
	return fmt.Errorf("read %s: %w; what could be read was told", d.name, cause(d.first))
}

type storyWriter interface {
	Write(*report.Story) error
	Close() error
}

func (f *reportFlags) writer(e *env, out io.Writer) storyWriter {
	columns, terminal := terminalWidth(e.stdout)
	if f.write != "" {
		columns, terminal = 0, false
	}
	switch {
	case f.list:
		return report.NewList(out, f.output == outputJSON)
	case f.output == outputHTML:
		return report.NewHTML(out)
	case f.output == outputMarkdown:
		return report.NewMarkdown(out)
	case f.output == outputJSON:
		return report.NewJSON(out)
	}
	return report.NewText(out, report.TextOptions{
		Width: columns,
		Color: terminal && e.colors(f.noColor),
	})
}

// reportFile is where a report goes: stdout, or a file that gets its name when
// the report is whole.
type reportFile struct {
	*bufio.Writer
	name, temp string
	file       *os.File
}

func (e *env) reportOutput(f *reportFlags) (*reportFile, error) {
	if f.write == "" || f.write == "-" {
		return &reportFile{Writer: bufio.NewWriterSize(e.stdout, 64<<10)}, nil
	}
	name := f.write
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	st, err := os.Stat(name)
	r := &reportFile{name: name}
	switch {
	case err == nil && st.IsDir():
		return nil, usagef("-w, --write: %s is a directory", f.write)
	case err == nil && !st.Mode().IsRegular():
		r.file, err = os.OpenFile(name, os.O_WRONLY, 0)
	default:
		if r.file, err = os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"."); err == nil {
			r.temp = r.file.Name()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", f.write, cause(err))
	}
	e.whenAbandoned(r.discard)
	r.Writer = bufio.NewWriterSize(r.file, 64<<10)
	return r, nil
}

func (r *reportFile) publish() error {
	if err := r.Flush(); err != nil {
		return r.failed(err)
	}
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return r.failed(err)
	}
	if r.temp == "" {
		return nil
	}
	if err := os.Rename(r.temp, r.name); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	r.temp = ""
	return nil
}

// discard removes what was not published. It may be called twice.
func (r *reportFile) discard() {
	if r.temp != "" {
		_ = r.file.Close()
		_ = os.Remove(r.temp)
	}
}

func (r *reportFile) failed(err error) error {
	switch {
	case r.file != nil:
		return fmt.Errorf("report %s: %w", r.name, cause(err))
	case errors.Is(err, syscall.EPIPE):
		return errReaderGone
	}
	return writeError(err)
}
