package index

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fire/audit/entry"
)

// Keys of the text form that are no fields.
var otherKeys = []string{"kind", "log", "since", "until", "session", "limit", "order", "cursor"}

const textBytesMax = 64 << 10

// Help is the text form for a person.
const Help = `KEY=VALUE ..., all must hold; a value with spaces is "quoted".

  kind=message,refused      what happened: one of these
  since=10m  until=TIME     TIME: a duration before now (90s, 10m, 36h, 7d), 2026-11-27,
                            2026-11-27T10:00:00Z, or with an offset and fractions; until is exclusive
  session=SENDER/TARGET     sender and target
  log=ORIGIN,...            of these logs
  order=newest|oldest       first; newest unless said
  limit=100  cursor=TEXT    entries of one answer; where the one before ended

  Any field of an entry by its name. Found by the index: %s.
  The others (msg_type, node, direction ...) are looked for in what those find.

  cl_ord_id=A1 service=gateway reason=denied_by_rule since=10m kind=message,refused
`

// HelpText is Help with the indexed fields.
func HelpText() string { return fmt.Sprintf(Help, strings.Join(Indexed(), ", ")) }

// ParseQuery reads the text form of a query. now is what durations count from.
func ParseQuery(text string, now time.Time) (Query, error) {
	var q Query
	if len(text) > textBytesMax {
		return q, fmt.Errorf("audit query: %d bytes, %d at most", len(text), textBytesMax)
	}
	seen := map[string]bool{}
	for rest := strings.TrimLeft(text, " \t\n"); rest != ""; {
		key, value, after, err := cutTerm(rest)
		if err != nil {
			return Query{}, err
		}
		if seen[key] {
			return Query{}, fmt.Errorf("audit query: %s is there twice", key)
		}
		seen[key] = true
		if err := q.term(key, value, now); err != nil {
			return Query{}, err
		}
		rest = strings.TrimLeft(after, " \t\n")
	}
	if seen["session"] && (seen["sender"] || seen["target"]) {
		return Query{}, fmt.Errorf("audit query: session is sender and target: give it alone, or these")
	}
	if _, err := q.plan(); err != nil {
		return Query{}, err
	}
	return q, nil
}

// cutTerm takes KEY=VALUE from the front.
func cutTerm(s string) (key, value, rest string, err error) {
	word := s
	if end := strings.IndexAny(s, " \t\n"); end >= 0 {
		word = s[:end]
	}
	key, _, ok := strings.Cut(word, "=")
	if !ok || key == "" {
		return "", "", "", fmt.Errorf("audit query: %q: want KEY=VALUE", word)
	}
	s = s[len(key)+1:]
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", "", "", fmt.Errorf("audit query: the quoted value of %s has no end", key)
		}
		value, err = strconv.Unquote(quoted)
		rest = s[len(quoted):]
		if err != nil || rest != "" && !strings.ContainsAny(rest[:1], " \t\n") {
			return "", "", "", fmt.Errorf("audit query: something follows the quoted value of %s", key)
		}
	} else {
		value, rest = s, ""
		if end := strings.IndexAny(s, " \t\n"); end >= 0 {
			value, rest = s[:end], s[end:]
		}
	}
	if value == "" {
		return "", "", "", fmt.Errorf("audit query: %s has no value", key)
	}
	return key, value, rest, nil
}

func (q *Query) term(key, value string, now time.Time) (err error) {
	switch key {
	case "kind":
		return q.kinds(value)
	case "log":
		q.Logs = strings.Split(value, ",")
	case "since":
		q.From, err = moment(key, value, now)
	case "until":
		q.To, err = moment(key, value, now)
	case "session":
		sender, target, ok := strings.Cut(value, "/")
		if !ok || sender == "" || target == "" {
			return fmt.Errorf("audit query: session=%s: want SENDER/TARGET", value)
		}
		q.Match = append(q.Match, Match{entry.Sender, sender}, Match{entry.Target, target})
	case "limit":
		if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 {
			return fmt.Errorf("audit query: limit=%s: want 1 to %d", value, LimitMax)
		}
	case "order":
		if value != "newest" && value != "oldest" {
			return fmt.Errorf("audit query: order=%s: want newest or oldest", value)
		}
		q.Oldest = value == "oldest"
	case "cursor":
		q.Cursor = value
	default:
		t, ok := entry.TagOf(key)
		if !ok {
			return fmt.Errorf("audit query: %s is no key%s", key, meant(key, queryKeys()))
		}
		q.Match = append(q.Match, Match{t, value})
	}
	return err
}

func (q *Query) kinds(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		k, ok := entry.KindOf(name)
		if !ok {
			return fmt.Errorf("audit query: %q is no kind%s", name, meant(name, entry.Kinds()))
		}
		if !slices.Contains(q.Kinds, k) {
			q.Kinds = append(q.Kinds, k)
		}
	}
	return nil
}

// moment is a time: a duration before now, a date, or RFC 3339.
func moment(key, value string, now time.Time) (int64, error) {
	bad := fmt.Errorf("audit query: %s=%s: want a duration like 10m or 7d, 2026-11-27, or 2026-11-27T10:00:00Z", key, value)
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		t, err = time.Parse(time.DateOnly, value)
	}
	if err != nil {
		d, derr := duration(value)
		if derr != nil || d < 0 {
			return 0, bad
		}
		t = now.Add(-d)
	}
	if y := t.Year(); y < 1970 || y > 2200 || t.UnixNano() <= 0 { // what 64 bits of nanoseconds hold
		return 0, bad
	}
	return t.UnixNano(), nil
}

// duration is time.ParseDuration with days.
func duration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func queryKeys() []string {
	out := slices.Clone(otherKeys)
	for t := range entry.Tag(255) {
		if _, ok := entry.TagOf(t.String()); ok {
			out = append(out, t.String())
		}
	}
	return out
}

// meant is `; did you mean "X"?` for the nearest word within a third of its letters, or nothing.
func meant(word string, known []string) string {
	best, least := "", 1<<30
	for _, k := range known {
		if n := distance(word, k); n < least && n <= max(2, len(k)/3) {
			best, least = k, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance counts insertions, deletions and substitutions between two short words.
func distance(a, b string) int {
	const bytesMax = 64
	if len(a) > bytesMax || len(b) > bytesMax {
		return 1 << 20
	}
	var row [bytesMax + 1]int
	for j := range len(b) + 1 {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, cost)
		}
	}
	return row[len(b)]
}
