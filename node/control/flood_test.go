package control

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
)

// lines counts what is written to a log, by message.
type lines struct {
	slog.Handler
	all atomic.Int64
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }

func (l *lines) Handle(context.Context, slog.Record) error {
	l.all.Add(1)
	return nil
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }

// TestHostilePeersCannotFloodTheLog: whatever a node with a certificate, or a stranger
// without one, does in a loop, the log stays short and the others stay heard.
func TestHostilePeersCannotFloodTheLog(t *testing.T) {
	floods := map[string]func(w *world, n *testNode){
		"broken streams": func(_ *world, n *testNode) {
			if s, err := n.session.Open(n.t.Context()); err == nil {
				s.Write([]byte("\x00\x00\x00\x03{]}"))
				s.CloseWrite()
				s.Read(make([]byte, 1))
			}
		},
		"words": func(_ *world, n *testNode) {
			n.say(catalog.NodeMessage{Log: &catalog.Log{Level: "error", Text: "help"}})
		},
		"wishes": func(_ *world, n *testNode) {
			n.say(catalog.NodeMessage{Register: &catalog.Claim{Service: "orders"}}) // which is not placed there
		},
		"drains": func(_ *world, n *testNode) {
			n.say(catalog.NodeMessage{Drain: &catalog.Drain{On: true}})
			n.say(catalog.NodeMessage{Drain: &catalog.Drain{}})
		},
		"rejections": func(w *world, n *testNode) {
			n.say(catalog.NodeMessage{Ack: &catalog.Ack{Version: w.c.View().State.Version, Stage: catalog.Rejected}})
		},
		"joins": func(w *world, _ *testNode) {
			client, server := transport.Pipe(pki.ALPNJoin, transport.ClassControl, transport.PipeEnd{}, transport.PipeEnd{Who: domain.Control("c1")})
			w.sessions <- server
			if s, err := client.Open(w.t.Context()); err == nil {
				catalog.WriteMessage(s, catalog.JoinBytesMax, catalog.JoinRequest{TokenID: "x", Node: "h9"})
				catalog.ReadMessage(s, catalog.JoinBytesMax, &catalog.JoinAnswer{})
			}
			client.Close(reason.OK, "")
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.members("h1", "h2", "h3")
				bad := w.node("h3", healthy("risk"))
				before := w.log.all.Load()
				for range 3 * linesBurst {
					flood(w, bad)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				most := int64(linesBurst + linesPerSecond*60)
				if n := w.log.all.Load() - before; n > most {
					t.Errorf("%d lines, at most %d", n, most)
				}
				before = w.log.all.Load()
				w.node("h2", healthy("orders"))
				if w.log.all.Load() == before {
					t.Error("the other node is not heard")
				}
			})
		})
	}
}

// TestNodeThatChangesItsMindAllTheTimeIsNotFollowedAtItsPace: each version costs every
// node, so one node must not be able to make hundreds a second.
func TestNodeThatChangesItsMindAllTheTimeIsNotFollowedAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		bad, good := w.node("h1", healthy("orders")), w.node("h2", healthy("orders"))
		begun := time.Now()
		for time.Since(begun) < 30*time.Second {
			bad.say(catalog.NodeMessage{Drain: &catalog.Drain{On: true}})
			bad.say(catalog.NodeMessage{Drain: &catalog.Drain{}})
			time.Sleep(10 * time.Millisecond)
			if time.Since(begun)%time.Second == 0 {
				good.renewAll()
				bad.renewAll()
			}
		}
		good.mu.Lock()
		took := good.deltas + good.whole
		good.mu.Unlock()
		if most := paceBurst + 31*pacePerSecond; took > most {
			t.Errorf("%d versions in 30 s, at most %d", took, most)
		}
		// An operator's change, and then a node's, still go out at once.
		if _, err := w.c.Drain(t.Context(), admin.DrainRequest{Node: "h3"}); err != nil || !good.view().Nodes["h3"].Draining {
			t.Errorf("an operator's change waits: %v", err)
		}
		bad.say(catalog.NodeMessage{Drain: &catalog.Drain{On: true}})
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if !good.view().Nodes["h1"].Draining {
			t.Error("the last change never went out")
		}
	})
}

// TestNodeReportsOnlyForWhatIsPlacedOnIt: the map shows what those saw who were there.
func TestNodeReportsOnlyForWhatIsPlacedOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h3") // risk alone is placed there
		var edges []twin.EdgeDelta
		for _, e := range [][3]string{
			{"risk", "orders", twin.SideOut}, {"orders", "risk", twin.SideIn}, // its own
			{"orders", "orders", twin.SideOut}, {"risk", "orders", twin.SideIn}, // another host's
			{"risk", "invented", twin.SideOut}, {"invented", "risk", twin.SideIn}, // nobody's
		} {
			edges = append(edges, twin.EdgeDelta{Src: e[0], Dst: e[1], Side: e[2], Requests: 7, Errors: 7})
		}
		n.say(catalog.NodeMessage{Report: &twin.Report{Seq: 1, At: time.Now(), Edges: edges}})
		time.Sleep(time.Second)
		synctest.Wait()
		for _, e := range w.c.Snapshot().Edges {
			own := e.Src == "risk" && e.Dst == "orders" && e.Server == nil || e.Src == "orders" && e.Dst == "risk" && e.Client == nil
			if !own {
				t.Errorf("%s > %s is on the map: client %+v, server %+v", e.Src, e.Dst, e.Client, e.Server)
			}
		}
		if len(w.c.Snapshot().Edges) != 2 {
			t.Errorf("%d edges, want the two of its own", len(w.c.Snapshot().Edges))
		}
	})
}

// TestNodeThatNamesVersionsItLikesSpendsNoNumbers: after a restore from an old backup
// control lifts its numbers above what nodes hold; a liar must not use that.
func TestNodeThatNamesVersionsItLikesSpendsNoNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		good := w.node("h2")
		hello := func(version uint64) {
			n := &testNode{t: t, name: "h1", session: w.dial("h1"), bundle: w.c.Bundle(), ended: make(chan struct{})}
			var err error
			if n.stream, err = n.session.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.say(catalog.NodeMessage{Hello: &catalog.Hello{Protocol: 1, Addr: "h1:7400", Release: "test", Time: time.Now(),
				NotAfter: time.Now().Add(time.Hour), Have: catalog.Head{Version: version}}})
			go n.read()
			synctest.Wait()
			n.session.Close(reason.OK, "")
			<-n.ended
			synctest.Wait()
		}
		before, writes := w.c.View().State.Version, w.disk.count()
		hello(1 << 50)
		hello(1<<64 - 1)
		if now := w.c.View().State.Version; now > before+10 {
			t.Errorf("version %d after %d", now, before)
		}
		for range 200 {
			hello(w.c.View().State.Version + 1)
			good.renewAll()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := w.disk.count() - writes; n > liftsBurst+10 {
			t.Errorf("%d writes to the disk", n)
		}
		good.mu.Lock()
		defer good.mu.Unlock()
		if took := good.deltas + good.whole; took > paceBurst+4*pacePerSecond+2*liftsBurst {
			t.Errorf("the other node took %d versions", took)
		}
	})
}
