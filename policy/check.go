package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"fire/policy/id"
)

// methods is the IANA registry of HTTP methods without CONNECT and PRI, which the
// proxy never forwards. A method outside it is a typing mistake in a rule; leaving
// Methods empty covers any method.
var methods = [...]string{
	"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
	"ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
	"MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY",
	"REBIND", "REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
}

// check returns every problem of the set in order of rule name and field.
func check(mesh string, rules map[string]Rule) []Problem {
	var problems []Problem
	if _, err := id.ParseName(mesh); err != nil {
		problems = append(problems, Problem{Text: "mesh: " + err.Error()})
	}
	if len(rules) > RulesMax {
		problems = append(problems, Problem{Text: fmt.Sprintf("%d rules, the limit is %d", len(rules), RulesMax)})
		return problems
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		r := rules[name]
		bad := func(field, format string, args ...any) {
			problems = append(problems, Problem{Rule: name, Field: field, Text: fmt.Sprintf(format, args...)})
		}
		if _, err := id.ParseName(name); err != nil {
			bad("", "%v", err)
		}
		r.check(bad)
	}
	return problems
}

type badFunc func(field, format string, args ...any)

func (r *Rule) check(bad badFunc) {
	if r.Action != "" && r.Action != Allow && r.Action != Deny {
		bad("action", "%q is neither \"allow\" nor \"deny\"%s", string(r.Action), didYouMean(string(r.Action), string(Allow), string(Deny)))
	}
	checkServices(r.From, "from", bad)
	checkServices(r.To, "to", bad)
	checkRegions(r.FromRegions, "from_regions", bad)
	checkRegions(r.ToRegions, "to_regions", bad)
	checkList(r.Ports, "ports", bad)
	if slices.Contains(r.Ports, 0) {
		bad("ports", "0 is no port; leave the list out for any port")
	}
	checkList(r.Methods, "methods", bad)
	for _, m := range r.Methods {
		if text := badMethod(m); text != "" {
			bad("methods", "%s", text)
		}
	}
	checkList(r.Paths, "paths", bad)
	for _, p := range r.Paths {
		if p == "*" && len(r.Paths) > 1 {
			bad("paths", "\"*\" covers every path; drop it or the others")
		} else if text := badPath(p); text != "" {
			bad("paths", "%q: %s", p, text)
		}
	}
}

func checkServices(list []string, field string, bad badFunc) {
	if len(list) == 0 {
		bad(field, "is empty; name services, or \"*\" for any")
	}
	checkList(list, field, bad)
	for _, s := range list {
		if s == "*" {
			if len(list) > 1 {
				bad(field, "\"*\" covers every service; drop it or the others")
			}
			continue
		}
		if _, err := id.ParseName(s); err != nil {
			bad(field, "%v%s", err, lowerHint(s))
		}
	}
}

func checkRegions(list []string, field string, bad badFunc) {
	checkList(list, field, bad)
	for _, s := range list {
		if s == "*" {
			bad(field, "leave the list out for any region")
		} else if _, err := id.ParseName(s); err != nil {
			bad(field, "%v%s", err, lowerHint(s))
		}
	}
}

// checkList refuses lists that are too long and entries that stand twice.
func checkList[T comparable](list []T, field string, bad badFunc) {
	if len(list) > ListMax {
		bad(field, "%d entries, the limit is %d", len(list), ListMax)
		return
	}
	seen := make(map[T]bool, len(list))
	for _, v := range list {
		if seen[v] {
			bad(field, "%v stands twice", v)
		}
		seen[v] = true
	}
}

func badMethod(m string) string {
	switch {
	case slices.Contains(methods[:], m):
		return ""
	case m == "CONNECT" || m == "PRI":
		return fmt.Sprintf("%q never passes a proxy, so no rule may name it", m)
	case m == "*" || m == "":
		return fmt.Sprintf("%q: leave the list out for any method", m)
	}
	return fmt.Sprintf("%q is not a registered HTTP method%s", m, didYouMean(strings.ToUpper(m), methods[:]...))
}

// badPath says why a rule's path could never equal a canonical path, or "".
func badPath(p string) string {
	if p == "*" {
		return ""
	}
	if len(p) > PathBytesMax {
		return fmt.Sprintf("is %d bytes long, the limit is %d", len(p), PathBytesMax)
	}
	if !strings.HasPrefix(p, "/") {
		return "a path starts with \"/\"; \"*\" alone covers every path"
	}
	literal := strings.TrimSuffix(p, "/*") // "/*" leaves "", "/a/*" leaves "/a"
	if strings.Contains(literal, "*") {
		return "\"*\" may only stand at the end, after a \"/\"; there are no other patterns"
	}
	if strings.Count(p, "/") > PathDepthMax {
		return fmt.Sprintf("has more than %d segments", PathDepthMax)
	}
	segments := strings.Split(strings.TrimPrefix(literal, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "." || s == "..":
			return "dot segments never reach a rule: requests that hold them are refused"
		case s == "" && !(last && literal == p) && literal != "":
			return "empty segments never reach a rule: requests that hold \"//\" are refused"
		}
	}
	return badPathBytes(literal)
}

// badPathBytes holds a rule's path against the canonical form of transport/http1:
// one spelling per byte, raw where RFC 3986 lets a segment hold it.
func badPathBytes(p string) string {
	var decoded []byte
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '?' || c == '#':
			return "queries and fragments are not matched; give the path alone"
		case c == '%':
			if i+2 >= len(p) || hexDigit(p[i+1]) < 0 || hexDigit(p[i+2]) < 0 {
				return "\"%\" needs two upper-case hex digits after it"
			}
			b := byte(hexDigit(p[i+1])<<4 | hexDigit(p[i+2]))
			if pathByte(b) {
				return fmt.Sprintf("write %q for %q: that is the canonical form", string(rune(b)), p[i:i+3])
			}
			if b < 0x20 || b == 0x7f || b == '/' || b == '\\' || b == ';' {
				return fmt.Sprintf("%q never reaches a rule: requests that hold it are refused", p[i:i+3])
			}
			if b == '%' && i+4 < len(p) && hexDigit(p[i+3]) >= 0 && hexDigit(p[i+4]) >= 0 {
				return fmt.Sprintf("%q never reaches a rule: requests encoded twice are refused", p[i:i+5])
			}
			decoded = append(decoded, b)
			i += 2
			continue
		case c == '\\' || c == ';' || c < 0x20 || c == 0x7f:
			return fmt.Sprintf("%q never reaches a rule: requests that hold it are refused", string(rune(c)))
		case c != '/' && !pathByte(c):
			return fmt.Sprintf("write \"%%%02X\" for %q: that is the canonical form", c, p[i:i+1])
		}
		decoded = append(decoded, c)
	}
	if !utf8.Valid(decoded) {
		return "is not UTF-8 when decoded; requests that hold such a path are refused"
	}
	return ""
}

// pathByte reports whether a canonical path holds c as it is: pchar of RFC 3986
// without ";", which some servers cut the segment at.
func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
