package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write fields.json and mesh.toml.example")

const (
	examplePath = "../../mesh.toml.example"
	fieldsPath  = "fields.json"
)

// TestGeneratedFilesAreFresh writes the files under -update and compares them otherwise.
func TestGeneratedFilesAreFresh(t *testing.T) {
	fields := readFields(t)
	encoded, err := json.MarshalIndent(fields, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{fieldsPath: append(encoded, '\n'), examplePath: []byte(example(fields))} {
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the field comments say (%v); run: go generate ./node/config", path, err)
		}
	}
}

// TestEveryFieldSaysWhatItIs: meaning, unit, default, reload class.
func TestEveryFieldSaysWhatItIs(t *testing.T) {
	for _, f := range readFields(t) {
		for _, missing := range flaws(f) {
			t.Errorf("%s: %s; its comment: %q", f.Key, missing, f.Doc)
		}
	}
	bad := Field{Key: "x.y", Type: "integer", Doc: "Too short."}
	if n := len(flaws(bad)); n != 4 {
		t.Errorf("the check itself finds %d flaws in a bad comment, want 4", n)
	}
}

var (
	saysUnit   = regexp.MustCompile(`Unit: |(?i)\b(bytes?|how many|number of|at most|per second|share|count|ratio|factor|times|connections|streams|percent|handshakes|[0-9]+ (to|and) [0-9]+|messages|packets|port)\b`)
	unitInName = regexp.MustCompile(`_(bytes|per_second)(_|$)`)
	saysNot    = regexp.MustCompile(`(?i)\b(not|no field is|no key is|none is|nothing here is) (reloadable|reloaded)\b`)
	saysLive   = regexp.MustCompile(`(?i)\b(reloadable|reloaded)\b`)
	saysStop   = regexp.MustCompile(`(?i)\brestart\b`)
)

func flaws(f Field) (out []string) {
	if len(strings.Fields(f.Doc)) < 4 {
		out = append(out, "says no meaning")
	}
	if (f.Type == "integer" || f.Type == "number") && !saysUnit.MatchString(f.Doc) && !unitInName.MatchString(f.Key) {
		out = append(out, "says no unit")
	}
	if !regexp.MustCompile(`(?i)default`).MatchString(f.Doc) {
		out = append(out, "says no default")
	}
	if f.Reload == "" {
		out = append(out, `says neither "Reloadable" nor "Needs a restart"`)
	}
	return out
}

// source finds the comments of struct fields in the Go files of a package.
type source map[string]*ast.StructType // package path + "." + type name

type comments struct{ typeDoc, fieldDoc string }

func (s source) of(t *testing.T, typ reflect.Type, field string) comments {
	t.Helper()
	dir, ok := strings.CutPrefix(typ.PkgPath(), "fire/")
	if !ok {
		t.Fatalf("%s is not a type of this module", typ)
	}
	files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok || ts.Name.Name != typ.Name() {
					continue
				}
				doc := g.Doc.Text() + " " + ts.Doc.Text()
				if st, ok := ts.Type.(*ast.StructType); ok {
					return comments{oneLine(doc), oneLine(fieldDoc(st, field))}
				}
			}
		}
	}
	t.Fatalf("no source of %s", typ)
	return comments{}
}

func fieldDoc(st *ast.StructType, field string) string {
	for _, f := range st.Fields.List {
		for _, n := range f.Names {
			if n.Name == field {
				return f.Doc.Text() + " " + f.Comment.Text()
			}
		}
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// readFields walks the structs and collects what the comments say.
func readFields(t *testing.T) []Field {
	t.Helper()
	c := Default()
	var out []Field
	collect(t, reflect.ValueOf(c), nil, &out)
	return out
}

func collect(t *testing.T, v reflect.Value, path []string, out *[]Field) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name := tagOf(sf)
		if name == "" {
			continue
		}
		at := append(path[:len(path):len(path)], name)
		fv := v.Field(i)
		if fv.Kind() == reflect.Map && fv.Type().Elem().Kind() == reflect.Struct {
			collect(t, element(fv.Type().Elem()).Elem(), append(at, "NAME"), out)
			continue
		}
		if fv.Kind() == reflect.Struct && !isText(fv) {
			collect(t, fv, at, out)
			continue
		}
		doc := source{}.of(t, v.Type(), sf.Name)
		*out = append(*out, Field{Key: strings.Join(at, "."), Type: typeName(fv), Doc: doc.fieldDoc, Default: literal(fv), Reload: reloadOf(doc)})
	}
}

