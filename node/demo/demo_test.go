package demo

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"
)

// floor runs programs wired directly, on free ports of one host.
type testFloor struct {
	t        *testing.T
	log      *slog.Logger
	addr     map[string]string // service to address
	programs map[string]Program
	cancel   map[string]context.CancelFunc
	done     map[string]chan error
}

func newFloor(t *testing.T) *testFloor {
	f := &testFloor{t: t, log: slog.New(slog.DiscardHandler), addr: map[string]string{}, programs: map[string]Program{}, cancel: map[string]context.CancelFunc{}, done: map[string]chan error{}}
	if os.Getenv("DEMO_LOG") != "" {
		f.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	t.Cleanup(f.stopAll)
	return f
}

// start makes and runs one program of the floor.
func (f *testFloor) start(name string, change func(*Wiring)) Program {
	f.t.Helper()
	for _, s := range Programs() {
		if s.Name != name {
			continue
		}
		w := s.Wiring(f.log)
		if s.Listen != "" {
			w.Listen = "127.0.0.1:0"
		}
		for service := range w.Dial {
			w.Dial[service] = f.addr[service]
		}
		if change != nil {
			change(&w)
		}
		p, err := s.New(w)
		if err != nil {
			f.t.Fatal(err)
		}
		if p.Addr() != "" {
			f.addr[s.Service] = p.Addr()
		}
		f.run(name, p)
		return p
	}
	f.t.Fatalf("no program %s", name)
	return nil
}

func (f *testFloor) run(name string, p Program) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	f.programs[name], f.cancel[name], f.done[name] = p, cancel, done
	go func() { done <- p.Run(ctx) }()
}

func (f *testFloor) stop(name string) {
	f.t.Helper()
	f.cancel[name]()
	select {
	case err := <-f.done[name]:
		if err != nil {
			f.t.Errorf("%s ended with %v", name, err)
		}
	case <-time.After(30 * time.Second):
		f.t.Errorf("%s did not stop", name)
	}
	delete(f.cancel, name)
}

func (f *testFloor) stopAll() {
	for _, name := range []string{"desk", "strategy-a", "strategy-b", "strategy-c", "feed", "gateway", "market-data", "risk-b", "risk-c", "blotter", "engine"} {
		if f.cancel[name] != nil {
			f.stop(name)
		}
	}
}

// counter reads one counter of a program.
func counter(p Program, name string) uint64 {
	for _, c := range p.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	return 0
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
