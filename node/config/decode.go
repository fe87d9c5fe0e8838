package config

import (
	"encoding"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"fire/policy/id"
)

// decoder pours a parsed TOML tree into structs by their toml tags. Unlike the
// library's own decoder it goes on after an error, refuses keys of another case,
// refuses bare integers as durations, and knows where every value stands.
type decoder struct {
	file, text string
	places     map[string]place
	problems   Problems
	origins    map[string]Position // dotted key of every value that the file sets
}

// duration is the one type that TOML lacks; see decoder.scalar.
var duration = reflect.TypeFor[time.Duration]()

// decode parses text into target, a pointer to a struct that holds the defaults.
func decode(file, text string, target any) *decoder {
	d := &decoder{file: file, text: text, origins: map[string]Position{}}
	tree := map[string]any{}
	if _, err := toml.Decode(text, &tree); err != nil {
		d.syntax(err)
		return d
	}
	d.places = locate(text)
	d.table(reflect.ValueOf(target).Elem(), tree, nil)
	return d
}

// syntax reports what the TOML library refused; it stops at the first.
func (d *decoder) syntax(err error) {
	pe, ok := err.(toml.ParseError)
	if !ok {
		d.problems = append(d.problems, Problem{Position: Position{File: d.file}, Text: err.Error()})
		return
	}
	start := max(0, min(pe.Position.Start, len(d.text)-1)) // the library may point behind the end
	message := pe.Message
	if holdsSecret(d.text) {
		message = "is not TOML (the text holds a secret, so it is not shown)"
	}
	at := span{start, start + max(pe.Position.Len, 1)}
	d.problems = append(d.problems, Problem{Position: position(d.file, d.text, start), Text: message, Excerpt: excerpt(d.text, at)})
}

// refuse records a problem with the key (or, with value set, the value) at path.
func (d *decoder) refuse(path []string, value bool, text, hint string) {
	s := d.span(path, value)
	d.problems = append(d.problems, Problem{
		Position: position(d.file, d.text, s.start), Key: dotted(path), Text: text, Hint: hint,
		Excerpt: excerpt(d.text, s),
	})
}

// span is where path stands, or the nearest table above it.
func (d *decoder) span(path []string, value bool) span {
	for ; len(path) > 0; path, value = path[:len(path)-1], false {
		p, ok := d.places[pathKey(path)]
		if ok && value && p.value != (span{}) {
			return p.value
		}
		if ok {
			return p.key
		}
	}
	return span{}
}

// table fills the struct v from m.
func (d *decoder) table(v reflect.Value, m map[string]any, path []string) {
	fields := fieldsOf(v.Type())
	for _, key := range d.inFileOrder(m, path) {
		at := append(path[:len(path):len(path)], key)
		f, ok := fields[key]
		if !ok {
			d.unknown(at, fields)
			continue
		}
		d.value(v.FieldByIndex(f.Index), m[key], at)
	}
}

func (d *decoder) inFileOrder(m map[string]any, path []string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		x := d.span(append(path[:len(path):len(path)], a), false).start
		y := d.span(append(path[:len(path):len(path)], b), false).start
		if x != y {
			return x - y
		}
		return strings.Compare(a, b)
	})
	return keys
}

func (d *decoder) unknown(path []string, fields map[string]reflect.StructField) {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	key := path[len(path)-1]
	for _, n := range names {
		if strings.EqualFold(n, key) {
			d.refuse(path, false, "keys are written in lower case", "write "+strconv.Quote(n))
			return
		}
	}
	hint := "the keys here are: " + strings.Join(names, ", ")
	if n := Nearest(key, names); n != "" {
		hint = "did you mean " + strconv.Quote(n) + "?"
	}
	d.refuse(path, false, "no such key", hint)
}

// value fills v, of any kind, from x.
func (d *decoder) value(v reflect.Value, x any, path []string) {
	if s, ok := x.(string); ok && holdsSecret(s) {
		d.refuse(path, true, "holds a secret itself", `name it: "cred:NAME" (systemd credential) or "file:PATH" (mode 0600)`)
		return
	}
	if v.Kind() == reflect.Struct && !isText(v) {
		if m, ok := d.wantTable(x, path); ok {
			d.table(v, m, path)
		}
		return
	}
	if v.Kind() == reflect.Map {
		if m, ok := d.wantTable(x, path); ok {
			d.named(v, m, path)
		}
		return
	}
	d.origins[dotted(path)] = position(d.file, d.text, d.span(path, false).start)
	if v.Kind() == reflect.Slice && !isText(v) {
		d.list(v, x, path)
		return
	}
	if text, hint := scalar(v, x); text != "" {
		d.refuse(path, true, text, hint)
	}
}

