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
				if line[0] < utf8.RuneSelf {
					line = strings.ToUpper(line[:1]) + line[1:]
				}
				out = append(out, say(quoted(line)))
			}
		}
	}
	return out
}