func reloadOf(c comments) string {
	for _, text := range []string{c.fieldDoc, c.typeDoc} {
		switch {
		case saysNot.MatchString(text):
			return "restart"
		case saysLive.MatchString(text):
			return "live"
		case saysStop.MatchString(text):
			return "restart"
		}
	}
	return ""
}

func typeName(v reflect.Value) string {
	switch {
	case v.Type() == duration:
		return "duration"
	case isText(v):
		return "string"
	case v.Kind() == reflect.Slice:
		return "list of " + typeName(reflect.New(v.Type().Elem()).Elem()) + "s"
	case v.Kind() == reflect.Bool:
		return "boolean"
	case v.Kind() == reflect.Float64:
		return "number"
	case v.CanInt() || v.CanUint():
		return "integer"
	}
	return "string"
}

// shown are the keys that the example sets; every other line is a comment that
// shows the default. Below a named table they are only proposals.
var shown = map[string]string{
	"mesh.name":   `"floor"`,
	"mesh.region": `"eu"`,
	"node.name":   `"host1"`,
	"node.roles":  `["control", "proxy"]`,
	"node.listen": `"127.0.0.1:7400"`,
	"node.dir":    `"fire-state"`,
}

// example is mesh.toml.example.
func example(fields []Field) string {
	var b strings.Builder
	b.WriteString(`# mesh.toml: the configuration of one host. This file starts as it is, with control
# and proxy on one machine:
#
#     fire run --config mesh.toml.example
#
# Every key stands here with its meaning. A line "#: key = value" shows the default;
# remove the mark to change it. Named tables, such as [service.orders], may stand any
# number of times. Made by go generate ./node/config; do not edit.
`)
	table := ""
	named := false
	for _, f := range fields {
		i := strings.LastIndexByte(f.Key, '.')
		if t := f.Key[:i]; t != table {
			table, named = t, strings.Contains(t, ".NAME")
			b.WriteString("\n" + mark(named) + "[" + strings.Replace(t, ".NAME", "."+exampleNames[t], 1) + "]\n")
		}
		for _, line := range wrap(f.Doc, 92) {
			b.WriteString("# " + line + "\n")
		}
		value, set := shown[f.Key]
		if !set {
			value = f.Default
		}
		if v, ok := exampleValues[f.Key]; ok {
			value = v
		}
		b.WriteString(mark(named || !set) + f.Key[i+1:] + " = " + value + "\n")
	}
	return b.String()
}

// exampleNames stand for NAME in the headings of named tables.
var exampleNames = map[string]string{"service.NAME": "orders", "service.NAME.health": "orders", "upstream.NAME": "to-risk", "program.NAME": "orders"}

// exampleValues stand in named tables, where a default alone would be wrong.
var exampleValues = map[string]string{
	"service.NAME.address": `"127.0.0.1:9001"`, "service.NAME.health.command": `["/usr/bin/true"]`,
	"service.NAME.health.interval": `"200ms"`, "service.NAME.health.timeout": `"1s"`,
	"program.NAME.users":    `["orders"]`,
	"upstream.NAME.service": `"risk"`, "upstream.NAME.as": `"orders"`, "upstream.NAME.listen": `"127.0.0.1:15001"`,
}

func mark(off bool) string {
	if off {
		return "#: "
	}
	return ""
}

func wrap(s string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// TestExampleParsesAsItIsAndWithEveryLineOn proves both halves of its promise.
func TestExampleParsesAsItIsAndWithEveryLineOn(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	asIs, problems := Parse("mesh.toml.example", data)
	if problems != nil {
		t.Fatalf("as it is:\n%v", problems)
	}
	if asIs.Mesh.Name != "floor" {
		t.Errorf("mesh.name = %q", asIs.Mesh.Name)
	}
	on := regexp.MustCompile(`(?m)^#: `).ReplaceAll(data, nil)
	full, problems := Parse("mesh.toml.example", on)
	if problems != nil {
		t.Fatalf("with every line on:\n%v", problems)
	}
	for _, c := range Diff(asIs, full) {
		if !strings.HasPrefix(c.Key, "service.") && !strings.HasPrefix(c.Key, "upstream.") && !strings.HasPrefix(c.Key, "program.") {
			t.Errorf("a commented line is not the default: %+v", c)
		}
	}
}
