package quic

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport"

	quicgo "github.com/quic-go/quic-go"
)

// initials makes n first packets of n different clients, as they would be seen from a
// peer that never goes on.
func initials(t testing.TB, w *world, n int) [][]byte {
	t.Helper()
	sink := loopback(t)
	defer sink.Close()
	from := loopback(t)
	tr := &quicgo.Transport{Conn: from}
	defer from.Close()
	defer tr.Close()
	tc := w.client(t, "strategy", "h1", "h2")
	packets := make([][]byte, 0, n)
	for len(packets) < n {
		var dials sync.WaitGroup
		const batch = 50
		ctx, stop := context.WithCancel(t.Context())
		for range batch {
			dials.Go(func() { tr.Dial(ctx, sink.LocalAddr(), tc, &quicgo.Config{InitialPacketSize: 1452}) })
		}
		for range batch {
			buf := make([]byte, 2048)
			sink.SetReadDeadline(time.Now().Add(10 * time.Second))
			m, _, err := sink.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			packets = append(packets, buf[:m])
		}
		stop()
		dials.Wait()
	}
	return packets
}

func TestFloodOfHalfOpenHandshakesIsBounded(t *testing.T) {
	w := newWorld(t)
	cfg := calm()
	server, client := endpoint(t, loopback(t), cfg), endpoint(t, loopback(t), cfg)
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, client, l, w.client(t, "strategy", "h1", "h2"))
	go echo(b)
	st, err := a.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	packets := initials(t, w, 2000)
	attacker, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer attacker.Close()

	before, heapBefore := runtime.NumGoroutine(), heap()
	most := 0
	for i, p := range packets {
		attacker.Write(p)
		if i%20 == 0 { // the live session goes on in the middle of it
			msg := []byte("still here")
			st.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := st.Write(msg); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(st, msg); err != nil {
				t.Fatalf("after %d packets: %v", i, err)
			}
			most = max(most, runtime.NumGoroutine()-before)
		}
	}
	grown := heap() - heapBefore
	t.Logf("%d packets: %d goroutines and %d KiB more at most, %+v", len(packets), most, grown>>10, server.Stats())
	if limit := 4*cfg.HalfOpenMax + 16; most > limit {
		t.Errorf("%d goroutines more, the stated cap is %d", most, limit)
	}
	if limit := int64(cfg.HalfOpenMax) * 64 << 10; grown > limit {
		t.Errorf("%d bytes of heap more, the stated cap is %d", grown, limit)
	}
	stats := server.Stats()
	if stats.HalfOpen == 0 || stats.HalfOpen > int64(cfg.HalfOpenMax)/2 || stats.Retried == 0 {
		t.Errorf("the flood did not reach the gate: %+v", stats)
	}
	// Whoever echoes the Retry gets in while the forged half is full.
	if _, err := client.Dial(t.Context(), l.Addr().String(), w.client(t, "strategy", "h1", "h2"), transport.ClassBulk); err != nil {
		t.Errorf("an honest peer is locked out: %v", err)
	}
}

func TestHandshakesAboveTheCapAreRefused(t *testing.T) {
	w := newWorld(t)
	cfg := calm()
	server, client := endpoint(t, loopback(t), cfg), endpoint(t, loopback(t), cfg)
	l, err := server.Listen(w.server(t, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	server.gate.halfOpen.Store(int64(cfg.HalfOpenMax))
	_, err = client.Dial(t.Context(), l.Addr().String(), w.client(t, "strategy", "h1", "h2"), transport.ClassBulk)
	wantCode(t, "above the cap", err, reason.HandshakeFlood)
	if st := server.Stats(); st.Refused == 0 || st.Retried == 0 {
		t.Errorf("%+v", st)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
