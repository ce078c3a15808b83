package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelLog is where the kernel hands out its log, a record with each read.
const kernelLog = "/dev/kmsg"

const (
	// maxLogLines bounds one report: a table of all tasks of a node is long.
	maxLogLines = 40000
	// maxLogReports bounds reports that wait to be looked at.
	maxLogReports = 256
)

// logLine is a record of the kernel's log.
type logLine struct {
	raw      string // as it was read, without its dictionary
	priority int
	sequence uint64
	uptime   uint64 // ns, by the kernel's scheduler clock
	caller   string // the thread that logged it, where the kernel tells
	text     string
}

// logReport is what the kernel has logged of one invocation of its OOM killer.
type logReport struct {
	lines []logLine
	named bool // the victim was named
	over  bool // somebody was killed, or nobody could be
	read  uint64
	fresh bool // there is more than at the last look

	// Of the tracer, not of the reader:
	known    *logFacts
	at       uint64 // as read and over were at the last look
	done     bool
	told     int // lines
	incident string
	of       *incident // that it was joined to
	foreign  bool      // of cgroups that are not traced
}

// logReader reads the kernel's log from now on and picks the reports of OOM
// kills out of it.
type logReader struct {
	file  *os.File
	wake  func()
	clock clock

	mu      sync.Mutex
	reports []*logReport
	lost    uint64 // records that were overwritten before they were read
	dropped uint64 // reports
	open    *logReport
}

// followLog opens the kernel's log at its end. Needs CAP_SYSLOG where
// kernel.dmesg_restrict is set.
func followLog(path string, wake func()) (*logReader, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, fmt.Errorf("seek %s: %w", path, err)
	}
	l := &logReader{file: f, wake: wake}
	go l.run()
	return l, nil
}

func (l *logReader) close() { l.file.Close() }

func (l *logReader) run() {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.file.Read(buf)
		switch {
		case errors.Is(err, unix.EPIPE): // overtaken
			l.mu.Lock()
			l.lost++
			l.mu.Unlock()
		case errors.Is(err, unix.EINVAL): // longer than any record is
		case err != nil || n == 0:
			return
		default:
			if line, ok := parseLogLine(string(buf[:n])); ok && l.take(line) {
				l.wake()
			}
		}
	}
}

// parseLogLine reads "priority,sequence,microseconds,flags[,caller=T1];text".
func parseLogLine(raw string) (logLine, bool) {
	raw, _, _ = strings.Cut(raw, "\n") // behind it: the record's dictionary
	head, text, ok := strings.Cut(raw, ";")
	field := strings.Split(head, ",")
	if !ok || len(field) < 4 {
		return logLine{}, false
	}
	priority, err1 := strconv.ParseUint(field[0], 10, 16)
	sequence, err2 := strconv.ParseUint(field[1], 10, 64)
	us, err3 := strconv.ParseUint(field[2], 10, 53)
	if err1 != nil || err2 != nil || err3 != nil || priority>>3 != 0 { // others may write there too
		return logLine{}, false
	}
	line := logLine{raw: raw, priority: int(priority), sequence: sequence, uptime: us * 1000, text: text}
	for _, extra := range field[4:] {
		if caller, ok := strings.CutPrefix(extra, "caller="); ok {
			line.caller = caller
		}
	}
	return line, true
}

// killsNobody are the lines that end a report without a kill.
func killsNobody(text string) bool {
	return strings.HasPrefix(text, "Out of memory and no killable processes") || strings.HasPrefix(text, "System is deadlocked on memory")
}

// take takes a line; true when something is to be looked at.
func (l *logReader) take(line logLine) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.open
	invoked := strings.Contains(line.text, " invoked oom-killer: ")
	kills := strings.Contains(line.text, "emory: Killed process ") || strings.Contains(line.text, "(oom_kill_allocating_task): Killed process ")
	if invoked || r == nil && kills || kills && r.over && !l.group(r) {
		if len(l.reports) >= maxLogReports {
			l.reports = l.reports[1:]
			l.dropped++
		}
		r = &logReport{}
		l.open, l.reports = r, append(l.reports, r)
	}
	switch {
	case r == nil:
		return false
	case len(r.lines) > 0 && line.caller != r.lines[0].caller:
		return false // of another thread, in between
	case r.over && !kills && !strings.HasPrefix(line.text, "Tasks in ") && !strings.HasPrefix(line.text, "oom_reaper: "):
		l.open = nil
		return false
	case len(r.lines) >= maxLogLines:
		return false
	}
	r.lines, r.read = append(r.lines, line), l.clock.now()
	r.named = r.named || strings.HasPrefix(line.text, "oom-kill:constraint=")
	r.over = r.over || kills || killsNobody(line.text)
	r.fresh = r.fresh || r.named || r.over
	return r.fresh
}

// group tells whether a report is of a kill of a whole group, of which further
// kills belong to it.
func (l *logReader) group(r *logReport) bool {
	for i := len(r.lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(r.lines[i].text, "Tasks in ") {
			return true
		}
	}
	return false
}
