package config

import "testing"

func TestLocatorFindsKeysAndValuesAmongEveryFormOfTOML(t *testing.T) {
	const text = `a = "x \" = 1 # no comment \\"   # comment = 1
"b c" = '''
d = 1
'''
e.f = { g = [1, "]", { h = 2 }], 'i.j' = 1979-05-27 07:32:00 }   # c
[ k . "l" ]
m = """y\"""""
[[n]]
o = 1
[[n]]
o = 2
ü = 3
`
	places := locate(text)
	for _, row := range []struct {
		path  []string
		line  int
		value string
	}{
		{[]string{"a"}, 1, `"x \" = 1 # no comment \\"`},
		{[]string{"b c"}, 2, "'''\nd = 1\n'''"},
		{[]string{"e", "f", "g"}, 5, `[1, "]", { h = 2 }]`},
		{[]string{"e", "f", "g", "1"}, 5, `"]"`},
		{[]string{"e", "f", "g", "2", "h"}, 5, "2"},
		{[]string{"e", "f", "i.j"}, 5, "1979-05-27 07:32:00"},
		{[]string{"k", "l"}, 6, ""},
		{[]string{"k", "l", "m"}, 7, `"""y\"""""`},
	} {
		p, ok := places[pathKey(row.path)]
		if at := position("f", text, p.key.start); !ok || row.line != 5 && at.Line != row.line || text[p.value.start:p.value.end] != row.value {
			t.Errorf("%v: %v at %s with value %q", row.path, ok, at, text[p.value.start:p.value.end])
		}
	}
	if _, ok := places["d"]; ok {
		t.Error("a key was found inside a string")
	}
	if at := position("f", text, len("a = ")).String(); at != "f:1:5" {
		t.Errorf("columns count characters from one: %s", at)
	}
}
