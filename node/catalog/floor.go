package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fire/policy"
	"fire/policy/id"

	"github.com/BurntSushi/toml"
)

// Bounds of a floor file.
const (
	FloorBytesMax    = 4 << 20
	FloorServicesMax = 4096
	FloorPoliciesMax = 20_000
	FloorNodesMax    = 1024 // placement of one service
	problemsMax      = 100  // shown at once
)

// Floor is the mesh-wide part of the configuration: the file of `fire apply`.
type Floor struct {
	Services map[string]Service        `toml:"service" json:"services"`
	Policies map[string]policy.Rule    `toml:"policy" json:"policies"`
	Channels map[string]policy.Channel `toml:"channel" json:"channels,omitempty"`
}

// DefaultService is a [service.NAME] table without keys.
func DefaultService() Service {
	return Service{Protocol: TCP, Balance: PeakEWMA, Class: Order, EjectAfter: 5,
		EjectFor: Duration(time.Second), EjectMax: Duration(time.Minute)}
}

// Problem is one thing wrong with a floor file.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // from 1; 0 when it did not come from a file
	Col     int    `json:"col,omitempty"`  // in bytes, from 1
	Key     string `json:"key,omitempty"`  // "service.orders.port"
	Text    string `json:"text"`
	Excerpt string `json:"excerpt,omitempty"` // the line, and a caret under the key
}

// String is "file:line: key: text", without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
		if p.Line > 0 {
			fmt.Fprintf(&b, "%d:", p.Line)
		}
		b.WriteByte(' ')
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Text
}

// ParseFloor reads a floor file. It is strict, and tells every problem at once,
// in order of line; with any problem the floor is not to be used.
func ParseFloor(file string, data []byte) (Floor, []Problem) {
	if len(data) > FloorBytesMax {
		return Floor{}, []Problem{{File: file, Text: fmt.Sprintf("%d bytes, the limit is %d", len(data), FloorBytesMax)}}
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		return Floor{}, []Problem{syntaxProblem(file, data, err)}
	}
	d := decoder{}
	f := d.floor(tree)
	problems := slices.Clone(d.problems)
	for _, p := range f.Problems() {
		// A key that could not be decoded is told once, not again for its default.
		if !slices.ContainsFunc(d.problems, func(q Problem) bool { return q.Key == p.Key }) {
			problems = append(problems, p)
		}
	}
	if len(problems) == 0 {
		return f, nil
	}
	at, lines := locate(string(data)), strings.Split(string(data), "\n")
	for i := range problems {
		problems[i].place(file, at, lines)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	if more := len(problems) - problemsMax; more > 0 {
		problems = append(problems[:problemsMax], Problem{File: file, Text: fmt.Sprintf("and %d more problems", more)})
	}
	return f, problems
}

func syntaxProblem(file string, data []byte, err error) Problem {
	p := Problem{File: file, Text: err.Error()}
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		p.Line, p.Text = pe.Position.Line, pe.Message
		lines := strings.Split(string(data), "\n")
		p.excerpt(spot{pe.Position.Line, max(pe.Position.Col, 1), max(pe.Position.Len, 1)}, lines)
	}
	return p
}

// place finds the line of the problem's key, or of the nearest table above it.
func (p *Problem) place(file string, at map[string]spot, lines []string) {
	p.File = file
	for key := p.Key; key != ""; {
		if s, ok := at[key]; ok {
			p.excerpt(s, lines)
			return
		}
		cut := strings.LastIndexByte(key, '.')
		key = key[:max(cut, 0)]
	}
}

func (p *Problem) excerpt(s spot, lines []string) {
	p.Line, p.Col = s.line, s.col
	if s.line < 1 || s.line > len(lines) {
		return
	}
	const widthMax = 120
	line := strings.TrimRight(lines[s.line-1], "\r")
	if len(line) > widthMax || !utf8.ValidString(line) || s.col > len(line)+1 {
		return
	}
	// Tabs stay, so that the caret stands under its key in any terminal.
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, line[:s.col-1])
	p.Excerpt = line + "\n" + pad + strings.Repeat("^", max(1, min(s.width, len(line)-s.col+1)))
}

