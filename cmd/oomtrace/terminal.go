//go:build unix

package main

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// terminalWidth tells whether w is a terminal, and how wide; 0 when it does not
// say.
func terminalWidth(w io.Writer) (columns int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Col), true
}

// watchReader calls gone when nobody can read any more what is written to a pipe
// or socket, also while nothing is written. The function that it returns ends
// the watch.
func watchReader(w io.Writer, gone func()) (stop func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	if st, err := f.Stat(); err != nil || st.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return func() {}
	}
	wake, end, err := os.Pipe()
	if err != nil {
		return func() {} // writing will tell
	}
	var done sync.WaitGroup
	done.Go(func() {
		defer wake.Close()
		// No events are asked for: errors and hang-ups are told anyway.
		fds := []unix.PollFd{{Fd: int32(f.Fd())}, {Fd: int32(wake.Fd())}}
		for {
			_, err := unix.Poll(fds, -1)
			switch {
			case err == unix.EINTR:
				continue
			case err == nil && fds[1].Revents == 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0:
				gone()
			}
			return
		}
	})
	return func() {
		end.Close()
		done.Wait()
	}
}
