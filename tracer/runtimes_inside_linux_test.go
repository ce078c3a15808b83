package tracer

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oomtrace/oomtrace/tracer/container"
	"github.com/oomtrace/oomtrace/tracer/event"
)

// inside is the tracer in a container: it says that it is ready, and the names of
// the first kill below a cgroup.
func inside(args []string) int {
	procRoot, cgroupRoot, runtimeRoot, path := args[0], args[1], args[2], args[3]
	root, err := container.ParseRoot(runtimeRoot)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	t, err := Open(Options{
		Families: []string{FamilyOOM}, ProcRoot: procRoot, CgroupRoot: cgroupRoot, RuntimeRoots: []container.Root{root},
		Warn: func(msg string) { fmt.Fprintln(os.Stderr, "warning:", msg) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer t.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = t.Run(ctx, func(e event.Event) error {
		switch e := e.(type) {
		case *event.Header:
			fmt.Println("ready")
		case *event.OOMKill:
			if len(killsBelow([]event.Event{e}, path)) > 0 && ctx.Err() == nil {
				fmt.Println(show(e.Victim.Container))
				cancel()
			}
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A tracer that runs in a container itself, with the host's proc and cgroups
// mounted, gives the same names: the runtime's state is reached through the root
// of the host's first process, or where it was mounted into the container.
func TestInside(t *testing.T) {
	r := newRuntimes(t)
	root := r.at("runc")
	b := r.bundle("tracer", r.top.path+"/tracer", 1<<30, nil, "/tracer.test", "inside")
	file := filepath.Join(b, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.rootfs(), "tracer.test"), self, 0o755); err != nil {
		t.Fatal(err)
	}
	mounts := spec["mounts"].([]any)
	bind := func(from, to string) {
		mounts = append(mounts, map[string]any{"destination": to, "type": "bind", "source": from, "options": []string{"rbind", "ro"}})
	}
	bind("/proc", "/host/proc")
	bind("/sys/fs/cgroup", "/host/cgroup")
	bind("/sys", "/sys")
	bind(root, "/host/runc")
	if dynamicallyLinked(t) {
		for _, dir := range []string{"/lib", "/lib64"} {
			bind(dir, dir)
		}
	}
	spec["mounts"] = mounts
	caps := []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE", "CAP_SYSLOG"}
	process := spec["process"].(map[string]any)
	process["capabilities"] = map[string]any{"bounding": caps, "effective": caps, "permitted": caps}

	for i, c := range []struct{ name, root string }{
		{"through the first process", "runc=" + root},
		{"through a mount", "runc=/host/runc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprint(r.top.path, "/victim", i)
			process["args"] = []string{"/tracer.test", "inside", "/host/proc", "/host/cgroup", c.root, path}
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := r.command("runc", "--root", r.at("runc-of-the-tracer"), "run", "--bundle", b, "tracer")
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			lines := bufio.NewScanner(out)
			if !lines.Scan() || lines.Text() != "ready" {
				t.Fatalf("the tracer in the container said %q", lines.Text())
			}
			name := fmt.Sprint("web", i)
			r.run(137, "runc", "--root", root, "run", "--bundle", r.bundle(name, path, hogLimit, nil, hog()...), name)
			want := show(&event.Container{ID: name, Name: name, Runtime: container.Runc})
			if !lines.Scan() || lines.Text() != want {
				t.Errorf("the tracer in the container said %q, want %s", lines.Text(), want)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func dynamicallyLinked(t *testing.T) bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}
