package hook

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Software events of perf, as `perf list` names them. They count faults that
// were served, each once: page-faults also counts those that were not.
const (
	faultsMinor = "minor-faults"
	faultsMajor = "major-faults"
)

// software are perf events of one kind, one on each CPU. Closing them detaches
// the program.
type software []int

// attachSoftware runs a program at every so manieth event, on each CPU that is
// online now. By ioctl: perf events as BPF links came with 5.15.
func attachSoftware(name string, p *ebpf.Program, period uint64) (software, error) {
	config := map[string]uint64{
		faultsMinor: unix.PERF_COUNT_SW_PAGE_FAULTS_MIN, faultsMajor: unix.PERF_COUNT_SW_PAGE_FAULTS_MAJ,
	}[name]
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	var events software
	for cpu := range cpus {
		attr := unix.PerfEventAttr{
			Type: unix.PERF_TYPE_SOFTWARE, Config: config, Sample: period, Bits: unix.PerfBitDisabled,
		}
		attr.Size = uint32(unsafe.Sizeof(attr))
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ENODEV) {
			continue // it is offline
		}
		if err != nil {
			events.Close()
			return nil, fmt.Errorf("open perf event %s on CPU %d: %w", name, cpu, err)
		}
		events = append(events, fd)
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_BPF, p.FD()); err != nil {
			events.Close()
			return nil, fmt.Errorf("run a program at perf event %s: %w", name, err)
		}
	}
	for _, fd := range events {
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			events.Close()
			return nil, fmt.Errorf("enable perf event %s: %w", name, err)
		}
	}
	return events, nil
}

// Close implements io.Closer.
func (s software) Close() error {
	var err error
	for _, fd := range s {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}
