package capture

import "github.com/oomtrace/oomtrace/tracer/event/jsonl"

// What follows walks over JSON without reading it: of most lines nothing but the
// head is wanted, and encoding/json takes several times as long to tell whether
// the rest is valid. It accepts exactly what json.Valid does.

// deepest is how far values may be nested, as in encoding/json.
const deepest = 10000

func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skip gives the end of the value that begins at i; less than nothing when there
// is none.
func skip(b []byte, i, depth int) int {
	if i >= len(b) || depth > deepest {
		return -1
	}
	switch c := b[i]; {
	case c == '"':
		return quoted(b, i)
	case c == '{':
		return nested(b, i, depth, '}')
	case c == '[':
		return nested(b, i, depth, ']')
	case c == '-' || c >= '0' && c <= '9':
		return number(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	}
	return -1
}

// nested gives the end of an object or array.
func nested(b []byte, i, depth int, end byte) int {
	i = space(b, i+1)
	if i < len(b) && b[i] == end {
		return i + 1
	}
	for {
		if end == '}' {
			if i = member(b, i); i < 0 {
				return -1
			}
			i = space(b, space(b, i)+1)
		}
		if i = skip(b, i, depth+1); i < 0 {
			return -1
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return -1
		case b[i] == end:
			return i + 1
		case b[i] != ',':
			return -1
		}
		i = space(b, i+1)
	}
}

// member gives the end of an object's key, which a colon has to follow.
func member(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	end := quoted(b, i)
	if end < 0 {
		return -1
	}
	if colon := space(b, end); colon >= len(b) || b[colon] != ':' {
		return -1
	}
	return end
}

func quoted(b []byte, i int) int {
	i++
	for i += jsonl.Text(b[i:]); i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i++; i >= len(b) {
				return -1
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i >= len(b) || !hex(b[i]) {
						return -1
					}
				}
			default:
				return -1
			}
		}
	}
	return -1
}

func hex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func number(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++ // nothing may follow it but a fraction
	} else if i = run(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = run(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if i = run(b, i); i < 0 {
			return -1
		}
	}
	return i
}

// run gives the end of one or more digits.
func run(b []byte, i int) int {
	from := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}
