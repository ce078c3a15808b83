package oom

import "testing"

func TestBadness(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     Figures
		total uint64
		want  int64
	}{
		{"nothing", Figures{}, 1000000, 0},
		{"each kind of page counts once", Figures{File: 1, Anon: 20, Shmem: 300, Swap: 4000}, 0, 4321},
		// A score that the kernel itself gave.
		{"the kernel's own figures", Figures{Anon: 9000, File: 572, PageTableBytes: 39 * 4096, ScoreAdj: 500}, 8192, 13611},
		{"all of its thousand", Figures{Anon: 9572, PageTableBytes: 39 * 4096, ScoreAdj: 500}, 8999, 13611},
		{"the next thousand", Figures{Anon: 9572, PageTableBytes: 39 * 4096, ScoreAdj: 500}, 9000, 14111},
		{"integer division first", Figures{Anon: 10, ScoreAdj: 999}, 999, 10},
		{"by one page more", Figures{Anon: 10, ScoreAdj: 999}, 1000, 1009},
		{"a small domain knows no adj", Figures{Anon: 10, ScoreAdj: 1000}, 1, 10},
		{"most", Figures{Anon: 10, ScoreAdj: 1000}, 1 << 20, 10 + 1048*1000},
		{"negative", Figures{Anon: 10, ScoreAdj: -1}, 2000, 8},
		{"below zero", Figures{Anon: 10, ScoreAdj: -999}, 1 << 20, 10 - 999*1048},
		{"negative, small domain", Figures{Anon: 10, ScoreAdj: -999}, 999, 10},
		{"page tables are rounded down", Figures{PageTableBytes: 2*4096 - 1}, 0, 1},
		{"64 KiB pages", Figures{Anon: 10, PageTableBytes: 3 << 16, PageBytes: 1 << 16}, 0, 13},
		{"64 KiB pages, rounded down", Figures{Anon: 10, PageTableBytes: 3<<16 - 1, PageBytes: 1 << 16}, 0, 12},
		{"asked to be first", Figures{Origin: true}, 1000, 1<<63 - 1},
		{"asked to be first, adj does not matter", Figures{Origin: true, ScoreAdj: -500, Anon: 1}, 1 << 20, 1<<63 - 1},
		{"16 TiB", Figures{Anon: 1 << 32, ScoreAdj: 1000}, 1 << 32, 1<<32 + 4294967*1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Badness(c.f, c.total); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

func TestScore(t *testing.T) {
	for _, c := range []struct {
		badness int64
		total   uint64
		want    int
	}{
		{0, 1000000, 666}, {1000000, 1000000, 1333}, {-1000000, 1000000, 0}, {500, 1000, 1000}, {-500, 1000, 333},
		{999, 1000000, 666}, {1000, 1000000, 667}, {2000, 1000000, 668},
		{-999, 1000000, 666}, {-1000, 1000000, 666}, {-2000, 1000000, 665}, // rounded towards nothing, twice
		{5, 0, 0},
	} {
		if got := Score(c.badness, c.total); got != c.want {
			t.Errorf("badness %d of %d: %d, want %d", c.badness, c.total, got, c.want)
		}
	}
}

func TestTotalPages(t *testing.T) {
	pages := func(n uint64) *uint64 { return &n }
	const node = 1000 // pages of swap
	for _, c := range []struct {
		name string
		l    Limits
		want uint64
	}{
		{"v2, no swap", Limits{Version: 2, Memory: pages(8192), Swappiness: 60}, 8192},
		{"v2, all of the node's swap", Limits{Version: 2, Memory: pages(8192), TotalSwap: node, Swappiness: 60}, 9192},
		{"v2, swap.max below", Limits{Version: 2, Memory: pages(8192), Swap: pages(10), TotalSwap: node, Swappiness: 60}, 8202},
		{"v2, swap.max above", Limits{Version: 2, Memory: pages(8192), Swap: pages(5000), TotalSwap: node, Swappiness: 60}, 9192},
		{"v2, swap.max 0", Limits{Version: 2, Memory: pages(8192), Swap: pages(0), TotalSwap: node, Swappiness: 60}, 8192},
		{"v2, swappiness 0", Limits{Version: 2, Memory: pages(8192), Swap: pages(10), TotalSwap: node}, 8192},
		{"v2 does not look at memsw", Limits{Version: 2, Memory: pages(8192), MemorySwap: pages(8193), TotalSwap: node, Swappiness: 1}, 9192},
		{"v2, memory.max 0", Limits{Version: 2, Memory: pages(0), Swap: pages(0), TotalSwap: node, Swappiness: 60}, 1},
		{"v2, no limit", Limits{Version: 2, TotalSwap: node, Swappiness: 60}, 1<<51 - 1 + node},
		{"v1, no memsw limit", Limits{Version: 1, Memory: pages(8192), TotalSwap: node, Swappiness: 60}, 9192},
		{"v1, memsw above", Limits{Version: 1, Memory: pages(8192), MemorySwap: pages(8292), TotalSwap: node, Swappiness: 60}, 8292},
		{"v1, memsw far above", Limits{Version: 1, Memory: pages(8192), MemorySwap: pages(1 << 30), TotalSwap: node, Swappiness: 60}, 9192},
		{"v1, memsw the same", Limits{Version: 1, Memory: pages(8192), MemorySwap: pages(8192), TotalSwap: node, Swappiness: 60}, 8192},
		{"v1, memsw below", Limits{Version: 1, Memory: pages(8192), MemorySwap: pages(1), TotalSwap: node, Swappiness: 60}, 8192},
		{"v1, swappiness 0", Limits{Version: 1, Memory: pages(8192), MemorySwap: pages(9000), TotalSwap: node}, 8192},
		{"v1 does not look at swap.max", Limits{Version: 1, Memory: pages(8192), Swap: pages(1), TotalSwap: node, Swappiness: 60}, 9192},
		{"v1, no limit", Limits{Version: 1, TotalSwap: node, Swappiness: 60}, 1<<51 - 1},
		{"v1, limit 0", Limits{Version: 1, Memory: pages(0), MemorySwap: pages(0), TotalSwap: node, Swappiness: 60}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := TotalPages(c.l); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}
