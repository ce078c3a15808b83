//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is one entry of the machine's apt sources.
type source struct {
	uris       []string
	suites     []string
	components []string
	signedBy   string
}

// mirror is where Debian packages come from and whose signature they bear.
type mirror struct{ uri, keyring string }

// mirrors are the two halves of Debian. Security may be empty.
type mirrors struct{ main, security mirror }

const archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// readSources reads sources.list and sources.list.d beneath etc, usually
// /etc/apt, in apt's order.
func readSources(etc string) ([]source, error) {
	parts, err := filepath.Glob(filepath.Join(etc, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	var all []source
	for _, path := range append([]string{filepath.Join(etc, "sources.list")}, parts...) {
		parse := parseOneLine
		switch filepath.Ext(path) {
		case ".sources":
			parse = parseDeb822
		case ".list":
		default:
			continue
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, parse(string(text))...)
	}
	return all, nil
}

// parseOneLine reads "deb [options] uri suite component..." lines.
func parseOneLine(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		var s source
		rest = strings.TrimSpace(rest)
		if options, after, ok := strings.Cut(rest, "]"); ok && rest[0] == '[' {
			rest = after
			for _, o := range strings.Fields(options[1:]) {
				if v, ok := strings.CutPrefix(o, "signed-by="); ok {
					s.signedBy = v
				}
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		s.uris, s.suites, s.components = fields[:1], fields[1:2], fields[2:]
		all = append(all, s)
	}
	return all
}

// parseDeb822 reads stanzas of "Key: value" lines with continuation lines.
func parseDeb822(text string) []source {
	var all []source
	fields := map[string][]string{}
	flush := func() {
		enabled := strings.ToLower(strings.Join(fields["enabled"], ""))
		if slices.Contains(fields["types"], "deb") && enabled != "no" && enabled != "false" {
			all = append(all, source{
				uris: fields["uris"], suites: fields["suites"], components: fields["components"],
				signedBy: strings.Join(fields["signed-by"], ","),
			})
		}
		fields = map[string][]string{}
	}
	key := ""
	for line := range strings.Lines(text) {
		switch {
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			fields[key] = append(fields[key], strings.Fields(line)...)
		default:
			k, value, _ := strings.Cut(line, ":")
			key = strings.ToLower(strings.TrimSpace(k))
			fields[key] = strings.Fields(value)
		}
	}
	flush()
	return all
}

// findMirrors picks Debian's mirrors out of sources. Other vendors use Debian's
// suite names too, so a URI with Debian's own directory name in it wins.
func findMirrors(sources []source) (mirrors, error) {
	var m mirrors
	for _, s := range sources {
		if !slices.Contains(s.components, "main") {
			continue
		}
		for _, name := range s.suites {
			base, security := strings.CutSuffix(name, "-security")
			base = strings.TrimSuffix(strings.TrimSuffix(base, "-updates"), "-backports")
			if !slices.Contains(debianSuites, base) {
				continue
			}
			half, dir := &m.main, "debian"
			if security {
				half, dir = &m.security, "debian-security"
			}
			for _, uri := range s.uris {
				if half.uri == "" || hasElement(uri, dir) && !hasElement(half.uri, dir) {
					*half = mirror{uri, keyringOf(s.signedBy)}
				}
			}
		}
	}
	if m.main.uri == "" {
		return m, fmt.Errorf("no Debian mirror in apt's sources: add a line such as %q with your mirror, and see that %s is there (apt install debian-archive-keyring)",
			"deb URI bookworm main", archiveKeyring)
	}
	return m, nil
}

var debianSuites = []string{
	"bullseye", "bookworm", "trixie", "forky", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

func hasElement(uri, element string) bool {
	u, err := url.Parse(uri)
	return err == nil && slices.Contains(strings.Split(u.Path, "/"), element)
}

// keyringOf turns Signed-By into keyring files. It may hold a fingerprint or a
// whole key instead; then Debian's own keyring stands in.
func keyringOf(signedBy string) string {
	if strings.HasPrefix(signedBy, "/") {
		return signedBy
	}
	return archiveKeyring
}
