package text

import (
	"github.com/oomtrace/oomtrace/output/term"
	"github.com/oomtrace/oomtrace/tracer/event"
	"github.com/oomtrace/oomtrace/tracer/event/label"
)

// container says of a container what its name does not: image, runtime and id,
// and the container that it runs in.
func (w *Writer) container(c *event.Container) {
	if c == nil || c.Image == "" && c.Parent == nil {
		return
	}
	t := term.Clean(c.Image)
	if c.Runtime != "" && c.Runtime != "unknown" {
		if t != "" {
			t += ", "
		}
		t += term.Clean(c.Runtime)
		if id := label.Place(&event.Container{ID: c.ID}, nil); id != "" && id != c.Name {
			t += " " + term.Clean(id)
		}
	}
	for p := c.Parent; p != nil; p = p.Parent {
		if t != "" {
			t += ", "
		}
		t += "inside " + place(p, nil)
		if p.Image != "" {
			t += " (" + term.Clean(p.Image) + ")"
		}
	}
	w.label("container").wrap(plain, t, body, 2)
}
