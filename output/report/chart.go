package report

import (
	"math"
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
)

// Charts of characters, for text and Markdown.

const (
	chartRows    = 14
	chartColumns = 48
)

var chartMarks = map[string]byte{"kernel": '+', "anon": '#', "shmem": '%', "file": ':', "other": '.'}

// memoryChart is the course of the domain's memory, a line for each moment.
func (s *Story) memoryChart() []string {
	samples := s.plotted()
	if len(samples) < 3 {
		return nil
	}
	var most, limit uint64
	for _, x := range samples {
		most = max(most, *x.Memory.Usage)
		if l := x.Memory.Limit; l != nil {
			limit = max(limit, *l)
		}
	}
	whole := most
	if limit/3 < most {
		whole = max(most, limit)
	}
	if whole == 0 {
		return nil
	}
	seen := make(map[string]string)
	var keys []string
	var out []string
	rows := min(chartRows, len(samples))
	for i := range rows {
		x := &samples[i*(len(samples)-1)/(rows-1)]
		bar, sum := "", uint64(0)
		for _, p := range split(&x.Memory) {
			sum += min(p.bytes, math.MaxUint64-sum)
			if upTo := int(float64(chartColumns) * float64(min(sum, whole)) / float64(whole)); upTo > len(bar) {
				bar += strings.Repeat(string(chartMarks[p.key]), upTo-len(bar))
				if seen[p.key] == "" {
					seen[p.key] = p.name
					keys = append(keys, p.key)
				}
			}
		}
		end := " "
		if limit == whole {
			end = "|"
		}
		out = append(out, string(term.Right(term.Text(offset(x.OffsetNS)), 9)+"  "+term.Left(term.Text(bar), chartColumns))+end+" "+size(*x.Memory.Usage))
	}
	legend := ""
	for _, k := range keys {
		legend += string(chartMarks[k]) + " " + seen[k] + "   "
	}
	if limit == whole {
		legend += "| the limit of " + size(limit)
	}
	return append(out, strings.Repeat(" ", 11)+strings.TrimRight(legend, " "))
}

const shades = ".:-=+*#%@"

// heatChart is the map of stalls: time to the right, duration upwards.
func (s *Story) heatChart() []string {
	st := s.Stalls
	if st == nil || len(st.Cells) == 0 || s.Window == nil {
		return nil
	}
	low, high := len(rowBounds), 0
	var most uint64
	cells := make(map[[2]int]uint64)
	for _, c := range st.Cells {
		low, high, most = min(low, c.row), max(high, c.row), max(most, c.Episodes)
		cells[[2]int{c.col, c.row}] = c.Episodes
	}
	from, to := floorDiv(s.Window.FromNS, st.WidthNS), max(floorDiv(s.Window.ToNS, st.WidthNS), 0)
	to = min(to, from+100)
	var out []string
	for row := high; row >= low; row-- {
		label := "≥ " + lasting(rowBounds[row])
		if row == 0 {
			label = "< " + lasting(rowBounds[1])
		}
		var b strings.Builder
		for col := from; col <= to; col++ {
			n := cells[[2]int{col, row}]
			switch {
			case n > 0:
				shade := int(float64(len(shades)-1) * math.Log1p(float64(n)) / math.Log1p(float64(most)))
				b.WriteByte(shades[min(shade, len(shades)-1)])
			case col == 0:
				b.WriteByte('|')
			default:
				b.WriteByte(' ')
			}
		}
		out = append(out, string(term.Right(term.Text(label), 9))+"  "+strings.TrimRight(b.String(), " "))
	}
	rule := strings.Repeat("-", max(-from, 0)) + "^" + strings.Repeat("-", max(to, 0))
	return append(out, strings.Repeat(" ", 11)+rule,
		strings.Repeat(" ", 11)+"from "+offset(s.Window.FromNS)+", "+lasting(st.WidthNS)+" a column; ^ the kill; "+shades[:1]+" to "+shades[len(shades)-1:]+": 1 to "+counted(most, "stall"))
}
