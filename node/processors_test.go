package node

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	const step = 100 * time.Millisecond
	p := processors{least: 1, most: 8, now: 1}
	feed := func(cores float64, during time.Duration) {
		for d := time.Duration(0); d < during; d += step {
			p.next(cores, step)
		}
	}
	feed(0.3, time.Minute)
	if p.now != 1 {
		t.Fatalf("a quiet process has %d", p.now)
	}
	feed(0.9, step)
	if p.now != 2 {
		t.Fatalf("a busy one has %d after one look", p.now)
	}
	feed(1.9, step)
	if p.now < 3 {
		t.Fatalf("a burst got %d", p.now)
	}
	feed(100, time.Second)
	if p.now != 8 {
		t.Fatalf("%d of 8 at full load", p.now)
	}
	feed(0.2, 4*time.Second)
	if p.now != 8 {
		t.Fatal("gave one back before it was calm for long enough")
	}
	feed(0.2, time.Minute)
	if p.now != 1 {
		t.Fatalf("a calm process keeps %d", p.now)
	}
}

func TestProcessorsDoNotFlutter(t *testing.T) {
	p := processors{least: 1, most: 4, now: 2}
	for range 1000 { // work for one and a half, in bursts
		p.next(1.2, busyEvery)
		p.next(0.1, busyEvery)
		if p.now != 2 {
			t.Fatalf("%d", p.now)
		}
	}
}

func TestProcessorsAreGivenBackAtTheEnd(t *testing.T) {
	all := runtime.GOMAXPROCS(0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- watchProcessors(ctx, 1, nil, slog.New(slog.DiscardHandler)) }()
	cancel()
	if err := <-done; err != nil || runtime.GOMAXPROCS(0) != all {
		t.Fatalf("%v, %d of %d", err, runtime.GOMAXPROCS(0), all)
	}
}
