package direct

import (
	"encoding/binary"

	"fire/audit/entry"
	"fire/policy"
)

// Audit takes the messages of lanes whose channel has audit = "messages".
type Audit interface {
	// Lane begins to record one: fields are those of each of its entries; the messages of a
	// FIX lane are read.
	Lane(fields []byte, fix bool) (Tape, error)
}

// Tape is the record of one lane. One goroutine uses it. What finds no room is in a gap, so an
// error says that not even that could be.
type Tape interface {
	Message(b []byte) error
	Event(k entry.Kind, fields []byte) error
	Close()
}

// tape begins to record a lane message by message, nil where its channel or the host does not. A
// host that has no room for one more says so, and digests the lane instead.
func (b *Broker) tape(l *lane, first uint64) Tape {
	spec := l.writer.in.spec
	if b.deps.Audit == nil || spec.Audit != policy.AuditEach {
		return nil
	}
	fields := laneFields(l)
	t, err := b.deps.Audit.Lane(fields, spec.Protocol == policy.FIXProtocol)
	if err == nil {
		var e entry.Builder
		e.BeginFields(fields)
		e.Uint(entry.First, first)
		err = t.Event(entry.Opened, e.Raw())
	}
	if err != nil {
		b.deps.Log.Warn("a lane's messages get no entries of their own, and a digest instead", "channel", l.writer.in.name, "svc", l.service, "err", err)
		return nil
	}
	return t
}

// laneFields are those of each entry of a lane. The flow is the lane's link, which is random.
func laneFields(l *lane) []byte {
	var b entry.Builder
	b.BeginFields(nil)
	var flow [16]byte
	binary.BigEndian.PutUint64(flow[8:], l.link)
	b.Bytes(entry.Flow, flow[:])
	b.Str(entry.Hop, "ring")
	b.Str(entry.Direction, "up")
	b.Str(entry.Service, l.service)
	b.Str(entry.Channel, l.writer.in.name)
	return b.Raw()
}

// unseen records messages that the tail came too late for.
func unseen(t Tape, first, last uint64) {
	var b entry.Builder
	b.BeginFields(nil)
	b.Uint(entry.First, first)
	b.Uint(entry.Last, last)
	b.Uint(entry.Count, last-first+1)
	b.Str(entry.Detail, "written over before the audit had read it")
	_ = t.Event(entry.Gap, b.Raw()) // of an open source it is none
}
