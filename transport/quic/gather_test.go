package quic

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// open opens n streams that have been seen by the other side's echo.
func open(t *testing.T, s transport.Session, n int) []transport.Stream {
	t.Helper()
	out := make([]transport.Stream, n)
	for i := range out {
		st, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out[i] = st
	}
	return out
}

func TestSmallWritesOfManyStreamsShareAPacket(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // who is ready is then a matter of order, not of luck
	a, b := pair(t, calm())
	go echo(b)
	const streams, rounds = 32, 50
	var work sync.WaitGroup
	before := a.(*session).conn.ConnectionStats().PacketsSent
	for i, st := range open(t, a, streams) {
		work.Go(func() {
			message, answer := make([]byte, 40), make([]byte, 40)
			for round := range rounds {
				for k := range message {
					message[k] = byte(i + round + k)
				}
				if n, err := st.Write(message); n != len(message) || err != nil {
					t.Errorf("stream %d: %d, %v", i, n, err)
					return
				}
				if _, err := io.ReadFull(st, answer); err != nil || !bytes.Equal(answer, message) {
					t.Errorf("stream %d: %v, %x came back as %x", i, err, message, answer)
					return
				}
			}
		})
	}
	work.Wait()
	if sent := a.(*session).conn.ConnectionStats().PacketsSent - before; sent > streams*rounds/2 {
		t.Errorf("%d packets for %d small writes", sent, streams*rounds)
	}
}

func TestGatheredWritesWaitForASlowReader(t *testing.T) {
	cfg := calm()
	cfg.StreamWindowBytes, cfg.StreamWindowMaxBytes = 16<<10, 16<<10
	a, b := pair(t, cfg)
	var work sync.WaitGroup
	for i, st := range open(t, a, 4) {
		work.Go(func() {
			var taken int
			st.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			for {
				n, err := st.Write(make([]byte, 500))
				taken += n
				if err != nil {
					break
				}
			}
			if taken > 3*cfg.StreamWindowBytes {
				t.Errorf("stream %d took %d bytes that nobody reads, beside a window of %d", i, taken, cfg.StreamWindowBytes)
			}
		})
	}
	work.Wait()
	b.Close(reason.Shutdown, "enough")
}

func TestGatheredWritesOnAnEndedSessionHaveItsReason(t *testing.T) {
	a, _ := pair(t, calm())
	all := open(t, a, 8)
	a.Close(reason.Shutdown, "over")
	var work sync.WaitGroup
	for _, st := range all {
		work.Go(func() {
			n, err := st.Write([]byte("late"))
			if e, ok := errors.AsType[*reason.Error](err); n != 0 || !ok || e.Code != reason.Shutdown {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	work.Wait()
}
