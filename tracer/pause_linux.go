package tracer

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oomtrace/oomtrace/bpf"
	"github.com/oomtrace/oomtrace/tracer/decode"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/hook"
)

const (
	// pauseSettles is how long nobody may wait before a pause is over: whoever is
	// woken tries again, and waits again when there is still no memory.
	pauseSettles = 200 * time.Millisecond
	// killFollows is how long the kill may take once the killer is on.
	killFollows = 2 * time.Second
	// pausePolled is how often under_oom is read where ends are not hooked.
	pausePolled = 20 * time.Millisecond
	// pauseLooked is how often tasks are looked at then, for others that wait.
	pauseLooked = time.Second
	// maxListeners bounds the cgroups whose notifications are listened to.
	maxListeners = 1024
)

// pauses are the cgroups in which tasks wait because the OOM killer is off.
type pauses struct {
	byDomain  map[uint64]*pause
	listeners map[uint64]*os.File
	called    atomic.Bool // a listener was told of something
	look      bool        // tasks are to be looked at
	looked    uint64      // when they were
	warned    bool
}

type pause struct {
	began, left uint64 // CLOCK_MONOTONIC; left is 0 while tasks wait
	wall        time.Time
	asleep      map[uint32]*sleeper
	waiters     map[uint32]*event.Waiter // by process, all that ever waited
	limit       uint64                   // pages, when it began
	usage, max  uint64                   // pages, of late
	killerOn    bool
	gone        bool // how it stood when it was over could not be read
	inferred    bool // told by looks, not hooks
	told        bool
}

// sleeper is a thread that waits.
type sleeper struct {
	tgid   uint32
	hooked bool // its end will be told
	seen   uint64
}

// pauseWay is how waits are seen, "" when they are not.
func (t *Tracer) pauseWay() string {
	for _, c := range t.session.Choices {
		if c.Family == FamilyOOM && c.Name == "pause" && c.Way != nil {
			return c.Way.Kind
		}
	}
	return ""
}

// beginPauses looks for tasks that wait already.
func (t *Tracer) beginPauses() {
	t.pauses.byDomain, t.pauses.listeners = make(map[uint64]*pause), make(map[uint64]*os.File)
	t.pauses.look = t.pauseWay() != ""
}

func (t *Tracer) endPauses() {
	for _, f := range t.pauses.listeners {
		f.Close()
	}
}

// waited takes a record of a wait.
func (t *Tracer) waited(r *bpf.CoreRecPause) {
	p := t.pauses.byDomain[r.Domain]
	since := cmp.Or(r.Since, r.Head.Time)
	state := bpf.CoreWaitState(r.State)
	if p == nil {
		if state == bpf.CoreWaitStateWAIT_ENDS || state == bpf.CoreWaitStateWAIT_KILLED {
			return
		}
		p = &pause{began: since, limit: r.Max, asleep: make(map[uint32]*sleeper), waiters: make(map[uint32]*event.Waiter)}
		p.inferred = state == bpf.CoreWaitStateWAIT_SEEN
		t.pauses.byDomain[r.Domain] = p
	}
	p.usage, p.max, p.killerOn = r.Usage, r.Max, r.KillerOff == 0
	w := p.waiters[r.Task.Tgid]
	if w == nil {
		w = &event.Waiter{Process: process((*bpf.CoreRecTask)(&r.Task))}
		if r.Since != 0 {
			p.began = min(p.began, r.Since)
			at := int64(r.Since)
			w.SinceNS = &at // made an offset when it is told
		}
		p.waiters[r.Task.Tgid] = w
	}
	switch state {
	case bpf.CoreWaitStateWAIT_KILLED:
		// The signal is told of after it has woken whom it is for.
		if p.left == 0 || r.Head.Time < p.left+uint64(pauseSettles) {
			by := t.names.actor((*bpf.CoreRecTask)(&r.Killer))
			w.KilledBy = &by
		}
		return
	case bpf.CoreWaitStateWAIT_ENDS:
		delete(p.asleep, r.Task.Tid)
		if len(p.asleep) == 0 {
			p.left = r.Head.Time
		}
		return
	}
	s := p.asleep[r.Task.Tid]
	if s == nil {
		s = &sleeper{tgid: r.Task.Tgid}
		p.asleep[r.Task.Tid] = s
	}
	s.hooked = s.hooked || state == bpf.CoreWaitStateWAIT_BEGINS
	s.seen, p.left = r.Head.Time, 0
}

