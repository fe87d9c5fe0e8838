package proxy

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fire/audit"
	"fire/audit/entry"
	"fire/node/catalog"
	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"
	"fire/transport/fix"
)

// Audit takes what the proxy records; *audit.Capture is one.
type Audit interface {
	Source(audit.Options) (*audit.Source, error)
}

// tap records one direction of a flow, message by message, before it goes on. It changes no byte
// and holds none back: the start of a message goes on at once, and its last bytes only when the
// whole is captured. So a message that is refused never arrives whole.
type tap struct {
	source  *audit.Source
	frame   frameOf                // nil: connections alone
	kept    []byte                 // the start of a message whose end has not come
	closed  bool                   // what finds no room is refused
	changed atomic.Pointer[[]byte] // other fields from now on
}

// frameOf is how long the first message in b is; or with an error how many bytes are none, or with
// fix.ErrShort that its end has not come.
type frameOf func(b []byte) (n int, err error)

// taps are a flow's. The zero value records nothing.
type taps struct {
	up, down *tap // constant once the flow is in the table; down only of a protocol that has messages

	mu      sync.Mutex
	verdict policy.Verdict // that allows the flow
}

// pass records what is about to go on, and tells how many messages end in it. It is called by the
// one goroutine that moves the bytes.
func (t *tap) pass(b []byte) (messages uint64, err error) {
	if t.changed.Load() != nil {
		fields := t.changed.Swap(nil)
		switch err := t.source.Change(*fields); {
		case err != nil && t.closed:
			return 0, err
		case err != nil: // again with the next bytes: meanwhile there is no room for messages either
			t.changed.CompareAndSwap(nil, fields)
		}
	}
	if t.frame == nil {
		return 0, nil
	}
	rest := b
	if len(t.kept) > 0 {
		t.kept = append(t.kept, b...)
		rest = t.kept
	}
	for len(rest) > 0 {
		n, err := t.frame(rest)
		if err == fix.ErrShort {
			break
		}
		if err == nil {
			messages++
		}
		if err := t.source.Message(rest[:n]); err != nil {
			return messages, err
		}
		rest = rest[n:]
	}
	t.keep(rest)
	return messages, nil
}

// keep holds on to the start of a message. Memory that a large one has needed goes with it.
func (t *tap) keep(rest []byte) {
	if len(rest) == 0 && cap(t.kept) > largeBytes {
		t.kept = nil
		return
	}
	t.kept = append(t.kept[:0], rest...)
}

// leave records what was left of a message that has no end. It went on already: if the log takes
// nothing there is nobody to refuse.
func (t *tap) leave() {
	if len(t.kept) > 0 {
		_ = t.source.Message(t.kept)
	}
}

// end is leave, and lets the source go.
func (t *tap) end() {
	t.leave()
	t.source.Close()
}

// fixFrame finds FIX messages.
func fixFrame(b []byte) (n int, err error) {
	var m fix.Message
	return fix.Next(b, &m, fix.MessageBytesMax)
}

// soupFrame finds SoupBinTCP packets. Bytes that are none are taken as they come.
func soupFrame(b []byte) (n int, err error) {
	switch n = soupBytes(b); {
	case n < 0:
		return len(b), errNoPacket
	case n == 0 || n > len(b):
		return 0, fix.ErrShort
	}
	return n, nil
}

var errNoPacket = errors.New("no SoupBinTCP packet")

// audit begins to record a flow that was admitted under v.
func (p *Proxy) audit(f *flow, v *catalog.View) error {
	if p.deps.Audit == nil {
		return nil
	}
	svc, _ := v.Service(f.dst.Name)
	what, closed, budget := svc.Audited()
	if what == catalog.AuditOff {
		return nil
	}
	f.taps.verdict = v.Table.Authorize(f.src, f.dst, f.op)
	o := audit.Options{Full: audit.FullOpen, Form: formOf(svc.Protocol, what)}
	if closed {
		o.Full, o.Budget = audit.FullClosed, budget
	}
	var frame frameOf
	switch {
	case what == catalog.AuditConnections:
	case svc.Protocol == catalog.FIX:
		frame = fixFrame
	case svc.Protocol == catalog.SoupBin:
		frame = soupFrame
	}
	up, err := p.newTap(f, "up", o, frame)
	if err != nil {
		return err
	}
	if frame != nil {
		if f.taps.down, err = p.newTap(f, "down", o, frame); err != nil {
			up.end()
			return err
		}
	}
	f.taps.up = up
	return up.source.Event(entry.Opened, f.fields("", f.taps.verdict))
}

func (p *Proxy) newTap(f *flow, direction string, o audit.Options, frame frameOf) (*tap, error) {
	o.Fields = f.fields(direction, f.taps.verdict)
	s, err := p.deps.Audit.Source(o)
	if err != nil {
		return nil, reason.New(reason.AuditStalled, "%w", err)
	}
	return &tap{source: s, frame: frame, closed: o.Full == audit.FullClosed}, nil
}

