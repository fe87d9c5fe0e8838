package catalog

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fire/policy"
)

// decoder turns the TOML library's tree into a Floor and keeps every problem.
// The library's own decoding is not used: it stops at the first type mismatch,
// matches keys in any case, and reads `eject_for = 5` as five nanoseconds.
type decoder struct {
	problems []Problem
}

func (d *decoder) bad(key, format string, args ...any) {
	d.problems = append(d.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) floor(tree map[string]any) Floor {
	f := Floor{}.whole()
	for _, kind := range sortedKeys(tree) {
		switch kind {
		case "service":
			d.each(kind, tree[kind], func(key, name string, table map[string]any) {
				s := DefaultService()
				d.table(key, table, &s)
				f.Services[name] = s
			})
		case "policy":
			d.each(kind, tree[kind], func(key, name string, table map[string]any) {
				r := policy.Rule{Action: policy.Allow}
				d.table(key, table, &r)
				f.Policies[name] = r
			})
		case "channel":
			d.each(kind, tree[kind], func(key, name string, table map[string]any) {
				c := policy.DefaultChannel()
				d.table(key, table, &c)
				f.Channels[name] = c
			})
		default:
			d.bad(kind, "unknown table; a floor has [service.NAME], [policy.NAME] and [channel.NAME]%s", didYouMean(kind, []string{"service", "policy", "channel"}))
		}
	}
	return f
}

// each calls do for every named table of one kind.
func (d *decoder) each(kind string, v any, do func(key, name string, table map[string]any)) {
	group, ok := v.(map[string]any)
	if !ok {
		d.bad(kind, "want named tables [%s.NAME], not %s", kind, kindOf(v))
		return
	}
	for _, name := range sortedKeys(group) {
		key := kind + "." + name
		table, ok := group[name].(map[string]any)
		if !ok {
			d.bad(key, "want a table [%s], not %s", key, kindOf(group[name]))
			continue
		}
		do(key, name, table)
	}
}

// table fills the struct at into, whose fields have toml tags.
func (d *decoder) table(key string, table map[string]any, into any) {
	v := reflect.ValueOf(into).Elem()
	fields := map[string]int{}
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("toml")] = i
	}
	for _, k := range sortedKeys(table) {
		i, ok := fields[k]
		if !ok {
			d.bad(key+"."+k, "unknown key%s", didYouMean(k, sortedKeys(fields)))
			continue
		}
		d.value(key+"."+k, table[k], v.Field(i))
	}
}

// value sets one field. The field's type says what the file must hold.
func (d *decoder) value(key string, v any, into reflect.Value) {
	if u, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, isText := v.(string)
		if !isText {
			d.bad(key, "want text with a unit, as %s, not %s %v", exampleOf(into), kindOf(v), v)
		} else if err := u.UnmarshalText([]byte(s)); err != nil {
			d.bad(key, "%v", err)
		}
		return
	}
	switch into.Kind() {
	case reflect.String:
		if s, ok := v.(string); ok {
			into.SetString(s)
			return
		}
	case reflect.Int, reflect.Uint16:
		if n, ok := v.(int64); ok {
			d.number(key, n, into)
			return
		}
	case reflect.Slice:
		if list, ok := v.([]any); ok {
			into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
			for i := range list {
				d.value(key, list[i], into.Index(i))
			}
			return
		}
	}
	d.bad(key, "want %s, not %s", wanted(into.Type()), kindOf(v))
}

// exampleOf shows how a value of the field's type looks.
func exampleOf(v reflect.Value) string {
	if v.Type() == reflect.TypeFor[policy.Size]() {
		return `"64KiB" or "4MiB"`
	}
	return `"250ms" or "3s"`
}

func (d *decoder) number(key string, n int64, into reflect.Value) {
	switch {
	case into.Kind() == reflect.Uint16 && (n < 0 || n > 65535):
		d.bad(key, "%d is not 0 to 65535", n)
	case into.Kind() == reflect.Uint16:
		into.SetUint(uint64(n))
	default:
		into.SetInt(n)
	}
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "a list of " + strings.TrimPrefix(strings.TrimPrefix(wanted(t.Elem()), "a "), "an ") + "s"
	case reflect.String:
		return "a string"
	}
	return "an integer"
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	case []any:
		return "a list"
	}
	return "a date"
}

// didYouMean names the nearest known word within two edits, or nothing.
func didYouMean(word string, known []string) string {
	best, bestEdits := "", 3
	lower := strings.ToLower(word)
	for _, k := range known {
		if n := edits(lower, k, bestEdits); n < bestEdits && n < len(k) {
			best, bestEdits = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// edits is the Levenshtein distance of two short words; words that cannot be
// nearer than limit are not compared.
func edits(a, b string, limit int) int {
	if diff := len(a) - len(b); diff >= limit || -diff >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return slices.Min([]int{row[len(b)], limit})
}
