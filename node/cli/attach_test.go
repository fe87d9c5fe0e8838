package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestLinesEndWithTheCallThoughTheInputGoesOn(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 1)
	done := make(chan error, 1)
	go func() { done <- eachLine(ctx, in, 100, func(l []byte) error { got <- string(l); return nil }) }()
	go out.Write([]byte("one\n")) // and then nothing: it is read for ever
	if l := <-got; l != "one" {
		t.Fatal(l)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a stopped program waits for its input")
	}
}

func TestLineThatIsNotSentIsNotCounted(t *testing.T) {
	full, sent := errors.New("full"), 0
	err := eachLine(t.Context(), strings.NewReader("a\nb\nc\n"), 100, func(l []byte) error {
		if string(l) == "b" {
			return full
		}
		sent++
		return nil
	})
	if !errors.Is(err, full) || sent != 1 {
		t.Error(err, sent)
	}
}

// TestLineThatWasReadAndNotSentIsSaid stops a program whose input is ahead of it.
func TestLineThatWasReadAndNotSentIsSaid(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sent := 0
	err := eachLine(ctx, strings.NewReader(strings.Repeat("x\n", 100)), 100, func([]byte) error {
		if sent++; sent == 3 {
			cancel()
			time.Sleep(50 * time.Millisecond) // the next one waits by now
		}
		return nil
	})
	if sent < 100 && (err == nil || !strings.Contains(err.Error(), "read and not sent")) {
		t.Error(err, sent)
	}
}

func TestLineThatIsTooLongIsAnError(t *testing.T) {
	sent := 0
	err := eachLine(t.Context(), strings.NewReader("short\n"+strings.Repeat("x", 101)+"\nnext\n"), 100, func([]byte) error { sent++; return nil })
	if err == nil || !strings.Contains(err.Error(), "longer than 100 bytes") || sent != 1 {
		t.Error(err, sent)
	}
	err = eachLine(t.Context(), strings.NewReader(strings.Repeat("x", 100)+"\n"), 100, func([]byte) error { sent++; return nil })
	if err != nil || sent != 2 {
		t.Error(err, sent)
	}
}
