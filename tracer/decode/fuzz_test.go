package decode

import (
	"errors"
	"reflect"
	"testing"
)

// FuzzDecode: whatever comes is decoded or refused, and what is decoded can be
// read to its end.
func FuzzDecode(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.bytes)
		f.Add(s.bytes[:len(s.bytes)-s.optional])
		f.Add(s.bytes[:len(s.bytes)-s.optional-1])
	}
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			if r != nil || !errors.Is(err, ErrShort) && !errors.Is(err, ErrUnknown) {
				t.Fatalf("%v with %v", err, r)
			}
			return
		}
		if v := reflect.ValueOf(r); v.Kind() != reflect.Pointer || v.IsNil() {
			t.Fatalf("no record: %v", r)
		}
		switch r := r.(type) {
		case *Reclaim:
			for _, e := range r.Evicted {
				_ = e.Pages
			}
			bounded(t, r.Stack, len(r.CoreRecReclaim.Stack))
			bounded(t, r.UserStack, len(r.CoreRecReclaim.UserStack))
			if len(r.Evicted) > len(r.CoreRecReclaim.Evicted) {
				t.Fatalf("%d evicted", len(r.Evicted))
			}
		case *Mark:
			bounded(t, r.Stack, len(r.CoreRecOomMark.Stack))
		case *Cgroup:
			if len(r.Path) > len(r.CoreRecCgroup.Path) {
				t.Fatalf("path of %d bytes", len(r.Path))
			}
		case *File:
			if len(r.Path) == 0 {
				t.Fatal("no path")
			}
		}
	})
}

func bounded(t *testing.T, stack []uint64, most int) {
	t.Helper()
	if len(stack) > most {
		t.Fatalf("%d frames", len(stack))
	}
	for _, a := range stack {
		if a == 0 {
			t.Fatal("a frame at address 0")
		}
	}
}
