package index

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
	"fire/policy/reason"
)

// memoryLog is a Log in memory.
type memoryLog struct {
	origin  string
	mu      sync.Mutex
	base    int64 // index of the first of entries
	entries [][]byte
	durable int64
	minimum int64
	reads   int
	broken  error
}

func (l *memoryLog) Origin() string { return l.origin }

func (l *memoryLog) Head() (tlog.Head, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return tlog.Head{Origin: l.origin, Size: l.durable}, nil
}

func (l *memoryLog) Minimum() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.minimum
}

func (l *memoryLog) Entry(index int64) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.broken != nil {
		return nil, l.broken
	}
	if index < l.minimum || index >= l.durable {
		return nil, fmt.Errorf("%s has entries %d to %d, not %d", l.origin, l.minimum, l.durable, index)
	}
	return bytes.Clone(l.entries[index-l.base]), nil
}

func (l *memoryLog) Range(ctx context.Context, from, to int64, f func(int64, []byte) error) error {
	for i := from; i < to; i++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := l.Entry(i)
		if err != nil {
			return err
		}
		if err := f(i, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memoryLog) append(entries ...[]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entries...)
	l.durable = l.base + int64(len(l.entries))
}

func (l *memoryLog) prune(to int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.minimum = to
}

func (l *memoryLog) swap(to [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.durable = to, int64(len(to))
}

// epoch is where the time of test entries begins: 2026-11-27T08:00:00Z.
const epoch = int64(1795766400_000_000_000)

// floor makes entries as a floor would: messages of a few sessions, some refusals, admin calls.
type floor struct {
	rnd   *rand.Rand
	b     entry.Builder
	time  int64
	order int
	wide  int // how many values an id has; 0: each is new
}

func newFloor(seed uint64) *floor {
	return &floor{rnd: rand.New(rand.NewPCG(seed, 1)), time: epoch}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (f *floor) id(prefix string) string {
	if f.wide > 0 {
		return fmt.Sprintf("%s%d", prefix, f.rnd.IntN(f.wide))
	}
	f.order++
	return fmt.Sprintf("%s%08d", prefix, f.order)
}

func (f *floor) octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.rnd.Uint32())
		if f.wide > 0 {
			b[i] = byte(f.rnd.IntN(4))
		}
		if f.wide > 0 && i > 0 {
			b[i] = 7
		}
	}
	return b
}

func (f *floor) entry() []byte {
	r := f.rnd
	f.time += int64(r.IntN(2_000_000)) - 200_000 // not always forward
	kind := pick(r, entry.Message, entry.Message, entry.Message, entry.Message, entry.Refused, entry.Opened, entry.Admin)
	f.b.Begin(nil, entry.Head{Kind: kind, Time: f.time, Source: uint64(r.IntN(4)), Seq: 1})
	service := pick(r, "strategy-a", "strategy-b", "gateway", "risk")
	if kind == entry.Admin {
		f.b.Str(entry.Actor, pick(r, "ops@host-1", "audit@host-2"))
		f.b.Str(entry.Verb, pick(r, "revoke", "apply"))
		return f.b.Raw()
	}
	flow := make([]byte, 16)
	flow[3] = byte(r.IntN(20))
	f.b.Bytes(entry.Flow, flow)
	f.b.Str(entry.Direction, pick(r, "up", "down"))
	f.b.Str(entry.Service, service)
	f.b.Str(entry.Peer, pick(r, "gateway", "risk", "quotes"))
	f.b.Str(entry.Principal, "spiffe://eu.floor/svc/"+service)
	f.b.Str(entry.Channel, pick(r, "", "", "md-nyse"))
	f.b.Str(entry.Rule, pick(r, "desk-reads-quotes", "orders"))
	if kind == entry.Refused {
		f.b.Uint(entry.Reason, uint64(pick(r, reason.DeniedByRule, reason.DeniedByDefault, reason.PeerLost)))
		return f.b.Raw()
	}
	f.message(kind)
	return f.b.Raw()
}

