package kernlog

import (
	"strconv"
	"strings"
)

// message takes one line of the kernel's log.
func (s *scanner) message(rec *record) {
	m := strings.TrimSpace(rec.text)
	if m == "" {
		return
	}
	if rest, ok := strings.CutPrefix(m, "oom-killer: gfp_mask=0x"); ok { // before 2.6.16
		s.open(rec).header("", "gfp_mask=0x"+rest, rec)
		return
	}
	if comm, rest, ok := strings.Cut(m, " invoked oom-killer:"); ok && strings.Contains(rest, "gfp_mask=0x") && (rec.prefixed || onlyHead(rest)) {
		if comm, ok = headComm(comm, rec); ok {
			r := s.open(rec)
			r.header(comm, strings.TrimLeft(rest, " "), rec)
		}
		return
	}
	if s.killLine(m, rec) {
		return
	}
	r := s.stream(rec)
	opener := head(m, rec.alt) != nil
	for _, start := range openers {
		at := strings.Index(m, start)
		if at == 0 || at > 0 && !rec.prefixed && dateLike(m[:at]) {
			m, opener = m[at:], true
			break
		}
	}
	switch {
	case r == nil && opener:
		r = s.open(rec)
	case r == nil, r.over() && !opener:
		return
	case r.over():
		// The report of the next kill, without its head; or a line of this one that
		// comes late.
		prior := r.kills[0].pid
		r = s.open(rec)
		r.prior = prior
	}
	r.detail(m, rec)
}

// over reports whether the kernel has said all: the kill is its last line.
func (r *report) over() bool { return len(r.kills) > 0 }

// onlyHead reports whether a text has only what the kernel puts behind "invoked
// oom-killer:", and no sentence that goes on.
func onlyHead(rest string) bool {
	return !strings.ContainsFunc(rest, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(" =_|(),-", c)
	})
}

// openers are lines that begin a report whose head is missing.
var openers = []string{
	"oom-kill:constraint=", "Task in /", byLimit + "/", limitReached, "memory: usage ", "memory+swap: usage ", "swap: usage ", "kmem: usage ",
	"Memory cgroup stats", "Tasks state (memory",
}

const byLimit = "killed as a result of limit of "

// limitReached stands for "Task in" (4.x) where no task is at issue.
const limitReached = "Memory limit reached of cgroup "

// headComm is the name of the task in front of "invoked oom-killer".
func headComm(comm string, rec *record) (string, bool) {
	if nameLen(comm) <= maxName {
		return comm, !programTag(comm)
	}
	// Longer than any name: somebody's sentence, or behind a date of an unknown
	// shape; then the line with the process tells.
	return "", !rec.prefixed && dateLike(comm)
}

// maxComm is how long a name can be in a log that writes bytes as \x1b or #033.
const maxComm = 4 * maxName

// nameLen is how long a name is that may have its bytes written so.
func nameLen(s string) int {
	n := len(s)
	for i := 0; i+3 < len(s); i++ {
		if s[i:i+2] == `\x` || s[i] == '#' && digits(s[i+1:i+4]) {
			n, i = n-3, i+3
		}
	}
	return n
}

// dateLike tells a prefix of an unknown shape from a sentence.
func dateLike(p string) bool { return innocent(p) && clockIn(p) }

// detail takes a line of an open report.
func (r *report) detail(m string, rec *record) {
	known := true
	switch {
	case strings.HasPrefix(m, "oom-kill:"):
		r.oomKill(m)
		r.late = rec.stamp
	case strings.HasPrefix(m, "Task in "):
		r.taskIn(m)
	case strings.HasPrefix(m, byLimit+"/"): // the rest of it, where another CPU came between
		r.memcg, r.domain, r.inStack = true, m[len(byLimit):], false
	case strings.HasPrefix(m, limitReached+"/"):
		r.memcg, r.domain, r.inStack = true, m[len(limitReached):], false
	case strings.Contains(m, "usage ") && r.usage(m):
	case strings.HasPrefix(m, "Memory cgroup stats"):
		r.statsHead(m)
	case head(m, rec.alt) != nil:
		r.columns, r.inStats, r.inStack = head(m, rec.alt), false, false
	case strings.HasPrefix(m, "Tasks state"):
		r.inStats, r.inStack = false, false
	case r.columns != nil && r.row(m, rec.alt):
	case r.cpuLine(m):
	case strings.EqualFold(m, "Call Trace:"):
		r.inStack = true
	case strings.HasPrefix(m, "RIP: ") || strings.HasPrefix(m, "EIP: "):
		r.x86, r.inStack = true, false
	case strings.HasPrefix(m, "Mem-Info:"):
		r.memInfo, r.inStack = true, false
	case r.memInfo && r.node(m):
	case r.inStats && r.stats(m):
	case r.inStack && r.frame(m):
	case strings.Contains(m, "Out of memory and no killable processes") || strings.Contains(m, "OOM victim ") && strings.Contains(m, "is already exiting"):
		r.spared = true
		r.late = rec.stamp
	default:
		known = false
	}
	if known {
		r.idle = 0
	}
}

