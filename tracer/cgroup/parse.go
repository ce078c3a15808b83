package cgroup

import (
	"bytes"
	"math"
)

// parseUint reads a decimal number that fills b but for blanks around it. What
// is no number, or one beyond 64 bits, is not known.
func parseUint(b []byte) (uint64, bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// eachField calls fn for each "name value" line, such as memory.stat has them.
// Lines of another form are passed over.
func eachField(b []byte, fn func(name []byte, value uint64)) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		b = rest
		name, number, ok := bytes.Cut(line, []byte{' '})
		if !ok || len(name) == 0 {
			continue
		}
		if v, ok := parseUint(number); ok {
			fn(name, v)
		}
	}
}