func (f *floor) message(kind entry.Kind) {
	r := f.rnd
	if kind != entry.Message {
		return
	}
	if r.IntN(4) == 0 {
		f.b.Bytes(entry.Trace, f.octets(16))
	}
	f.b.Bytes(entry.Digest, f.octets(32))
	f.b.Str(entry.MsgType, pick(r, "D", "8", "G", "F"))
	f.b.Str(entry.Sender, pick(r, "ALPHA", "BETA"))
	f.b.Str(entry.Target, pick(r, "NYSE", "XETRA"))
	f.b.Str(entry.ClOrdID, f.id("C"))
	if r.IntN(3) == 0 {
		f.b.Str(entry.OrigID, f.id("C"))
	}
	f.b.Str(entry.OrderID, f.id("O"))
	if r.IntN(2) == 0 {
		f.b.Str(entry.ExecID, f.id("E"))
	}
	f.b.Str(entry.Symbol, fmt.Sprintf("SYM%d", r.IntN(200)))
	if r.IntN(10) == 0 {
		subject := make([]byte, 16)
		subject[0] = byte(r.IntN(3) + 1)
		f.b.Bytes(entry.Subject, subject)
	}
}

func (f *floor) entries(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = f.entry()
	}
	return out
}

func newLog(origin string, f *floor, n int) *memoryLog {
	l := &memoryLog{origin: origin}
	l.append(f.entries(n)...)
	return l
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func listed(logs ...*memoryLog) func() []Log {
	return func() (out []Log) {
		for _, l := range logs {
			out = append(out, l)
		}
		return out
	}
}

// running is an Index whose Run is on.
type running struct {
	*Index
	t    testing.TB
	stop func() // Run has ended when it returns
}

func start(t testing.TB, deps Deps) *running {
	t.Helper()
	if deps.Log == nil {
		deps.Log = quiet()
	}
	if deps.Poll == 0 {
		deps.Poll = 5 * time.Millisecond
	}
	if deps.Check == 0 {
		deps.Check = 10 * time.Millisecond
	}
	x := New(deps)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	var once sync.Once
	r := &running{x, t, func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(r.stop)
	return r
}

// until waits for something that must come.
func (r *running) until(what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s; states %+v, stats %+v", what, r.States(), r.Stats())
		}
	}
}

func (r *running) caughtUp() {
	r.t.Helper()
	r.until("all is indexed", func() bool {
		return !slices.ContainsFunc(r.States(), func(s State) bool { return s.Lag() != 0 })
	})
}

// oracle answers a query in the plainest way: all entries, filtered by the text of their fields.
func oracle(t testing.TB, logs []*memoryLog, q Query) (out []string) {
	t.Helper()
	type row struct {
		name string
		time int64
	}
	var lists [][]row
	logs = slices.Clone(logs)
	slices.SortFunc(logs, func(a, b *memoryLog) int { return bytes.Compare([]byte(a.origin), []byte(b.origin)) })
	for _, l := range logs {
		if len(q.Logs) > 0 && !slices.Contains(q.Logs, l.origin) {
			continue
		}
		var rows []row
		for i := l.minimum; i < l.durable; i++ {
			v, err := entry.Parse(l.entries[i-l.base])
			if err != nil {
				continue
			}
			h, ok := v.Head(), true
			for _, m := range q.Match {
				ok = ok && v.Text(m.Tag) == m.Value
			}
			any := len(q.Any) == 0
			for _, m := range q.Any {
				any = any || v.Text(m.Tag) == m.Value
			}
			ok = ok && any && (len(q.Kinds) == 0 || slices.Contains(q.Kinds, h.Kind))
			if ok && (q.From == 0 || h.Time >= q.From) && (q.To == 0 || h.Time < q.To) {
				rows = append(rows, row{fmt.Sprintf("%s/%d", l.origin, i), h.Time})
			}
		}
		if !q.Oldest {
			slices.Reverse(rows)
		}
		lists = append(lists, rows)
	}
	for {
		best := -1
		for i, rows := range lists {
			switch {
			case len(rows) == 0:
			case best < 0, q.Oldest && rows[0].time < lists[best][0].time, !q.Oldest && rows[0].time > lists[best][0].time:
				best = i
			}
		}
		if best < 0 {
			return out
		}
		out = append(out, lists[best][0].name)
		lists[best] = lists[best][1:]
	}
}

func names(hits []Hit) (out []string) {
	for _, h := range hits {
		out = append(out, fmt.Sprintf("%s/%d", h.Origin, h.Index))
	}
	return out
}

// all asks page by page until there is nothing more.
func all(t testing.TB, ask func(Query) (*Answer, error), q Query) (out []string) {
	t.Helper()
	for pages := 0; ; pages++ {
		a, err := ask(q)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Complete() {
			t.Fatalf("not complete: %v", a.Covered)
		}
		out = append(out, names(a.Hits)...)
		if !a.More {
			return out
		}
		if q.Cursor == a.Cursor {
			t.Fatal("a page that does not go on")
		}
		q.Cursor = a.Cursor
	}
}
