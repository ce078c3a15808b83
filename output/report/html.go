package report

import (
	_ "embed"
	"html/template"
	"io"
	"regexp"
)

//go:embed page.tmpl
var pageTemplate string

//go:embed style.css
var style string

// HTML writes stories as one page that needs nothing else: no network, no
// scripts. It follows the reader's choice of light or dark, and prints.
type HTML struct {
	out   io.Writer
	page  *template.Template
	count int
	err   error
}

// NewHTML returns an HTML on w. The page is whole when it is closed.
func NewHTML(w io.Writer) *HTML {
	// Every string that comes from outside goes through the template's own
	// escaping; only the style sheet is trusted.
	page := template.Must(template.New("page").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) },
		"keep":  keepUnits,
	}).Parse(pageTemplate))
	return &HTML{out: w, page: page}
}

// Write adds a story to the page.
func (h *HTML) Write(s *Story) error {
	if h.count == 0 {
		h.execute("head", s.Title.String())
	}
	h.count++
	h.execute("story", newView(s, h.count))
	return h.err
}

// Close ends the page.
func (h *HTML) Close() error {
	if h.count > 0 {
		h.execute("foot", nil)
	}
	return h.err
}

func (h *HTML) execute(name string, data any) {
	if h.err == nil {
		h.err = h.page.ExecuteTemplate(h.out, name, data)
	}
}

var units = regexp.MustCompile(`([0-9]) ((?:[KMGTPE]i)?B|s|UTC)\b`)

// keepUnits keeps figures and their units on one line.
func keepUnits(s string) string { return units.ReplaceAllString(s, "$1\u00a0$2") }
