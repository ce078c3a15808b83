package capture

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// valid tells by our walk what json.Valid tells.
func valid(line []byte) bool {
	r := &Record{Line: bytes.Trim(line, " \t\r\n")}
	return r.peek() != errSyntax
}

var syntaxSeeds = []string{
	`{}`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a" : [ ] , "b":{"c":[1,[2],{}]}}`, `[1,]`, `[`, `{`, `}`, `{}}`, `{} {}`, `"x"`, `null`, `nul`, `tru e`,
	`-`, `-0`, `01`, `1.`, `.5`, `1.5e`, `1e+5`, `1E-05`, `--1`, `1e5.5`, `{"a":-}`, `{"a":0x1}`, `{"\u00e9":"\ud800"}`, `{"\u00g0":1}`, `{"\x":1}`, `{"a":"\`, `{"a":"`,
	"{\"a\":\"\x01\"}", "{\"a\":\"\x7f\xff\"}", "{\"a\"\t:\n1}", `{"a":true,"b":false,"c":null,"d":truex}`, ``, ` `, `{"a":1 "b":2}`, `{1:2}`, `{"a"::1}`, `{"a":1,"b"}`,
}

func TestSyntax(t *testing.T) {
	seeds := append([]string{strings.Repeat("[", 9999) + strings.Repeat("]", 9999), `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`}, syntaxSeeds...)
	for _, s := range seeds {
		if got, want := valid([]byte(s)), json.Valid([]byte(s)); got != want {
			t.Errorf("%.60q: valid %v, want %v", s, got, want)
		}
	}
}

func FuzzSyntax(f *testing.F) {
	for _, s := range syntaxSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if got, want := valid(line), json.Valid(line); got != want {
			t.Errorf("%q: valid %v, want %v", line, got, want)
		}
	})
}