// lookForWaiting looks at all tasks for those that wait.
func (t *Tracer) lookForWaiting(now uint64) {
	t.pauses.look, t.pauses.looked = false, now
	text, err := t.session.Look("waiting_tasks")
	if err == nil {
		var waits []*bpf.CoreRecPause
		waits, err = decode.Waits(text)
		for _, r := range waits {
			t.waited(r)
		}
	}
	if err != nil {
		t.opts.Warn("tasks that wait for memory: " + err.Error())
		return
	}
	for domain, p := range t.pauses.byDomain {
		for tid, s := range p.asleep {
			if !s.hooked && s.seen < now {
				delete(p.asleep, tid)
			}
		}
		if len(p.asleep) == 0 && p.left == 0 {
			p.left = now
			t.howItStands(domain, p)
		}
	}
}

// howItStands reads what has become of a cgroup in which nobody waits any more.
func (t *Tracer) howItStands(domain uint64, p *pause) {
	p.gone = true
	cg, ok := t.names.tree.Lookup(domain)
	if !ok {
		return
	}
	if c, err := t.mount.OOMControl(cg.Path); err == nil {
		p.killerOn, p.gone = !c.KillDisabled, false
	}
	if f, err := t.mount.Read(cg.Path); err == nil && f.Usage != nil {
		p.usage, p.max = *f.Usage/t.page, unknown
		if f.Limit != nil {
			p.max = *f.Limit / t.page
		}
	}
}

// listen asks to be told when a cgroup whose killer is off is out of memory.
func (t *Tracer) listen(id uint64) {
	if id == 0 || t.pauses.listeners[id] != nil || t.pauseWay() != hook.Eventfd {
		return
	}
	cg, ok := t.names.tree.Lookup(id)
	if !ok {
		return
	}
	if len(t.pauses.listeners) >= maxListeners {
		if !t.pauses.warned {
			t.pauses.warned = true
			t.opts.Warn("more cgroups with their OOM killer off run out of memory than are listened to: pauses of some may be missed")
		}
		return
	}
	f, err := t.mount.NotifyOOM(cg.Path)
	if err != nil {
		if t.names.tree.Alive(id) && !errors.Is(err, fs.ErrNotExist) { // else it was removed meanwhile
			t.opts.Warn("notifications of " + cg.Path + ": " + err.Error())
		}
		return
	}
	t.pauses.listeners[id] = f
	go func() {
		var count [8]byte
		for {
			if _, err := f.Read(count[:]); err != nil {
				return // closed
			}
			t.pauses.called.Store(true)
			_ = t.reader.Flush()
		}
	}()
}

// hangUp closes listeners that are of no more use.
func (t *Tracer) hangUp() {
	for id, f := range t.pauses.listeners {
		cg, ok := t.names.tree.Lookup(id)
		if ok && t.names.tree.Alive(id) {
			if c, err := t.mount.OOMControl(cg.Path); err == nil && (c.KillDisabled || c.UnderOOM) {
				continue
			}
		}
		f.Close()
		delete(t.pauses.listeners, id)
	}
}

