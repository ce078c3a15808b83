package tracer

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The numbers of linux/capability.h.
const (
	capDACReadSearch = 2
	capSysAdmin      = 21
	capSysResource   = 24
	capSyslog        = 34
	capPerfmon       = 38
	capBPF           = 39
)

// capabilities reads this process's effective set from /proc/self/status.
func capabilities() ([]Capability, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(text), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	set, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("/proc/self/status: no CapEff")
	}
	has := func(n int) bool { return set>>n&1 == 1 }
	admin := has(capSysAdmin) // what gave all of BPF before 5.8, and still does
	return []Capability{
		{"CAP_BPF", has(capBPF) || admin, "load eBPF programs", true},
		{"CAP_PERFMON", has(capPerfmon) || admin, "attach them to kernel tracepoints and functions", true},
		{"CAP_DAC_READ_SEARCH", has(capDACReadSearch), "find a cgroup by its id", false},
		{"CAP_SYSLOG", has(capSyslog) || admin, "name kernel functions in stacks and read the kernel's log", false},
		{"CAP_SYS_RESOURCE", has(capSysResource), "raise RLIMIT_MEMLOCK, on kernels before 5.11", false},
	}, nil
}

// privileges gives an *Unsupported that names every required capability that is
// not there.
func privileges() error {
	caps, err := capabilities()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range caps {
		if c.Required && !c.Have {
			missing = append(missing, fmt.Sprintf("%s (%s)", c.Name, c.For))
		}
	}
	if missing == nil {
		return nil
	}
	return &Unsupported{
		Missing: []string{"missing privileges: " + strings.Join(missing, ", ")},
		Remedy:  []string{"run as root, or grant them: setcap cap_bpf,cap_perfmon,cap_dac_read_search,cap_syslog+ep oomtrace"},
	}
}
