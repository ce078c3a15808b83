package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fill is the part of the workload that fills memory with other things than
// plain anonymous memory.
//
//	sleep=MS
//	until=FILE      wait until there is such a file
//	leak=KiB,MS     touch so much more every so often, until killed
//	mlock=FILE,MiB  map a file and lock it
//	inodes=DIR,N    make N empty files
//	sparse=MiB      read one byte of every 2 MiB of a mapping: page tables, little else
//	stacks=N        N threads that do nothing
//	forks=N,KiB     N children that touch so much and wait
//	sockets=MiB     write so much to TCP connections that nobody reads
func fill(verb string, args []string) error {
	number := func(i int) int {
		n, _ := strconv.Atoi(args[i])
		return n
	}
	switch verb {
	case "sleep":
		time.Sleep(time.Duration(number(0)) * time.Millisecond)
		return nil
	case "until":
		for {
			if _, err := os.Stat(args[0]); err == nil {
				return nil
			}
			time.Sleep(time.Millisecond)
		}
	case "leak":
		for {
			if err := touchKiB(number(0)); err != nil {
				return err
			}
			time.Sleep(time.Duration(number(1)) * time.Millisecond)
		}
	case "mlock":
		return lockFile(args[0], number(1))
	case "inodes":
		for i := range number(1) {
			fd, err := unix.Open(filepath.Join(args[0], strconv.Itoa(i)), unix.O_CREAT|unix.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			unix.Close(fd)
		}
		return nil
	case "sparse":
		return pageTables(number(0))
	case "stacks":
		// Go must not be called in these threads, so signals pass them by.
		all := unix.Sigset_t{}
		for i := range all.Val {
			all.Val[i] = ^all.Val[i]
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
			return err
		}
		for range number(0) {
			err := spawn(unix.CLONE_VM|unix.CLONE_FS|unix.CLONE_FILES|unix.CLONE_SIGHAND|unix.CLONE_THREAD|unix.CLONE_SYSVSEM, 0)
			if err != nil {
				return err
			}
		}
		return nil
	case "forks":
		for range number(0) {
			if err := spawn(uint32(unix.SIGCHLD), number(1)); err != nil {
				return err
			}
		}
		return nil
	case "sockets":
		return sockets(number(0))
	}
	return fmt.Errorf("unknown word %q", verb)
}

// touchKiB touches anonymous memory and keeps it.
func touchKiB(n int) error {
	b, err := unix.Mmap(-1, 0, n<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return nil
}

func lockFile(name string, n int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for range n {
		if _, err := f.Write(make([]byte, mib)); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, n*mib, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Mlock(b)
}

// pageTables maps far more than it touches: each page that is read is the one
// page of zeros, but needs a table of its own.
func pageTables(n int) error {
	const stride = 2 * mib
	b, err := unix.Mmap(-1, 0, n*256*stride, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	if err := unix.Madvise(b, unix.MADV_NOHUGEPAGE); err != nil {
		return err
	}
	sum := byte(0)
	for i := 0; i < len(b); i += stride {
		sum += b[i]
	}
	runtime.KeepAlive(sum)
	return nil
}

// sockets writes to connections over the loopback device until their buffers are
// full.
func sockets(n int) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	force := func(c syscall.RawConn, option int) error {
		var err error
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 4*mib) })
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	if err := force(raw, unix.SO_RCVBUFFORCE); err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for sent := 0; sent < n*mib; {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			return err
		}
		if raw, err = c.(*net.TCPConn).SyscallConn(); err != nil {
			return err
		}
		if err := force(raw, unix.SO_SNDBUFFORCE); err != nil {
			return err
		}
		peer, err := l.Accept()
		if err != nil {
			return err
		}
		if err := errors.Join(hold(c), hold(peer)); err != nil {
			return err
		}
		for {
			if err := c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				return err
			}
			wrote, err := c.Write(block)
			sent += wrote
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// hold keeps a connection open for as long as the process lives.
func hold(c net.Conn) error {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { _, failed = unix.Dup(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// spawn clones the calling thread. Go cannot run in the clone, which executes a
// few instructions of its own: it touches KiB of memory and waits for ever. It
// uses no stack, so that one that shares its parent's memory can share its stack
// as well.
func spawn(flags uint32, kib int) error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	var at unsafe.Pointer
	if kib > 0 {
		room, err := unix.Mmap(-1, 0, kib<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return err
		}
		at = unsafe.Pointer(&room[0])
		defer func() { _ = unix.Munmap(room) }()
	}
	b := append(code[:0], 0xb8, 56, 0, 0, 0) // mov eax, SYS_clone
	b = append(b, 0xbf)                      // mov edi, flags
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = append(b, 0x31, 0xf6, // xor esi, esi: the parent's stack
		0x31, 0xd2, 0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0, // xor edx, edx; xor r10, r10; xor r8, r8
		0x0f, 0x05, // syscall
		0x85, 0xc0, // test eax, eax
		0x74, 1, // jz to the child's part
		0xc3,       // ret
		0x48, 0xbf) // mov rdi, room
	b = binary.LittleEndian.AppendUint64(b, uint64(uintptr(at)))
	b = append(b, 0xb9) // mov ecx, pages
	b = binary.LittleEndian.AppendUint32(b, uint32(kib/4))
	b = append(b,
		0x85, 0xc9, // test ecx, ecx
		0x74, 14, // jz to the waiting
		0xc6, 0x07, 0x01, // mov byte [rdi], 1
		0x48, 0x81, 0xc7, 0, 0x10, 0, 0, // add rdi, 4096
		0xff, 0xc9, // dec ecx
		0xeb, 0xee, // jmp back to the test
		0xb8, 34, 0, 0, 0, // mov eax, SYS_pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7) // jmp back to the mov
	entry := unsafe.Pointer(&b[0])
	function := unsafe.Pointer(&entry) // a func value points to its code's address
	(*(*func())(unsafe.Pointer(&function)))()
	return nil
}
