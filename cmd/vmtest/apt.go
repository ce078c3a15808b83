//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt is a private apt: the machine's configuration (proxies, credentials)
// with sources, state and caches of its own, no hooks and no installed
// packages. It needs no root and leaves the machine's apt alone.
type apt struct {
	dir     string
	updated error
}

// newApt makes dir a private apt for archive a and fetches its signed lists.
// A list that cannot be had or verified is left out by apt; what is wrong with
// it is told when a package is not found.
func newApt(ctx context.Context, dir string, a archive, m mirrors, keyrings ...string) (*apt, error) {
	p := &apt{dir: dir}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-config: %w: vmtest needs apt and dpkg", err)
	}
	for name, text := range map[string]string{
		"status":       "",
		"sources.list": sourcesList(a, m, keyrings),
		"apt.conf":     aptConf(string(dump), dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	_, p.updated = p.run(ctx, "apt-get", "update")
	return p, nil
}

// sourcesList is a sources.list for a. Keyrings are trusted beside those that
// the machine names for its mirrors.
func sourcesList(a archive, m mirrors, keyrings []string) string {
	var b strings.Builder
	for _, s := range a.suites {
		from := m.main
		if s.security {
			from = m.security
		}
		if from.uri == "" {
			continue
		}
		options := "arch=amd64 signed-by=" + strings.Join(append([]string{from.keyring}, keyrings...), ",")
		if s.frozen {
			options += " check-valid-until=no"
		}
		fmt.Fprintf(&b, "deb [%s] %s %s main\n", options, from.uri, s.name)
	}
	return b.String()
}

// aptConf is the machine's configuration, as apt-config dumps it, turned
// private. Lists and packages are fetched as the calling user because apt's
// sandbox user cannot reach a cache in a home directory.
func aptConf(dump, dir string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, "-Invoke") {
			b.WriteString(line)
		}
	}
	for _, o := range [][2]string{
		{"APT::Architecture", "amd64"},
		{"APT::Architectures", "amd64"},
		{"APT::Install-Recommends", "false"},
		{"APT::Sandbox::User", ""},
		{"APT::Update::Error-Mode", "any"},
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		{"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"},
		{"Debug::NoLocking", "true"},
		{"Dir::State", dir + "/state"},
		{"Dir::State::status", dir + "/status"},
		{"Dir::Cache", dir + "/cache"},
		{"Dir::Etc::sourcelist", dir + "/sources.list"},
		{"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", "/dev/null"},
		{"Dir::Etc::preferences", "/dev/null"},
		{"Dir::Etc::preferencesparts", "/dev/null"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", o[0], o[1])
	}
	return b.String()
}

// run runs one of apt's programs; an error carries what it said.
func (p *apt) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = filepath.Join(p.dir, "cache/archives")
	cmd.Env = append(os.Environ(), "APT_CONFIG="+p.dir+"/apt.conf", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(args[:2], " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}

// pkg is what selecting a kernel needs to know of a package.
type pkg struct {
	name, version string
	depends       []string
}

// show looks packages up.
func (p *apt) show(ctx context.Context, names ...string) ([]pkg, error) {
	out, err := p.run(ctx, append([]string{"apt-cache", "show", "--no-all-versions"}, names...)...)
	return parsePackages(out), err
}

// kernel is the newest kernel of a series with the packages that hold its
// parts: Debian split them up in 6.19. Signed or not makes no difference.
func (p *apt) kernel(ctx context.Context, series string) ([]pkg, error) {
	out, err := p.run(ctx, "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return nil, err
	}
	image := imageName(series)
	var names []string
	for _, name := range strings.Fields(out) {
		if image.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, errors.Join(fmt.Errorf("no linux-image-%s*-cloud-amd64 in Debian", series), p.updated)
	}
	images, err := p.show(ctx, names...)
	if err != nil {
		return nil, err
	}
	best := newestPackage(images)
	parts := []pkg{best}
	for _, d := range best.depends {
		if strings.HasSuffix(d, "-cloud-amd64") {
			parts = append(parts, pkg{name: d, version: best.version})
		}
	}
	return parts, nil
}

// download fetches exactly these packages, without what they depend on, and
// unpacks them into root.
func (p *apt) download(ctx context.Context, root string, packages []pkg) error {
	args := []string{"apt-get", "download"}
	var files []string
	for _, k := range packages {
		args = append(args, k.name+"="+k.version)
		files = append(files, k.name+"_"+k.version+"_*.deb")
	}
	if _, err := p.run(ctx, args...); err != nil {
		return errors.Join(err, p.updated)
	}
	return p.extract(ctx, root, files...)
}

// downloadAll fetches packages with all they depend on, libc included,
// preferring the given release, and unpacks everything into root but for what
// the names in without match.
func (p *apt) downloadAll(ctx context.Context, root, release string, without []string, names ...string) error {
	// A broken off run may have left versions that are no longer wanted.
	if _, err := p.run(ctx, "apt-get", "autoclean"); err != nil {
		return err
	}
	install := []string{"apt-get", "install", "--yes", "--download-only", "--target-release", release}
	if _, err := p.run(ctx, append(install, names...)...); err != nil {
		return errors.Join(err, p.updated)
	}
	for _, name := range without {
		debs, err := filepath.Glob(filepath.Join(p.dir, "cache/archives", name+"_*.deb"))
		if err != nil {
			return err
		}
		for _, deb := range debs {
			if err := os.Remove(deb); err != nil {
				return err
			}
		}
	}
	return p.extract(ctx, root, "*.deb")
}

// extract unpacks the downloaded packages whose file names match into root.
func (p *apt) extract(ctx context.Context, root string, patterns ...string) error {
	for _, pattern := range patterns {
		debs, err := filepath.Glob(filepath.Join(p.dir, "cache/archives", pattern))
		if err != nil {
			return err
		}
		if len(debs) == 0 {
			return fmt.Errorf("apt did not leave %s in %s", pattern, p.dir)
		}
		for _, deb := range debs {
			if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
				return fmt.Errorf("dpkg -x %s: %w\n%s", filepath.Base(deb), err, bytes.TrimSpace(out))
			}
		}
	}
	return nil
}
