//go:build linux

package main

import (
	"reflect"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	ascending := []string{
		"5.10.99-1", "5.10.262-1", "6.1.192-1~bpo1", "6.1.192-1", "6.1.192-2", "6.1.0192-3",
		"6.12.90-1~deb12u1", "6.12.90-1", "6.12.90-1+b1", "6.12.90.1-1", "7.3~rc1-1", "7.3-1", "7.3a-1", "7.10-1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := compareVersions(a, b); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("compareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
}

func TestParsePackages(t *testing.T) {
	const text = `Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | initramfs-tools (>= 0.120), linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
Description: Linux

Package: linux-image-7.2-cloud-amd64
Version: 7.2-1

`
	want := []pkg{
		{"linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", []string{"dracut", "linux-binary-7.3.4+deb13-cloud-amd64"}},
		{"linux-image-7.2-cloud-amd64", "7.2-1", nil},
	}
	got := parsePackages(text)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if best := newestPackage(got); best.name != want[0].name {
		t.Errorf("newest is %s", best.name)
	}
}

func TestImageName(t *testing.T) {
	tests := []struct {
		series, name string
		want         bool
	}{
		{"5.10", "linux-image-5.10.0-46-cloud-amd64", true},
		{"6.1", "linux-image-6.1.0-56-cloud-amd64-unsigned", true},
		{"6.12", "linux-image-6.12.117+deb12-cloud-amd64", true},
		{"7", "linux-image-7.4.1+deb13-cloud-amd64", true},
		{"6.1", "linux-image-6.12.117+deb12-cloud-amd64", false},
		{"6.1", "linux-image-6.1-cloud-amd64", false},
		{"6.1", "linux-image-6.1.0-56-amd64", false},
		{"6.1", "linux-image-6.1.0-56-cloud-amd64-dbg", false},
	}
	for _, tt := range tests {
		if got := imageName(tt.series).MatchString(tt.name); got != tt.want {
			t.Errorf("series %s, %s: %v", tt.series, tt.name, got)
		}
	}
}