// settlePauses tells of pauses that have begun and ended. It returns when it
// wants to be called again, 0 for no particular time.
func (t *Tracer) settlePauses(now uint64) (uint64, error) {
	if t.pauses.called.Swap(false) {
		t.pauses.look = true
	}
	var next uint64
	soon := func(at uint64) {
		if next == 0 || at < next {
			next = at
		}
	}
	for domain, p := range t.pauses.byDomain {
		if p.left != 0 || !slices.ContainsFunc(sortedKeys(p.asleep), func(tid uint32) bool { return !p.asleep[tid].hooked }) {
			continue
		}
		over := now >= t.pauses.looked+uint64(pauseLooked)
		if cg, ok := t.names.tree.Lookup(domain); ok && !over {
			c, err := t.mount.OOMControl(cg.Path)
			over = err != nil || !c.UnderOOM
		}
		t.pauses.look = t.pauses.look || over
		soon(now + uint64(pausePolled))
	}
	if t.pauses.look {
		t.lookForWaiting(t.clock.now())
		t.hangUp()
	}
	for _, domain := range sortedKeys(t.pauses.byDomain) {
		p := t.pauses.byDomain[domain]
		if !p.told {
			p.told, p.wall = true, t.clock.wall(p.began)
			if err := t.tellPause(domain, p, event.PauseBegin); err != nil {
				return 0, err
			}
		}
		if p.left == 0 {
			continue
		}
		settles := pauseSettles
		if p.killerOn && t.killedSince(domain, p.began) == "" {
			settles = killFollows
		}
		if at := p.left + uint64(settles); now < at {
			soon(at)
			continue
		}
		delete(t.pauses.byDomain, domain)
		if err := t.tellPause(domain, p, event.PauseEnd); err != nil {
			return 0, err
		}
	}
	return next, nil
}

func (t *Tracer) tellPause(domain uint64, p *pause, state string) error {
	if !t.selected(domain) {
		return nil
	}
	e := &event.OOMPause{Meta: event.Meta{Type: event.TypeOOMPause, Time: p.wall}, State: state, Source: event.SourceBPF}
	if p.inferred {
		e.Source = event.SourceCgroupfs
	}
	if cg, c := t.names.cgroup(domain); cg != nil {
		e.Cgroup, e.Container = *cg, c
	}
	bytes := func(pages uint64) *uint64 {
		if pages == unknown || t.noLimit(pages) {
			return nil
		}
		v := pages * t.page
		return &v
	}
	e.Usage, e.Limit = bytes(p.usage), bytes(p.max)
	for _, tgid := range sortedKeys(p.waiters) {
		w := *p.waiters[tgid]
		if v, ok := t.victims[tgid]; ok && w.KilledBy != nil {
			w.KilledBy, e.Incident = nil, v.incident // by the OOM killer
		}
		if w.SinceNS != nil {
			since := *w.SinceNS - int64(p.began)
			w.SinceNS = &since
		}
		e.Processes = append(e.Processes, w)
	}
	if state == event.PauseEnd {
		duration := int64(p.left - p.began)
		e.DurationNS, e.Ended = &duration, p.ended()
		e.Incident = cmp.Or(e.Incident, t.killedSince(domain, p.began))
	}
	return t.emit(e)
}

// ended tells how a pause ended, as far as that can be seen.
func (p *pause) ended() string {
	killed := false
	for _, w := range p.waiters {
		killed = killed || w.KilledBy != nil
	}
	switch {
	case p.killerOn:
		return event.PauseKillerEnabled
	case p.max > p.limit:
		return event.PauseLimitRaised
	case killed:
		return event.PauseKilled
	case p.gone:
		return ""
	}
	// Nothing else wakes whoever waits than memory that is given back, and by now
	// it may be in use again.
	return event.PauseMemoryFreed
}

// killedSince names the kill for a cgroup's limit since a moment, "" when there
// was none.
func (t *Tracer) killedSince(domain, since uint64) string {
	if k := t.lastKills[domain]; k.at >= since {
		return k.name
	}
	return ""
}

// lastKill is the latest incident of a domain.
type lastKill struct {
	name string
	at   uint64
}

// victimOf says in which incident a process was killed.
type victimOf struct {
	incident string
	foreign  bool
}

func (t *Tracer) remember(domain uint64, in *incident) {
	if t.lastKills == nil || len(t.lastKills) >= 4096 {
		t.lastKills = make(map[uint64]lastKill)
	}
	t.lastKills[domain] = lastKill{in.name(), in.first.Head.Time}
	if t.victims == nil || len(t.victims) >= 4096 {
		t.victims = make(map[uint32]victimOf)
	}
	for tgid := range in.tgids {
		t.victims[tgid] = victimOf{in.name(), in.foreign}
	}
}
