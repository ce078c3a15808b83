package kernlog

import (
	"strconv"
	"strings"
	"time"
)

// kill is a line "Killed process".
type kill struct {
	pid    int32
	comm   string
	uid    *int64
	reason string
	stamp
	// In KiB, as the line has them.
	total, anon, file, shmem, tables *uint64
	adj                              *int
}

// killLine takes lines that announce a kill; false for others.
func (s *scanner) killLine(m string, rec *record) bool {
	r := s.stream(rec)
	if strings.HasPrefix(m, "Tasks in ") && strings.HasSuffix(m, " are going to be killed due to memory.oom.group set") {
		s.groupLine(r, rec)
		return true
	}
	message, rest := "", ""
	for _, word := range []string{"Killed process ", "Kill process ", "kill process ", "Killed process"} {
		i := strings.Index(m, word)
		if i < 0 {
			continue
		}
		message, rest = m[:i], m[i+len(word):]
		if !rec.prefixed && i > 0 {
			message = afterDate(message)
		}
		if !announces(message) {
			return false
		}
		if word[1] == 'i' && !strings.HasPrefix(word, "Killed") {
			return s.killsNext(r, message, rest, rec)
		}
		break
	}
	if rest == "" {
		return false
	}
	k, ok := parseKill(rest)
	if !ok || message == "" && (r == nil || r.chosen == 0) && k.total == nil {
		return false
	}
	k.stamp = rec.stamp
	if r == nil || len(r.kills) > 0 && !r.goesOn(&k, message) {
		if r != nil && r.kills[0].pid == k.pid {
			return true // told twice
		}
		r = s.open(rec)
	}
	r.killed(k, message)
	return true
}

// groupLine is what follows the kill of the process that was chosen, when its
// group is to follow it.
func (s *scanner) groupLine(r *report, rec *record) {
	if r == nil || len(r.kills) == 0 {
		return
	}
	if last := len(r.kills) - 1; r.group && last > 0 {
		// What looked like one of the group before was chosen itself.
		k := r.kills[last]
		r.kills = r.kills[:last]
		memcg := r.memcg
		r = s.open(rec)
		k.reason, r.memcg = reasonChosen, memcg
		r.at, r.kills = k.stamp, append(r.kills, k)
	}
	r.group, r.idle = true, 0
}

// goesOn reports whether a kill can be of the same group as those before.
func (r *report) goesOn(k *kill, message string) bool {
	if !r.group || r.memcg != strings.HasPrefix(message, "Memory cgroup") && message != "" {
		return false
	}
	before := &r.kills[len(r.kills)-1]
	return !k.hasUptime || !before.hasUptime || k.uptime-before.uptime < groupPause
}

// groupPause is more than what lies between two kills of a group, however slow
// the console.
const groupPause = 2 * time.Second

// announces reports whether a message is one that the kernel puts before a kill.
func announces(message string) bool {
	message = strings.TrimSuffix(strings.TrimSpace(message), ":")
	return message == "" || message == "Out of memory" || message == "Out of Memory" || message == "Memory cgroup out of memory" ||
		message == "Out of memory (oom_kill_allocating_task)" || strings.HasPrefix(message, "No available memory ")
}

// afterDate drops a date of an unknown shape.
func afterDate(p string) string {
	for _, start := range []string{"Memory cgroup out of memory", "Out of memory", "Out of Memory", "No available memory "} {
		if i := strings.Index(p, start); i >= 0 && (i == 0 || dateLike(p[:i])) {
			return p[i:]
		}
	}
	if dateLike(p) {
		return ""
	}
	return p
}

