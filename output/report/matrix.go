package report

import (
	"slices"

	"github.com/oomtrace/oomtrace/output/unit"
)

// matrix is who pushed out whose page cache.
type matrix struct {
	Owners []string
	Rows   []matrixRow
	Note   string
}

type matrixRow struct {
	By    string
	Cells []matrixCell
}

type matrixCell struct {
	Size, Share string
	Heat        int // percent
	Own         bool
}

const matrixSide = 8

// matrix shows the parties with most pages; pairs beyond them are summed up in a
// note.
func (s *Story) matrix() *matrix {
	var bys, owners []Party
	index := func(list *[]Party, p Party) int {
		if i := slices.IndexFunc(*list, func(q Party) bool { return q.key() == p.key() }); i >= 0 {
			return i
		}
		if len(*list) == matrixSide {
			return -1
		}
		*list = append(*list, p)
		return len(*list) - 1
	}
	var pages [matrixSide][matrixSide]uint64
	rest, total, most := s.Cache.OtherPages, s.Cache.OtherPages, uint64(0)
	for _, e := range s.Cache.Pairs { // most pages first
		total += e.Pages
		by, owner := index(&bys, e.By), index(&owners, e.Owner)
		if by < 0 || owner < 0 {
			rest += e.Pages
			continue
		}
		pages[by][owner] += e.Pages
		most = max(most, pages[by][owner])
	}
	if len(bys) == 0 {
		return nil
	}
	m := &matrix{}
	for _, o := range owners {
		m.Owners = append(m.Owners, clean(o.Name()))
	}
	for i, by := range bys {
		r := matrixRow{By: clean(by.Name())}
		for j, owner := range owners {
			cell := matrixCell{Own: by.key() == owner.key()}
			if n := pages[i][j]; n > 0 {
				cell.Size, cell.Share = s.pages(n), unit.Percent(n, total)
				cell.Heat = int(8 + 52*float64(n)/float64(most))
			}
			r.Cells = append(r.Cells, cell)
		}
		m.Rows = append(m.Rows, r)
	}
	if rest > 0 {
		m.Note = s.pages(rest) + " more between others."
	}
	return m
}
