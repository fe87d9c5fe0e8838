package transporttest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"fire/policy/id"
	"fire/transport"
)

func tellsWhoAndWhat(t *testing.T, pair Pair) {
	a, b := pair(t)
	for side, s := range map[string]transport.Session{"a": a, "b": b} {
		if s.Peer() == (id.Principal{}) || transport.Holder(s) == (id.Principal{}) || s.RemoteAddr() == nil || s.Err() != nil {
			t.Errorf("%s: peer %v holder %v addr %v err %v", side, s.Peer(), transport.Holder(s), s.RemoteAddr(), s.Err())
		}
	}
	if a.Peer() == b.Peer() {
		t.Errorf("both ends see %v", a.Peer())
	}
	if a.Class() != b.Class() || !a.Class().Valid() || a.Protocol() != b.Protocol() || a.Protocol() == "" {
		t.Errorf("ends disagree: %v %q, %v %q", a.Class(), a.Protocol(), b.Class(), b.Protocol())
	}
}

func echoesInOrder(t *testing.T, pair Pair) {
	a, b := pair(t)
	for _, ends := range [][2]transport.Session{{a, b}, {b, a}} { // either side may open
		mine, theirs := open(t, ends[0], ends[1])
		var echo sync.WaitGroup
		echo.Go(func() {
			if _, err := io.Copy(onlyWriter{theirs}, onlyReader{theirs}); err != nil {
				t.Errorf("echo: %v", err)
			}
			theirs.CloseWrite()
		})
		buf := make([]byte, 64)
		for i := range 200 {
			msg := fmt.Appendf(nil, "message %d", i)
			if _, err := mine.Write(msg); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(mine, buf[:len(msg)]); err != nil || !bytes.Equal(buf[:len(msg)], msg) {
				t.Fatalf("message %d came back as %q, %v", i, buf[:len(msg)], err)
			}
		}
		mine.CloseWrite()
		echo.Wait()
		if n, err := mine.Read(buf); n != 0 || err != io.EOF {
			t.Fatalf("after the end: %d %v", n, err)
		}
	}
}

func halvesCloseAlone(t *testing.T, pair Pair) {
	a, b := pair(t)
	mine, theirs := open(t, a, b)
	mine.Write([]byte("question"))
	if err := mine.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(theirs); err != nil || string(got) != "question" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := mine.Write([]byte("more")); err == nil {
		t.Error("a write after CloseWrite was taken")
	}
	if err := mine.CloseWrite(); err != nil {
		t.Errorf("second CloseWrite: %v", err)
	}
	// The other half lives on, with more than any one buffer holds.
	answer := noise(3, 1<<20)
	var writer sync.WaitGroup
	writer.Go(func() {
		if _, err := theirs.Write(answer); err != nil {
			t.Errorf("answer: %v", err)
		}
		theirs.CloseWrite()
	})
	got, err := io.ReadAll(mine)
	writer.Wait()
	if err != nil || sha256.Sum256(got) != sha256.Sum256(answer) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(answer), err)
	}
}

func closeWriteLosesNothing(t *testing.T, pair Pair) {
	a, b := pair(t)
	for i, size := range []int{0, 1, 255, 1199, 1200, 1452, 4096, 65535, 300_000} {
		mine, theirs := open(t, a, b)
		data := noise(uint64(i), size)
		var writer sync.WaitGroup
		writer.Go(func() {
			for rest := data; len(rest) > 0; { // odd pieces, the last one directly before the end
				n := min(len(rest), 1+size/7)
				mine.Write(rest[:n])
				rest = rest[n:]
			}
			mine.CloseWrite()
		})
		got, err := io.ReadAll(theirs)
		writer.Wait()
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
		theirs.CloseWrite()
		if n, err := mine.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("the empty answer is %d, %v", n, err)
		}
	}
}

func manyStreamsAtOnce(t *testing.T, pair Pair) {
	a, b := pair(t)
	const streams = 64
	var all sync.WaitGroup
	for i := range streams {
		mine, theirs := open(t, a, b)
		data := noise(uint64(i), 20_000)
		all.Go(func() {
			io.Copy(onlyWriter{theirs}, onlyReader{theirs})
			theirs.CloseWrite()
		})
		all.Go(func() {
			mine.Write(data)
			mine.CloseWrite()
		})
		all.Go(func() {
			if got, err := io.ReadAll(mine); err != nil || !bytes.Equal(got, data) {
				t.Errorf("stream %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
}

// noise is size bytes that repeat for the same seed.
func noise(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

// onlyReader and onlyWriter keep io.Copy from finding shortcuts.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }
