package report

import (
	"strings"
	"unicode/utf8"
)

// toDo begins the sentence of a verdict's evidence that says what to do.
const toDo = "To do: "

// advice is what the verdict says to do. Without a verdict there is none: the
// figures are there to judge by.
func (s *Story) advice() (out []Text) {
	if v := s.Kill.Verdict; v != nil {
		for _, e := range v.Evidence {
			if line, ok := strings.CutPrefix(e, toDo); ok && line != "" {
				out = append(out, say(quoted(capital(line))))
			}
		}
	}
	return out
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" || s[0] >= utf8.RuneSelf {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
