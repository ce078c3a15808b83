// Package report tells the story of one OOM kill: what a capture or a kernel log
// holds about it, put together and rendered as text, Markdown, JSON, or one
// self-contained HTML page.
//
// A Story is made of facts alone. What the input does not hold is absent from
// it, and renderers leave it out or say that it is not known. The same input
// gives the same bytes, whenever and wherever it is rendered.
package report

import (
	"time"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Schema is the version of the JSON form of a Story (docs/report.md).
const Schema = 1

// Where a story comes from.
const (
	FromCapture = "capture"
	FromLog     = "kernel_log"
)

// Story is all that is known of one incident. Offsets are nanoseconds from the
// moment the victim was marked; earlier ones are negative.
type Story struct {
	Type     string `json:"type"` // report
	Schema   int    `json:"schema"`
	Incident string `json:"incident"`
	From     string `json:"from"`
	// Title and Lines are the story in words.
	Title  Text   `json:"title"`
	Lines  []Text `json:"story"`
	Advice []Text `json:"advice,omitempty"`

	// Header is the last of the capture before the kill; nil for a log.
	Header *event.Header  `json:"header,omitempty"`
	Kill   *event.OOMKill `json:"kill"`
	End    *event.OOMEnd  `json:"end,omitempty"`

	// Window is the time that the rest is about; nil when the input holds nothing
	// but the kill.
	Window *Window   `json:"window,omitempty"`
	Memory []*Course `json:"memory,omitempty"` // the domain's first
	// CgroupsLeft is how many further cgroups there were.
	CgroupsLeft int       `json:"cgroups_left_out,omitempty"`
	Stalls      *Stalls   `json:"stalls,omitempty"`
	Cache       *Traffic  `json:"cache,omitempty"`
	Stacks      []Stack   `json:"stacks,omitempty"`
	Timeline    []Moment  `json:"timeline"`
	Log         []LogLine `json:"kernel_log,omitempty"`

	// LogLeft is how many further lines of the log there were.
	LogLeft int `json:"kernel_log_left_out,omitempty"`

	Others []Other       `json:"other_kills,omitempty"`
	Lost   []*event.Lost `json:"lost,omitempty"` // in the window, and what a full memory of this program left out
	// Unread counts pieces of the input that could not be read until the story
	// was complete.
	Unread int `json:"unread,omitempty"`
}

// Window is the stretch of time around the kill that the story looks at.
type Window struct {
	FromNS int64 `json:"from_ns"`
	ToNS   int64 `json:"to_ns"`
	// StallsFromNS is where the stalls begin, when there were more of them than
	// are kept.
	StallsFromNS *int64 `json:"stalls_from_ns,omitempty"`
}

// Course is the memory of one cgroup over the window.
type Course struct {
	Cgroup    event.Cgroup     `json:"cgroup"`
	Container *event.Container `json:"container,omitempty"`
	// Role is domain (whose limit fired), victim (where the victim lived), below
	// (elsewhere under that limit) or node (any, when the node ran out).
	Role    string   `json:"role"`
	Samples []Sample `json:"samples"`
}

// Roles of cgroups in a story.
const (
	RoleDomain = "domain"
	RoleVictim = "victim"
	RoleBelow  = "below"
	RoleNode   = "node"
)

// Sample is a composition at one moment.
type Sample struct {
	OffsetNS int64         `json:"offset_ns"`
	Memory   event.Figures `json:"memory"`
}

// Stalls sums up reclaim and throttling in the window: of tasks in the domain
// and of reclaim that shrank it.
type Stalls struct {
	Episodes  uint64  `json:"episodes"`
	StalledNS int64   `json:"stalled_ns"`
	Reclaimed uint64  `json:"reclaimed_pages"`
	Kinds     []Kind  `json:"kinds"`
	Sufferers []Who   `json:"sufferers"` // whose tasks stalled, longest first
	WidthNS   int64   `json:"column_ns"` // of one column of the map
	Cells     []Cell  `json:"cells"`     // by column, then row
	Longest   *Moment `json:"longest,omitempty"`
	longest   int64
	// Counted is what the kernel counted meanwhile; all the rest is of stalls that
	// have events of their own. nil: the input has no such counts.
	Counted *Counted `json:"counted,omitempty"`
}

// Counted sums up stalls events, whose intervals lie in the window.
type Counted struct {
	Episodes  uint64 `json:"episodes"`
	StalledNS int64  `json:"stalled_ns"`
}

// Kind is stalls by their reason.
type Kind struct {
	Kind      string `json:"kind"`
	Episodes  uint64 `json:"episodes"`
	StalledNS int64  `json:"stalled_ns"`
}

// Who is stalls by the cgroup of the stalled tasks.
type Who struct {
	Cgroup    *event.Cgroup    `json:"cgroup,omitempty"`
	Container *event.Container `json:"container,omitempty"`
	Episodes  uint64           `json:"episodes"`
	StalledNS int64            `json:"stalled_ns"`
}

// Cell counts the stalls that began in one column of time and lasted between two
// bounds.
type Cell struct {
	OffsetNS  int64  `json:"offset_ns"` // where its column begins
	FromNS    int64  `json:"from_ns"`   // lasted at least so long
	Episodes  uint64 `json:"episodes"`
	StalledNS int64  `json:"stalled_ns"`
	row, col  int
}

// Traffic is page cache that came and went in the window.
type Traffic struct {
	// Source is cache (all of it, counted in intervals) or reclaim (what the told
	// episodes pushed out, a part).
	Source    string  `json:"source"`
	Added     uint64  `json:"added_pages,omitempty"`
	Evicted   uint64  `json:"evicted_pages"`
	Refaulted *uint64 `json:"refaulted_pages,omitempty"`
	// Reparented is how much of what was pushed out had been that of cgroups that
	// were removed: the kernel (7.1) had given it to their parents.
	Reparented uint64     `json:"reparented_pages,omitempty"`
	Pairs      []Eviction `json:"evictions"` // most pages first
	// OtherPages were pushed out in pairs beyond those.
	OtherPages uint64        `json:"evictions_other_pages,omitempty"`
	Files      []EvictedFile `json:"files,omitempty"` // most evicted first
}

// Eviction is page cache of one owner pushed out by one other, or itself.
type Eviction struct {
	By    Party  `json:"by"`
	Owner Party  `json:"owner"`
	Pages uint64 `json:"pages"`
	// Reparented are those of Pages that had been a removed cgroup's, below Owner.
	Reparented uint64 `json:"reparented_pages,omitempty"`
}

// Party is a side of an eviction: kswapd, a cgroup, or neither, when the pages
// were charged to no cgroup or the task is not known.
type Party struct {
	Kswapd    bool             `json:"kswapd,omitempty"`
	Cgroup    *event.Cgroup    `json:"cgroup,omitempty"`
	Container *event.Container `json:"container,omitempty"`
}

// EvictedFile is what of a file was pushed out.
type EvictedFile struct {
	event.File
	Evicted uint64 `json:"evicted_pages"`
	Added   uint64 `json:"added_pages,omitempty"`
}

// Stack is a kernel stack, innermost first.
type Stack struct {
	Of        string   `json:"of"` // trigger, stalls, or faults: sampled page faults of user code
	Frames    []string `json:"frames"`
	Episodes  uint64   `json:"episodes,omitempty"`
	StalledNS int64    `json:"stalled_ns,omitempty"`
	// Bytes estimates what the faults brought in, for processes of the name Comm.
	Bytes uint64 `json:"estimated_bytes,omitempty"`
	Comm  string `json:"comm,omitempty"`
}

// Moment is something that happened at an offset.
type Moment struct {
	OffsetNS int64 `json:"offset_ns"`
	Text     Text  `json:"text"`
	mark     bool  // the kill itself
}

// LogLine is a line of the kernel's log.
type LogLine struct {
	Time  *time.Time `json:"time,omitempty"`
	Level string     `json:"level,omitempty"`
	Text  string     `json:"text"`
	nth   uint64
}

// Other is another kill in the window.
type Other struct {
	OffsetNS int64         `json:"offset_ns"`
	Incident string        `json:"incident"`
	Victim   event.Actor   `json:"victim"`
	Domain   *event.Cgroup `json:"domain,omitempty"`
	// Container is what the domain stands for.
	Container *event.Container `json:"domain_container,omitempty"`
}
