//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// diskSize is the size of the scratch disk, a sparse file.
const diskSize = 512 << 20

// outcome is how one guest ended.
type outcome struct {
	guest      guest
	release    string
	err        error // nil if it passed
	took       time.Duration
	kernelLog  string
	complaints []string
}

// boot runs the command in one guest and streams its output to out.
func boot(ctx context.Context, o options, t tools, k kernel, g guest, out io.Writer) outcome {
	start := time.Now()
	r := outcome{guest: g, release: k.release}
	dir, err := os.MkdirTemp("", "vmtest-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = r.boot(ctx, o, t, k, dir, out)
	}
	r.err = err
	r.took = time.Since(start)
	return r
}

func (r *outcome) boot(ctx context.Context, o options, t tools, k kernel, dir string, out io.Writer) error {
	initramfs, disk := filepath.Join(dir, "initramfs"), filepath.Join(dir, "disk")
	kernelLog, verdictFile := filepath.Join(dir, "kernel.log"), filepath.Join(dir, "verdict")
	modules, err := k.load(ctx, t)
	if err != nil {
		return err
	}
	j := job{Cgroup: r.guest.cgroup, Systemd: o.systemd, Env: o.env, Command: o.command}
	if err := writeInitramfs(initramfs, t, j, modules, o.files); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	// The guest's root is a ramfs, whose pages are no page cache that could be
	// reclaimed.
	if err := makeDisk(ctx, t, disk, diskSize); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("timed out after %s", o.timeout))
	defer cancel()
	// A vmtest that is killed takes its guest along. The kernel ties that to
	// the thread that started it, which must therefore live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	args := append(nodes(o),
		"-L", t.path("usr/share/qemu"), "-L", t.path("usr/share/seabios"),
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(o.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-serial", "file:"+kernelLog, "-serial", "file:"+verdictFile,
		"-drive", "if=virtio,format=raw,cache=unsafe,file="+disk,
		"-kernel", k.image, "-initrd", initramfs, "-append", commandLine(o))
	if t.systemd != "" { // what is written goes into a temporary file
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,file="+t.systemd)
	}
	qemu := t.command(ctx, "usr/bin/qemu-system-x86_64", args...)
	var stderr bytes.Buffer
	qemu.Stdout, qemu.Stderr = crStripper{out}, &stderr
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	qemuErr := qemu.Run()

	log, err := os.ReadFile(kernelLog)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r.kernelLog = strings.ReplaceAll(string(log), "\r", "")
	r.complaints = complaintsIn(r.kernelLog)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if qemuErr != nil {
		return fmt.Errorf("qemu: %w\n%s", qemuErr, bytes.TrimSpace(stderr.Bytes()))
	}
	text, err := os.ReadFile(verdictFile)
	if err != nil {
		return err
	}
	return r.judge(text)
}

// judge turns a guest's verdict into an error, nil if the guest has passed.
func (r *outcome) judge(text []byte) error {
	var v verdict
	if err := json.Unmarshal(text, &v); err != nil {
		if len(r.complaints) > 0 {
			return errors.New("the kernel crashed")
		}
		return errors.New("the guest ended before the command did")
	}
	r.release = v.Release
	switch {
	case v.Error != "":
		return errors.New(v.Error)
	case len(r.complaints) > 0:
		return fmt.Errorf("exit status %d, but the kernel complained", v.Status)
	case v.Status != 0:
		return fmt.Errorf("exit status %d", v.Status)
	}
	return nil
}

// nodes are the arguments for a machine of two memory nodes, none for one.
func nodes(o options) []string {
	if o.node == 0 {
		return nil
	}
	return []string{
		"-object", fmt.Sprintf("memory-backend-ram,id=node0,size=%dM", o.memory-o.node),
		"-object", fmt.Sprintf("memory-backend-ram,id=node1,size=%dM", o.node),
		"-numa", "node,nodeid=0,cpus=0-1,memdev=node0", "-numa", "node,nodeid=1,memdev=node1",
	}
}

// commandLine is the kernel's. It logs warnings and what is worse: a serial
// port is slow, and the kernel waits for it. Soft lockups count from two
// minutes on because a busy host stops emulated processors for seconds.
func commandLine(o options) string {
	level := "loglevel=5"
	if o.verbose {
		level = "loglevel=8"
	}
	if o.systemd { // docker would want AppArmor's own programs
		level += " apparmor=0"
	}
	return strings.TrimSpace("console=" + kernelPort + " " + level +
		" panic=-1 oops=panic watchdog_thresh=60 " + o.append)
}

// crStripper drops carriage returns.
type crStripper struct{ w io.Writer }

func (c crStripper) Write(p []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(p, []byte{'\r'}, nil)); err != nil {
		return 0, err
	}
	return len(p), nil
}
