package proxy

import (
	"fmt"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/transport/frame"
)

// exhausted is a floor whose h1 has a good certificate and means ill to h2.
func exhausted(t *testing.T) (m *mesh, h1, h2 *host) {
	m = newMesh(t)
	h1, h2 = m.host("h1"), m.host("h2")
	m.service("strategy", catalog.TCP, h1)
	m.service("echo", catalog.TCP, h2)
	m.endpointOf("echo", h2)
	m.allow("strategy", "echo")
	m.publish()
	m.run(h2, quick(), nil, map[string]App{"echo": echoApp(t)})
	return m, h1, h2
}

// TestInventedServicesTakeNoRoomInTheMeter: a peer names what it likes, and each name
// must not cost a cell of the page, or memory for good.
func TestInventedServicesTakeNoRoomInTheMeter(t *testing.T) {
	m, h1, h2 := exhausted(t)
	s := m.hostile(h1, h2)
	wantReply(t, s, frame.Open{Service: "echo", Protocol: protocolTCP}, reason.OK)
	known := func() int {
		h2.proxy.edges.mu.Lock()
		defer h2.proxy.edges.mu.Unlock()
		return len(h2.proxy.edges.edges)
	}
	before := known()
	for i := range 50 {
		wantReply(t, s, frame.Open{Service: fmt.Sprintf("invented-%d", i), Protocol: protocolTCP}, reason.NoSuchService)
	}
	if n := known(); n != before {
		t.Errorf("%d edges are known, %d before the inventions", n, before)
	}
	h2.refused(t, reason.NoSuchService)
}

// TestOnePeerCannotHoldManySessions: honest proxies need one per class and source.
func TestOnePeerCannotHoldManySessions(t *testing.T) {
	m, h1, h2 := exhausted(t)
	tc := pki.ClientConfig(h1.keys[domain.Service("strategy")].Certificate, h1.verifier, pki.Want{Exactly: domain.Node("h2")}, pki.ALPNMesh)
	var open []transport.Session
	refused := 0
	for range servedPerPeerMax + 5 {
		s, err := h1.endpoint.Dial(t.Context(), m.state.Nodes["h2"].Addr, tc, transport.ClassBulk)
		if err == nil { // the refusal may come after the handshake
			select {
			case <-s.Done():
				err = s.Err()
			case <-time.After(50 * time.Millisecond):
				open = append(open, s)
				continue
			}
		}
		if refused++; reason.Of(err, reason.OK) != reason.TooManyConnections {
			t.Fatalf("session %d: %v", len(open), err)
		}
	}
	if len(open) != servedPerPeerMax || refused != 5 {
		t.Errorf("%d sessions are open, %d refused", len(open), refused)
	}
	h2.refused(t, reason.TooManyConnections)
	wantReply(t, open[0], frame.Open{Service: "echo", Protocol: protocolTCP}, reason.OK)
	open[0].Close(reason.OK, "")
	eventually(t, "there is room again", func() bool {
		h2.proxy.served.mu.Lock()
		defer h2.proxy.served.mu.Unlock()
		return len(h2.proxy.served.live) == servedPerPeerMax-1
	})
	wantReply(t, m.hostile(h1, h2), frame.Open{Service: "echo", Protocol: protocolTCP}, reason.OK)
}
