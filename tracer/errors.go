package tracer

import "strings"

// Unsupported means that this kernel or these privileges do not allow what was
// asked for: everything that is missing, and what to do about it.
type Unsupported struct {
	Missing []string
	Remedy  []string
}

func (u *Unsupported) Error() string {
	text := strings.Join(u.Missing, "; ")
	if len(u.Remedy) > 0 {
		text += "; " + strings.Join(u.Remedy, "; ")
	}
	return text
}

// SelectorError means that a cgroup to be traced is not there.
type SelectorError struct {
	Selector Selector
	Err      error
	Hint     string
}

func (e *SelectorError) Error() string {
	text := e.Err.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *SelectorError) Unwrap() error { return e.Err }
