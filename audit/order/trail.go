package order

import (
	"fmt"
	"strings"
)

// TrailHop is one hop that a message itself names.
type TrailHop struct {
	CompID string `json:"comp_id"`           // 628
	SentAt string `json:"sent_at,omitempty"` // 629
	RefID  string `json:"ref_id,omitempty"`  // 630
}

// trail writes "comp@time#ref" of each hop, joined by commas. In a value these four and % are
// written as % and two hex digits: a hop cannot pretend to be two.
type trail struct {
	text            []byte
	comp, time, ref []byte
	begun, any      bool
}

func (t *trail) empty() trail { return trail{text: t.text[:0]} }

// add takes a field of the group; 628 begins a hop.
func (t *trail) add(tag int, v []byte) {
	switch {
	case tag == 628:
		t.end()
		t.comp, t.begun = v, true
	case !t.begun:
	case tag == 629 && t.time == nil:
		t.time = v
	case tag == 630 && t.ref == nil:
		t.ref = v
	}
}

// end writes the hop that was begun.
func (t *trail) end() {
	if !t.begun {
		return
	}
	if t.any {
		t.text = append(t.text, ',')
	}
	t.text = appendEscaped(t.text, t.comp)
	if len(t.time) > 0 {
		t.text = appendEscaped(append(t.text, '@'), t.time)
	}
	if len(t.ref) > 0 {
		t.text = appendEscaped(append(t.text, '#'), t.ref)
	}
	*t = trail{text: t.text, any: true}
}

func appendEscaped(b, v []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range v {
		switch c {
		case '@', '#', ',', '%':
			b = append(b, '%', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// ParseTrail reads the text of entry.Trail.
func ParseTrail(text string) ([]TrailHop, error) {
	if text == "" {
		return nil, nil
	}
	var out []TrailHop
	for one := range strings.SplitSeq(text, ",") {
		rest, ref, _ := strings.Cut(one, "#")
		comp, at, _ := strings.Cut(rest, "@")
		var h TrailHop
		for _, part := range []struct {
			to   *string
			from string
		}{{&h.CompID, comp}, {&h.SentAt, at}, {&h.RefID, ref}} {
			v, ok := unescape(part.from)
			if !ok {
				return nil, fmt.Errorf("order: %q is no hop of a trail: comp@time#ref is", one)
			}
			*part.to = v
		}
		out = append(out, h)
	}
	return out, nil
}

func unescape(s string) (string, bool) {
	if strings.ContainsAny(s, "@#") {
		return "", false
	}
	for _, e := range [...]struct{ code, char string }{{"%40", "@"}, {"%23", "#"}, {"%2C", ","}} {
		s = strings.ReplaceAll(s, e.code, e.char)
	}
	plain := strings.ReplaceAll(s, "%25", "")
	return strings.ReplaceAll(s, "%25", "%"), !strings.Contains(plain, "%")
}