// Problems checks what the floor means: names, ranges, and that every rule speaks
// of services that exist. A mistyped name in a deny rule would silently allow.
func (f Floor) Problems() []Problem {
	var problems []Problem
	bad := func(key, format string, args ...any) {
		problems = append(problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if len(f.Services) > FloorServicesMax {
		bad("service", "%d services, the limit is %d", len(f.Services), FloorServicesMax)
		return problems
	}
	if len(f.Policies) > FloorPoliciesMax {
		bad("policy", "%d rules, the limit is %d", len(f.Policies), FloorPoliciesMax)
		return problems
	}
	if len(f.Channels) > policy.ChannelsMax {
		bad("channel", "%d channels, the limit is %d", len(f.Channels), policy.ChannelsMax)
		return problems
	}
	for _, name := range sortedKeys(f.Services) {
		f.Services[name].check("service."+name, name, bad)
	}
	f.checkRules(bad)
	f.checkChannels(bad)
	return problems
}

type badFunc func(key, format string, args ...any)

func (s Service) check(key, name string, bad badFunc) {
	if _, err := id.ParseName(name); err != nil {
		bad(key, "%v", err)
	}
	oneOf(key+".protocol", s.Protocol, bad, TCP, HTTP, FIX, SoupBin)
	oneOf(key+".balance", s.Balance, bad, RoundRobin, LeastRequest, PeakEWMA)
	oneOf(key+".class", s.Class, bad, Order, Bulk)
	if len(s.Nodes) == 0 {
		bad(key+".nodes", "is empty; name the nodes that may run the service")
	}
	if len(s.Nodes) > FloorNodesMax {
		bad(key+".nodes", "%d nodes, the limit is %d", len(s.Nodes), FloorNodesMax)
	}
	seen := map[string]bool{}
	for _, n := range s.Nodes {
		if _, err := id.ParseName(n); err != nil {
			bad(key+".nodes", "%v", err)
		} else if seen[n] {
			bad(key+".nodes", "%q stands twice", n)
		}
		seen[n] = true
	}
	if s.EjectAfter < 0 || s.EjectAfter > 1000 {
		bad(key+".eject_after", "%d is not 0 (never) to 1000", s.EjectAfter)
	}
	if d := time.Duration(s.EjectFor); d < 10*time.Millisecond || d > time.Hour {
		bad(key+".eject_for", "%v is not 10ms to 1h", d)
	}
	if s.EjectMax < s.EjectFor || time.Duration(s.EjectMax) > 24*time.Hour {
		bad(key+".eject_max", "%v is not eject_for (%v) to 24h", s.EjectMax, s.EjectFor)
	}
	s.checkAudit(key, bad)
	if len(s.Description) > TextBytes || !utf8.ValidString(s.Description) {
		bad(key+".description", "is longer than %d bytes or not UTF-8", TextBytes)
	}
}

func (f Floor) checkRules(bad badFunc) {
	// The mesh's own name does not change what is wrong with a rule.
	if _, problems := policy.Compile("mesh", f.Policies); len(problems) > 0 {
		for _, p := range problems {
			bad(strings.TrimSuffix("policy."+p.Rule+"."+p.Field, "."), "%s", p.Text)
		}
	}
	names := sortedKeys(f.Services)
	for _, rule := range sortedKeys(f.Policies) {
		r := f.Policies[rule]
		for _, s := range r.From {
			f.checkName("policy."+rule+".from", s, names, bad)
		}
		for _, s := range r.To {
			f.checkName("policy."+rule+".to", s, names, bad)
			if sv, ok := f.Services[s]; ok && sv.Protocol != HTTP && (len(r.Methods) > 0 || len(r.Paths) > 0) {
				bad("policy."+rule+".to", "the rule names methods or paths, and service %q speaks %s, not http", s, sv.Protocol)
			}
		}
	}
}

func (f Floor) checkChannels(bad badFunc) {
	names := sortedKeys(f.Services)
	for _, name := range sortedKeys(f.Channels) {
		c, key := f.Channels[name], "channel."+name
		c.Check(name, func(field, text string) { bad(strings.TrimSuffix(key+"."+field, "."), "%s", text) })
		for _, s := range c.Publishers {
			f.checkName(key+".publishers", s, names, bad)
		}
		for _, s := range c.Subscribers {
			f.checkName(key+".subscribers", s, names, bad)
		}
	}
}

func (f Floor) checkName(key, s string, names []string, bad badFunc) {
	if _, ok := f.Services[s]; ok || s == "*" {
		return
	}
	if _, err := id.ParseName(s); err == nil { // else policy has told it
		bad(key, "no service %q is declared%s", s, didYouMean(s, names))
	}
}

func oneOf[T ~string](key string, v T, bad badFunc, known ...T) {
	if slices.Contains(known, v) {
		return
	}
	var words []string
	for _, k := range known {
		if k != "" {
			words = append(words, string(k))
		}
	}
	bad(key, "%q is none of %s%s", string(v), strings.Join(words, ", "), didYouMean(string(v), words))
}

// whole is f with no map nil.
func (f Floor) whole() Floor {
	return Floor{Services: filled(f.Services), Policies: filled(f.Policies), Channels: filled(f.Channels)}
}

// equal compares by canonical JSON: a list that is nil and one that is empty say
// the same.
func (f Floor) equal(g Floor) bool {
	if reflect.DeepEqual(f, g) {
		return true
	}
	a, errA := json.Marshal(f.whole())
	b, errB := json.Marshal(g.whole())
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
