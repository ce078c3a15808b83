package text

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/output/unit"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// inspect draws what the memory of a cgroup consists of.
func (w *Writer) inspect(e *event.Inspect) {
	w.blank()
	w.at(e.Time).put(bold, "MEMORY").to(body+10).put(bold, whole(e.Container, e.Cgroup)).end()
	for _, u := range e.Unread {
		t := "not read: " + term.Clean(u.What)
		if u.Count > 0 {
			t += " (" + number(u.Count) + ")"
		}
		w.line().to(body).wrap(warn, t+": "+term.Clean(u.Reason), body, 3)
	}
	f := e.Memory
	f.Source, f.ReadNS = "", nil // it was asked for now
	w.composition(&f)
	w.parts(e)
	w.lines("need", need(e))
	w.lines("lists", lists(e.Lists))
	w.bounds(e.Limits)
	w.lines("settings", settings(e.Settings))
	w.lines("events", happened(e.Events))
	w.lines("pressure", pressure(e.Pressure))
	w.processes(e)
	w.children(e)
	w.blank()
}

// lines writes a label with parts that are not broken up.
func (w *Writer) lines(label term.Text, parts []term.Text) {
	if len(parts) == 0 {
		return
	}
	for i := range parts {
		parts[i] = glue(parts[i])
	}
	w.label(label).wrap(plain, join(parts, ", "), body, 3)
}

// parts tells what the composition's bars do not.
func (w *Writer) parts(e *event.Inspect) {
	k := e.Kernel
	if k == nil {
		return
	}
	f := figures{
		{"per-CPU", k.Percpu}, {"vmalloc", k.Vmalloc}, {"KVM and IOMMU page tables", k.SecPageTables}, {"zswap", k.Zswap},
		{"swapped into zswap", k.Zswapped}, {"hugetlb", k.Hugetlb}, {"anon in huge pages", k.AnonHuge},
		{"reclaimable slab", e.Memory.SlabReclaimable},
	}
	w.lines("further", f.list())
}

// need sets what is used against what is needed.
func need(e *event.Inspect) []term.Text {
	f := &e.Memory
	var parts []term.Text
	if f.WorkingSet != nil {
		t := "working set " + size(*f.WorkingSet)
		if f.Usage != nil {
			t += " of " + size(*f.Usage) + " in use"
		}
		parts = append(parts, t)
	}
	if f.Available != nil {
		parts = append(parts, size(*f.Available)+" available below its limit")
		if e.Cgroup == nil {
			parts[len(parts)-1] = size(*f.Available) + " available"
		}
	}
	if f.MaxUsage != nil {
		parts = append(parts, "most ever "+size(*f.MaxUsage))
	}
	return parts
}

func lists(l *event.Lists) []term.Text {
	if l == nil {
		return nil
	}
	var parts []term.Text
	pair := func(name term.Text, active, inactive *uint64) {
		if active != nil && inactive != nil {
			parts = append(parts, name+" "+size(*active)+" active and "+size(*inactive)+" inactive")
		}
	}
	pair("anon", l.ActiveAnon, l.InactiveAnon)
	pair("file", l.ActiveFile, l.InactiveFile)
	if l.Unevictable != nil {
		parts = append(parts, "unevictable "+size(*l.Unevictable))
	}
	return parts
}

// bounds lists the limits from the cgroup up.
func (w *Writer) bounds(limits []event.Limit) {
	const usage, left, where = body + 10, body + 20, body + 32
	if len(limits) == 0 {
		return
	}
	w.label("limits").right(dim, "LIMIT", 8).to(usage).right(dim, "IN USE", 8).to(left).right(dim, "LEFT", 8).to(where).put(dim, "OF").end()
	for i := range limits {
		b := &limits[i]
		s := plain
		l := w.line()
		if b.Tightest {
			s = bold
			l.skip(2).put(warn, "tightest >")
		}
		l.to(body)
		if b.Limit != nil {
			l.right(s, size(*b.Limit), 8)
		} else {
			l.right(s, "none", 8)
		}
		if b.Usage != nil {
			l.to(usage).right(s, size(*b.Usage), 8)
		}
		if b.Headroom != nil {
			l.to(left).right(s, size(*b.Headroom), 8)
		}
		t := whole(b.Container, b.Cgroup)
		if b.SwapLeft != nil && *b.SwapLeft > 0 {
			t += ", " + size(*b.SwapLeft) + " of it swap"
		}
		if b.High != nil {
			t += ", memory.high " + size(*b.High)
		}
		l.to(where).put(s, term.Elide(t, l.room())).end()
	}
}