func formOf(p catalog.Transport, what catalog.Audit) audit.Form {
	switch {
	case p == catalog.FIX && what == catalog.AuditDigest:
		return audit.FIXDigest
	case p == catalog.FIX:
		return audit.FIX
	case what == catalog.AuditDigest:
		return audit.DigestOnly
	}
	return audit.Opaque
}

// fields are those of each entry of one direction.
func (f *flow) fields(direction string, by policy.Verdict) []byte {
	var b entry.Builder
	b.BeginFields(nil)
	f.describe(&b, direction, by)
	return b.Raw()
}

func (f *flow) describe(b *entry.Builder, direction string, by policy.Verdict) {
	b.Bytes(entry.Flow, f.id[:])
	b.Str(entry.Hop, hopOf(f.side))
	b.Str(entry.Direction, direction)
	b.Str(entry.Service, f.src.Name)
	b.Str(entry.Peer, f.dst.Name)
	b.Str(entry.Principal, f.src.String())
	b.Str(entry.Node, f.node)
	b.Str(entry.Protocol, f.protocol)
	b.Str(entry.Rule, by.Rule)
	if by.Bundle != (policy.Hash{}) {
		b.Bytes(entry.Bundle, by.Bundle[:bundleBytes])
	}
}

// bundleBytes of a bundle's hash stand in each entry; the entry of the policy has it whole.
const bundleBytes = 8

func hopOf(side string) string {
	if side == sideOut {
		return "client-proxy"
	}
	return "server-proxy"
}

// rejudge lets the entries from here on name the rule that allows the flow now.
func (f *flow) rejudge(v *catalog.View) {
	t := &f.taps
	if t.up == nil {
		return
	}
	by := v.Table.Authorize(f.src, f.dst, f.op)
	t.mu.Lock()
	defer t.mu.Unlock()
	if by == t.verdict {
		return
	}
	t.verdict = by
	fields := f.fields("up", by)
	t.up.changed.Store(&fields)
	if t.down != nil {
		fields := f.fields("down", by)
		t.down.changed.Store(&fields)
	}
}

// of is the tap of a direction, nil for none.
func (t *taps) of(up bool) *tap {
	if up {
		return t.up
	}
	return t.down
}

func (t *taps) by() policy.Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdict
}

// end records how a flow has ended, after both of its directions have.
func (f *flow) endTaps() {
	t := &f.taps
	if t.up == nil {
		return
	}
	if t.down != nil {
		t.down.end()
	}
	t.up.leave()
	var b entry.Builder
	b.BeginFields(nil)
	f.describe(&b, "", t.by())
	why := f.fate.Load()
	if why != nil {
		b.Uint(entry.Reason, uint64(why.Code))
	}
	b.Uint(entry.Size, f.up.bytes.Load()+f.down.bytes.Load())
	b.Uint(entry.Count, f.up.messages.Load()+f.down.messages.Load())
	b.Uint(entry.Elapsed, uint64(max(0, time.Since(f.since))))
	if why != nil {
		b.Str(entry.Detail, why.Detail)
	}
	t.up.source.End(entry.Closed, b.Raw())
}

// events are the facts of the proxy that belong to no flow. Its source is open: what finds no room
// is in its gap.
type events struct {
	mu     sync.Mutex
	source *audit.Source // nil: nothing is recorded
}

func (e *events) init(a Audit) (err error) {
	if a != nil {
		e.source, err = a.Source(audit.Options{Full: audit.FullOpen})
	}
	return err
}

// refused records a flow that was not admitted.
func (e *events) refused(side string, src, dst id.Principal, why *reason.Error, rule string) {
	if e.source == nil {
		return
	}
	var b entry.Builder
	b.BeginFields(nil)
	b.Str(entry.Hop, hopOf(side))
	b.Str(entry.Service, src.Name)
	b.Str(entry.Peer, dst.Name)
	b.Str(entry.Principal, src.String())
	b.Str(entry.Rule, rule)
	b.Uint(entry.Reason, uint64(why.Code))
	b.Str(entry.Detail, why.Detail)
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.source.Event(entry.Refused, b.Raw()) // of an open source it is none
}

// recordRequest records one HTTP request of a flow, as it was relayed.
func (f *flow) recordRequest(o *httpOutcome, method, path []byte, by policy.Verdict) {
	if f.taps.up == nil {
		return
	}
	var b entry.Builder
	b.BeginFields(nil)
	f.describe(&b, "up", by)
	b.Uint(entry.Reason, uint64(o.code))
	b.Uint(entry.Elapsed, uint64(max(0, o.latency)))
	b.Bytes(entry.Verb, method)
	b.Bytes(entry.Object, path)
	if o.status > 0 {
		b.Str(entry.Result, strconv.Itoa(o.status))
	}
	_ = f.taps.up.source.Event(entry.Request, b.Raw()) // it was answered: there is nobody to refuse
}
