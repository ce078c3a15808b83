//go:build linux

// Command vmtest runs a command in emulated guests, one for each Debian
// kernel and cgroup version that oomtrace supports.
//
//	vmtest [flags] -- COMMAND [ARGS...]
//	vmtest --runtimes
//
// A run passes only if the command exits with 0 in every guest and no guest's
// kernel complains. Guests have no network, an ext4 scratch disk at /mnt and
// whatever --file puts into their root, which is a ramfs. See --help.
//
// The same binary is /init in the guest, which is why it uses package flag:
// pflag imports net, and with it libc on machines that have a C compiler.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: vmtest [flags] -- COMMAND [ARGS...]
       vmtest --runtimes

Boots Debian kernels in QEMU and runs COMMAND in each. COMMAND is looked up in
the guest: /bin holds busybox and its applets, --file adds more. TMPDIR is
/mnt, an ext4 disk of 512 MiB; everything else lives in a ramfs. A guest fails
if COMMAND does, if it takes too long, or if its kernel logs an oops, a BUG, a
panic or a WARNING.

  --kernel SERIES     5.10, 6.1, 6.12, 7.3 or all; repeatable (default all)
  --cgroup VERSION    v1, v2 or both (default both)
  --file SRC[:DST]    copy a file or directory into the guest (default /NAME),
                      with the shared libraries it needs; repeatable
  --env KEY=VALUE     set a variable for COMMAND; repeatable
  --timeout DURATION  for each guest, from power on (default 10m)
  --jobs N            guests at the same time; their output is then shown
                      guest by guest (default 1)
  --memory MIB        for each guest (default 1024)
  --node MIB          so much of it in a second memory node, without a CPU
  --append ARGS       more kernel command line, for example "swapaccount=1"
  --cache DIR         kernels and tools (default $OOMTRACE_VM_CACHE, else
                      oomtrace-vmtest in the user's cache directory)
  --verbose           log everything the kernel says, and show it
  --systemd           start COMMAND as a service of systemd, which is process 1
                      and has the container runtimes in its root; what --file
                      adds is below /vmtest; v2 only
  --runtimes          boot nothing: print the directory where container
                      runtimes are unpacked, from Debian packages (150 MB)

The exit status is 0 if all guests passed, 1 if one failed, 2 if the run could
not start. The first run downloads Debian packages, about 40 MB of tools, 30 MB
a kernel and 30 MB of systemd, from the mirror in the machine's apt sources.
Later runs use what is cached; remove linux-SERIES from the cache to get the
newest again.
`

// options is a parsed command line.
type options struct {
	kernels []string
	cgroup  string
	cache   string
	timeout time.Duration
	verbose bool
	systemd bool
	// runtimes asks for these in place of a guest.
	runtimes bool
	files    []file
	env      []string
	memory   int
	node     int // of memory: MiB in the second node, 0 for none
	jobs     int
	append   string
	command  []string
}

// file is one --file: what on the host goes where in the guest.
type file struct{ src, dst string }

func main() {
	// A container may run vmtest as its process 1, so the name counts too.
	if os.Getpid() == 1 && os.Args[0] == "/init" {
		guestMain()
	}
	if os.Getppid() == 1 && os.Args[0] == initramfs+"/init" {
		serviceMain()
	}
	o, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage)
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	passed := true
	if o.runtimes {
		err = showRuntimes(ctx, o.cache)
	} else {
		passed, err = run(ctx, o)
	}
	stop()
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
		os.Exit(2)
	case !passed:
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("kernel", "", func(s string) error { o.kernels = append(o.kernels, s); return nil })
	fs.StringVar(&o.cgroup, "cgroup", "both", "")
	fs.StringVar(&o.cache, "cache", os.Getenv("OOMTRACE_VM_CACHE"), "")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Minute, "")
	fs.BoolVar(&o.verbose, "verbose", false, "")
	fs.BoolVar(&o.systemd, "systemd", false, "")
	fs.BoolVar(&o.runtimes, "runtimes", false, "")
	fs.Func("file", "", func(s string) error {
		f, err := parseFile(s)
		o.files = append(o.files, f)
		return err
	})
	fs.Func("env", "", func(s string) error {
		if !strings.Contains(s, "=") {
			return errors.New("want KEY=VALUE")
		}
		o.env = append(o.env, s)
		return nil
	})
	fs.IntVar(&o.memory, "memory", 1024, "")
	fs.IntVar(&o.node, "node", 0, "")
	fs.IntVar(&o.jobs, "jobs", 1, "")
	fs.StringVar(&o.append, "append", "", "")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.command = fs.Args(); len(o.command) == 0 && !o.runtimes {
		return o, errors.New("no command to run (see --help)")
	}
	if o.node < 0 || o.node > 0 && o.node >= o.memory {
		return o, fmt.Errorf("--node %d: must be a part of --memory %d", o.node, o.memory)
	}
	if o.systemd && o.cgroup != "v2" {
		return o, errors.New("--systemd takes --cgroup v2 alone")
	}
	if o.jobs < 1 {
		return o, fmt.Errorf("--jobs %d: must be at least 1", o.jobs)
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("no cache directory, set --cache: %w", err)
		}
		o.cache = filepath.Join(dir, "oomtrace-vmtest")
	}
	var err error
	o.cache, err = filepath.Abs(o.cache)
	return o, err
}

// parseFile reads SRC[:DST]. A DST that ends in a slash is a directory.
func parseFile(s string) (file, error) {
	src, dst, _ := strings.Cut(s, ":")
	switch {
	case src == "":
		return file{}, errors.New("want HOSTPATH[:GUESTPATH]")
	case dst == "":
		dst = "/"
	case !strings.HasPrefix(dst, "/"):
		return file{}, fmt.Errorf("guest path %q is not absolute", dst)
	}
	abs, err := filepath.Abs(src)
	if strings.HasSuffix(dst, "/") {
		dst += filepath.Base(abs)
	}
	return file{abs, filepath.Clean(dst)}, err
}
