//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const oneLine = `# comment
deb http://mirror.example/debian bookworm main contrib # trailing
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/k/a.gpg] https://sec.example/debian-security bookworm-security main
#deb http://old.example/debian bullseye main

deb cdrom:
`

const deb822 = `Types: deb deb-src
# a comment inside a stanza
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /k/a.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://sec.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
`

func TestParseOneLine(t *testing.T) {
	want := []source{
		{uris: []string{"http://mirror.example/debian"}, suites: []string{"bookworm"}, components: []string{"main", "contrib"}},
		{uris: []string{"https://sec.example/debian-security"}, suites: []string{"bookworm-security"}, components: []string{"main"}, signedBy: "/k/a.gpg"},
	}
	if got := parseOneLine(oneLine); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseDeb822(t *testing.T) {
	got := parseDeb822(deb822)
	if len(got) != 2 {
		t.Fatalf("got %d sources, want the two that are enabled: %+v", len(got), got)
	}
	want := source{
		uris:       []string{"http://mirror.example/debian"},
		suites:     []string{"bookworm", "bookworm-updates"},
		components: []string{"main"}, signedBy: "/k/a.gpg",
	}
	if !reflect.DeepEqual(got[0], want) {
		t.Errorf("got  %+v\nwant %+v", got[0], want)
	}
	if keyringOf(got[1].signedBy) != archiveKeyring {
		t.Errorf("an inline key gave the keyring %q", keyringOf(got[1].signedBy))
	}
}

func TestReadSources(t *testing.T) {
	etc := t.TempDir()
	for name, text := range map[string]string{
		"sources.list":                   oneLine,
		"sources.list.d/debian.sources":  deb822,
		"sources.list.d/x.list.disabled": "deb http://disabled.example/debian bookworm main\n",
	} {
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readSources(etc)
	if err != nil || len(got) != 4 {
		t.Errorf("got %d sources and error %v, want two of each format", len(got), err)
	}
}

func TestFindMirrors(t *testing.T) {
	const vendor = "deb https://apt.vendor.example bookworm main\n"
	const nodebian = "deb https://apt.vendor.example nodistro main\ndeb https://d.example/linux/debian bookworm stable\n"
	tests := map[string]struct{ sources, main, security, err string }{
		"debian":       {oneLine, "http://mirror.example/debian", "https://sec.example/debian-security", ""},
		"vendor first": {vendor + oneLine, "http://mirror.example/debian", "https://sec.example/debian-security", ""},
		"vendor last":  {oneLine + vendor, "http://mirror.example/debian", "https://sec.example/debian-security", ""},
		"no security":  {"deb http://m.example/mirror sid main", "http://m.example/mirror", "", ""},
		"none":         {nodebian, "", "", "no Debian mirror"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := findMirrors(parseOneLine(tt.sources))
			if m.main.uri != tt.main || m.security.uri != tt.security {
				t.Errorf("got %+v", m)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestSourcesList(t *testing.T) {
	m := mirrors{main: mirror{"http://m.example/debian", "/k/a.gpg"}}
	if got := sourcesList(bullseye, m, nil); strings.Contains(got, "security") {
		t.Errorf("without a security mirror:\n%s", got)
	}
	m.security = mirror{"http://s.example/debian-security", "/k/s.gpg"}
	const want = "deb [arch=amd64 signed-by=/k/s.gpg,/k/new.gpg check-valid-until=no] http://s.example/debian-security bullseye-security main\n"
	if got := sourcesList(bullseye, m, []string{"/k/new.gpg"}); !strings.Contains(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAptConf(t *testing.T) {
	got := aptConf("Acquire::http::Proxy \"http://proxy.example\";\nAPT::Update::Post-Invoke:: \"rm -f x\";\nDir::State \"var/lib/apt\";\n", "/cache")
	if strings.Contains(got, "rm -f") {
		t.Error("the machine's hooks are kept")
	}
	if !strings.Contains(got, "proxy.example") {
		t.Error("the machine's proxy is lost")
	}
	if strings.LastIndex(got, "Dir::State \"/cache/state\"") < strings.Index(got, "var/lib/apt") {
		t.Error("the machine's state directory wins")
	}
}
