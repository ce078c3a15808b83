//go:build linux

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// kernel is an unpacked Debian kernel.
type kernel struct {
	release string
	image   string
	modules string // the directory named after the release
}

// openKernel finds the parts of a kernel in a tree of unpacked packages. Older
// packages are not yet moved beneath usr and keep the image in boot.
func openKernel(tree string) (kernel, error) {
	var dirs []string
	for _, pattern := range []string{"lib/modules/*", "usr/lib/modules/*"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return kernel{}, err
		}
		dirs = append(dirs, found...)
	}
	if len(dirs) != 1 {
		return kernel{}, fmt.Errorf("%s holds %d kernels, want one: remove it", tree, len(dirs))
	}
	k := kernel{release: filepath.Base(dirs[0]), modules: dirs[0]}
	for _, image := range []string{
		filepath.Join(tree, "boot", "vmlinuz-"+k.release),
		filepath.Join(k.modules, "vmlinuz"),
	} {
		if exists(image) {
			k.image = image
			return k, nil
		}
	}
	return kernel{}, fmt.Errorf("no vmlinuz in %s: remove it", tree)
}

// module is one kernel module, ready for init_module.
type module struct {
	name       string
	parameters string
	image      []byte
}

// wantedModules are loaded in every guest, with their parameters: the scratch disk,
// and what tests of swap, loop devices, slow devices (which they make in configfs)
// and container runtimes cannot do without.
var wantedModules = []string{"virtio_pci", "virtio_blk", "ext4", "loop", "lzo_rle", "zram", "overlay", "null_blk nr_devices=0"}

// load returns the wanted modules after the ones that they depend on, less
// what is built in.
func (k kernel) load(ctx context.Context, t tools) ([]module, error) {
	have := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(d.Name(), ".ko"); ok && err == nil {
			have[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(k.modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	done := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		name, _, _ := strings.Cut(filepath.Base(line), ".ko")
		done[moduleName(name)] = true
	}

	var loaded []module
	var visit func(name, parameters string) error
	visit = func(name, parameters string) error {
		if name = moduleName(name); done[name] {
			return nil
		}
		done[name] = true
		path, ok := have[name]
		if !ok {
			return fmt.Errorf("linux %s has no module %s", k.release, name)
		}
		image, err := readModule(ctx, t, path)
		if err != nil {
			return err
		}
		depends, err := moduleDepends(image)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, d := range depends {
			if err := visit(d, ""); err != nil {
				return err
			}
		}
		loaded = append(loaded, module{name, parameters, image})
		return nil
	}
	for _, wanted := range wantedModules {
		name, parameters, _ := strings.Cut(wanted, " ")
		if err := visit(name, parameters); err != nil {
			return nil, err
		}
	}
	return loaded, nil
}

// moduleName is the name of a module as the kernel sees it; its file may be
// spelled with dashes.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func readModule(ctx context.Context, t tools, path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	image, err := t.command(ctx, "usr/bin/xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("xz -dc %s: %w", path, err)
	}
	return image, nil
}

// moduleDepends reads "depends=a,b" out of a module. Debian's packages come
// without modules.dep, which depmod makes on the machine.
func moduleDepends(image []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
