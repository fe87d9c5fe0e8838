package audit

import (
	"crypto/sha256"
	"time"

	"fire/audit/entry"
	"fire/audit/order"
)

// encoder makes entries of what was captured. It belongs to the writer.
type encoder struct {
	b       entry.Builder
	fix     order.Message
	persons Persons

	redaction order.Redaction
	plain     []byte
	sealed    []byte
}

// gapsEvery is how often gaps are looked for that nothing has followed.
const gapsEvery = 200 * time.Millisecond

// drain takes what the rings have into a group, as far as it has room.
func (l *Log) drain(g *work) {
	for _, r := range l.capture.rings {
		if room := l.cfg.GroupBytes - len(g.buf); room > 0 {
			r.take(room, func(rec *record, payload []byte) { l.record(g, rec, payload) })
		}
	}
	if now := l.deps.Now(); now.Sub(l.swept) >= gapsEvery || now.Before(l.swept) {
		l.swept = now
		l.gaps(g)
	}
}

// record makes the entries of one record.
func (l *Log) record(g *work, rec *record, payload []byte) {
	s := l.capture.source(rec.source)
	g.records++
	switch rec.kind {
	case recordMessage:
		l.encoder.message(g, s, rec, payload)
		s.lastSeq = rec.seq
	case recordEvent:
		from := g.begin()
		b := &l.encoder.b
		b.Begin(g.buf, rec.head(entry.Kind(rec.event), s.id))
		b.Fields(payload, entry.LastTag(payload))
		g.buf = b.Raw()
		g.end(from)
		s.lastSeq = rec.seq
	case recordTemplate:
		s.fields = append([]byte(nil), payload...)
	case recordGap:
		l.encoder.gap(g, s, gapOf(payload))
	case recordClose:
		l.capture.forget(s)
	}
}

func (r *record) head(k entry.Kind, source uint64) entry.Head {
	return entry.Head{Kind: k, Sync: entry.Sync(r.sync), Clock: entry.ClockSource(r.clock), Bound: r.bound, Time: r.time, Source: source, Seq: r.seq}
}

// message makes the entry of one message, and more where its content does not fit into one.
func (e *encoder) message(g *work, s *Source, rec *record, payload []byte) {
	from := g.begin()
	b := &e.b
	b.Begin(g.buf, rec.head(entry.Message, s.id))
	b.Fields(s.fields, entry.LastTag(s.fields))
	isFIX := s.form == FIX || s.form == FIXDigest
	var who person
	if isFIX && e.persons.Tags != nil {
		payload, who = e.redact(s.id, rec, payload)
	}
	digest := sha256.Sum256(payload)
	b.Bytes(entry.Digest, digest[:])
	b.Uint(entry.Size, uint64(len(payload)))
	if isFIX {
		_ = e.fix.Read(payload) // what is no message is marked so
		e.fix.Append(b)
	}
	rest := payload
	if s.form == DigestOnly || s.form == FIXDigest {
		rest = nil
	}
	if n := len(rest); n > 0 {
		if most := b.Room() - wholeFieldBytes - len(who.sealed) - len(who.detail) - 32; n > most { // the rest follows
			n = most
		}
		b.Bytes(entry.Content, rest[:n])
		if n < len(rest) {
			b.Uint(entry.Whole, uint64(len(rest)))
		}
		rest = rest[n:]
	}
	b.Str(entry.Detail, who.detail)
	if len(who.sealed) > 0 {
		b.Bytes(entry.Subject, who.id[:])
		b.Bytes(entry.Sealed, who.sealed)
	}
	g.buf = b.Raw()
	g.end(from)
	for part := uint64(2); len(rest) > 0; part++ {
		from := g.begin()
		b.Begin(g.buf, rec.head(entry.Part, s.id))
		b.Bytes(entry.Digest, digest[:])
		n := min(len(rest), b.Room()-wholeFieldBytes)
		b.Bytes(entry.Content, rest[:n])
		b.Uint(entry.Count, part)
		g.buf, rest = b.Raw(), rest[n:]
		g.end(from)
	}
}

// wholeFieldBytes is what entry.Whole or entry.Count takes at most.
const wholeFieldBytes = 16

// gap makes the entry of messages that went on without one.
func (e *encoder) gap(g *work, s *Source, gap gap) {
	from := g.begin()
	b := &e.b
	b.Begin(g.buf, entry.Head{Kind: entry.Gap, Bound: entry.BoundUnknown, Time: gap.till, Source: s.id, Seq: gap.last})
	b.Fields(s.fields, entry.LastTag(s.fields))
	b.Uint(entry.First, gap.first)
	b.Uint(entry.Last, gap.last)
	b.Uint(entry.Count, gap.last-gap.first+1)
	b.Bytes(entry.Chain, gap.chain[:])
	b.Uint(entry.Elapsed, uint64(max(0, gap.till-gap.since)))
	b.Str(entry.Detail, "the audit log took nothing, and the flow is open: these went on without an entry")
	g.buf = b.Raw()
	g.end(from)
	g.gaps++
	s.lastSeq = gap.last
}

// gaps writes those that no message has followed, and lets sources go that could not say goodbye.
// The rings were empty a moment ago, so that nothing of these sources comes before.
func (l *Log) gaps(g *work) {
	open, left := l.capture.gapped()
	for _, s := range append(open, left...) {
		if s.lastSeq+1 < s.firstOfGap() { // some of its messages are still on their way
			continue
		}
		if gap, ok := s.takeGap(); ok {
			l.encoder.gap(g, s, gap)
		}
	}
	for _, s := range left {
		if s.gapped.Load() || s.ring.head.Load() < s.end {
			l.capture.again(s)
			continue
		}
		if f := s.final; f != nil {
			l.record(g, &f.rec, f.fields)
		}
		l.capture.forget(s)
	}
}
