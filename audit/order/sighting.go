package order

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"fire/audit/entry"
	"fire/policy/reason"
)

// contentBytesMax is how much of a message's content is kept for comparing and for fills.
const contentBytesMax = 4096

// Found is an entry and where it lies. Search.Add copies what it needs.
type Found struct {
	Origin string // of the log
	Index  int64
	Node   string // the host whose log it is; may be empty: then the origin's last part names it
	View   entry.View
}

// sighting is one message as one hop saw it.
type sighting struct {
	origin  string
	index   int64
	node    string
	hash    [sha256.Size]byte // of the entry, to tell a second one of the same index
	head    entry.Head
	at      whereabouts
	in, out string // digests; out is in where the hop changed nothing
	bytes   uint64
	sealed  bool
	fix     facts
	content string // whole, or empty
	inside  bool   // of the closure
}

// whereabouts is which way the message went.
type whereabouts struct {
	flow, hop, direction, service, peer, principal, farNode, channel, protocol, rule, bundle string
	reason                                                                                   reason.Code
}

// facts is what the message says of itself.
type facts struct {
	msgType, sender, target, clOrdID, origID, orderID, execID, symbol, execType, ordStatus, sentAt, firstSentAt, trail string
	seq, newSeq, marks, count                                                                                          uint64
}

func see(f Found, hash [sha256.Size]byte) *sighting {
	v := f.View
	s := &sighting{
		origin: f.Origin, index: f.Index, node: f.Node, hash: hash, head: v.Head(),
		at: whereabouts{
			flow: v.Str(entry.Flow), hop: v.Str(entry.Hop), direction: v.Str(entry.Direction), service: v.Str(entry.Service), peer: v.Str(entry.Peer),
			principal: v.Str(entry.Principal), farNode: v.Str(entry.Node), channel: v.Str(entry.Channel), protocol: v.Str(entry.Protocol),
			rule: v.Str(entry.Rule), bundle: hex.EncodeToString(v.Bytes(entry.Bundle)), reason: reason.Code(v.Uint(entry.Reason)),
		},
		in: v.Str(entry.Digest), out: v.Str(entry.DigestOut), bytes: v.Uint(entry.Size), sealed: v.Bytes(entry.Sealed) != nil,
		fix: facts{
			msgType: v.Str(entry.MsgType), sender: v.Str(entry.Sender), target: v.Str(entry.Target), clOrdID: v.Str(entry.ClOrdID), origID: v.Str(entry.OrigID),
			orderID: v.Str(entry.OrderID), execID: v.Str(entry.ExecID), symbol: v.Str(entry.Symbol), execType: v.Str(entry.ExecType),
			ordStatus: v.Str(entry.OrdStatus), sentAt: v.Str(entry.SentAt), firstSentAt: v.Str(entry.FirstSent), trail: v.Str(entry.Trail),
			seq: v.Uint(entry.SeqNum), newSeq: v.Uint(entry.NewSeqNum), marks: v.Uint(entry.Marks), count: v.Uint(entry.Count),
		},
	}
	if s.out == "" {
		s.out = s.in
	}
	if s.node == "" {
		s.node = s.origin[strings.LastIndexByte(s.origin, '/')+1:]
	}
	if c := v.Bytes(entry.Content); len(c) <= contentBytesMax && v.Uint(entry.Whole) <= uint64(len(c)) {
		s.content = string(c)
	}
	return s
}

// message says whether the entry is of one message at one hop.
func (s *sighting) message() bool {
	return s.head.Kind == entry.Message || s.head.Kind == entry.Refused && (s.in != "" || s.fix.msgType != "")
}

// context is what explains other entries: sessions that begin anew, gaps, garbled bytes.
func (s *sighting) context() bool {
	return s.head.Kind == entry.Gap || s.message() && s.fix.marks&(entry.MarkReset|entry.MarkGapFill|entry.MarkGarbled) != 0
}

func (s *sighting) refused() bool { return s.head.Kind == entry.Refused || s.at.reason != reason.OK }

func (s *sighting) marked(bit uint64) bool { return s.fix.marks&bit != 0 }

// place is one hop that a message passes once: a second connection between the same two services
// is the same place, one to the next service is another.
type place struct{ origin, hop, channel, service, peer, flow string }

func (s *sighting) place() place {
	p := place{origin: s.origin, hop: s.at.hop, channel: s.at.channel, service: s.at.service, peer: s.at.peer}
	if p.service == "" || p.peer == "" {
		p.flow = s.at.flow
	}
	return p
}

// label names the place for a person.
func (s *sighting) label() string { return labelOf(s.node, s.at.hop, s.at.channel) }

func labelOf(node, hop, channel string) string {
	parts := make([]string, 0, 3)
	for _, p := range []string{node, hop, channel} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// span is when the message passed: from and to, with the clock's bound; wide open where that is
// not known.
func (s *sighting) span() span { return spanOf(s.head.Time, s.head.Bound) }

func (s *sighting) before(o *sighting) int {
	if d := strings.Compare(s.origin, o.origin); d != 0 {
		return d
	}
	if s.index != o.index {
		if s.index < o.index {
			return -1
		}
		return 1
	}
	return bytes.Compare(s.hash[:], o.hash[:])
}

// byTime orders sightings by their clocks, one log's by its index where they agree.
func byTime(a, b *sighting) int {
	if a.head.Time != b.head.Time {
		if a.head.Time < b.head.Time {
			return -1
		}
		return 1
	}
	return a.before(b)
}
