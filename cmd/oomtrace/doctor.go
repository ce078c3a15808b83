package main

import (
	"context"
	"slices"

	"github.com/spf13/pflag"

	"github.com/oomtrace/oomtrace/tracer"
)

const doctorHelp = `Tells what this kernel and these privileges allow: every hook, how it is attached or why not,
what is lost without it, and what to do about it.

usage: oomtrace doctor [flags]

exit status: 0 when the families that are traced by default can be; 3 when not.
`

func doctor(_ context.Context, e *env, args []string) error {
	var c common
	fs := pflag.NewFlagSet("oomtrace doctor", pflag.ContinueOnError)
	c.add(fs)
	switch wantsHelp, err := parse(fs, args); {
	case err != nil:
		return err
	case wantsHelp:
		return e.showHelp(doctorHelp, fs)
	}
	if err := nothingLeft(fs); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	d := diagnose(e.examine(c.options()))
	d.Limits = limits(c.procRoot)
	var err error
	if c.output == outputJSON {
		err = e.print(d.json())
	} else {
		columns, _ := terminalWidth(e.stdout)
		err = e.print(d.text(columns))
	}
	if err != nil {
		return err
	}
	return d.verdict()
}

// diagnosis is what doctor tells; its JSON names are a contract.
type diagnosis struct {
	Kernel       string       `json:"kernel,omitempty"`
	Arch         string       `json:"arch,omitempty"`
	Version      string       `json:"version"`
	BTF          bool         `json:"btf"`
	BTFError     string       `json:"btf_error,omitempty"`
	Lockdown     string       `json:"lockdown,omitempty"`
	Cgroup       *cgroupMount `json:"cgroup,omitempty"`
	CgroupError  string       `json:"cgroup_error,omitempty"`
	Capabilities []capability `json:"capabilities"`
	Limits       []limit      `json:"limits"`
	Runtimes     []found      `json:"runtimes"`
	Hooks        []hookState  `json:"hooks"`
	Families     []family     `json:"families"`
	Advice       []string     `json:"advice"`
}

type cgroupMount struct {
	Version int    `json:"version"`
	Root    string `json:"root"`
	Partial bool   `json:"partial,omitempty"` // of a cgroup namespace: the rest cannot be seen
}

type capability struct {
	Name     string `json:"name"`
	Have     bool   `json:"have"`
	Required bool   `json:"required"`
	For      string `json:"for"`
}

// found is a directory with a container runtime's state.
type found struct {
	Runtime    string `json:"runtime"`
	Dir        string `json:"dir"`
	Containers *int   `json:"containers,omitempty"` // that it keeps there, running or not
	Error      string `json:"error,omitempty"`
}

type hookState struct {
	Family  string   `json:"family"`
	Purpose string   `json:"purpose"`
	Open    bool     `json:"open"`
	Kind    string   `json:"kind,omitempty"`
	Hook    string   `json:"hook,omitempty"`
	Passed  []string `json:"passed,omitempty"`  // why better ways were not taken
	Without string   `json:"without,omitempty"` // what is lost when it is not open
}

// family is the conclusion for one family of events.
type family struct {
	Family  string   `json:"family"`
	Default bool     `json:"default"`
	Works   bool     `json:"works"`
	Nothing bool     `json:"nothing,omitempty"` // this host has nothing of the kind
	Kinds   []string `json:"kinds,omitempty"`
	Without []string `json:"without,omitempty"` // what it does without
	Reasons []string `json:"reasons,omitempty"` // why it does not work
}

func diagnose(x *tracer.Examination) *diagnosis {
	d := &diagnosis{
		Kernel: x.Kernel, Arch: x.Arch, Version: version(), BTF: x.BTF == "", BTFError: x.BTF, Lockdown: x.Lockdown,
		CgroupError: x.CgroupErr, Capabilities: []capability{}, Runtimes: []found{}, Hooks: []hookState{}, Advice: x.Advice,
	}
	if d.Advice == nil {
		d.Advice = []string{}
	}
	if x.Cgroup.Version != 0 {
		d.Cgroup = &cgroupMount{x.Cgroup.Version, x.Cgroup.Root, x.Cgroup.Partial}
	}
	for _, c := range x.Capabilities {
		d.Capabilities = append(d.Capabilities, capability{c.Name, c.Have, c.Required, c.For})
	}
	for _, r := range x.Runtimes {
		d.Runtimes = append(d.Runtimes, found{r.Runtime, r.Dir, r.Containers, r.Err})
	}
	for _, p := range x.Purposes {
		d.Hooks = append(d.Hooks, hookState{p.Family, p.Name, p.Open, p.Kind, p.Hook, p.Passed, p.Without})
	}
	for _, name := range tracer.Families() {
		d.Families = append(d.Families, d.conclude(name))
	}
	return d
}

// conclude sums up the hooks of a family.
func (d *diagnosis) conclude(name string) family {
	f := family{Family: name, Default: slices.Contains(tracer.DefaultFamilies(), name)}
	found := false
	for _, h := range d.Hooks {
		if h.Family != name && h.Family != tracer.RestsOn(name) {
			continue
		}
		found = true
		switch {
		case h.Open && !slices.Contains(f.Kinds, h.Kind):
			f.Kinds = append(f.Kinds, h.Kind)
		case !h.Open && h.Without != "":
			f.Without = append(f.Without, h.Without)
		case !h.Open:
			f.Reasons = append(f.Reasons, h.Passed...)
			if len(h.Passed) == 0 {
				f.Reasons = append(f.Reasons, "no way to see "+h.Purpose)
			}
		}
	}
	switch {
	case found:
	case !d.BTF:
		f.Reasons = append(f.Reasons, d.BTFError)
	case name == tracer.FamilyMemory && d.Cgroup != nil:
		// No hook: the cgroups' own files.
		f.Kinds = append(f.Kinds, "cgroupfs")
	case name == tracer.FamilyMemory && d.CgroupError != "":
		f.Reasons = append(f.Reasons, d.CgroupError)
	default:
		f.Reasons = append(f.Reasons, "not examined")
	}
	f.Nothing = name == tracer.FamilyThrottle && d.Cgroup != nil && d.Cgroup.Version == 1
	var needs []string
	for _, c := range d.Capabilities {
		if c.Required && !c.Have && !f.Nothing {
			needs = append(needs, c.Name)
		}
	}
	if needs != nil {
		// What the kernel itself would allow cannot be told without them.
		f.Reasons = []string{"needs " + joined(needs)}
	}
	f.Works = len(f.Reasons) == 0
	if !f.Works {
		f.Kinds, f.Without = nil, nil
	}
	return f
}

// verdict is nil when the default families work, as far as this host has
// anything to trace for them.
func (d *diagnosis) verdict() error {
	var missing []string
	for _, f := range d.Families {
		if f.Default && !f.Works && !f.Nothing {
			missing = append(missing, f.Family)
		}
	}
	if missing == nil {
		return nil
	}
	return &tracer.Unsupported{Missing: []string{"cannot be traced here: " + joined(missing)}}
}
