package jsonl

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/oomtrace/oomtrace/tracer/event"
)

// The form that a Writer writes is read here, in a fraction of the time that
// encoding/json takes: no blanks, keys in the order of the fields, strings without
// escapes. A line that has anything else in it is left to encoding/json, whose
// results these are.

// frequent are the types of which there may be many; others are not worth it.
var frequent = []string{
	event.TypeReclaim, event.TypeKswapd, event.TypeThrottle, event.TypeCache, event.TypeMemory, event.TypeCgroup, event.TypeStalls,
	event.TypeThrash,
}

// mostQuick bounds a line that is read here, in bytes: its strings share its
// memory.
const mostQuick = 16 << 10

// quick is a line while it is read.
type quick struct {
	line []byte
	text string // the same
	at   int
}

// readQuick gives nil for a line that encoding/json has to read.
func readQuick(line []byte) event.Event {
	if len(line) > mostQuick {
		return nil
	}
	const head = `{"type":"`
	if len(line) < len(head) || string(line[:len(head)]) != head {
		return nil
	}
	name := line[len(head):]
	n := 0
	for n < len(name) && name[n] != '"' {
		n++
	}
	read := frequentReaders()[string(name[:n])]
	if read == nil {
		return nil
	}
	e := blank(string(name[:n]))
	q := quick{line: line, text: string(line)}
	if !read(&q, reflect.ValueOf(e).Elem()) || q.at != len(line) {
		return nil
	}
	return e
}

// reader reads a value; false when encoding/json has to.
type reader func(*quick, reflect.Value) bool

// frequentReaders are those of events, by their types.
var frequentReaders = sync.OnceValue(func() map[string]reader {
	b := builder{}
	readers := make(map[string]reader)
	for _, typ := range frequent {
		readers[typ] = b.reader(reflect.TypeOf(blank(typ)).Elem())
	}
	return readers
})

// builder makes readers; those of structs it has made, for they may hold each
// other.
type builder map[reflect.Type]*object

// object is how a struct is written.
type object []member

type member struct {
	key   string // with quotes and colon
	index []int
	read  reader
}

func (b builder) reader(t reflect.Type) reader {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return readTime
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return readNothing
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int32, reflect.Int64:
		return readInt
	case reflect.Uint32, reflect.Uint64:
		return readUint
	case reflect.Pointer:
		read := b.reader(t.Elem())
		return func(q *quick, v reflect.Value) bool {
			p := reflect.New(t.Elem())
			v.Set(p)
			return read(q, p.Elem())
		}
	case reflect.Slice:
		return readSlice(t, b.reader(t.Elem()))
	case reflect.Struct:
		return b.object(t).read
	}
	return readNothing
}

func (b builder) object(t reflect.Type) *object {
	if o := b[t]; o != nil {
		return o
	}
	o := new(object)
	b[t] = o
	b.members(o, t, nil)
	return o
}

// members adds the fields of a struct, and of those embedded in it, in the order
// in which they are written.
func (b builder) members(o *object, t reflect.Type, path []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(path[:len(path):len(path)], i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			b.members(o, f.Type, index)
		case f.IsExported() && name != "-":
			if name == "" {
				name = f.Name
			}
			*o = append(*o, member{strconv.Quote(name) + ":", index, b.reader(f.Type)})
		}
	}
}

func (o *object) read(q *quick, v reflect.Value) bool {
	if !q.next('{') {
		return false
	}
	if q.next('}') {
		return true
	}
	for left := *o; ; {
		for len(left) > 0 && !strings.HasPrefix(q.text[q.at:], left[0].key) {
			left = left[1:]
		}
		if len(left) == 0 {
			return false // another order, twice the same, or not known
		}
		q.at += len(left[0].key)
		if !left[0].read(q, v.FieldByIndex(left[0].index)) {
			return false
		}
		left = left[1:]
		if !q.next(',') {
			return q.next('}')
		}
	}
}

// next passes over a character if it comes next.
func (q *quick) next(c byte) bool {
	if q.at < len(q.text) && q.text[q.at] == c {
		q.at++
		return true
	}
	return false
}

// quoted gives the bounds of a string's text.
func (q *quick) quoted() (from, to int, ok bool) {
	if !q.next('"') {
		return 0, 0, false
	}
	ascii := true
	for i := q.at + Text(q.line[q.at:]); i < len(q.text); i++ {
		switch c := q.text[i]; {
		case c == '"':
			from, to, q.at = q.at, i, i+1
			return from, to, ascii || utf8.ValidString(q.text[from:to])
		case c < ' ' || c == '\\':
			return 0, 0, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return 0, 0, false
}

func readNothing(*quick, reflect.Value) bool { return false }

func readString(q *quick, v reflect.Value) bool {
	from, to, ok := q.quoted()
	if ok {
		v.SetString(q.text[from:to])
	}
	return ok
}

func readTime(q *quick, v reflect.Value) bool {
	from, to, ok := q.quoted()
	return ok && v.Addr().Interface().(*time.Time).UnmarshalText(q.line[from:to]) == nil
}

func readBool(q *quick, v reflect.Value) bool {
	is := strings.HasPrefix(q.text[q.at:], "true")
	if !is && !strings.HasPrefix(q.text[q.at:], "false") {
		return false
	}
	q.at += len(strconv.FormatBool(is))
	v.SetBool(is)
	return true
}

// digits reads a number without sign, fraction or exponent. What follows it is
// for the caller to judge: a comma or a bracket, or it is none of ours.
func (q *quick) digits() (n uint64, ok bool) {
	from := q.at
	for q.at < len(q.text) && q.text[q.at] >= '0' && q.text[q.at] <= '9' {
		c := uint64(q.text[q.at] - '0')
		if n > (math.MaxUint64-c)/10 {
			return 0, false
		}
		n = n*10 + c
		q.at++
	}
	size := q.at - from
	return n, size == 1 || size > 1 && q.text[from] != '0'
}

func readUint(q *quick, v reflect.Value) bool {
	n, ok := q.digits()
	if !ok || v.OverflowUint(n) {
		return false
	}
	v.SetUint(n)
	return true
}

func readInt(q *quick, v reflect.Value) bool {
	minus := q.next('-')
	n, ok := q.digits()
	if !ok || n > math.MaxInt64 {
		return false
	}
	signed := int64(n)
	if minus {
		signed = -signed
	}
	if v.OverflowInt(signed) {
		return false
	}
	v.SetInt(signed)
	return true
}

func readSlice(t reflect.Type, read reader) reader {
	return func(q *quick, v reflect.Value) bool {
		if !q.next('[') {
			return false
		}
		v.Set(reflect.MakeSlice(t, 0, 0))
		if q.next(']') {
			return true
		}
		for n := 1; ; n++ {
			v.Grow(1)
			v.SetLen(n)
			if !read(q, v.Index(n-1)) {
				return false
			}
			if !q.next(',') {
				return q.next(']')
			}
		}
	}
}
