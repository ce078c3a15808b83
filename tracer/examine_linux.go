package tracer

import (
	"runtime"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/cgroup"
	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/hook"
)

// Examine finds out what this kernel and these privileges allow, without
// attaching anything for longer than a trial.
func Examine(o Options) *Examination {
	o.fill()
	x := &Examination{Kernel: release(), Arch: runtime.GOARCH, Lockdown: hook.Lockdown()}
	caps, err := capabilities()
	if err != nil {
		x.Advice = append(x.Advice, err.Error())
	}
	x.Capabilities = caps
	mount, err := cgroup.FindMount(o.CgroupRoot, o.ProcRoot)
	if err != nil {
		x.CgroupErr = err.Error()
	}
	x.Cgroup = mount
	x.Runtimes = container.NewResolver(container.Options{ProcRoot: o.ProcRoot, Roots: o.RuntimeRoots}).Survey()
	kernel, err := hook.NewKernel()
	if err != nil {
		x.BTF = err.Error()
		return x
	}
	if err := privileges(); err != nil {
		x.Advice = append(x.Advice, err.Error())
	}
	// What the plan says is only sure once it has been loaded and attached.
	req := hook.Request{
		Families: append(Families(), FamilyProfile), Tier: o.Tier, CgroupVersion: mount.Version, Refused: make(map[string]error),
	}
	choices := hook.Plan(hook.Table(), kernel, req)
	if s, err := hook.Attach(hook.Config{Request: req, Hierarchy: mount.HierarchyID, RingBytes: 1 << 16, Period: DefaultPeriod}, kernel); err == nil {
		choices = s.Choices
		s.Close()
	} else {
		x.Advice = append(x.Advice, err.Error())
		for i := range choices {
			if choices[i].Way != nil {
				choices[i].Passed = append(choices[i].Passed, "not tried: "+err.Error())
				choices[i].Way = nil
			}
		}
	}
	for _, c := range choices {
		p := PurposeState{Family: c.Family, Name: c.Name, Open: c.Way != nil, Passed: c.Passed, Without: c.Without}
		if c.Way != nil {
			h := c.Hook()
			p.Kind, p.Hook = h.Kind, h.Hook
		}
		x.Purposes = append(x.Purposes, p)
	}
	x.advise()
	return x
}

func (x *Examination) advise() {
	if privileges() != nil {
		return // they explain everything else
	}
	locked := slices.ContainsFunc(x.Purposes, func(p PurposeState) bool {
		return slices.ContainsFunc(p.Passed, func(why string) bool { return strings.Contains(why, "lockdown") })
	})
	if locked {
		x.Advice = append(x.Advice, "kernel lockdown forbids fentry and kprobes: oomtrace works from tracepoints; boot with lockdown=none (and secure boot off) to get the rest")
	}
	for _, c := range x.Capabilities {
		if !c.Have && !c.Required && c.Name != "CAP_SYS_RESOURCE" { // whoever needs that one has been told
			x.Advice = append(x.Advice, "without "+c.Name+" oomtrace cannot "+c.For)
		}
	}
}
