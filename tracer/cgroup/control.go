package cgroup

import "bytes"

// OOMControl is what memory.oom_control of cgroup v1 says.
type OOMControl struct {
	KillDisabled bool // the OOM killer is off: tasks wait instead
	UnderOOM     bool // tasks wait now, here or for a limit above
}

// OOMControl reads memory.oom_control of a cgroup. Cgroup v1 only.
func (m Mount) OOMControl(path string) (OOMControl, error) {
	r := openDir(m.Dir(path))
	defer r.release()
	text, err := r.read("memory.oom_control")
	if err != nil {
		return OOMControl{}, err
	}
	var c OOMControl
	eachField(text, func(name []byte, value uint64) {
		switch {
		case bytes.Equal(name, []byte("oom_kill_disable")):
			c.KillDisabled = value != 0
		case bytes.Equal(name, []byte("under_oom")):
			c.UnderOOM = value != 0
		}
	})
	return c, nil
}
