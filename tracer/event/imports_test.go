package event_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of the whole house are held here, in the package that everything
// else rests on. Files of all operating systems and with all build tags count.

const module = "github.com/oomtrace/oomtrace"

// A person should be able to keep a file in the head.
const (
	goLines = 450
	cLines  = 300
)

// atTop is what the top level may hold besides files whose names begin with a dot.
var atTop = []string{
	"bpf", "cmd", "tracer", "output", "docs", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CONTRIBUTING.md",
}

// house is the root of the module.
func house(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+module+"\n") {
		t.Fatalf("%s is not the root of %s: %v", dir, module, err)
	}
	return dir
}

// sources gives the files with one of these endings, by their paths below the
// root, with their contents.
func sources(t *testing.T, endings ...string) map[string][]byte {
	t.Helper()
	root := os.DirFS(house(t))
	found := make(map[string][]byte)
	for _, top := range []string{"bpf", "cmd", "tracer", "output"} {
		err := fs.WalkDir(root, top, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return fs.SkipDir
			case d.IsDir() || !slices.Contains(endings, path.Ext(name)):
				return nil
			}
			found[name], err = fs.ReadFile(root, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no files with %q", endings)
	}
	return found
}

// rule says what the files under some patterns may import.
type rule struct {
	name         string
	files, allow []string
}

// readRules reads depguard's rules and forbidigo's pattern from .golangci.yml,
// as far as that file uses YAML.
func readRules(t *testing.T) (rules []rule, forbidden *regexp.Regexp) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(house(t), ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var list *[]string
	inside := false // of depguard's rules
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		indent := len(s.Text()) - len(strings.TrimLeft(s.Text(), " "))
		item, isItem := strings.CutPrefix(line, "- ")
		switch {
		case line == "" || line[0] == '#':
		case line == "rules:" && indent == 6:
			inside = true
		case strings.HasPrefix(line, "- pattern: "):
			forbidden = regexp.MustCompile(strings.TrimPrefix(line, "- pattern: "))
		case inside && indent <= 4:
			inside = false
		case inside && indent == 8:
			rules = append(rules, rule{name: strings.TrimSuffix(line, ":")})
		case inside && line == "files:":
			list = &rules[len(rules)-1].files
		case inside && line == "allow:":
			list = &rules[len(rules)-1].allow
		case inside && isItem:
			*list = append(*list, strings.Trim(item, `"`))
		case inside && line != "list-mode: strict":
			t.Fatalf(".golangci.yml: this test does not understand %q", line)
		}
	}
	if len(rules) == 0 || forbidden == nil {
		t.Fatal(".golangci.yml: no rules of depguard, or no pattern of forbidigo")
	}
	return rules, forbidden
}

// covers says whether a rule is for a file.
func (r rule) covers(file string) bool {
	in := false
	for _, pattern := range r.files {
		pattern, except := strings.CutPrefix(pattern, "!")
		if glob(pattern).MatchString(file) {
			if except {
				return false
			}
			in = true
		}
	}
	return in
}

// glob understands "*" within a name and "**" for anything; a leading "**/" is
// the module's root.
func glob(pattern string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(strings.TrimPrefix(pattern, "**/"))
	quoted = strings.ReplaceAll(quoted, `\*\*`, ".+")
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, `\*`, "[^/]+") + "$")
}

func (r rule) permits(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return slices.ContainsFunc(r.allow, func(allowed string) bool {
		if allowed == "$gostd" {
			return !strings.Contains(first, ".")
		}
		return imported == allowed || strings.HasPrefix(imported, allowed+"/")
	})
}

// Who may import whom: .golangci.yml says.
func TestImports(t *testing.T) {
	rules, _ := readRules(t)
	used := make(map[string]bool)
	for name, text := range sources(t, ".go") {
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		var of []rule
		for _, r := range rules {
			if r.covers(name) {
				of = append(of, r)
				used[r.name] = true
			}
		}
		if len(of) != 1 {
			t.Errorf("%s: %d rules in .golangci.yml are for it, want one", name, len(of))
			continue
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !of[0].permits(imported) {
				t.Errorf("%s imports %s, which the rule %q does not allow", name, imported, of[0].name)
			}
		}
	}
	for _, r := range rules {
		if !used[r.name] {
			t.Errorf(".golangci.yml: no file is under the rule %q", r.name)
		}
	}
}

