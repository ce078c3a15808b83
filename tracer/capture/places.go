package capture

import (
	"reflect"
	"slices"
	"strings"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// Places finds the cgroups and containers that events name, whatever their type:
// a struct's cgroup and its container belong together. It is not safe for
// concurrent use.
type Places struct {
	// without are JSON names of fields that are not looked into.
	without []string
	plans   map[reflect.Type]*plan
}

// plan is how to find them in one type of struct.
type plan struct {
	cgroup, container []int // index of the field, nil when there is none
	inside            [][]int
}

var (
	cgroupType    = reflect.TypeFor[event.Cgroup]()
	containerType = reflect.TypeFor[event.Container]()
)

// NewPlaces leaves out what lies in fields of these JSON names.
func NewPlaces(without ...string) *Places {
	return &Places{without: without, plans: make(map[reflect.Type]*plan)}
}

// Of calls see for each place that e names; one of the two may be nil.
func (p *Places) Of(e event.Event, see func(*event.Cgroup, *event.Container)) {
	p.walk(reflect.ValueOf(e), see)
}

func (p *Places) walk(v reflect.Value, see func(*event.Cgroup, *event.Container)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			p.walk(v.Elem(), see)
		}
	case reflect.Slice:
		for i := range v.Len() {
			p.walk(v.Index(i), see)
		}
	case reflect.Struct:
		plan := p.plan(v.Type())
		if plan == nil {
			return
		}
		var cg *event.Cgroup
		var c *event.Container
		if plan.cgroup != nil {
			cg = pointer[event.Cgroup](v.FieldByIndex(plan.cgroup))
		}
		if plan.container != nil {
			c = pointer[event.Container](v.FieldByIndex(plan.container))
		}
		if cg != nil || c != nil {
			see(cg, c)
		}
		for _, i := range plan.inside {
			p.walk(v.FieldByIndex(i), see)
		}
	}
}

func pointer[T any](v reflect.Value) *T {
	if v.Kind() == reflect.Pointer {
		return v.Interface().(*T)
	}
	return v.Addr().Interface().(*T)
}

// plan gives nil for a type that holds no places.
func (p *Places) plan(t reflect.Type) *plan {
	if known, ok := p.plans[t]; ok {
		return known
	}
	p.plans[t] = nil // also while it is being looked into
	var found plan
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || slices.Contains(p.without, name) {
			continue
		}
		of := f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		switch {
		case of.Kind() != reflect.Struct:
		case of == cgroupType && f.Type.Kind() != reflect.Slice:
			found.cgroup = f.Index
		case of == containerType && f.Type.Kind() != reflect.Slice:
			found.container = f.Index
		case p.plan(of) != nil:
			found.inside = append(found.inside, f.Index)
		}
	}
	if found.cgroup == nil && found.container == nil && found.inside == nil {
		return nil
	}
	p.plans[t] = &found
	return &found
}
