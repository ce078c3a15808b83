package tracer

import (
	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
)

// Examination is what this machine allows.
type Examination struct {
	Kernel, Arch string
	BTF          string // why there is none, "" when there is
	Lockdown     string // the mode, "" when off or not to be told
	Cgroup       cgroup.Mount
	CgroupErr    string
	Capabilities []Capability
	Runtimes     []container.Found // where container runtimes keep their state
	Purposes     []PurposeState
	Advice       []string
}

// PurposeState says how one purpose of a family is served.
type PurposeState struct {
	Family, Name string
	Open         bool
	Kind, Hook   string   // the way that was taken
	Passed       []string // why better ways were not
	Without      string   // what is lost when it is not open; "" when the family is
}

// Capability is a privilege, whether this process has it, and what for.
type Capability struct {
	Name string
	Have bool
	For  string
	// Required: without it nothing can be traced.
	Required bool
}
