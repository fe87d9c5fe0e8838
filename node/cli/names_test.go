package cli

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"fire/node/admin"
	"fire/node/direct"
)

// TestJSONNamesAreSnakeCaseWithUnitsLast holds what every verb prints as JSON to one rule:
// programs read it.
func TestJSONNamesAreSnakeCaseWithUnitsLast(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	unitFirst := regexp.MustCompile(`^((ns|ms|total)_|bytes_(in|out))`)
	seen := map[reflect.Type]bool{}
	var visit func(t reflect.Type, where string)
	visit = func(typ reflect.Type, where string) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			visit(typ.Elem(), where)
		case reflect.Map:
			visit(typ.Elem(), where)
		case reflect.Struct:
			if seen[typ] || !strings.HasPrefix(typ.PkgPath(), "fire/") {
				return
			}
			seen[typ] = true
			for i := range typ.NumField() {
				f := typ.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				at := where + "." + f.Name
				switch {
				case name == "-" || !f.IsExported() || f.Anonymous && name == "":
				case !snake.MatchString(name):
					t.Errorf("%s is named %q", at, name)
				case unitFirst.MatchString(name):
					t.Errorf("%s is named %q: the unit comes last", at, name)
				}
				visit(f.Type, at)
			}
		}
	}
	for _, v := range []any{admin.Status{}, admin.Service{}, admin.Edge{}, admin.Event{}, admin.Why{}, admin.Flow{}, admin.Refusal{}, admin.PolicyVerdict{},
		admin.ApplyResult{}, admin.TokenAnswer{}, admin.TokenInfo{}, admin.RevokeAnswer{}, admin.DrainAnswer{}, admin.CA{}, admin.Info{}, cell{}, channelMessage{},
		direct.Ring{}, direct.ChannelState{}, direct.Verdict{}, direct.Seen{}, direct.RevokeAnswer{}} {
		visit(reflect.TypeOf(v), reflect.TypeOf(v).String())
	}
	if len(seen) < 25 {
		t.Errorf("only %d types were looked at", len(seen))
	}
}
