package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"fire/audit/entry"
)

// captured is what the log holds of each source, by id.
type captured struct {
	messages, gapped uint64
	last             uint64
	kinds            []entry.Kind
}

func (w *world) captured() map[uint64]*captured {
	w.t.Helper()
	out := map[uint64]*captured{}
	head, _ := w.log.Head()
	if err := w.log.Range(w.t.Context(), 0, head.Size, func(i int64, e []byte) error {
		v, err := entry.Parse(e)
		if err != nil {
			w.t.Fatal(i, err)
		}
		h := v.Head()
		c := out[h.Source]
		if c == nil {
			c = &captured{}
			out[h.Source] = c
		}
		c.kinds = append(c.kinds, h.Kind)
		first := h.Seq
		switch h.Kind {
		case entry.Message:
			c.messages++
			if sum := sha256.Sum256(v.Bytes(entry.Content)); v.Uint(entry.Whole) == 0 && !bytes.Equal(sum[:], v.Bytes(entry.Digest)) {
				w.t.Errorf("entry %d: its digest is not that of its content", i)
			}
		case entry.Gap:
			c.gapped += v.Uint(entry.Count)
			first = v.Uint(entry.First)
		case entry.Part:
			return nil
		}
		if first != c.last+1 {
			w.t.Errorf("source %x: %v %d after %d", h.Source, h.Kind, first, c.last)
		}
		c.last = h.Seq
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func source(t *testing.T, l *Log, full Full, budget time.Duration) *Source {
	t.Helper()
	var b entry.Builder
	b.BeginFields(nil)
	b.Str(entry.Hop, "client-proxy")
	b.Str(entry.Service, "strategy-a")
	s, err := l.Capture().Source(Options{Full: full, Budget: budget, Fields: b.Raw()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryCapturedMessageIsThereOnceAndInOrder(t *testing.T) {
	w := newWorld(t)
	w.cfg.SegmentBytes = 8 << 20
	const writers = 8
	each := 20000
	if s := os.Getenv("FIRE_MESSAGES"); s != "" { // 1,000,000 in CI
		each, _ = strconv.Atoi(s)
		w.cfg.SegmentBytes = 64 << 20
	}
	l, _ := w.open()
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			s := source(t, l, FullClosed, time.Minute)
			m := make([]byte, 256)
			for i := range each {
				binary.LittleEndian.PutUint64(m, uint64(i))
				size := 8 + (i*31+n)%248
				if i%5000 == 0 {
					size = 256
				}
				if err := s.Message(m[:size]); err != nil {
					t.Error(err)
					return
				}
			}
			s.Close()
		})
	}
	all.Wait()
	w.close()
	w.open()
	got := w.captured()
	if len(got) != writers {
		t.Errorf("%d sources", len(got))
	}
	for id, c := range got {
		if c.messages != uint64(each) || c.gapped != 0 {
			t.Errorf("source %x: %d messages, %d gapped", id, c.messages, c.gapped)
		}
	}
}

// TestAnOpenFlowGoesOnWhileTheDiskHangs: what has no entry is counted in the log, exactly.
func TestAnOpenFlowGoesOnWhileTheDiskHangs(t *testing.T) {
	w := newWorld(t)
	w.cfg.Rings, w.cfg.RingBytes = 2, 64<<10
	d := &faulty{Disk: w.deps.Disk}
	w.deps.Disk = d
	l, _ := w.open()
	hang := make(chan struct{})
	d.set(func() { d.hang = hang })
	const each = 5000
	var sources []*Source
	for n := range 4 {
		s := source(t, l, FullOpen, 0)
		sources = append(sources, s)
		for i := range each {
			if err := s.Message(fmt.Appendf(nil, "message %d of %d, of no great length", i, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l.Capture().dropped.Load() == 0 {
		t.Fatal("the rings hold everything: the test tests nothing")
	}
	if l.State.Stalled(time.Now().Add(time.Second)) < time.Second {
		t.Error("nobody is told that the disk hangs")
	}
	d.set(func() { d.hang = nil })
	close(hang)
	sources[0].Close()                                 // with its gap
	for err := error(nil); sources[1].gapped.Load(); { // the next message tells of the gap, or the writer has
		if err = sources[1].Message([]byte("after")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	w.close() // the others' gaps are followed by nothing
	w.open()
	var gapped uint64
	for id, c := range w.captured() {
		gapped += c.gapped
		if c.messages+c.gapped < each || c.gapped == 0 {
			t.Errorf("source %x: %d messages, %d gapped of %d", id, c.messages, c.gapped, each)
		}
	}
	if want := l.Capture().dropped.Load(); gapped != want {
		t.Errorf("%d are in gaps, %d had no entry", gapped, want)
	}
}

// TestAClosedFlowIsRefusedWithinItsBudget while the disk hangs, and goes on afterwards.
func TestAClosedFlowIsRefusedWithinItsBudget(t *testing.T) {
	w := newWorld(t)
	w.cfg.Rings, w.cfg.RingBytes = 1, 64<<10
	d := &faulty{Disk: w.deps.Disk}
	w.deps.Disk = d
	l, _ := w.open()
	hang := make(chan struct{})
	d.set(func() { d.hang = hang })
	s := source(t, l, FullClosed, 30*time.Millisecond)
	taken, start := 0, time.Now()
	var err error
	for ; err == nil; taken++ {
		start = time.Now()
		err = s.Message(make([]byte, 200))
	}
	if !errors.Is(err, ErrStalled) {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < 30*time.Millisecond {
		t.Errorf("refused after %v", waited)
	}
	d.set(func() { d.hang = nil })
	close(hang)
	for s.Message([]byte("again")) != nil {
	}
	w.close()
	w.open()
	if c := w.captured()[s.ID()]; c == nil || c.messages != uint64(taken) || c.gapped != 0 {
		t.Errorf("%+v of %d", c, taken)
	}
}

func TestALongMessageIsKeptInParts(t *testing.T) {
	w := newWorld(t)
	l, _ := w.open()
	s := source(t, l, FullClosed, time.Second)
	m := bytes.Repeat([]byte("0123456789abcdef"), 10000) // 160,000 bytes
	if err := s.Message(m); err != nil {
		t.Fatal(err)
	}
	w.close()
	l, _ = w.open()
	var got []byte
	h, _ := l.Head()
	if err := l.Range(t.Context(), 0, h.Size, func(i int64, e []byte) error {
		v, err := entry.Parse(e)
		got = append(got, v.Bytes(entry.Content)...)
		if i == 0 && v.Uint(entry.Whole) != uint64(len(m)) {
			t.Error(v.Uint(entry.Whole))
		}
		return err
	}); err != nil || !bytes.Equal(got, m) {
		t.Errorf("%v: %d bytes of %d", err, len(got), len(m))
	}
}

func TestAnEventComesBetweenItsNeighbours(t *testing.T) {
	w := newWorld(t)
	l, _ := w.open()
	s := source(t, l, FullClosed, time.Second)
	var b entry.Builder
	b.BeginFields(nil)
	b.Str(entry.Detail, "the first")
	for _, err := range []error{s.Event(entry.Opened, b.Raw()), s.Message([]byte("m")), s.Change(nil), s.Message([]byte("n")), s.Event(entry.Closed, b.Raw())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	w.close()
	l, _ = w.open()
	c := w.captured()[s.ID()]
	if fmt.Sprint(c.kinds) != "[opened message message closed]" {
		t.Error(c.kinds)
	}
	e, _ := l.Entry(2)
	if v, err := entry.Parse(e); err != nil || v.Str(entry.Service) != "" {
		t.Error("the changed fields are the old ones:", err, v.Str(entry.Service))
	}
}

func TestCapturingAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	l, _ := w.open()
	s := source(t, l, FullOpen, 0)
	m := make([]byte, 256)
	if n := testing.AllocsPerRun(1000, func() { _ = s.Message(m) }); n > 0.05 { // the writer's, beside it
		t.Errorf("%v allocations", n)
	}
}

// TestARecordIsNeverTakenForAnother fills slots with bytes that look like marks.
func TestARecordIsNeverTakenForAnother(t *testing.T) {
	r := newRing(4096)
	next, want := uint64(0), uint64(0)
	payload := make([]byte, 500)
	for round := range 5000 {
		n := 8 + round*37%400
		for i := 0; i+8 <= n; i += 8 { // what the mark of a coming position would be
			binary.LittleEndian.PutUint64(payload[i:], r.tail.Load()+uint64(i))
		}
		binary.LittleEndian.PutUint64(payload, next)
		if r.put(record{kind: recordMessage, seq: next}, payload[:n]) {
			next++
			if round%3 > 0 {
				continue
			}
		}
		r.take(1<<20, func(rec *record, p []byte) {
			if rec.seq != want || binary.LittleEndian.Uint64(p) != want {
				t.Fatalf("%d comes as %d", want, rec.seq)
			}
			want++
		})
	}
	if want+64 < next || want < 4000 {
		t.Errorf("%d of %d", want, next)
	}
}

func BenchmarkCapture(b *testing.B) {
	l := benchWorld(b)
	s, err := l.Capture().Source(Options{Form: DigestOnly, Full: FullOpen})
	if err != nil {
		b.Fatal(err)
	}
	m := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Message(m)
	}
	b.ReportMetric(float64(l.Capture().dropped.Load())/float64(b.N), "dropped/op")
}
