package clock

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"fire/audit/entry"
)

// bench is a host whose clocks are moved by hand, with a clock under test on it.
type bench struct {
	t      *testing.T
	mu     sync.Mutex
	hands  Hands
	kernel Kernel
	broken error
	clock  *Clock
	kept   [][]byte
}

func (b *bench) Now() (wall, mono int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hands.Wall, b.hands.Mono
}

func (b *bench) Hands() (Hands, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hands, b.broken
}

func (b *bench) Kernel() (Kernel, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kernel, b.broken
}

// say is an asker that says what it is told to.
type say struct {
	b    *bench
	word Word
	err  error
}

func (s *say) Ask(context.Context) (Word, error) {
	w := s.word
	_, w.Mono = s.b.Now()
	w.Measured = w.Mono
	return w, s.err
}

var synced = Kernel{Known: true, MaxErrorNanos: 20_000, TAI: 37}

// newBench starts at a minute past midnight; the kernel is synchronised to 20 us.
func newBench(t *testing.T, edit func(*Config), askers ...*say) *bench {
	t.Helper()
	wall := time.Date(2026, 3, 2, 0, 1, 0, 0, time.UTC).UnixNano()
	b := &bench{t: t, kernel: synced, hands: Hands{Wall: wall, Mono: ppb, Boot: 2 * ppb, Raw: 3 * ppb, Within: 1000}}
	c := Default()
	if edit != nil {
		edit(&c)
	}
	list := []asker{}
	for _, a := range askers {
		a.b = b
		list = append(list, a)
	}
	k, err := New(c, Deps{Source: 9, Append: func(e []byte) { b.kept = append(b.kept, bytes.Clone(e)) }, system: b, askers: list})
	if err != nil {
		t.Fatal(err)
	}
	b.clock = k
	return b
}

// pass lets time go by on all clocks.
func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hands.Wall, b.hands.Mono, b.hands.Boot, b.hands.Raw = b.hands.Wall+int64(d), b.hands.Mono+int64(d), b.hands.Boot+int64(d), b.hands.Raw+int64(d)
}

// set sets the wall clock by so much.
func (b *bench) set(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hands.Wall += int64(d)
}

// run passes time in samples, asking all the while.
func (b *bench) run(d time.Duration) {
	for range d / (100 * time.Millisecond) {
		b.pass(100 * time.Millisecond)
		b.ask()
		b.clock.look()
	}
}

func (b *bench) ask() {
	for i := range b.clock.askers {
		b.clock.ask(b.t.Context(), i)
	}
}

// views are the entries of some kinds, all of them checked.
func (b *bench) views(kinds ...entry.Kind) (out []entry.View) {
	b.t.Helper()
	for i, raw := range b.kept {
		v, err := entry.Parse(raw)
		if err != nil {
			b.t.Fatal(err)
		}
		if h := v.Head(); h.Seq != uint64(i+1) || h.Source != 9 {
			b.t.Fatalf("entry %d has number %d of source %d", i, h.Seq, h.Source)
		}
		for _, k := range kinds {
			if v.Kind() == k {
				out = append(out, v)
			}
		}
	}
	return out
}

func verbs(views []entry.View) (out []string) {
	for _, v := range views {
		out = append(out, v.Str(entry.Verb))
	}
	return out
}

var errNo = errors.New("no")
