package audit

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"fire/audit/entry"
	"fire/audit/tlog"
)

func TestWhatWasAppendedIsThereAndProvable(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 256 << 10
	l, _ := w.open()
	e := fact(9, 1)
	at, err := l.Append(t.Context(), e)
	if err != nil || at != 0 {
		t.Fatal(at, err)
	}
	w.append(1, 1, 5000)
	check := func(l *Log) {
		t.Helper()
		head, note := l.Head()
		v, _ := tlog.NewVerifiers(w.deps.Keys.Known...)
		if h, err := v.Open(note); err != nil || h != head || head.Size != 5001 {
			t.Fatalf("%v %+v %+v", err, h, head)
		}
		got, err := l.Entry(0)
		if err != nil || !bytes.Equal(got, e) {
			t.Fatalf("%v %x", err, got)
		}
		seen := map[uint64]bool{}
		next := int64(0)
		if err := l.Range(t.Context(), 0, head.Size, func(i int64, e []byte) error {
			v, err := entry.Parse(e)
			if i != next || err != nil {
				t.Fatal(i, next, err)
			}
			next++
			if v.Head().Source == 1 {
				seen[v.Head().Seq] = true
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 5000 || next != 5001 {
			t.Errorf("%d entries of the source, %d in all", len(seen), next)
		}
		for _, i := range []int64{0, 1, 255, 256, 4095, 4096, 5000, rand.Int64N(5001)} {
			p, err := tlog.ProveEntry(l, head, i)
			if err != nil {
				t.Fatal(i, err)
			}
			e, err := l.Entry(i)
			if err != nil || tlog.CheckEntry(p, head, i, tlog.Leaf(e)) != nil {
				t.Errorf("entry %d is not proved: %v", i, err)
			}
		}
	}
	check(l)
	if n := len(l.parts); n < 4 {
		t.Errorf("%d segments", n)
	}
	w.close()
	l, found := w.open()
	if found.Size != 5001 || found.CutBytes != 0 || found.Rebuilt > 0 {
		t.Errorf("%+v", found)
	}
	check(l)
	w.append(2, 1, 100)
	if h, _ := l.Head(); h.Size != 5101 {
		t.Errorf("%+v", h)
	}
}

func TestEachSourceKeepsItsOrder(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 8 << 20
	l, _ := w.open()
	const writers, each = 8, 20000
	var all sync.WaitGroup
	for s := range writers {
		all.Go(func() {
			for i := range each {
				if err := l.Add(t.Context(), fact(uint64(s), uint64(i+1))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	w.close()
	l, _ = w.open()
	var last [writers]uint64
	if err := l.Range(t.Context(), 0, writers*each, func(_ int64, e []byte) error {
		v, _ := entry.Parse(e)
		h := v.Head()
		if h.Seq != last[h.Source]+1 {
			t.Fatalf("source %d: %d after %d", h.Source, h.Seq, last[h.Source])
		}
		last[h.Source] = h.Seq
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for s, n := range last {
		if n != each {
			t.Errorf("source %d has %d entries", s, n)
		}
	}
}

func TestWhatIsNoEntryIsRefused(t *testing.T) {
	l, _ := newWorld(t).open()
	if _, err := l.Append(t.Context(), []byte("hello")); err == nil {
		t.Error("it is taken")
	}
	if _, err := l.Entry(0); !errors.Is(err, ErrNoEntry) {
		t.Error(err)
	}
}

func TestAClosedLogSaysSo(t *testing.T) {
	w := newWorld(t)
	l, _ := w.open()
	w.close()
	if _, err := l.Append(context.Background(), fact(1, 1)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