func settings(s *event.Settings) []term.Text {
	if s == nil {
		return nil
	}
	var parts []term.Text
	flag := func(name, yes, no term.Text, v *bool) {
		switch {
		case v == nil:
		case *v:
			parts = append(parts, name+" "+yes)
		case no != "":
			parts = append(parts, name+" "+no)
		}
	}
	flag("memory.oom.group", "on", "off", s.OOMGroup)
	flag("OOM killer", "off (tasks wait)", "on", s.OOMKillDisable)
	flag("tasks", "wait for memory now", "", s.UnderOOM)
	if s.Swappiness != nil {
		parts = append(parts, "swappiness "+number(*s.Swappiness))
	}
	return append(parts, figures{
		{"memory.min", s.Min}, {"memory.low", s.Low}, {"memory.high", s.High}, {"soft limit", s.SoftLimit},
		{"memory.swap.high", s.SwapHigh}, {"memory.zswap.max", s.ZswapMax},
	}.list()...)
}

// happened lists counters that have counted anything.
func happened(events map[string]uint64) []term.Text {
	var parts []term.Text
	for _, name := range slices.Sorted(maps.Keys(events)) {
		if n := events[name]; n > 0 {
			parts = append(parts, term.Clean(name)+" "+term.Text(unit.Count(n)))
		}
	}
	return parts
}

func pressure(p *event.Pressure) []term.Text {
	if p == nil {
		return nil
	}
	var parts []term.Text
	for _, of := range []struct {
		name term.Text
		s    *event.Stalled
	}{{"some tasks stalled", p.Some}, {"all stalled", p.Full}} {
		if of.s != nil && of.s.TotalNS > 0 {
			parts = append(parts, of.name+" "+percent(of.s.Avg10)+" of the last 10s, "+percent(of.s.Avg60)+" of 60s, "+
				percent(of.s.Avg300)+" of 5m, "+duration(of.s.TotalNS)+" in all")
		}
	}
	return parts
}

func percent(v float64) term.Text {
	return term.Text(strconv.FormatFloat(v, 'f', -1, 64) + "%")
}

