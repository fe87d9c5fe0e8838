package transporttest

import (
	"context"
	"testing"
	"time"

	"fire/policy/reason"
	"fire/transport"
)

// Patience ends a test that hangs.
const Patience = 20 * time.Second

// StreamsMax is the most unfinished streams that the pair under test may admit.
const StreamsMax = 1024

// Pair makes two ends of one session; the first is the one that dialled.
type Pair func(t testing.TB) (a, b transport.Session)

// Run holds an implementation against the contract.
func Run(t *testing.T, pair Pair) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Pair)
	}{
		{"TellsWhoAndWhat", tellsWhoAndWhat},
		{"EchoesInOrder", echoesInOrder},
		{"HalvesCloseAlone", halvesCloseAlone},
		{"CloseWriteLosesNothing", closeWriteLosesNothing},
		{"CancelTellsThePeerWhy", cancelTellsThePeerWhy},
		{"FirstCancelCounts", firstCancelCounts},
		{"CancelWakesWhoeverWaits", cancelWakesWhoeverWaits},
		{"ReadDeadlineLeavesTheStreamUsable", readDeadline},
		{"WriteDeadlineCountsWhatWasTaken", writeDeadline},
		{"SlowReaderStopsTheWriter", slowReaderStopsTheWriter},
		{"StreamLimitHasAReason", streamLimitHasAReason},
		{"SessionCloseReachesEverything", sessionCloseReachesEverything},
		{"CleanCloseIsPeerClosed", cleanCloseIsPeerClosed},
		{"ContextEndsTheWait", contextEndsTheWait},
		{"ManyStreamsAtOnce", manyStreamsAtOnce},
		{"BothEndsDeriveTheSameKeys", bothEndsDeriveTheSameKeys},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, pair) })
	}
}

// open makes a stream and carries its first byte over, so that both ends hold it.
func open(t testing.TB, a, b transport.Session) (mine, theirs transport.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	mine, err := a.Open(ctx)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if _, err := mine.Write([]byte{'!'}); err != nil {
		t.Fatalf("first write: %v", err)
	}
	theirs, err = b.Accept(ctx)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	guard(t, mine, theirs)
	var one [1]byte
	if n, err := theirs.Read(one[:]); n != 1 || err != nil || one[0] != '!' {
		t.Fatalf("first byte: %d %q %v", n, one, err)
	}
	return mine, theirs
}

// guard makes a test that hangs fail instead.
func guard(t testing.TB, streams ...transport.Stream) {
	for _, s := range streams {
		timer := time.AfterFunc(Patience, func() { s.Cancel(reason.Shutdown) })
		t.Cleanup(func() { timer.Stop() })
	}
}

// wantCode fails unless err carries the code.
func wantCode(t testing.TB, what string, err error, want reason.Code) {
	t.Helper()
	if got := reason.Of(err, reason.OK); err == nil || got != want {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

// writeUntil writes until the stream refuses, as a reset needs a moment to arrive.
func writeUntil(s transport.Stream) error {
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		if _, err := s.Write([]byte("x")); err != nil {
			return err
		}
	}
	return nil
}

func bothEndsDeriveTheSameKeys(t *testing.T, pair Pair) {
	a, b := pair(t)
	key := func(s transport.Session, label, context string) string {
		k, err := transport.Export(s, label, []byte(context), 32)
		if err != nil || len(k) != 32 {
			t.Fatalf("%d bytes, %v", len(k), err)
		}
		return string(k)
	}
	if key(a, "EXPERIMENTAL-fire", "x") != key(b, "EXPERIMENTAL-fire", "x") {
		t.Error("the two ends have different keys")
	}
	c, _ := pair(t)
	one := key(a, "EXPERIMENTAL-fire", "x")
	if one == key(a, "EXPERIMENTAL-fire", "y") || one == key(a, "EXPERIMENTAL-fire-2", "x") || one == key(c, "EXPERIMENTAL-fire", "x") {
		t.Error("another context, label or session has the same key")
	}
}
