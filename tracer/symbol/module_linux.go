package symbol

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileID is a file as a process's mappings have it.
type fileID struct {
	dev   string // major:minor, in hexadecimal
	inode uint64
}

// moduleKey is one state of a file: when it is written to or replaced it is
// another.
type moduleKey struct {
	dev, inode   uint64
	size         int64
	mtime, ctime unix.Timespec
}

// module is a file with code, shared by all who have it mapped.
type module struct {
	object
	used uint64 // when its names were asked for last
}

// mappings reads what a process has mapped executable, and opens the files.
func (u *Users) mappings(pid int32) []mapping {
	dir := filepath.Join(u.procRoot, strconv.Itoa(int(pid)))
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []mapping
	files := opener{dir: dir}
	defer files.close()
	byFile := make(map[fileID]*module)
	for s := bufio.NewScanner(f); s.Scan() && len(out) < maxMappings; {
		m, ok := parseMapping(s.Bytes())
		if !ok {
			continue
		}
		// Opening a device may do something.
		if m.id.inode != 0 && strings.HasPrefix(m.path, "/") && !strings.HasPrefix(m.path, "/dev/") {
			mod, known := byFile[m.id]
			if !known {
				mod = u.module(&files, &m)
				byFile[m.id] = mod
			}
			m.module = mod
		}
		out = append(out, m)
	}
	return out
}

// parseMapping reads a line of /proc/PID/maps; false for what holds no code.
//
//	5581a3e00000-5581a3e25000 r-xp 00002000 fd:01 1234   /usr/bin/cat
func parseMapping(line []byte) (m mapping, ok bool) {
	field := bytes.SplitN(line, []byte(" "), 6)
	if len(field) < 5 || len(field[1]) < 3 || field[1][2] != 'x' {
		return m, false
	}
	from, to, cut := strings.Cut(string(field[0]), "-")
	var errs [4]error
	m.start, errs[0] = strconv.ParseUint(from, 16, 64)
	m.end, errs[1] = strconv.ParseUint(to, 16, 64)
	m.offset, errs[2] = strconv.ParseUint(string(field[2]), 16, 64)
	m.id.inode, errs[3] = strconv.ParseUint(string(field[4]), 10, 64)
	m.id.dev = string(field[3])
	if !cut || errs != [4]error{} || m.start >= m.end {
		return m, false
	}
	if len(field) == 6 {
		path := strings.TrimLeft(string(field[5]), " ")
		m.path = strings.ReplaceAll(strings.TrimSuffix(path, " (deleted)"), `\012`, "\n")
	}
	return m, true
}

// opener opens the files that one process has mapped.
type opener struct {
	dir     string // of the process in /proc
	root    int
	opened  bool
	foreign map[string]bool // devices whose files another process or host answers for
}

func (o *opener) close() {
	if o.opened && o.root >= 0 {
		unix.Close(o.root)
	}
}

// begin opens the process's root and learns which file systems are better left
// alone: reading from them could wait for ever.
func (o *opener) begin() {
	o.opened = true
	var err error
	if o.root, err = unix.Open(filepath.Join(o.dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		o.root = -1
	}
	o.foreign = make(map[string]bool)
	f, err := os.Open(filepath.Join(o.dir, "mountinfo"))
	if err != nil {
		return
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		field := strings.Fields(before)
		if !ok || len(field) < 3 {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		for _, prefix := range []string{"fuse", "nfs", "cifs", "smb", "ceph", "afs", "coda", "9p"} {
			if strings.HasPrefix(kind, prefix) {
				major, minor, _ := strings.Cut(field[2], ":")
				a, _ := strconv.ParseUint(major, 10, 32)
				b, _ := strconv.ParseUint(minor, 10, 32)
				o.foreign[deviceName(a, b)] = true
			}
		}
	}
}

// deviceName writes a device as /proc/PID/maps does.
func deviceName(major, minor uint64) string {
	hex := func(n uint64) string {
		s := strconv.FormatUint(n, 16)
		if len(s) < 2 {
			s = "0" + s
		}
		return s
	}
	return hex(major) + ":" + hex(minor)
}

// open opens the file of a mapping, or one by its path when m is nil, below the
// root of the process.
func (o *opener) open(m *mapping, path string) *os.File {
	if !o.opened {
		o.begin()
	}
	if m != nil {
		if o.foreign[m.id.dev] {
			return nil
		}
		// The very file that is mapped, also when it was deleted or replaced. Needs
		// CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (5.9).
		name := strconv.FormatUint(m.start, 16) + "-" + strconv.FormatUint(m.end, 16)
		if fd, err := unix.Open(filepath.Join(o.dir, "map_files", name), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
			return os.NewFile(uintptr(fd), path)
		}
	}
	if o.root < 0 || !strings.HasPrefix(path, "/") {
		return nil
	}
	// What a process puts into its root must not lead out of it, and must not be
	// opened before it is known to be a file.
	at, err := unix.Openat2(o.root, path[1:], &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if unix.Fstat(at, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || m != nil && st.Ino != m.id.inode ||
		o.foreign[deviceName(uint64(unix.Major(st.Dev)), uint64(unix.Minor(st.Dev)))] {
		return nil
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), path)
}

// module gives what is known of the file of a mapping; nil when it cannot be
// read.
func (u *Users) module(files *opener, m *mapping) *module {
	f := files.open(m, m.path)
	if f == nil {
		return nil
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	key := moduleKey{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
	if mod := u.modules[key]; mod != nil {
		return mod
	}
	read, err := readObject(f)
	mod := &module{object: *read}
	if err == nil && !mod.whole && len(mod.buildID) > 2 {
		mod.addDebug(files)
	}
	u.tables += mod.symbols.bytes()
	u.modules[key] = mod
	u.dropTables(mod)
	return mod
}

// addDebug takes the symbols of a file that holds them apart, where its build id
// is one of a distribution's.
func (mod *module) addDebug(files *opener) {
	f := files.open(nil, "/usr/lib/debug/.build-id/"+mod.buildID[:2]+"/"+mod.buildID[2:]+".debug")
	if f == nil {
		return
	}
	defer f.Close()
	if debug, _ := readObject(f); debug.whole && debug.buildID == mod.buildID {
		mod.symbols, mod.whole = debug.symbols, true
	}
}

// name names a place in a file, "" when nothing is known of it.
func (u *Users) name(mod *module, offset uint64) string {
	u.round++
	mod.used = u.round
	if address, ok := mod.address(offset); ok {
		return mod.symbols.lookup(address)
	}
	return ""
}

// dropTables forgets the symbols that were not used for longest when all
// together are too many; not those of the one that is just being read.
func (u *Users) dropTables(keep *module) {
	for u.tables > maxTables {
		var oldest *module
		for _, mod := range u.modules {
			if mod != keep && len(mod.symbols.at) > 0 && (oldest == nil || mod.used < oldest.used) {
				oldest = mod
			}
		}
		if oldest == nil {
			return
		}
		u.tables -= oldest.symbols.bytes()
		oldest.symbols = table{}
	}
}

// dropUnused forgets the files that no process known has mapped.
func (u *Users) dropUnused() {
	mapped := make(map[*module]bool)
	for _, im := range u.images {
		for _, m := range im.mappings {
			mapped[m.module] = true
		}
	}
	for key, mod := range u.modules {
		if !mapped[mod] {
			u.tables -= mod.symbols.bytes()
			delete(u.modules, key)
		}
	}
}
