package config

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Value is one effective value and where it comes from.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // as TOML
	Origin string `json:"origin"` // "default", file:line:column, or a fact of the host
}

// Values lists every effective value in the order of the reference, named tables
// by name.
func (c *Config) Values() []Value {
	var out []Value
	walk(reflect.ValueOf(c).Elem(), nil, func(path []string, v reflect.Value) {
		key := dotted(path)
		origin := "default"
		if note, ok := c.notes[key]; ok {
			origin = note
		} else if at, ok := c.origin[key]; ok {
			origin = at.String()
		}
		out = append(out, Value{key, literal(v), origin})
	})
	return out
}

// Show is the effective configuration as TOML, with each value's origin as a
// comment when asked.
func (c *Config) Show(origin bool) string {
	var b strings.Builder
	table := ""
	for _, v := range c.Values() {
		i := strings.LastIndexByte(v.Key, '.')
		if t := v.Key[:max(i, 0)]; t != table {
			if table = t; b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString("[" + t + "]\n")
		}
		line := v.Key[i+1:] + " = " + v.Value
		if origin {
			line = fmt.Sprintf("%-48s # %s", line, v.Origin)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Sets says whether the file holds the key, such as "node.name".
func (c *Config) Sets(key string) bool { _, ok := c.origin[key]; return ok }

// File is the path that the configuration was read from, "" for the defaults.
func (c *Config) File() string { return c.file }

// Digest is a SHA-256 over the effective values: comments, order and spelling of
// the file do not count.
func (c *Config) Digest() string {
	h := sha256.New()
	for _, v := range c.Values() {
		if c.notes[v.Key] == "" { // else it is a fact of the host, and of who asks
			fmt.Fprintf(h, "%s=%s\n", v.Key, v.Value)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Change is one value that differs between two configurations.
type Change struct {
	Key    string `json:"key"`
	Old    string `json:"old,omitempty"` // "" when the key is new
	New    string `json:"new,omitempty"` // "" when the key is gone
	Reload string `json:"reload"`        // "live", or "restart" when the process must start again
}

// Diff lists what changes from a to b.
func Diff(a, b *Config) []Change {
	old, now := map[string]string{}, map[string]string{}
	for _, v := range a.Values() {
		old[v.Key] = v.Value
	}
	var out []Change
	for _, v := range b.Values() {
		now[v.Key] = v.Value
		if was, ok := old[v.Key]; !ok || was != v.Value {
			out = append(out, Change{v.Key, was, v.Value, ReloadOf(v.Key)})
		}
	}
	for _, v := range a.Values() {
		if _, ok := now[v.Key]; !ok {
			out = append(out, Change{v.Key, v.Value, "", ReloadOf(v.Key)})
		}
	}
	slices.SortFunc(out, func(x, y Change) int { return strings.Compare(x.Key, y.Key) })
	return out
}

// walk visits every leaf in the order of the structs.
func walk(v reflect.Value, path []string, leaf func(path []string, v reflect.Value)) {
	for i := range v.NumField() {
		name := tagOf(v.Type().Field(i))
		if name == "" {
			continue
		}
		walkValue(v.Field(i), append(path[:len(path):len(path)], name), leaf)
	}
}

func walkValue(v reflect.Value, path []string, leaf func(path []string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Struct && !isText(v):
		walk(v, path, leaf)
	case v.Kind() == reflect.Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			walkValue(v.MapIndex(k), append(path[:len(path):len(path)], k.String()), leaf)
		}
	default:
		leaf(path, v)
	}
}

// literal prints a leaf as TOML.
func literal(v reflect.Value) string {
	if v.Type() == duration {
		return strconv.Quote(spellDuration(time.Duration(v.Int())))
	}
	if t, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := t.MarshalText()
		if err != nil {
			return strconv.Quote(err.Error())
		}
		return strconv.Quote(strings.ToLower(string(text)))
	}
	switch v.Kind() {
	case reflect.String:
		return strconv.Quote(v.String())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Float32, reflect.Float64:
		s := strconv.FormatFloat(v.Float(), 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	return fmt.Sprint(v.Interface())
}

// spellDuration is d without its zero parts: "1h", not "1h0m0s".
func spellDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
