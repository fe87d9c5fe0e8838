package node

import (
	"net"
	"testing"
	"time"

	"fire/node/admin"
	"fire/node/direct"
	"fire/policy"
	"fire/transport/channel"
	"fire/transport/shm"
)

// leaveWithoutGoodbye attaches and then ends as a killed process does: without a word.
func (m *bridgedMesh) leaveWithoutGoodbye(host int, ch, service string, side policy.Side) {
	m.t.Helper()
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: m.options(host, ch, service).Socket, Net: "unixpacket"})
	if err != nil {
		m.t.Fatal(err)
	}
	w := channel.NewWire(c)
	defer w.Close()
	if err := w.Send(&channel.Packet{Type: channel.TypeAttach, Hash: shm.Hash(), Side: uint8(side), Channel: ch, Service: service}); err != nil {
		m.t.Fatal(err)
	}
	if err := w.SetReceiveDeadline(time.Now().Add(10 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	wanted := []channel.Type{channel.TypeWelcome}
	if side == policy.Publish {
		wanted = append(wanted, channel.TypeLane)
	}
	for _, typ := range wanted {
		k, files, err := w.Receive()
		channel.CloseAll(files)
		if err != nil || k.Type != typ {
			m.t.Fatalf("%+v, %v", k, err)
		}
	}
}

// happened lists control's events of a kind.
func (m *bridgedMesh) happened(kind string) (out []admin.Event) {
	m.t.Helper()
	all, err := m.c.control.Events(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// A trail that takes nothing is tried again and again with the same event: the mesh hears of it
// once, and at once.
func TestDeathIsOneEventOfTheMeshThoughTheTrailTakesNothing(t *testing.T) {
	m := newBridgedMeshOf(t, 1, "", nil)
	m.leaveWithoutGoodbye(0, "orders", "feed", policy.Publish)
	m.until("control tells of the first death", func() bool { return len(m.happened("channel_died")) == 1 })
	p := m.publisher(0, "orders", "feed") // none can attach without the trail
	time.Sleep(300 * time.Millisecond)    // until what it has is on the disk
	if err := m.c.hosts[0].direct.trail.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.c.hosts[0].direct.broker.Revoke(t.Context(), direct.Revocation{Channel: "orders", By: "test"}); err != nil {
		t.Fatal(err)
	}
	m.until("control tells of the cut", func() bool { return len(m.happened("channel_cut")) > 0 })
	time.Sleep(time.Second) // the trail is tried fifty times
	if n := len(m.happened("channel_cut")); n != 1 {
		t.Errorf("one cut is %d events", n)
	}
	p.Close()
}
