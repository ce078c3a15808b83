package kernlog

import (
	"strconv"
	"strings"
)

// maxRows bounds the processes of one report.
const maxRows = 1 << 15

// maxName is how long the name of a process with memory can be.
const maxName = 15

// row is a process of the table of tasks. Figures are in pages but for tables.
type row struct {
	pid, tgid                      int32
	uid                            *int64
	total, rss, anon, file, shmem  *uint64
	swap, tables, tablePages, pmds *uint64
	adj                            *int
	comm                           string
}

// tableHead reads the names of the table's columns; nil for other lines.
func tableHead(m string) []string {
	i := strings.IndexByte(m, '[')
	if i < 0 || !strings.Contains(m, "total_vm") || !strings.HasSuffix(m, " name") {
		return nil
	}
	in, rest, ok := strings.Cut(m[i+1:], "]")
	if !ok || strings.TrimSpace(in) != "pid" {
		return nil
	}
	columns := strings.Fields(rest)
	if len(columns) > 40 {
		return nil
	}
	return columns
}

// head is tableHead of whichever way to join the line gives more columns that
// are known.
func head(m, alt string) []string {
	columns := tableHead(m)
	if alt == "" {
		return columns
	}
	if other := tableHead(strings.TrimSpace(alt)); familiar(other) > familiar(columns) {
		return other
	}
	return columns
}

func familiar(columns []string) (n int) {
	for _, column := range columns {
		switch column {
		case "uid", "tgid", "total_vm", "rss", "rss_anon", "rss_file", "rss_shmem", "pgtables_bytes", "nr_ptes", "nr_pmds",
			"nr_puds", "swapents", "cpu", "oom_adj", "oom_score_adj", "name":
			n++
		}
	}
	return n
}

// row takes a row of the table; alt is the line were it joined otherwise.
func (r *report) row(m, alt string) bool {
	t, ok := r.parseRow(m)
	if !ok && alt != "" {
		t, ok = r.parseRow(strings.TrimSpace(alt))
	}
	if !ok {
		return false
	}
	if len(r.rows) >= maxRows {
		r.dropped++
		return true
	}
	r.rows = append(r.rows, t)
	return true
}

func (r *report) parseRow(m string) (t row, ok bool) {
	// Behind a prefix of unknown shape the row begins at its last bracket of digits.
	i := strings.IndexByte(m, '[')
	if i < 0 || i > 0 && !dateLike(m[:i]) {
		return t, false
	}
	in, rest, found := strings.Cut(m[i+1:], "]")
	pid, err := strconv.ParseInt(strings.TrimSpace(in), 10, 32)
	if !found || err != nil || pid <= 0 {
		return t, false
	}
	t.pid, t.tgid = int32(pid), int32(pid)
	for _, column := range r.columns[:len(r.columns)-1] {
		rest = strings.TrimLeft(rest, " ")
		word, after, more := strings.Cut(rest, " ")
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || !more {
			return t, false
		}
		rest = after
		if column == "oom_score_adj" {
			if n < -1000 || n > 1000 {
				return t, false
			}
			adj := int(n)
			t.adj = &adj
			continue
		}
		if column == "uid" && n >= 0 {
			t.uid = &n
		}
		if n < 0 {
			continue // oom_adj, or a counter that lagged behind
		}
		u := uint64(n)
		switch column {
		case "tgid":
			if n > 0 && n <= 1<<31-1 {
				t.tgid = int32(n)
			}
		case "total_vm":
			t.total = &u
		case "rss":
			t.rss = &u
		case "rss_anon":
			t.anon = &u
		case "rss_file":
			t.file = &u
		case "rss_shmem":
			t.shmem = &u
		case "swapents":
			t.swap = &u
		case "pgtables_bytes":
			t.tables = &u
		case "nr_ptes":
			t.tablePages = &u
		case "nr_pmds":
			t.pmds = &u
		}
	}
	if t.comm = strings.TrimRight(rest, " "); t.comm == "" {
		t.comm = rest
	}
	return t, nameLen(t.comm) <= maxName
}

// find gives the row of a thread or process; nil when the log has none.
func (r *report) find(pid int32) *row {
	if r.indexed != len(r.rows) {
		r.index, r.indexed = make(map[int32]int, len(r.rows)), len(r.rows)
		for i := range r.rows {
			r.index[r.rows[i].tgid] = i
		}
		for i := range r.rows {
			r.index[r.rows[i].pid] = i
		}
	}
	if i, ok := r.index[pid]; ok {
		return &r.rows[i]
	}
	return nil
}

// pageBytes is the size of a page where the report tells it: the victim's address
// space stands in it in pages and in KiB.
func (r *report) pageBytes(o *Options) uint64 {
	if o.PageBytes > 0 {
		return uint64(o.PageBytes)
	}
	for i := range r.kills {
		k := &r.kills[i]
		t := r.find(k.pid)
		if t == nil {
			continue
		}
		for _, pair := range [][2]*uint64{{t.total, k.total}, {t.anon, k.anon}} {
			pages, kb := pair[0], pair[1]
			if pages == nil || kb == nil || *pages < 64 {
				continue
			}
			for size := uint64(4); size <= 256; size *= 2 {
				if *pages*size == *kb {
					return size << 10
				}
			}
		}
	}
	if r.x86 {
		return 4096
	}
	return 0
}