// header is what follows "invoked oom-killer: ".
func (r *report) header(comm, rest string, rec *record) {
	r.headed, r.comm = true, comm
	if value, ok := valueOf(rest, "gfp_mask="); ok {
		mask, flags, _ := strings.Cut(value, "(")
		if flags, whole := strings.CutSuffix(flags, ")"); whole && flags != "" {
			r.gfp = flags
		} else if _, err := strconv.ParseUint(strings.TrimPrefix(mask, "0x"), 16, 64); err == nil && flags == "" {
			r.gfp = mask
		}
	}
	if value, ok := valueOf(rest, "order="); ok {
		if n, err := strconv.Atoi(value); err == nil && n >= -1 && n < 64 {
			r.order = &n
		}
	}
	if strings.HasPrefix(rec.caller, "T") {
		if n, err := strconv.ParseInt(rec.caller[1:], 10, 32); err == nil {
			r.tid = int32(n)
		}
	}
}

// valueOf finds key=value in a list separated by ", ".
func valueOf(list, key string) (string, bool) {
	i := strings.Index(list, key)
	if i < 0 || i > 0 && list[i-1] != ' ' && list[i-1] != ',' {
		return "", false
	}
	value := list[i+len(key):]
	if end := strings.IndexAny(value, ", "); end >= 0 {
		value = value[:end]
	}
	return value, true
}

// cpuLine is the line that dump_stack begins with; before 3.7 it had another
// order.
func (r *report) cpuLine(m string) bool {
	rest, old := strings.CutPrefix(m, "Pid: ")
	if !old {
		i := strings.Index(m, "PID: ")
		if i < 0 || !strings.HasPrefix(m, "CPU: ") {
			return false
		}
		if uid, ok := strings.CutPrefix(m[:i], "CPU: "); ok {
			if _, uid, ok = strings.Cut(uid, "UID: "); ok {
				if n, err := strconv.ParseInt(strings.TrimSpace(uid), 10, 64); err == nil {
					r.uid = &n
				}
			}
		}
		rest = m[i+len("PID: "):]
	}
	pid, rest, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(strings.TrimSuffix(pid, ","), 10, 32)
	if err != nil || n < 0 || !r.headed {
		return err == nil
	}
	r.tid = int32(n)
	rest, ok := strings.CutPrefix(strings.TrimSpace(rest), "Comm: ")
	if !ok {
		rest, ok = strings.CutPrefix(rest, "comm: ")
	}
	end := max(strings.LastIndex(rest, " Not tainted"), strings.LastIndex(rest, " Tainted: "))
	if !ok || end < 0 {
		return true
	}
	if comm := strings.TrimSuffix(rest[:end], " Kdump: loaded"); r.comm == "" || r.comm == comm {
		r.comm = comm
	}
	f := strings.Fields(rest[end:])
	for i, word := range f {
		if i+1 < len(f) && strings.HasPrefix(f[i+1], "#") || i == 2 && f[0] == "Not" {
			r.version(word)
			break
		}
	}
	return true
}

// version reads the kernel's, as 5.10.0-30-amd64.
func (r *report) version(word string) {
	f := strings.SplitN(word, ".", 3)
	if len(f) < 2 {
		return
	}
	major, err1 := strconv.Atoi(f[0])
	end := strings.IndexFunc(f[1], func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(f[1])
	}
	minor, err2 := strconv.Atoi(f[1][:end])
	if err1 == nil && err2 == nil && major < 1000 && minor < 1000 {
		r.kernel = major*1000 + minor
	}
}

// maxStack bounds the frames kept.
const maxStack = 64

// frame is one line of the stack. Frames that the kernel itself doubts are left
// out.
func (r *report) frame(m string) bool {
	if m == "<TASK>" || m == "</TASK>" || m == "<IRQ>" || m == "</IRQ>" {
		return true
	}
	doubted := false
	for word := range strings.FieldsSeq(m) {
		if word == "?" {
			doubted = true
			continue
		}
		name, size, ok := strings.Cut(word, "/0x")
		if !ok || !strings.Contains(name, "+0x") || strings.TrimLeft(size, "0123456789abcdef") != "" {
			continue
		}
		if !doubted && len(r.stack) < maxStack {
			r.stack = append(r.stack, name)
		}
		return true
	}
	return false
}

// taskIn is how kernels before 5.0 tell whose limit fired.
func (r *report) taskIn(m string) {
	task, limit, ok := strings.Cut(strings.TrimPrefix(m, "Task in "), " "+byLimit)
	if ok && strings.HasPrefix(task, "/") && strings.HasPrefix(limit, "/") && !strings.Contains(limit, " killed as a result") {
		r.memcg, r.domain, r.victimIn = true, limit, task
	}
	r.inStack = false
}
