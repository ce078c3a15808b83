//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// initramfs is where a guest that runs systemd has the root that it began with:
// this program, the job and the files asked for.
const initramfs = "/vmtest"

// systemdFiles make a root of unpacked packages one that boots into the job and
// nothing more.
var systemdFiles = map[string]string{
	"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n",
	"etc/group":       "root:x:0:\nmessagebus:x:100:\n",
	"etc/hosts":       "127.0.0.1 localhost\n",
	"etc/resolv.conf": "",
	"etc/machine-id":  "6f6f6d7472616365766d746573740000\n",
	"etc/systemd/system/default.target": `[Unit]
Requires=basic.target vmtest.service
After=basic.target
AllowIsolate=yes
`,
	"etc/systemd/system/vmtest.service": `[Unit]
Requires=dbus.service
After=dbus.service
[Service]
ExecStart=` + initramfs + `/init
TasksMax=infinity
`,
}

// startSystemd makes the second disk the root and systemd process 1. When it
// returns it has failed.
func startSystemd() error {
	const root = "/sysroot"
	if err := mountAll([]mount{{"/dev/vdb", root, "ext4", ""}, {"/dev/vda", root + scratch, "ext4", ""}}); err != nil {
		return err
	}
	for name, text := range systemdFiles {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		from, to string
		flags    uintptr
	}{
		{"/", initramfs, unix.MS_BIND},
		{"/proc", "/proc", unix.MS_MOVE},
		{"/sys", "/sys", unix.MS_MOVE},
		{"/dev", "/dev", unix.MS_MOVE},
		{"/run", "/run", unix.MS_MOVE},
	} {
		if err := os.MkdirAll(root+m.to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.from, root+m.to, "", m.flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.from, root+m.to, err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make %s the root: %w", root, err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	const systemd = "/lib/systemd/systemd"
	return fmt.Errorf("start systemd: %w", syscall.Exec(systemd, []string{systemd}, nil))
}