// processes draws what the processes hold by kind, and lists the largest.
func (w *Writer) processes(e *event.Inspect) {
	p := e.Processes
	if p == nil {
		return
	}
	head := processes(p.Total) + ", " + counted(uint64(p.Threads), "thread")
	if p.RSS != nil {
		head += ", " + size(*p.RSS) + " resident"
	}
	if k := &p.Sum; k.PSS != nil && p.Read == p.Total {
		head += ", " + size(*k.PSS) + " with shared pages counted once"
	} else if k.PSS != nil {
		head += ", " + size(*k.PSS) + " of those that could be read, with shared pages counted once"
	}
	if p.PageTables != nil {
		head += ", " + size(*p.PageTables) + " of page tables"
	}
	w.label("processes").wrap(plain, head, body, 2)
	w.purposes(e)
	if len(p.Largest) == 0 {
		return
	}
	const wide = 9
	whoWide := 21
	columns := []struct {
		name term.Text
		of   func(*event.MemoryKind) *uint64
	}{
		{"PSS", func(k *event.MemoryKind) *uint64 { return k.PSS }},
		{"HEAP", func(k *event.MemoryKind) *uint64 { return k.Heap }},
		{"STACK", func(k *event.MemoryKind) *uint64 { return k.Stack }},
		{"CODE", func(k *event.MemoryKind) *uint64 { return k.Libraries }},
		{"ANON", func(k *event.MemoryKind) *uint64 { return k.Anonymous }},
		{"FILES", func(k *event.MemoryKind) *uint64 { return k.Mapped }},
		{"SHARED", func(k *event.MemoryKind) *uint64 { return k.Shared }},
		{"SWAP", func(k *event.MemoryKind) *uint64 { return k.Swap }},
	}
	if value(p.Sum.Swap) == 0 {
		columns = columns[:len(columns)-1]
	} else {
		whoWide -= wide
	}
	l := w.label("largest").put(dim, "PROCESS").to(body + whoWide)
	for _, c := range columns {
		l.right(dim, c.name, wide)
	}
	l.end()
	for i := range p.Largest {
		one := &p.Largest[i]
		l := w.line().to(body).put(plain, process(&one.Process, whoWide)).to(body + whoWide)
		if one.PSS == nil {
			if one.RSS != nil {
				l.skip(2).put(dim, size(*one.RSS)+" resident")
			}
			l.end()
			continue
		}
		for _, c := range columns {
			t := term.Text("")
			if n := value(c.of(&one.MemoryKind)); n > 0 {
				t = size(n)
			}
			l.right(plain, t, wide)
		}
		l.end()
	}
	if more := p.Total - len(p.Largest); more > 0 {
		w.line().to(body).put(dim, "…and "+number(more)+" more").end()
	}
}

// purposes draws what the processes' memory is for, and holds it against what is
// charged to the cgroup.
func (w *Writer) purposes(e *event.Inspect) {
	k := &e.Processes.Sum
	if k.PSS == nil {
		return
	}
	for _, s := range []share{
		{name: "heap", bytes: value(k.Heap), remarks: []term.Text{"brk, and what allocators have named so"}},
		{name: "stack", bytes: value(k.Stack)},
		{name: "anonymous", bytes: value(k.Anonymous), remarks: []term.Text{"private memory without a name"}},
		{name: "code", bytes: value(k.Libraries), remarks: []term.Text{"programs and libraries, their data too"}},
		{name: "mapped files", bytes: value(k.Mapped)},
		{name: "shared memory", bytes: value(k.Shared), remarks: []term.Text{"tmpfs, memfd, System V"}},
		{name: "other", bytes: value(k.Other)},
	} {
		if s.bytes > 0 {
			w.bar("", s, *k.PSS)
		}
	}
	if k.Anon != nil && e.Memory.Anon != nil {
		t := "of anon, " + size(*k.Anon) + " is mapped by these processes and " + size(*e.Memory.Anon) + " is charged here"
		if e.Processes.Read < e.Processes.Total {
			t += "; " + number(e.Processes.Total-e.Processes.Read) + " could not be read"
		}
		w.line().to(body).wrap(dim, t, body, 2)
	}
}

func value(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// children lists the cgroups right below.
func (w *Writer) children(e *event.Inspect) {
	if len(e.Children) == 0 {
		return
	}
	name := term.Text("children")
	for i := range e.Children {
		c := &e.Children[i]
		path := c.Cgroup.Path
		if e.Cgroup != nil {
			path = strings.TrimPrefix(path, e.Cgroup.Path)
		}
		known := place(c.Container, &event.Cgroup{ID: c.Cgroup.ID, Path: path})
		s := share{name: term.Elide(known, 13), bytes: value(c.Usage)}
		if c.Limit != nil {
			s.remarks = append(s.remarks, "of "+size(*c.Limit))
		}
		if s.name != term.Clean(path) {
			s.remarks = append(s.remarks, term.Clean(path))
		}
		w.bar(name, s, value(e.Memory.Usage))
		name = ""
	}
	if o := e.ChildrenOther; o != nil {
		w.bar("", share{name: number(o.Cgroups) + " more", bytes: o.Usage}, value(e.Memory.Usage))
	}
}