// killsNext is the line of older kernels that names who was chosen, which may
// not be who is killed then: a child may be.
func (s *scanner) killsNext(r *report, message, rest string, rec *record) bool {
	pid, comm, after, ok := nameOf(rest, []string{") score ", ") sharing same memory"})
	if !ok {
		return false
	}
	if strings.HasPrefix(after, ") sharing") {
		if r != nil && len(r.kills) > 0 && message == "" {
			r.kills = append(r.kills, kill{pid: pid, comm: comm, reason: reasonSharedMM, stamp: rec.stamp})
			r.idle = 0
		}
		return true
	}
	if message == "" || !strings.Contains(after, "sacrifice child") && !strings.Contains(after, "or a child") && !strings.Contains(after, "and children") {
		return false
	}
	if r == nil || len(r.kills) > 0 {
		r = s.open(rec)
	}
	r.chosen, r.idle = pid, 0
	r.announce(message)
	return true
}

const (
	reasonChosen   = "chosen"
	reasonGroup    = "group"
	reasonSharedMM = "shared_mm"
)

func (r *report) killed(k kill, message string) {
	k.reason = reasonChosen
	if len(r.kills) > 0 {
		k.reason = reasonGroup
	}
	r.idle = 0
	for _, other := range r.kills {
		if other.pid == k.pid {
			return // the first of a group is killed twice
		}
	}
	if len(r.kills) < maxRows {
		r.kills = append(r.kills, k)
	}
	r.announce(message)
}

// announce learns the constraint from the words before a kill.
func (r *report) announce(message string) {
	switch {
	case strings.HasPrefix(message, "Memory cgroup out of memory"):
		r.memcg = true
	case strings.HasPrefix(message, "No available memory in cpuset"):
		r.constraint = "CONSTRAINT_CPUSET"
	case strings.HasPrefix(message, "No available memory (MPOL_BIND)"):
		r.constraint = "CONSTRAINT_MEMORY_POLICY"
	case strings.HasPrefix(message, "Out of memory"), strings.HasPrefix(message, "Out of Memory"): // the latter until 2.6.16
		r.plainOOM = true
	}
}

// nameOf reads "PID (comm" up to one of the words that can follow.
func nameOf(s string, ends []string) (pid int32, comm, after string, ok bool) {
	s = strings.TrimSpace(s)
	i := strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	if i <= 0 {
		return 0, "", "", false
	}
	n, err := strconv.ParseInt(s[:i], 10, 32)
	s = s[i:]
	open := strings.IndexByte(s, '(')
	if err != nil || n <= 0 || open < 0 || open > 24 {
		return 0, "", "", false
	}
	s = s[open+1:]
	for _, end := range ends {
		if i := strings.LastIndex(s, end); i >= 0 && i <= maxComm {
			return int32(n), s[:i], s[i:], true
		}
	}
	return 0, "", "", false
}

// parseKill reads what follows "Killed process ".
func parseKill(s string) (k kill, ok bool) {
	pid, comm, figures, ok := nameOf(s, []string{") total-vm:", ")total-vm:", ") vsz:", ", now anon-rss:"})
	if !ok {
		pid, comm, figures, ok = nameOf(s, []string{")"})
	}
	if !ok {
		return k, false
	}
	k.pid, k.comm = pid, comm
	if before, _, found := strings.Cut(s, "("); found {
		if _, uid, found := strings.Cut(before, "UID "); found {
			k.setUID(strings.TrimRight(uid, ", "))
		}
	}
	k.total = kib(figures, "total-vm:")
	if k.total == nil {
		k.total = kib(figures, "vsz:")
	}
	k.anon, k.file, k.shmem = kib(figures, "anon-rss:"), kib(figures, "file-rss:"), kib(figures, "shmem-rss:")
	k.tables = kib(figures, "pgtables:")
	if _, uid, found := strings.Cut(figures, "UID:"); found {
		k.setUID(leadingDigits(uid))
	} else if uid, found := strings.CutPrefix(figures, "), UID "); found { // of distributions, 3.10
		k.setUID(leadingDigits(uid))
	}
	if _, adj, found := strings.Cut(figures, "oom_score_adj:"); found {
		n, err := strconv.Atoi(strings.TrimSpace(adj))
		if err == nil && n >= -1000 && n <= 1000 {
			k.adj = &n
		}
	}
	return k, true
}

func (k *kill) setUID(s string) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n <= 1<<32-1 {
		k.uid = &n
	}
}

