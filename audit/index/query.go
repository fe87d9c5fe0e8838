package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// Bounds of one call.
const (
	LimitMax     = 10_000  // entries of an answer
	limitDefault = 100     //
	ReadsMax     = 1 << 20 // entries that are read from logs
	readsDefault = 20_000  //
	bytesMax     = 32 << 20
	matchesMax   = 32  // fields of a query
	anyMax       = 512 // alternatives of a query
	logsMax      = 1 << 12
)

// Log is what the index follows and what it answers from. audit.Log and a mirror are one.
type Log interface {
	// Origin is the log's name.
	Origin() string
	// Head is the newest durable signed head, and its checkpoint.
	Head() (tlog.Head, []byte)
	// Minimum is the first index that was not pruned.
	Minimum() int64
	// Entry gives the bytes of one durable entry.
	Entry(index int64) ([]byte, error)
	// Range gives the entries [from, to) in order; e is valid during f.
	Range(ctx context.Context, from, to int64, f func(index int64, e []byte) error) error
}

// Match is a field and the value that it must have, as entry.View.Text shows it.
type Match struct {
	Tag   entry.Tag
	Value string
}

// Query says which entries. What is not set restricts nothing; all that is set must hold.
type Query struct {
	Match []Match      // fields, indexed or not
	Any   []Match      // one of these at least must hold; indexed fields alone
	Kinds []entry.Kind // one of them
	Logs  []string     // origins
	From  int64        // nanoseconds since 1970, UTC: entries at or after
	To    int64        // and before; 0 is no bound

	Oldest bool   // first; else newest first
	Limit  int    // entries of an answer; 0 is 100
	Reads  int    // entries that one call may read from logs; 0 is 20,000
	Cursor string // of the answer before, with the same query
}

// Hit is one entry that a query asks for.
type Hit struct {
	Origin string
	Index  int64
	Entry  []byte // whole; valid audit/entry form
}

// Covered says how much of a log an answer rests upon.
type Covered struct {
	Origin  string
	Minimum int64 // what is before was pruned
	Covered int64 // entries before this one were looked at
	Durable int64 // entries of the log
}

// String says it to a person.
func (c Covered) String() string {
	if c.Covered >= c.Durable {
		return fmt.Sprintf("%s: complete, %d entries", c.Origin, c.Durable)
	}
	return fmt.Sprintf("%s: complete up to index %d of %d", c.Origin, c.Covered, c.Durable)
}

// Answer is what one call has found.
type Answer struct {
	Hits    []Hit
	More    bool   // there may be more: ask again with Cursor
	Cursor  string // for what follows; with Oldest also for what is appended later
	Reads   int    // entries that were read
	Covered []Covered
}

// Complete says that the answer lacks nothing that was durable in its logs when it was made, but
// what follows by its cursor.
func (a *Answer) Complete() bool {
	return !slices.ContainsFunc(a.Covered, func(c Covered) bool { return c.Covered < c.Durable })
}

// test is a Match made ready: by bytes where the form of the value is known, else by its text.
type test struct {
	tag   entry.Tag
	value []byte
	text  string
	hash  uint64
	place uint8
}

// plan is a Query made ready.
type plan struct {
	q      Query
	match  []test
	any    []test
	kinds  [4]uint64 // bits; all 0: any kind
	logs   map[string]bool
	places map[uint64]int64 // where the cursor left each log
	hash   uint64           // of the query without its cursor
	limit  int
	reads  int
}

func (q Query) plan() (*plan, error) {
	p := &plan{q: q, limit: q.Limit, reads: q.Reads}
	switch {
	case len(q.Match) > matchesMax:
		return nil, fmt.Errorf("audit query: %d fields, %d at most", len(q.Match), matchesMax)
	case len(q.Any) > anyMax:
		return nil, fmt.Errorf("audit query: %d alternatives, %d at most: ask in parts", len(q.Any), anyMax)
	case q.Limit < 0 || q.Limit > LimitMax:
		return nil, fmt.Errorf("audit query: limit %d: want 1 to %d; what follows is asked for with the cursor", q.Limit, LimitMax)
	case q.Reads < 0 || q.Reads > ReadsMax:
		return nil, fmt.Errorf("audit query: %d readings: want 1 to %d", q.Reads, ReadsMax)
	case q.To != 0 && q.From >= q.To:
		return nil, errors.New("audit query: the time window ends before it begins")
	}
	if p.limit == 0 {
		p.limit = limitDefault
	}
	if p.reads == 0 {
		p.reads = readsDefault
	}
	var err error
	if p.match, err = tests(q.Match); err != nil {
		return nil, err
	}
	if p.any, err = tests(q.Any); err != nil {
		return nil, err
	}
	for _, t := range p.any {
		if t.place == inNone {
			return nil, fmt.Errorf("audit query: %v is not indexed and cannot be an alternative", t.tag)
		}
	}
	for _, k := range q.Kinds {
		p.kinds[k/64] |= 1 << (k % 64)
	}
	if len(q.Logs) > 0 {
		p.logs = map[string]bool{}
		for _, l := range q.Logs {
			p.logs[l] = true
		}
	}
	p.hash = q.fingerprint()
	if q.Cursor != "" {
		p.q.From, p.q.To, p.places, err = parseCursor(q.Cursor, p.hash)
	}
	return p, err
}

func tests(ms []Match) ([]test, error) {
	out := make([]test, 0, len(ms))
	places := newPlaces()
	for _, m := range ms {
		t := test{tag: m.Tag, text: m.Value, place: places[m.Tag]}
		if m.Value == "" {
			return nil, fmt.Errorf("audit query: %v has no value", m.Tag)
		}
		if t.place != inNone {
			v, err := valueOf(m.Tag, m.Value)
			if err != nil {
				return nil, fmt.Errorf("audit query: %w", err)
			}
			if len(v) == 0 {
				return nil, fmt.Errorf("audit query: %v=%s: an entry has no such field then", m.Tag, m.Value)
			}
			t.value, t.hash = v, hashOf(v)
		}
		out = append(out, t)
	}
	return out, nil
}

// fingerprint ties a cursor to its query, but for the window, which the cursor has itself.
func (q Query) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %v %q %t", q.Match, q.Any, q.Kinds, q.Logs, q.Oldest)
	return h.Sum64()
}

// window is the query's time, both ends inclusive.
func (p *plan) window() (from, to int64) {
	from, to = math.MinInt64, math.MaxInt64
	if p.q.From != 0 {
		from = p.q.From
	}
	if p.q.To != 0 {
		to = p.q.To - 1
	}
	return from, to
}

func (p *plan) wantsLog(origin string) bool { return p.logs == nil || p.logs[origin] }

func (p *plan) wantsKind(k entry.Kind) bool {
	return p.kinds == [4]uint64{} || p.kinds[k/64]>>(k%64)&1 == 1
}

// holds is the truth about an entry, whatever the index says.
func (p *plan) holds(v entry.View) bool {
	h := v.Head()
	if from, to := p.window(); h.Time < from || h.Time > to || !p.wantsKind(h.Kind) {
		return false
	}
	for i := range p.match {
		if !p.match[i].holds(v) {
			return false
		}
	}
	if len(p.any) == 0 {
		return true
	}
	for i := range p.any {
		if p.any[i].holds(v) {
			return true
		}
	}
	return false
}

func (t *test) holds(v entry.View) bool {
	if t.value != nil {
		return bytes.Equal(v.Bytes(t.tag), t.value)
	}
	return v.Bytes(t.tag) != nil && v.Text(t.tag) == t.text
}
