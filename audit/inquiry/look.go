package inquiry

import (
	"context"

	"fire/audit/entry"
	"fire/audit/order"
)

// look reads a log from end to end for entries that answer any of the keys.
func look(ctx context.Context, l Log, keys []order.Key) (found []order.Found, err error) {
	m := newMatcher(keys)
	head, _ := l.Head()
	err = l.Range(ctx, l.Minimum(), head.Size, func(i int64, e []byte) error {
		v, err := entry.Parse(e)
		if err != nil {
			return nil // of a later version: it is in the log, and says nothing here
		}
		if m.match(v) {
			v, _ = entry.Parse(append([]byte(nil), e...)) // e is the log's
			found = append(found, order.Found{Origin: l.Origin(), Index: i, Node: NodeOf(l.Origin()), View: v})
		}
		return nil
	})
	return found, err
}

// matcher holds keys by what they look at.
type matcher struct {
	values map[value][]order.Key
}

type value struct {
	by   order.By
	text string
}

func newMatcher(keys []order.Key) *matcher {
	m := &matcher{values: map[value][]order.Key{}}
	for _, k := range keys {
		v := value{k.By, k.Value}
		m.values[v] = append(m.values[v], k)
	}
	return m
}

func (m *matcher) match(v entry.View) bool {
	h := v.Head()
	sender, target := v.Bytes(entry.Sender), v.Bytes(entry.Target)
	marks := v.Uint(entry.Marks)
	return m.any(order.ByClOrdID, v.Bytes(entry.ClOrdID), h.Time, nil) ||
		m.any(order.ByOrigClOrdID, v.Bytes(entry.OrigID), h.Time, nil) ||
		m.any(order.ByOrderID, v.Bytes(entry.OrderID), h.Time, nil) ||
		m.any(order.ByExecID, v.Bytes(entry.ExecID), h.Time, nil) ||
		m.any(order.ByDigest, v.Bytes(entry.Digest), h.Time, nil) ||
		m.any(order.ByDigest, v.Bytes(entry.DigestOut), h.Time, nil) ||
		m.any(order.ByNumber, sender, h.Time, func(k order.Key) bool { return k.Other == string(target) && k.Seq == v.Uint(entry.SeqNum) }) ||
		marks&(entry.MarkReset|entry.MarkGapFill) != 0 &&
			(m.any(order.BySession, sender, h.Time, func(k order.Key) bool { return k.Other == string(target) }) ||
				m.any(order.BySession, target, h.Time, func(k order.Key) bool { return k.Other == string(sender) })) ||
		(h.Kind == entry.Gap || marks&(entry.MarkReset|entry.MarkGapFill|entry.MarkGarbled) != 0) && m.any(order.ByFlow, v.Bytes(entry.Flow), h.Time, nil)
}

func (m *matcher) any(by order.By, b []byte, at int64, also func(order.Key) bool) bool {
	if len(b) == 0 {
		return false
	}
	for _, k := range m.values[value{by, string(b)}] {
		if at >= k.From && at < k.To && (also == nil || also(k)) {
			return true
		}
	}
	return false
}
