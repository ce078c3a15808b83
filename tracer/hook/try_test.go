package hook

import (
	"errors"
	"fmt"
	"github.com/cilium/ebpf"
	"testing"
)

func TestTry(t *testing.T) {
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Attach(Config{Request: Request{Families: []string{"oom", "reclaim", "kswapd", "throttle", "cache"}, CgroupVersion: 1}, CountCache: true, Filtered: true, Hierarchy: 4}, k)
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			fmt.Printf("%+v\n", v)
		}
		t.Fatal(err)
	}
	defer s.Close()
	for _, h := range s.Hooks() {
		fmt.Println(h)
	}
	for _, c := range s.Choices {
		fmt.Println(c.Family, c.Name, c.Way != nil, c.Passed)
	}
}
