package policy

import "math/bits"

// paths is the attribute of canonical paths: exact ones and prefixes that end in '/'.
type paths struct {
	attribute[string]                 // by exact path; each set holds the rules of its prefixes too
	prefix            map[string]*set // by prefix; each set holds the rules of shorter prefixes too
	depths            uint64          // bit d: some prefix has d slashes
}

// narrow adds the sets for path. The longest known prefix decides, and only the
// depths that rules use are probed: a hostile path of a thousand segments costs no
// more than the deepest rule.
func (p *paths) narrow(c *conjunction, t *Table, path string) {
	if len(p.byValue) == 0 && len(p.prefix) == 0 {
		return
	}
	if path == "*" { // OPTIONS *: a known value that only "any" accepts
		c.add(&t.nothing, &p.any)
		return
	}
	if path == "" || path[0] != '/' {
		c.add(&p.unknown, &p.any)
		return
	}
	if s := p.byValue[path]; s != nil {
		c.add(s, &p.any)
		return
	}
	if s := p.longest(path); s != nil {
		c.add(s, &p.any)
		return
	}
	c.add(&t.nothing, &p.any)
}

// longest returns the set of the longest prefix of path that some rule names.
func (p *paths) longest(path string) *set {
	if p.depths == 0 {
		return nil
	}
	deepest := bits.Len64(p.depths) - 1
	var ends [PathDepthMax + 1]uint16 // ends[d] is the length of the prefix with d slashes
	d := 0
	for i := 0; i < len(path) && i < PathBytesMax && d < deepest; i++ {
		if path[i] == '/' {
			d++
			ends[d] = uint16(i + 1)
		}
	}
	for ; d > 0; d-- {
		if p.depths>>d&1 == 0 {
			continue
		}
		if s := p.prefix[path[:ends[d]]]; s != nil {
			return s
		}
	}
	return nil
}