func (d *decoder) wantTable(x any, path []string) (map[string]any, bool) {
	switch x := x.(type) {
	case map[string]any:
		return x, true
	case []map[string]any:
		name := dotted(path)
		d.refuse(path, false, "arrays of tables are not used here", "name each table: ["+name+"] or ["+name+".NAME] instead of [["+name+"]]")
	default:
		d.refuse(path, true, "is "+kindOf(x)+", but should be a table", "write ["+dotted(path)+"]")
	}
	return nil, false
}

// element is a new named table of type t with its defaults, behind a pointer.
func element(t reflect.Type) reflect.Value {
	e := reflect.New(t)
	for _, d := range elementDefaults() {
		if v := reflect.ValueOf(d); v.Type() == t {
			e.Elem().Set(v)
		}
	}
	return e
}

// named fills a map of named tables, or of plain values, such as [service.NAME].
func (d *decoder) named(v reflect.Value, m map[string]any, path []string) {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(m)))
	for _, name := range d.inFileOrder(m, path) {
		at := append(path[:len(path):len(path)], name)
		if _, err := id.ParseName(name); err != nil {
			d.refuse(at, false, err.Error(), "")
			continue
		}
		e := element(v.Type().Elem()).Elem()
		d.value(e, m[name], at)
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e)
	}
}

func (d *decoder) list(v reflect.Value, x any, path []string) {
	items, ok := x.([]any)
	if !ok {
		if tables, is := x.([]map[string]any); is {
			d.wantTable(tables, path)
			return
		}
		d.refuse(path, true, "is "+kindOf(x)+", but should be a list", "write [ ... ]")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		at := append(path[:len(path):len(path)], strconv.Itoa(i))
		if s, ok := item.(string); ok && holdsSecret(s) {
			d.refuse(at, true, "holds a secret itself", `name it: "cred:NAME" or "file:PATH"`)
			continue
		}
		if text, hint := scalar(out.Index(i), item); text != "" {
			d.refuse(at, true, text, hint)
		}
	}
	v.Set(out)
}

// scalar sets v to x, or says why it cannot.
func scalar(v reflect.Value, x any) (text, hint string) {
	wrong := func(want, hint string) (string, string) {
		return "is " + kindOf(x) + ", but should be " + want, hint
	}
	if v.Type() == duration {
		return setDuration(v, x)
	}
	if isText(v) {
		s, ok := x.(string)
		if !ok {
			return wrong("a string", "put it in quotes")
		}
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			if v.Type() == reflect.TypeFor[slog.Level]() {
				return strconv.Quote(s) + " is no level", `want "debug", "info", "warn" or "error"`
			}
			return err.Error(), ""
		}
		return "", ""
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := x.(string)
		if !ok {
			return wrong("a string", "put it in quotes")
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := x.(bool)
		if !ok {
			return wrong("true or false", "")
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := x.(int64)
		if !ok {
			return wrong("a whole number", "")
		}
		if v.OverflowInt(n) {
			return fmt.Sprintf("%d is out of range", n), ""
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, ok := x.(int64)
		if !ok {
			return wrong("a whole number", "")
		}
		if n < 0 || v.OverflowUint(uint64(n)) {
			return fmt.Sprintf("%d is out of range", n), fmt.Sprintf("the range is 0 to %d", uint64(math.MaxUint64)>>(64-v.Type().Bits()))
		}
		v.SetUint(uint64(n))
	case reflect.Float32, reflect.Float64:
		switch n := x.(type) {
		case float64:
			v.SetFloat(n)
		case int64:
			v.SetFloat(float64(n))
		default:
			return wrong("a number", "")
		}
	default:
		return "cannot be set from a file (" + v.Type().String() + ")", ""
	}
	return "", ""
}

func setDuration(v reflect.Value, x any) (text, hint string) {
	switch x := x.(type) {
	case string:
		n, err := time.ParseDuration(x)
		if err != nil {
			return strconv.Quote(x) + " is no duration", `write a number with its unit, such as "250ms", "5s" or "24h"`
		}
		v.SetInt(int64(n))
	case int64, float64:
		return fmt.Sprintf("%v has no unit", x), fmt.Sprintf(`write "%vs" or "%vms"`, x, x)
	default:
		return "is " + kindOf(x) + ", but should be a duration", `write a number with its unit in quotes, such as "5s"`
	}
	return "", ""
}

// isText says whether v reads itself from a string.
func isText(v reflect.Value) bool {
	return reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func kindOf(x any) string {
	switch x.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	}
	return "a date or time"
}

// fieldsOf maps the toml names of a struct's fields to the fields.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		if name := tagOf(f); name != "" {
			out[name] = f
		}
	}
	return out
}

// tagOf is a field's key, or "" when the file cannot set it.
func tagOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	return name
}

// dotted prints a path as a TOML key.
func dotted(path []string) string {
	quoted := make([]string, len(path))
	for i, p := range path {
		quoted[i] = p
		if p == "" || strings.ContainsFunc(p, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		}) {
			quoted[i] = strconv.Quote(p)
		}
	}
	return strings.Join(quoted, ".")
}
