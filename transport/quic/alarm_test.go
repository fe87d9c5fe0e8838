package quic

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"fire/policy/reason"

	quicgo "github.com/quic-go/quic-go"
)

func TestAlarmTellsOfADeadlineOnceItHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		born, told := time.Now(), []time.Time{}
		tell := func(_ *quicgo.Stream, at time.Time) error { told = append(told, at); return nil }
		var a alarm
		in := func(d time.Duration) { a.set(time.Now().Add(d), born, nil, tell) }
		after := func(d time.Duration, want int, past bool, what string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if len(told) != want || want > 0 && told[want-1].IsZero() == past {
				t.Fatalf("%s: %v", what, told)
			}
		}
		in(time.Second)
		after(900*time.Millisecond, 0, false, "before it")
		in(time.Second)
		after(900*time.Millisecond, 0, false, "moved away")
		in(50 * time.Millisecond)
		after(60*time.Millisecond, 1, true, "moved nearer")
		in(time.Second)
		after(0, 2, false, "a new one takes the old one back")
		a.set(time.Unix(1, 0), born, nil, tell)
		after(0, 3, true, "one in the past")
		in(time.Second)
		after(2*time.Second, 5, true, "after one in the past")
		a.set(time.Time{}, born, nil, tell)
		after(0, 6, false, "none")
		in(time.Second)
		a.set(time.Time{}, born, nil, tell)
		in(time.Second)
		a.end()
		after(time.Hour, 6, false, "ended")
	})
}

func TestStreamDeadlinesPassAndMove(t *testing.T) {
	a, b := pair(t, calm())
	go echo(b)
	st := open(t, a, 1)[0].(*stream)
	var buf [4]byte
	st.SetReadDeadline(time.Now().Add(time.Hour))
	st.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := st.Read(buf[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v; want a passed deadline", err)
	}
	st.SetReadDeadline(time.Now().Add(time.Hour))
	if _, err := st.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(st, buf[:]); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { st.SetReadDeadline(time.Unix(1, 0)) })
	if _, err := st.Read(buf[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v; want a passed deadline", err)
	}
	if st.SetReadDeadline(time.Time{}); !st.Alive() {
		t.Fatal("a stream that is open is not alive")
	}
	other := open(t, a, 1)[0].(*stream)
	st.Cancel(reason.OK)
	if st.Alive() {
		t.Error("a cancelled stream is alive")
	}
	a.Close(reason.Shutdown, "over")
	<-a.Done()
	if _, err := other.Read(buf[:]); err == nil || other.Alive() {
		t.Errorf("%v; alive %v after the session", err, other.Alive())
	}
}

func TestStreamKnowsThatThePeerCancelled(t *testing.T) {
	a, b := pair(t, calm())
	st := open(t, a, 1)[0].(*stream)
	if _, err := st.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	far, err := b.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far.Cancel(reason.Draining)
	<-st.quic.Context().Done()
	if _, err := st.Read(make([]byte, 1)); st.Alive() || reason.Of(err, reason.OK) != reason.Draining {
		t.Errorf("alive %v, %v", st.Alive(), err)
	}
}
