package transporttest

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

func cancelTellsThePeerWhy(t *testing.T, pair Pair) {
	a, b := pair(t)
	for i, code := range []reason.Code{reason.PolicyChanged, reason.AppReset} {
		mine, theirs := open(t, a, b)
		if i == 1 { // the side that accepted cancels
			mine, theirs = theirs, mine
		}
		mine.Cancel(code)
		_, err := theirs.Read(make([]byte, 8))
		wantCode(t, "the peer's Read", err, code)
		wantCode(t, "the peer's Write", writeUntil(theirs), code)
		_, err = mine.Read(make([]byte, 8))
		wantCode(t, "the own Read", err, code)
		_, err = mine.Write([]byte("x"))
		wantCode(t, "the own Write", err, code)
	}
}

func firstCancelCounts(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, theirs := open(t, a, b)
	mine.Cancel(reason.IdleTimeout)
	mine.Cancel(reason.SlowReader)
	_, err := theirs.Read(make([]byte, 8))
	wantCode(t, "the peer's Read", err, reason.IdleTimeout)
	wantCode(t, "the peer's Write", writeUntil(theirs), reason.IdleTimeout)
	theirs.Cancel(reason.AppReset) // too late to matter
	_, err = mine.Read(make([]byte, 8))
	wantCode(t, "the own Read", err, reason.IdleTimeout)
	if _, theirs := open(t, a, b); theirs == nil {
		t.Error("the session did not survive")
	}
}

func cancelWakesWhoeverWaits(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, _ := open(t, a, b)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_, err := mine.Read(make([]byte, 1))
		wantCode(t, "the reader here", err, reason.PolicyChanged)
	})
	quiet, there := open(t, a, b)
	waiting.Go(func() {
		_, err := there.Read(make([]byte, 1))
		wantCode(t, "the reader there", err, reason.PolicyChanged)
	})
	filled := make(chan struct{})
	waiting.Go(func() {
		fill(t, mine, filled)
	})
	<-filled
	mine.Cancel(reason.PolicyChanged)
	quiet.Cancel(reason.PolicyChanged)
	waiting.Wait()
}

// fill writes until nobody takes more, says so, and waits in one more write.
func fill(t testing.TB, s transport.Stream, full chan<- struct{}) {
	block := make([]byte, 64<<10)
	for {
		s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := s.Write(block); err != nil {
			break
		}
	}
	s.SetWriteDeadline(time.Time{})
	close(full)
	_, err := s.Write(block)
	wantCode(t, "the writer", err, reason.PolicyChanged)
}

func readDeadline(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, theirs := open(t, a, b)
	buf := make([]byte, 8)
	for _, late := range []time.Duration{-time.Hour, time.Millisecond} {
		theirs.SetReadDeadline(time.Now().Add(late))
		if n, err := theirs.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("deadline in %v: %d %v", late, n, err)
		}
	}
	// A deadline may be moved under a waiting reader.
	theirs.SetReadDeadline(time.Time{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if n, err := theirs.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the waiting reader: %d %v", n, err)
		}
	})
	theirs.SetReadDeadline(time.Now().Add(time.Millisecond))
	waiting.Wait()

	theirs.SetReadDeadline(time.Time{})
	mine.Write([]byte("on"))
	if n, err := io.ReadFull(theirs, buf[:2]); n != 2 || err != nil || string(buf[:2]) != "on" {
		t.Fatalf("after the deadline: %q %v", buf[:n], err)
	}
}

func writeDeadline(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, theirs := open(t, a, b)
	written, block := 0, noise(1, 64<<10)
	var err error
	for err == nil {
		mine.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		var n int
		n, err = mine.Write(block)
		written += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	mine.SetWriteDeadline(time.Time{})
	var reader sync.WaitGroup
	reader.Go(func() {
		if n, err := io.Copy(io.Discard, onlyReader{theirs}); n != int64(written)+5 || err != nil {
			t.Errorf("%d bytes arrived, %d were taken, %v", n, written+5, err)
		}
	})
	if _, err := mine.Write([]byte("whole")); err != nil {
		t.Error(err)
	}
	mine.CloseWrite()
	reader.Wait()
}

func slowReaderStopsTheWriter(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, _ := open(t, a, b)
	const most = 16 << 20
	written, block := 0, make([]byte, 64<<10)
	for written < most {
		mine.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := mine.Write(block)
		written += n
		if err != nil {
			return
		}
	}
	t.Fatalf("%d bytes were taken without a reader", written)
}

func streamLimitHasAReason(t *testing.T, pair Pair) {
	a, b := pair(t)
	_ = b
	for n := 0; n <= StreamsMax; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		s, err := a.Open(ctx)
		cancel()
		if err != nil {
			wantCode(t, "opening beyond the limit", err, reason.TooManyStreams)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the cause is lost: %v", err)
			}
			return
		}
		s.Write([]byte("x"))
	}
	t.Fatalf("%d streams were opened and nobody accepts", StreamsMax)
}

func sessionCloseReachesEverything(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, theirs := open(t, a, b)
	var waiting sync.WaitGroup
	for _, s := range []transport.Session{a, b} {
		waiting.Go(func() {
			_, err := s.Accept(t.Context())
			wantCode(t, "Accept", err, reason.IdentityRevoked)
		})
	}
	for _, s := range []transport.Stream{mine, theirs} {
		waiting.Go(func() {
			_, err := s.Read(make([]byte, 1))
			wantCode(t, "Read", err, reason.IdentityRevoked)
			wantCode(t, "Write", writeUntil(s), reason.IdentityRevoked)
		})
	}
	if err := a.Close(reason.IdentityRevoked, "svc/a was revoked"); err != nil {
		t.Error(err)
	}
	waiting.Wait()
	for _, s := range []transport.Session{a, b} {
		<-s.Done()
		wantCode(t, "Err", s.Err(), reason.IdentityRevoked)
		_, err := s.Open(t.Context())
		wantCode(t, "Open", err, reason.IdentityRevoked)
		s.Close(reason.Shutdown, "again")
		wantCode(t, "Err after a second Close", s.Err(), reason.IdentityRevoked)
	}
}

func cleanCloseIsPeerClosed(t *testing.T, pair Pair) {
	a, b := pair(t)
	b.Close(reason.OK, "done")
	<-a.Done()
	wantCode(t, "Err at the peer", a.Err(), reason.PeerClosed)
}

func contextEndsTheWait(t *testing.T, pair Pair) {
	a, _ := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept: %v", err)
	}
	if a.Err() != nil {
		t.Errorf("the session did not survive: %v", a.Err())
	}
}
