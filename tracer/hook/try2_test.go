package hook

import (
	"fmt"
	"github.com/cilium/ebpf"
	"os"
	"testing"
)

func TestStats(t *testing.T) {
	for n, l := range Objects() {
		spec, _ := l()
		for name, ps := range spec.Programs {
			if os.Getenv("P") != "" && os.Getenv("P") != name {
				continue
			}
			s2 := spec.Copy()
			for k := range s2.Programs {
				if k != name {
					delete(s2.Programs, k)
				}
			}
			if ps.AttachType == ebpf.AttachTraceFEntry || ps.AttachType == ebpf.AttachTraceFExit || ps.Type == ebpf.Kprobe {
				continue
			}
			for k, v := range s2.Variables {
				if k == "filtered" || k == "count_cache" || k == "want_stacks" || k == "want_paths" {
					v.Set(true)
				}
			}
			c, err := ebpf.NewCollectionWithOptions(s2, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats, LogSizeStart: 1 << 20}})
			if err != nil {
				fmt.Println(n, name, "ERR", fmt.Sprintf("%.300s", err))
				continue
			}
			fmt.Println(n, name, c.Programs[name].VerifierLog)
			c.Close()
		}
	}
}