// Rules that must not be written away: what they say is what everybody relies on.
func TestRules(t *testing.T) {
	rules, _ := readRules(t)
	of := func(file string) rule {
		i := slices.IndexFunc(rules, func(r rule) bool { return r.covers(file) })
		if i < 0 {
			t.Fatalf("no rule for %s", file)
		}
		return rules[i]
	}
	for _, c := range []struct {
		file, imports string
		want          bool
	}{
		{"tracer/event/x.go", "encoding/json", true},
		{"tracer/event/x.go", "golang.org/x/sys/unix", false},
		{"tracer/event/x.go", module + "/tracer/cgroup", false},
		{"output/x.go", module + "/tracer/event", true},
		{"output/text/x.go", module + "/tracer/event", true},
		{"output/text/x.go", module + "/tracer", false},
		{"output/text/x.go", module + "/bpf", false},
		{"output/text/x.go", "github.com/cilium/ebpf", false},
		{"tracer/x.go", module + "/bpf", true},
		{"tracer/hook/x.go", module + "/bpf", true},
		{"tracer/decode/x.go", module + "/bpf", true},
		{"tracer/tally/x.go", module + "/bpf", true},
		{"tracer/cgroup/x.go", module + "/bpf", false},
		{"tracer/oom/kernlog/x.go", module + "/bpf", false},
		{"tracer/capture/x.go", module + "/tracer/event/jsonl", true},
		{"tracer/capture/x.go", module + "/output/text", false},
		{"tracer/capture/x.go", module + "/bpf", false},
		{"tracer/x.go", module + "/output/text", false},
		{"tracer/x.go", module + "/cmd/oomtrace", false},
		{"cmd/oomtrace/x.go", module + "/bpf", false},
		{"cmd/oomtrace/x.go", module + "/cmd/vmtest", false},
		{"bpf/x.go", module + "/tracer/event", false},
	} {
		if got := of(c.file).permits(c.imports); got != c.want {
			t.Errorf("%s may import %s: %v, want %v", c.file, c.imports, got, c.want)
		}
	}
}

// Arguments, environment, signals and the end of the process belong to cmd.
func TestProcess(t *testing.T) {
	_, forbidden := readRules(t)
	for _, name := range []string{"os.Exit", "os.Args", "os.Getenv", "signal.Notify", "flag.Parse"} {
		if !forbidden.MatchString(name) {
			t.Errorf(".golangci.yml: %s is not forbidden", name)
		}
	}
	for name, text := range sources(t, ".go") {
		if strings.HasPrefix(name, "cmd/") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := s.X.(*ast.Ident); ok && forbidden.MatchString(of.Name+"."+s.Sel.Name) {
				t.Errorf("%v: %s.%s is only for cmd", files.Position(s.Pos()), of.Name, s.Sel.Name)
			}
			return true
		})
	}
}

// Generated files may be as long as they are.
func TestSizes(t *testing.T) {
	files := sources(t, ".go", ".c", ".h")
	for name, text := range files {
		most := cLines
		if path.Ext(name) == ".go" {
			most = goLines
		}
		lines := bytes.Count(text, []byte("\n"))
		if !strings.HasSuffix(name, "_bpfel.go") && lines > most {
			t.Errorf("%s has %d lines, more than %d: give a part of it a file of its own", name, lines, most)
		}
	}
}

// The top level stays as small as it is. What .gitignore names may lie there too.
func TestTopLevel(t *testing.T) {
	dir := house(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(filepath.Join(dir, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if name[0] == '.' || slices.Contains(atTop, name) || slices.ContainsFunc(strings.Fields(string(ignored)), func(pattern string) bool {
			ok, err := path.Match(strings.Trim(pattern, "/"), name)
			return err == nil && ok
		}) {
			continue
		}
		t.Errorf("%s does not belong to the top level", name)
	}
}

// Every field and type of event stands in docs/events.md.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(house(t), "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("json:\"([a-z0-9_]+)|Type[A-Za-z]+ += \"([a-z_]+)\"")
	for name, text := range sources(t, ".go") {
		if path.Dir(name) != "tracer/event" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range names.FindAllSubmatch(text, -1) {
			field := string(m[1]) + string(m[2])
			if !regexp.MustCompile(`\b` + field + `\b`).Match(page) {
				t.Errorf("%s: %s is not in docs/events.md", name, field)
			}
		}
	}
}
