package report

import "strconv"

// table is what the text and Markdown forms show of a part of a story.
type table struct {
	title   string
	columns []column
	rows    [][]string
	note    string
}

type column struct {
	title string
	kind  columnKind
}

type columnKind uint8

const (
	words columnKind = iota
	figure
	names // called so by others
)

// tables are the parts of a story that are tables in every form.
func (s *Story) tables(v *view) []table {
	var out []table
	add := func(t table) {
		if len(t.rows) > 0 {
			out = append(out, t)
		}
	}
	simple := func(title, first, second string, kind columnKind, rows []row, note string) {
		t := table{title: title, columns: []column{{first, kind}, {"stalls", figure}, {"time", figure}}, note: note}
		if second != "" {
			t.columns = []column{{first, kind}, {second, figure}}
		}
		for _, r := range rows {
			t.rows = append(t.rows, append([]string{r.Name}, r.Cells...))
		}
		add(t)
	}
	growth := table{title: "Who grew", columns: []column{{"cgroup or container", names}, {"at first", figure}, {"at last", figure}, {"change", figure}},
		note: "Of memory that cannot be dropped: anonymous and shmem."}
	for _, g := range v.Growth {
		growth.rows = append(growth.rows, []string{g.Name, g.First, g.Last, g.Change})
	}
	if v.GrowthLeft > 0 {
		growth.note += " " + strconv.Itoa(v.GrowthLeft) + " further cgroups are left out."
	}
	add(growth)
	simple("Who stalled", "cgroup or container", "", names, v.Sufferers, "")
	simple("Why they stalled", "reclaim", "", words, v.Kinds, "")
	if s.Cache != nil {
		pairs := table{title: "Who evicted whom", columns: []column{{"pushed out by", names}, {"cache of", names}, {"amount", figure}}, note: v.Traffic}
		for _, p := range s.Cache.Pairs[:min(len(s.Cache.Pairs), topFiles)] {
			owner := clean(p.Owner.Name())
			pairs.rows = append(pairs.rows, []string{clean(p.By.Name()), owner, s.pages(p.Pages)})
		}
		add(pairs)
		simple("Files pushed out", "file", "pushed out", names, v.Files, "")
	}
	return out
}

// weighedTable is the table of candidates, which the text form has in its block.
func (v *view) weighedTable() table {
	t := table{title: "Whom the kernel weighed", columns: []column{{"process", names}}}
	w := v.Weighed
	if w == nil {
		return t
	}
	for _, c := range w.Columns {
		t.columns = append(t.columns, column{c, figure})
	}
	t.columns = append(t.columns, column{"cgroup or container", names}, column{"", words})
	for _, r := range w.Rows {
		killed := ""
		if r.Killed {
			killed = "killed"
		}
		t.rows = append(t.rows, append(append([]string{r.Name}, r.Cells...), r.Where, killed))
	}
	for _, n := range w.Notes {
		t.note += n + " "
	}
	return t
}
