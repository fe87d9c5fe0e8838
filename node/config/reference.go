package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fieldsJSON is made from the field comments of every room; see doc.go.
//
//go:embed fields.json
var fieldsJSON []byte

// Field documents one key. NAME stands for the name of a named table.
type Field struct {
	Key     string `json:"key"`
	Type    string `json:"type"`
	Doc     string `json:"doc"`
	Default string `json:"default"`
	Reload  string `json:"reload"` // "live" or "restart"
}

// Fields is the reference of every key, in the order of the file.
var Fields = sync.OnceValue(func() []Field {
	var out []Field
	if err := json.Unmarshal(fieldsJSON, &out); err != nil {
		return []Field{{Key: "fields.json", Doc: err.Error()}} // the test of generated files fails first
	}
	return out
})

// FieldOf finds the documentation of a key of a file, such as service.orders.address.
func FieldOf(key string) (Field, bool) {
	parts := strings.Split(key, ".")
	for _, f := range Fields() {
		if matches(strings.Split(f.Key, "."), parts) {
			return f, true
		}
	}
	return Field{}, false
}

func matches(pattern, parts []string) bool {
	if len(pattern) != len(parts) {
		return false
	}
	for i := range pattern {
		if pattern[i] != parts[i] && pattern[i] != "NAME" {
			return false
		}
	}
	return true
}

// ReloadOf is "live" or "restart"; what is not documented needs a restart.
func ReloadOf(key string) string {
	if f, ok := FieldOf(key); ok {
		return f.Reload
	}
	return "restart"
}

// Docs is the reference as Markdown.
func Docs() string {
	var b strings.Builder
	b.WriteString("# mesh.toml\n\nEvery key is optional unless it says otherwise. A key marked *restart* takes effect when the process starts again.\n")
	_, tables := TableDocs("")
	for _, t := range tables {
		text, _ := TableDocs(t)
		b.WriteString("\n" + text)
	}
	return b.String()
}

// TableDocs is the part of the reference on one table, "" when there is no such
// table, and the names of all tables.
func TableDocs(table string) (text string, tables []string) {
	var b strings.Builder
	for _, f := range Fields() {
		i := strings.LastIndexByte(f.Key, '.')
		t := f.Key[:max(i, 0)]
		first := !slices.Contains(tables, t)
		if first {
			tables = append(tables, t)
		}
		if t != table && t != table+".NAME" {
			continue
		}
		if first {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "## [%s]\n\n", t)
		}
		fmt.Fprintf(&b, "- `%s` (%s, default `%s`, %s): %s\n", f.Key[i+1:], f.Type, f.Default, f.Reload, f.Doc)
	}
	return b.String(), tables
}

// Schema is a JSON Schema of mesh.toml, for editors and provisioning tools.
func Schema() []byte {
	c := Default()
	s := schemaOf(reflect.TypeOf(c), reflect.ValueOf(c), nil)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "mesh.toml"
	out, _ := json.MarshalIndent(s, "", "  ") // maps of strings and numbers always marshal
	return append(out, '\n')
}

// namePattern is policy/id's rule for names.
const namePattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

func schemaOf(t reflect.Type, v reflect.Value, path []string) map[string]any {
	s := map[string]any{}
	if f, ok := FieldOf(strings.Join(path, ".")); ok {
		s["description"] = f.Doc
	}
	switch {
	case t == duration:
		s["type"], s["pattern"] = "string", `^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	case reflect.PointerTo(t).Implements(reflect.TypeFor[textType]()):
		s["type"] = "string"
	case t.Kind() == reflect.Struct:
		properties := map[string]any{}
		for i := range t.NumField() {
			if name := tagOf(t.Field(i)); name != "" {
				properties[name] = schemaOf(t.Field(i).Type, v.Field(i), append(path[:len(path):len(path)], name))
			}
		}
		s["type"], s["properties"], s["additionalProperties"] = "object", properties, false
		return s
	case t.Kind() == reflect.Map:
		s["type"], s["additionalProperties"] = "object", false
		s["patternProperties"] = map[string]any{namePattern: schemaOf(t.Elem(), element(t.Elem()).Elem(), append(path[:len(path):len(path)], "NAME"))}
		return s
	case t.Kind() == reflect.Slice:
		item := schemaOf(t.Elem(), reflect.Zero(t.Elem()), nil)
		delete(item, "default")
		s["type"], s["items"] = "array", item
	case t.Kind() == reflect.String:
		s["type"] = "string"
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32:
		s["type"] = "number"
	default:
		s["type"] = "integer"
		if t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 {
			s["minimum"] = 0
		}
	}
	s["default"] = json.RawMessage(literal(v)) // TOML's scalars and lists of them are JSON
	return s
}

// textType is what reads itself from a string.
type textType interface{ UnmarshalText([]byte) error }
