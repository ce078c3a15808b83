package oom

import (
	"fmt"
	"strings"
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// blind is what is left when nothing tells what the memory consisted of.
func blind(c *Case) *finding {
	f := &finding{cause: event.CauseUnknown, confidence: event.ConfidenceLow}
	if c.Kill.Domain.Constraint == "" {
		f.say("Neither what ran out nor what the memory consisted of is known.")
		f.remedy = "To do: the kernel writes ten reports in five seconds at most, of further kills one line; look further up in the log, or trace."
		return f
	}
	f.say("What the memory consisted of at the kill is not known.")
	f.remedy = "To do: watch the next run (`oomtrace -e oom,memory`)."
	return f
}

// lowered: the limit was set below what was in use.
func lowered(c *Case, k *kinds) *finding {
	e := c.Kill
	need := k.usage - min(k.cache-k.pinned, k.usage)
	outside := e.Trigger.InvokedBy == event.InvokedByLimitWrite || e.Trigger.InvokedBy == "" && e.Trigger.Cgroup != nil && e.Domain.Cgroup != nil && e.Trigger.Cgroup.Path != "" && e.Domain.Cgroup.Path != "" &&
		e.Trigger.Cgroup.Path != e.Domain.Cgroup.Path && !event.Below(e.Trigger.Cgroup.Path, e.Domain.Cgroup.Path)
	if k.limit == 0 || !outside || k.usage <= k.limit+k.limit/64 {
		return nil
	}
	f := &finding{cause: event.CauseLimitTooSmall, confidence: event.ConfidenceHigh}
	f.say(fmt.Sprintf("The limit was lowered to %s by %s while %s were in use.", size(k.limit), who(&e.Trigger.Process), size(k.usage)))
	f.remedy = fmt.Sprintf("To do: what was there needs a limit of at least %s.", size(need))
	return f
}

// tmpfs: files in memory and shared memory are the largest part.
func tmpfs(c *Case, k *kinds) *finding {
	confidence, ok := k.most(k.shmem)
	if !ok || !k.whole {
		return nil
	}
	if anonymousGrew(c, k) {
		return nil
	}
	if !k.split {
		confidence = lessSure(confidence)
	}
	f := &finding{cause: event.CauseTmpfs, confidence: unwatched(c, k, confidence)}
	f.say(fmt.Sprintf("Files in a tmpfs or shared memory are %s of the %s in use (%s). They count as cache but live nowhere else: without swap they cannot be taken back.",
		size(k.shmem), size(k.usage), percent(k.shmem, k.usage)))
	if mapped, ok := c.resident(func(t *event.TaskMemory) *uint64 { return t.ShmemRSS }); ok {
		switch {
		case mapped < k.shmem/4:
			f.say("Processes have " + size(mapped) + " of it mapped: most are plain files (/dev/shm, /tmp, an emptyDir of medium Memory), and killing a process frees none of them.")
		default:
			f.say("Processes have " + size(mapped) + " of it mapped, each counted: POSIX or System V shared memory, or memfds.")
		}
	}
	f.growth(c, k)
	f.remedy = "To do: find who writes there (du on the tmpfs mounts of the container, ipcs -m), bound it with the size option of the mount or sizeLimit, or raise the limit by what it is meant to hold."
	return f
}

// kernelMemory: what the kernel holds on behalf of the processes is the largest
// part. The evidence says what.
func kernelMemory(c *Case, k *kinds) *finding {
	confidence, ok := k.most(k.kernel)
	if !ok || anonymousOutgrew(c, k) {
		return nil
	}
	f := &finding{cause: event.CauseKernelMemory, confidence: unwatched(c, k, confidence)}
	f.say(fmt.Sprintf("The kernel's own memory on behalf of these processes is %s of the %s in use (%s).", size(k.kernel), size(k.usage), percent(k.kernel, k.usage)))
	parts, estimated := c.kernelParts()
	rest := k.kernel
	var top part
	var names []string
	for _, p := range parts {
		rest -= min(p.bytes, rest)
		if p.bytes > top.bytes {
			top = p
		}
		if p.bytes >= k.kernel/20 {
			names = append(names, p.name+" "+size(p.bytes))
		}
	}
	if rest > k.kernel/10 {
		other := part{"other", rest}
		if estimated {
			other.name = partUnsplit
			if c.threads() > 0 {
				other.name = partUnstacked
			}
		}
		names = append(names, other.name+" "+size(rest))
		if rest > top.bytes {
			top = other
		}
	}
	if len(names) > 0 {
		s := "Of it: " + strings.Join(names, ", ") + "."
		if estimated {
			s += " (Cgroup v1 does not split it: page tables are those of the processes, stacks reckoned from the number of threads where it is known.)"
		}
		f.say(s)
	}
	f.growth(c, k)
	f.remedy = "To do: " + kernelRemedy(top.name, c)
	return f
}

const (
	partSlab        = "slab"
	partReclaimable = "reclaimable slab"
	partPageTables  = "page tables"
	partStacks      = "kernel stacks"
	partSockets     = "sockets"
	partPercpu      = "per-CPU memory"
	partUnstacked   = "slab and other"
	partUnsplit     = "slab, stacks and other"
)

// kernelParts splits the kernel's memory. Cgroup version 1 does not: there page
// tables are added up over the processes, and stacks reckoned from the threads.
func (c *Case) kernelParts() (parts []part, estimated bool) {
	m := c.Kill.Domain.Memory
	add := func(name string, v *uint64) {
		if v != nil {
			parts = append(parts, part{name, *v})
		}
	}
	add(partSlab, m.SlabUnreclaimable)
	add(partReclaimable, m.SlabReclaimable)
	add(partPageTables, m.PageTables)
	add(partStacks, m.KernelStack)
	add(partPercpu, m.Percpu)
	add(partSockets, m.Sock)
	if m.PageTables == nil {
		if sum, ok := c.resident(func(t *event.TaskMemory) *uint64 { return t.PageTables }); ok {
			estimated = true
			add(partPageTables, &sum)
		}
	}
	if n := c.threads(); m.KernelStack == nil && n > 0 {
		estimated = true
		bytes := n * max(16<<10, c.PageBytes)
		add(partStacks, &bytes)
	}
	return parts, estimated
}

// threads is how many there were when they were counted last, 0 for never.
func (c *Case) threads() uint64 {
	for i := len(c.Window) - 1; i >= 0; i-- {
		if n := c.Window[i].Threads; n > 0 {
			return n
		}
	}
	return 0
}

func kernelRemedy(top string, c *Case) string {
	switch top {
	case partPageTables:
		s := "page tables grow with the address space that is touched, not with what it holds"
		if v := &c.Kill.Victim; v.PageTables != nil && v.TotalVM != nil {
			s += fmt.Sprintf(" (%s has %s of them for %s of address space)", who(&v.Process), size(*v.PageTables), size(*v.TotalVM))
		}
		return s + "; map less, share mappings, or use huge pages."
	case partStacks:
		s := "each thread has a kernel stack of 16 KiB and more"
		if n := c.threads(); n > 0 {
			s = fmt.Sprintf("there were %d threads, and each has a kernel stack of 16 KiB and more", n)
		}
		return s + "; look for threads or processes that pile up, and bound them (pids.max, a pool)."
	case partSockets:
		return "data waits in socket buffers: look for peers that do not read (ss -tm), many connections, or large buffers."
	case partSlab, partReclaimable, partUnstacked:
		return "slab holds inodes, dentries, open files, pipes and sockets: look for files, above all in a tmpfs, or descriptors that pile up (slabtop, ls /proc/PID/fd)."
	case partPercpu:
		return "per-CPU memory goes with cgroups and BPF maps: look for many of them below this cgroup."
	}
	return "look for many threads (ls /proc/PID/task), for files that pile up, above all in a tmpfs, and for what is open: pipes, sockets, BPF maps (ls -l /proc/PID/fd)."
}

// pinnedCache: page cache is the largest part, or large, and could not be dropped.
func pinnedCache(c *Case, k *kinds) *finding {
	confidence, ok := k.most(k.cache)
	if k.pinned < k.usage/4 || k.pinned < k.cache/2 || !ok && k.pinned < k.anon || anonymousOutgrew(c, k) {
		return nil
	}
	if !ok {
		confidence = event.ConfidenceMedium
	}
	f := &finding{cause: event.CausePageCachePinned, confidence: unwatched(c, k, confidence)}
	f.say(fmt.Sprintf("Page cache of %s was there, of %s in use, but %s of it could not be dropped.", size(k.cache), size(k.usage), size(k.pinned)))
	f.growth(c, k)
	if k.locked >= k.pinned/2 {
		f.remedy = "To do: look for mlock and mlockall (VmLck in /proc/PID/status) and for ramfs; RLIMIT_MEMLOCK bounds the former. What is locked must fit below the limit."
	} else {
		f.remedy = "To do: it is written faster than the disk takes it. Write less at once (fsync or sync_file_range from time to time, direct I/O), a faster disk, or a limit that holds what is on its way."
	}
	return f
}

// why names what pins page cache.
func (k *kinds) why() string {
	var s []string
	for _, p := range []part{{"dirty", k.dirty}, {"under writeback", k.writeback}, {"locked or unevictable", k.locked}} {
		if p.bytes > 0 && p.bytes >= k.pinned/20 {
			s = append(s, size(p.bytes)+" "+p.name)
		}
	}
	return strings.Join(s, ", ")
}

// idleCache: page cache is the largest part, and nothing says why reclaim left it.
func idleCache(c *Case, k *kinds) *finding {
	if _, ok := k.most(k.cache); !ok || anonymousOutgrew(c, k) {
		return nil
	}
	f := &finding{cause: event.CauseUnknown, confidence: event.ConfidenceLow}
	f.say(fmt.Sprintf("Page cache is %s of the %s in use, and the figures do not say why reclaim could not take it: it may have been in use, protected by memory.min or memory.low, or become dirty since.", size(k.cache), size(k.usage)))
	return f
}

// unheld: most of the memory is anonymous or tmpfs and no process's, and there was
// no reading before to tell which.
func unheld(_ *Case, k *kinds) *finding {
	if k.unheld <= k.usage/2 {
		return nil
	}
	f := &finding{cause: event.CauseUnknown, confidence: event.ConfidenceLow}
	f.say(fmt.Sprintf("%s of the %s in use (%s) are no page cache, and no process that was weighed holds them: files in a tmpfs or shared memory, or what a process leaves that is exiting.",
		size(k.unheld), size(k.usage), percent(k.unheld, k.usage)))
	f.remedy = "To do: see what the tmpfs mounts of the container hold (du, ipcs -m), and whether it was killed moments before."
	return f
}

// anonymous says how much of the domain is anonymous memory, and whose.
func anonymous(c *Case, k *kinds) string {
	name := "Anonymous memory (heaps and stacks of the processes)"
	if !k.whole {
		name = "Anonymous memory, or files in a tmpfs (the figures do not tell them apart),"
	}
	s := fmt.Sprintf("%s is %s of the %s in use (%s)", name, size(k.anon), size(k.usage), percent(k.anon, k.usage))
	v := &c.Kill.Victim
	if v.AnonRSS != nil && k.whole && k.anon > 0 {
		s += fmt.Sprintf("; %s held %s", who(&v.Process), size(*v.AnonRSS))
	}
	s += "."
	if k.shmem > k.usage/4 {
		s += " Files in a tmpfs or shared memory hold another " + size(k.shmem) + ", most of which was there before."
	}
	return s
}

// matters tells whether it is anonymous memory that ran the domain out.
func matters(c *Case, k *kinds) bool {
	_, most := k.most(k.anon)
	return most || anonymousGrew(c, k)
}

// leak: anonymous memory is the largest part, and need grew all the time until
// the limit.
func leak(c *Case, k *kinds) *finding {
	w := courseOf(c)
	if !matters(c, k) || w == nil || w.sum.Shape != event.ShapeSteady || w.grew < time.Second || !k.whole {
		return nil
	}
	f := &finding{cause: event.CauseLeak, confidence: event.ConfidenceLow}
	switch {
	case w.grew >= loading, w.grew >= time.Minute && c.age() > 2*w.grew:
		f.confidence = event.ConfidenceHigh
	case w.grew >= 5*time.Second:
		f.confidence = event.ConfidenceMedium
	}
	grown := w.sum.NeedLast - min(w.level, w.sum.NeedLast)
	perSecond := float64(grown) / w.grew.Seconds()
	f.say(fmt.Sprintf("What reclaim cannot take grew from %s to %s in the last %s, %s, without a pause.", size(w.level), size(w.sum.NeedLast), span(w.grew), rate(perSecond)))
	f.say(anonymous(c, k))
	switch {
	case f.confidence == event.ConfidenceHigh:
	case w.grew < time.Minute:
		f.say("Over so short a time a start-up that needs more than the limit looks the same.")
	default:
		f.say("A program that loads what it works on looks the same for so long.")
	}
	f.remedy = fmt.Sprintf("To do: look for what the process keeps (a heap profile); raising the limit only puts it off: at this pace another %s last %s.",
		size(k.usage), span(time.Duration(float64(k.usage)/max(perSecond, 1)*float64(time.Second))))
	return f
}

// burst: need was level for long, then rose to the limit within a moment.
func burst(c *Case, k *kinds) *finding {
	w := courseOf(c)
	if !matters(c, k) || w == nil || w.sum.Shape != event.ShapeBurst {
		return nil
	}
	f := &finding{cause: event.CauseLimitTooSmall, confidence: event.ConfidenceMedium}
	level := time.Duration(w.sum.SpanNS) - w.grew
	f.say(fmt.Sprintf("What reclaim cannot take was about %s for %s, then rose to %s within %s: a burst that the limit has no room for.",
		size(w.level), span(level), size(w.sum.NeedLast), span(w.grew)))
	f.say(anonymous(c, k))
	f.thrash(c, k, w)
	f.remedy = fmt.Sprintf("To do: raise the limit above %s, or make the burst smaller (batch size, number of workers). How far it would have gone cannot be told: it was killed on the way.", size(max(k.limit, k.usage)))
	return f
}

// tooSmall: anonymous memory fills the limit, and its course is not known or does
// not speak for a leak.
func tooSmall(c *Case, k *kinds) *finding {
	if !matters(c, k) {
		return nil
	}
	f := &finding{cause: event.CauseLimitTooSmall, confidence: event.ConfidenceLow}
	f.say(anonymous(c, k))
	w := courseOf(c)
	age := c.age()
	switch {
	case w != nil && w.sum.Shape == event.ShapeLevel:
		f.confidence = event.ConfidenceMedium
		f.say(fmt.Sprintf("It did not grow by much: %s were needed already %s before.", size(w.level), span(time.Duration(w.sum.SpanNS))))
		f.remedy = fmt.Sprintf("To do: raise the limit above %s: so much is its ordinary need.", size(max(k.limit, k.usage)))
	case age > 0 && age < storming:
		f.confidence = event.ConfidenceMedium
		f.say(fmt.Sprintf("The victim had been started only %s before.", span(age)))
		f.remedy = fmt.Sprintf("To do: raise the limit above %s if the program is meant to need that much from its start. How much it would have taken cannot be told: it was killed on the way.", size(max(k.limit, k.usage)))
	default:
		f.say("Whether it had grown for long, as a leak does, cannot be told: there are no readings from before.")
		if w != nil {
			f.evidence[len(f.evidence)-1] = fmt.Sprintf("Whether it is a leak cannot be told from its course: %s were needed %s before, %s at the kill.",
				size(w.sum.NeedFirst), span(time.Duration(w.sum.SpanNS)), size(w.sum.NeedLast))
		}
		f.remedy = "To do: watch it from its next start (`oomtrace -e oom,memory`): steady growth is a leak, a level near the limit a limit that is too small."
	}
	f.thrash(c, k, w)
	return f
}

// age is how old the victim was, 0 where that is not known.
func (c *Case) age() time.Duration {
	start := c.Kill.Victim.StartTimeNS
	if c.SinceBoot == 0 || start == 0 || int64(c.SinceBoot) < start {
		return 0
	}
	return c.SinceBoot - time.Duration(start)
}

// thrash adds that page cache was evicted and read again: the working set does
// not fit below the limit even without what grew.
func (f *finding) thrash(c *Case, k *kinds, w *course) {
	if w == nil || w.sum.Refaulted == nil || c.PageBytes == 0 {
		return
	}
	if again := *w.sum.Refaulted * c.PageBytes; again >= k.usage/2 {
		f.say(fmt.Sprintf("%s of page cache were evicted and read again in the last %s: the files in use did not fit below the limit either.", size(again), span(time.Duration(w.sum.SpanNS))))
	}
}

// unwatched is how sure a cause other than anonymous memory is, where there is
// much of that too and no reading says which of them grew.
func unwatched(c *Case, k *kinds, confidence string) string {
	if confidence == event.ConfidenceHigh && len(c.Window) == 0 && k.anon >= k.usage/4 {
		return event.ConfidenceMedium
	}
	return confidence
}

// growth adds how the need has grown, where that is known.
func (f *finding) growth(c *Case, k *kinds) {
	w := courseOf(c)
	if len(c.Window) == 0 && k.anon >= k.usage/4 {
		f.say("Anonymous memory is another " + size(k.anon) + ": which of them grew cannot be told, there are no readings from before.")
	}
	if w == nil || w.grew == 0 {
		return
	}
	f.say(fmt.Sprintf("What reclaim cannot take grew from %s to %s in the last %s.", size(w.level), size(w.sum.NeedLast), span(w.grew)))
}

// reclaim says what reclaim did before, and what it had left.
func reclaim(c *Case, k *kinds) []string {
	before := ""
	if r := c.Kill.ReclaimBefore; r != nil && r.Episodes > 0 {
		before = fmt.Sprintf("In the last %s tasks reclaimed %s and lost %s to it", span(time.Duration(r.WindowNS)), times(r.Episodes), span(time.Duration(r.StalledNS)))
		if c.PageBytes > 0 {
			before += "; " + size(r.Reclaimed*c.PageBytes) + " were freed"
		}
		before += ". "
	}
	idle, little := k.cache-k.pinned, max(k.usage/20, 512<<10)
	switch {
	case idle < little && k.pinned < little:
		return []string{before + "Reclaim had nothing left to take: " + size(k.cache) + " of page cache remained."}
	case k.pinned >= idle:
		return []string{before + "Page cache was there, but not to be had: " + k.why() + "."}
	}
	return []string{before + size(k.cache) + " of page cache remained."}
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
