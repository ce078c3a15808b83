package symbol

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// fakeProcess makes a process in a /proc of its own that has a program mapped at
// an address of our choice, found through its root.
func fakeProcess(t *testing.T, program, path string, extra ...string) (procRoot string, text segment) {
	t.Helper()
	proc := t.TempDir()
	root := filepath.Join(proc, "7", "root")
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(root, path)
	if err := os.WriteFile(inside, content, 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := readObject(open(t, program))
	if err != nil {
		t.Fatal(err)
	}
	text = o.segments[0]
	var st unix.Stat_t
	if err := unix.Stat(inside, &st); err != nil {
		t.Fatal(err)
	}
	lines := []string{
		fmt.Sprintf("10000000-%x r-xp %08x %02x:%02x %d                    %s", 0x10000000+text.size, text.offset, unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino, path),
		"20000000-20001000 rw-p 00000000 00:00 0 ",
		"30000000-30001000 r-xp 00000000 00:00 0                          [vdso]",
		"38000000-38001000 rwxp 00000000 00:00 0 ",
	}
	maps := strings.Join(append(lines, extra...), "\n") + "\n"
	if err := os.WriteFile(filepath.Join(proc, "7", "maps"), []byte(maps), 0o644); err != nil {
		t.Fatal(err)
	}
	return proc, text
}

func TestStack(t *testing.T) {
	program := build(t, "-B 0x0123456789abcdef")
	proc, text := fakeProcess(t, program, "/bin/the program")
	o, err := readObject(open(t, program))
	if err != nil {
		t.Fatal(err)
	}
	var known uint64
	for i := range o.symbols.at {
		if o.symbols.demangled(i) == "main.known" {
			known = o.symbols.at[i]
		}
	}
	ip := 0x10000000 + known - text.address
	users := NewUsers(proc)
	at := Image{PID: 7, MM: 1}
	want := []event.Frame{
		{Function: "main.known", Module: "/bin/the program", Offset: known - text.address + text.offset, BuildID: "0123456789abcdef"},
		{Function: "main.known", Module: "/bin/the program", Offset: known - text.address + text.offset, BuildID: "0123456789abcdef"},
		{Module: "[vdso]", Offset: 0x10},
		{Offset: 0x38000020},
	}
	check := func() {
		t.Helper()
		// A caller's address is the one behind its call; what lies in no code ends it.
		got := users.Stack(at, []uint64{ip, ip + 1, 0x30000011, 0x38000021, 0x20000011, ip + 1})
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	}
	check()
	if err := os.RemoveAll(filepath.Join(proc, "7")); err != nil {
		t.Fatal(err)
	}
	check() // what was learned stays
	if got := users.Stack(Image{PID: 7, MM: 2}, []uint64{ip, 0x11}); fmt.Sprint(got) != fmt.Sprint([]event.Frame{{Offset: ip}, {Offset: 0x10}}) {
		t.Errorf("of a process that was never seen: %+v", got)
	}
	if got := users.Stack(at, nil); got != nil {
		t.Errorf("%+v", got)
	}
}

// What a process puts in the place of its files is not opened: no pipe, nothing
// outside of its root, no other file, nothing that another process answers for.
func TestHostileRoot(t *testing.T) {
	program := build(t, "")
	address := []uint64{0x10001010}
	for name, spoil := range map[string]func(t *testing.T, proc, inside string){
		"a pipe": func(t *testing.T, _, inside string) {
			if err := unix.Mkfifo(inside, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a link out of the root": func(t *testing.T, _, inside string) {
			if err := os.Symlink(program, inside); err != nil {
				t.Fatal(err)
			}
		},
		"another file": func(t *testing.T, _, inside string) {
			content, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Dir(inside)+"/hold", nil, 0o644); err != nil { // takes the number that was freed
				t.Fatal(err)
			}
			if err := os.WriteFile(inside, content, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"nothing": func(*testing.T, string, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			proc, _ := fakeProcess(t, program, "/bin/program")
			inside := filepath.Join(proc, "7", "root/bin/program")
			old := inside + ".old" // so that its number stays taken
			if err := os.Rename(inside, old); err != nil {
				t.Fatal(err)
			}
			spoil(t, proc, inside)
			got := NewUsers(proc).Stack(Image{PID: 7}, address)
			if len(got) != 1 || got[0].Function != "" || got[0].Module != "/bin/program" || got[0].Offset == 0 {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("on a file system in user space", func(t *testing.T) {
		proc, _ := fakeProcess(t, program, "/bin/program")
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(proc, "7/root/bin/program"), &st); err != nil {
			t.Fatal(err)
		}
		if got := NewUsers(proc).Stack(Image{PID: 7}, address); got[0].Function == "" {
			t.Fatalf("without a word of it: %+v", got)
		}
		mountinfo := fmt.Sprintf("36 35 %d:%d / / rw,noatime shared:1 - fuse.sshfs host: rw\n", unix.Major(st.Dev), unix.Minor(st.Dev))
		if err := os.WriteFile(filepath.Join(proc, "7/mountinfo"), []byte(mountinfo), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := NewUsers(proc).Stack(Image{PID: 7}, address); got[0].Function != "" || got[0].Module != "/bin/program" {
			t.Errorf("%+v", got)
		}
	})
}

func TestParseMapping(t *testing.T) {
	for line, want := range map[string]mapping{
		"5581a3e00000-5581a3e25000 r-xp 00002000 fd:01 1234   /usr/bin/my cat (deleted)": {start: 0x5581a3e00000, end: 0x5581a3e25000, offset: 0x2000, id: fileID{"fd:01", 1234}, path: "/usr/bin/my cat"},
		`1000-2000 r-xp 00000000 00:1f 5 /a\012b`:                                        {start: 0x1000, end: 0x2000, id: fileID{"00:1f", 5}, path: "/a\nb"},
		"1000-2000 rwxp 00000000 00:00 0":                                                {start: 0x1000, end: 0x2000, id: fileID{"00:00", 0}},
	} {
		if got, ok := parseMapping([]byte(line)); !ok || got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	for _, line := range []string{"", "1000-2000", "1000-2000 rw-p 0 00:00 0", "2000-1000 r-xp 0 00:00 0", "x-y r-xp 0 0 0", "1000 r-xp 0 00:00 0", "1000-2000 r-xp 0 00:00 -1"} {
		if m, ok := parseMapping([]byte(line)); ok {
			t.Errorf("%q: %+v", line, m)
		}
	}
}
