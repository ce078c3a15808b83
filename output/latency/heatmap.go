package latency

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/output/term"
)

// Shades from few to many, without colours and with them (of the 256 colour
// palette).
const shades = ".:-=+*#%@"

var palette = [...]int{17, 18, 54, 90, 126, 162, 196, 208, 220}

// shade gives the level of a count, by powers: stalls differ by orders of
// magnitude. 0 means none at all.
func shade(n, most uint64, levels int) int {
	if n == 0 {
		return 0
	}
	if most <= 1 {
		return levels
	}
	return 1 + int(math.Round(float64(levels-1)*math.Log(float64(n))/math.Log(float64(most))))
}

// maxMaps is how many containers have a heat map of their own.
const maxMaps = 3

func (p *page) heat(r *Report) {
	maps := 0
	for _, c := range r.Containers {
		if c.Heat == nil || c.Count == 0 || maps == maxMaps {
			continue
		}
		maps++
		p.heatMap(c.Heat, name(&c.Place))
	}
}

// heatMap draws time from left to right and length of stalls upwards.
func (p *page) heatMap(h *Heat, of term.Text) {
	const margin = 8
	room := max(p.Width-margin-1, 10)
	each := (len(h.Counts) + room - 1) / room // columns put together
	var columns [][]uint64
	for i := 0; i < len(h.Counts); i += each {
		sum := make([]uint64, len(h.UpToNS))
		for _, c := range h.Counts[i:min(i+each, len(h.Counts))] {
			for band, n := range c {
				sum[band] += n
			}
		}
		columns = append(columns, sum)
	}
	low, high, most := len(h.UpToNS), -1, uint64(0)
	for _, c := range columns {
		for band, n := range c {
			if n > 0 {
				low, high, most = min(low, band), max(high, band), max(most, n)
			}
		}
	}
	if high < 0 {
		return
	}
	step := time.Duration(h.StepNS) * time.Duration(each)
	p.title("over time: "+of, "stalls of each length, up to "+count(most)+" in "+span(int64(step)))
	for band := high; band >= low; band-- {
		from := term.Text("0")
		if band > 0 {
			from = span(h.UpToNS[band-1])
		}
		var b strings.Builder
		b.WriteString(string(term.Right(from, margin-2)) + " |")
		for _, c := range columns {
			level := shade(c[band], most, len(shades))
			switch {
			case level == 0:
				b.WriteByte(' ')
			case p.Color:
				fmt.Fprintf(&b, "\x1b[48;5;%dm%c\x1b[0m", palette[level-1], ' ')
			default:
				b.WriteByte(shades[level-1])
			}
		}
		p.b.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	first := h.Began.In(p.Location).Format("15:04:05")
	last := h.Began.Add(time.Duration(h.StepNS) * time.Duration(len(h.Counts))).In(p.Location).Format("15:04:05")
	p.dim(term.Right("", margin) + term.Text(first) + term.Right(term.Text(last), max(len(columns)-len(first), len(last)+1)))
}
