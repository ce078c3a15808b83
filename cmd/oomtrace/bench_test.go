package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomtrace/oomtrace/tracer/capture"
	"github.com/oomtrace/oomtrace/tracer/capture/recorder"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/jsonl"
)

// Benchmarks of what is not the kernel: run them by `make bench`.

// busyHost gives events as a host with fifty busy containers has them: nine
// stalls to one cache event.
func busyHost(n int) []event.Event {
	rng := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	events := make([]event.Event, 0, n)
	for i := range n {
		at = at.Add(time.Duration(rng.IntN(2_000_000)))
		id := uint64(rng.IntN(50))
		cg := &event.Cgroup{ID: 10000 + id, Path: fmt.Sprintf("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%08x.slice/cri-containerd-%032x.scope", id*0x1234567, id*0x9e3779b97f4a7c15), Version: 2}
		c := &event.Container{ID: fmt.Sprintf("%032x", id*0x9e3779b97f4a7c15), Name: fmt.Sprintf("web-%d", id), Runtime: "containerd"}
		file := event.File{Dev: "254:0", Inode: 1000 + rng.Uint64N(5000), Path: fmt.Sprintf("/var/lib/data/segment-%d.db", rng.IntN(5000))}
		if i%10 == 0 {
			events = append(events, &event.Cache{
				Meta: event.Meta{Type: event.TypeCache, Time: at}, IntervalNS: 1e9, Cgroup: cg, Container: c, Added: rng.Uint64N(100000), Evicted: rng.Uint64N(100000),
				Files: []event.CacheFile{{File: file, Added: rng.Uint64N(1000), Evicted: rng.Uint64N(1000)}},
			})
			continue
		}
		scanned, cpu := rng.Uint64N(512), rng.Int64N(100000)
		events = append(events, &event.Reclaim{
			Meta: event.Meta{Type: event.TypeReclaim, Time: at}, Kind: event.ReclaimMemcgLimit,
			Process: event.Process{PID: int32(rng.IntN(50000)), TID: int32(rng.IntN(50000)), Comm: "java"}, Cgroup: cg, Container: c,
			Domain: &event.Domain{Cgroup: *cg, Container: c}, DurationNS: rng.Int64N(3_000_000), CPUNS: &cpu, Scanned: &scanned, Reclaimed: rng.Uint64N(512),
			GFPFlags: "GFP_KERNEL", Evicted: []event.Evicted{{Cgroup: cg, Container: c, File: &file, Pages: rng.Uint64N(512)}},
		})
	}
	return events
}

// counter counts bytes.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func cpuTime() time.Duration {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkRecorder compares the recorder with -o json into a file.
func BenchmarkRecorder(b *testing.B) {
	const n = 50_000
	events := busyHost(n)
	dir := b.TempDir()
	for b.Loop() {
		file, err := os.Create(filepath.Join(dir, "json"))
		if err != nil {
			b.Fatal(err)
		}
		began := cpuTime()
		w := jsonl.New(file)
		for _, e := range events {
			if err := w.Write(e); err != nil {
				b.Fatal(err)
			}
		}
		plain := cpuTime() - began
		st, err := file.Stat()
		if err != nil {
			b.Fatal(err)
		}
		file.Close()

		rec, err := recorder.Open(recorder.Options{
			Dir: filepath.Join(dir, "rec"), Keep: 1 << 30, KeepIncidents: 1, KeepIncidentBytes: 1 << 20, Before: time.Minute,
			Say: func(format string, args ...any) { b.Errorf(format, args...) },
		})
		if err != nil {
			b.Fatal(err)
		}
		began = cpuTime()
		if err := rec.Write(&event.Header{Meta: event.Meta{Type: event.TypeHeader, Time: time.Now()}}); err != nil {
			b.Fatal(err)
		}
		for i, e := range events {
			if err := rec.Write(e); err != nil {
				b.Fatal(err)
			}
			if i%1000 == 0 { // no host has so many at once: the disk need not catch up
				time.Sleep(5 * time.Millisecond)
			}
		}
		if err := rec.Close(); err != nil {
			b.Fatal(err)
		}
		recorded := cpuTime() - began
		size := int64(0)
		names, _ := filepath.Glob(filepath.Join(dir, "rec", "ring", "*"))
		for _, name := range names {
			if st, err := os.Stat(name); err == nil {
				size += st.Size()
			}
		}
		fmt.Printf("  -o json into a file  %6.2f us of CPU an event  %6.1f bytes an event\n", float64(plain.Microseconds())/n, float64(st.Size())/n)
		fmt.Printf("  recorder             %6.2f us of CPU an event  %6.1f bytes an event   %.2fx, %.3fx\n", float64(recorded.Microseconds())/n, float64(size)/n,
			float64(recorded)/float64(plain), float64(size)/float64(st.Size()))
		os.RemoveAll(filepath.Join(dir, "rec"))
	}
}

// BenchmarkReplay gives the events a second that replay reads.
func BenchmarkReplay(b *testing.B) {
	const n = 100_000
	name := filepath.Join(b.TempDir(), "capture.zst")
	var packed bytes.Buffer
	w, err := capture.NewWriter(&packed, func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	var lines counter
	plain := jsonl.New(&lines)
	for _, e := range busyHost(n) {
		if err := errors.Join(w.Write(e), plain.Write(e)); err != nil {
			b.Fatal(err)
		}
	}
	size := float64(lines) / n
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, packed.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{{"-o", "json"}, {"-o", "json", "-c", "/kubepods.slice"}, {"-o", "text"}, {"-o", "text", "--min-stall", "0"}} {
		var stderr bytes.Buffer
		e := &env{stdin: new(bytes.Buffer), stdout: io.Discard, stderr: &stderr, getenv: func(string) string { return "" }}
		b.Run(fmt.Sprint(args), func(b *testing.B) {
			for b.Loop() {
				began, used := time.Now(), cpuTime()
				if code := run(context.Background(), append(append([]string{"replay"}, args...), name), e); code != 0 {
					b.Fatal(&stderr)
				}
				fmt.Printf("  replay %-36s %9.0f events a second   budget >= 300000   (%5.2f us of CPU each, %.0f bytes)\n", strings.Join(args, " "),
					n/time.Since(began).Seconds(), float64((cpuTime()-used).Microseconds())/n, size)
			}
		})
	}
}
