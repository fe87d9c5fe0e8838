package policy

// Action is what a matching rule does.
type Action string

const (
	Allow Action = "allow" // the default of a rule without an action
	Deny  Action = "deny"  // overrides every allow rule
)

// Limits of a rule set. They bound Compile's memory before it builds anything.
const (
	RulesMax     = 100_000
	ListMax      = 4096
	PathBytesMax = 1024
	PathDepthMax = 32
)

// Rule is one named table [policy.NAME] of the floor file, and the JSON on the wire.
// An empty Ports, Methods or Paths accepts any.
type Rule struct {
	Action      Action   `toml:"action" json:"action"`                       // "allow" (default) or "deny"
	From        []string `toml:"from" json:"from"`                           // source services, or "*"
	FromRegions []string `toml:"from_regions" json:"from_regions,omitempty"` // empty: any region of the mesh
	To          []string `toml:"to" json:"to"`                               // destination services, or "*"
	ToRegions   []string `toml:"to_regions" json:"to_regions,omitempty"`     // empty: any region of the mesh
	Ports       []uint16 `toml:"ports" json:"ports,omitempty"`               // the destination service's ports
	Methods     []string `toml:"methods" json:"methods,omitempty"`           // HTTP methods
	Paths       []string `toml:"paths" json:"paths,omitempty"`               // exact, a prefix ending in "/*", or "*"
}

// anyPath reports whether the rule accepts every path.
func (r *Rule) anyPath() bool { return len(r.Paths) == 0 || r.Paths[0] == "*" }

// http reports whether the rule names attributes that only a request has.
func (r *Rule) http() bool { return len(r.Methods) > 0 || !r.anyPath() }

// Problem is one reason why a rule set was refused.
type Problem struct {
	Rule  string // the rule's name; empty when the whole set is meant
	Field string // the field as written in the file; empty when the name is meant
	Text  string // what is wrong and what would be right
}

// String is "policy.RULE.FIELD: text".
func (p Problem) String() string {
	where := "policy"
	if p.Rule != "" {
		where += "." + p.Rule
	}
	if p.Field != "" {
		where += "." + p.Field
	}
	return where + ": " + p.Text
}
