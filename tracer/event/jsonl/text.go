package jsonl

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes at a time: reading captures is mostly walking over strings.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// Text tells how many bytes b begins with that are nothing but text within a JSON
// string: ASCII without control characters, quotes and backslashes.
func Text(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := x^'"'*ones, x^'\\'*ones
		// A byte's high bit is set where the subtraction went below zero, which is
		// exact up to the first such byte.
		if hit := (x | (x - ' '*ones) | (quote - ones) | (backslash - ones)) & highs; hit != 0 {
			return n + bits.TrailingZeros64(hit)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] < 0x80 && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// printable tells whether b is plain ASCII text: nearly every line is.
func printable(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		// DEL and one more is the first with the high bit.
		if (x|(x-' '*ones)|(x+ones))&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