func leadingDigits(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// kib reads a figure that is whole: its unit must be there.
func kib(s, name string) *uint64 {
	_, s, ok := strings.Cut(s, name)
	if !ok {
		return nil
	}
	n := leadingDigits(s)
	v, err := strconv.ParseUint(n, 10, 64)
	if err != nil || v > 1<<53 || !strings.HasPrefix(s[len(n):], "kB") {
		return nil
	}
	return &v
}

// oomKill is the line of 5.0 and later that sums the decision up. Names in it may
// hold any of its separators.
func (r *report) oomKill(m string) {
	rest := strings.TrimPrefix(m, "oom-kill:constraint=")
	r.constraint, rest, _ = strings.Cut(rest, ",")
	r.summed, r.inStats, r.inStack = true, false, false
	r.nodes = allowedNodes(r.constraint, rest)
	if i := strings.LastIndex(rest, ",uid="); i >= 0 {
		if n, err := strconv.ParseInt(strings.TrimSpace(rest[i+5:]), 10, 64); err == nil && n >= 0 {
			r.victim.uid = &n
		}
		rest = rest[:i]
		if i = strings.LastIndex(rest, ",pid="); i >= 0 {
			if n, err := strconv.ParseInt(rest[i+5:], 10, 32); err == nil && n > 0 {
				r.victim.pid = int32(n)
			}
			rest = rest[:i]
			rest = r.splitTask(rest)
		}
	} else if i := strings.LastIndex(rest, ",task_memcg="); i >= 0 {
		rest = rest[:i] // cut behind it: only what is before is whole
	} else {
		return
	}
	// A path, or a cpuset's name, that has either in it makes both doubtful.
	const domain, task = ",oom_memcg=", ",task_memcg="
	if strings.Count(rest, domain) > 1 || strings.Count(rest, task) > 1 {
		return
	}
	if before, path, ok := strings.Cut(rest, task); ok {
		rest, r.victimIn = before, path
	}
	if _, path, ok := strings.Cut(rest, domain); ok {
		r.domain = path
	}
}

// allowedNodes gives the memory nodes that ran out, out of
// "nodemask=0-1,cpuset=NAME,mems_allowed=0-1,…"; "" where a name makes them doubtful.
func allowedNodes(constraint, s string) string {
	const allowed = ",mems_allowed="
	switch {
	case constraint == "CONSTRAINT_MEMORY_POLICY" && strings.HasPrefix(s, "nodemask="):
		nodes, _, _ := strings.Cut(s[len("nodemask="):], ",cpuset=")
		return nodeList(nodes)
	case constraint == "CONSTRAINT_CPUSET" && strings.Count(s, allowed) == 1:
		_, nodes, _ := strings.Cut(s, allowed)
		return nodeList(nodes)
	}
	return ""
}

// nodeList is the list of numbers and ranges that a text begins with, and that a
// word may follow.
func nodeList(s string) string {
	end := strings.IndexFunc(s, func(c rune) bool { return c != ',' && c != '-' && (c < '0' || c > '9') })
	if end < 0 {
		end = len(s)
	} else if end == 0 || s[end-1] != ',' {
		return ""
	}
	return strings.TrimSuffix(s[:end], ",")
}

// splitTask takes the name of the task off the end and gives what is before it.
// Where more than one name is possible, the table must have the one.
func (r *report) splitTask(s string) string {
	var names []string
	for at := max(len(s)-len(",task=")-maxComm, 0); at < len(s); at++ {
		if name, ok := strings.CutPrefix(s[at:], ",task="); ok && nameLen(name) <= maxName {
			names = append(names, name)
		}
	}
	t := r.find(r.victim.pid)
	for _, name := range names {
		if len(names) == 1 || t != nil && t.comm == name {
			r.victim.comm = name
			return strings.TrimSuffix(s, ",task="+name)
		}
	}
	if i := strings.LastIndex(s, ",task_memcg="); i >= 0 {
		s = s[:i]
	}
	return s
}
