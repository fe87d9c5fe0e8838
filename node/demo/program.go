package demo

import (
	"context"
	"log/slog"
)

// Program is a running part of the floor. Its socket is bound when it is made;
// Run serves until ctx ends and returns when everything it started has ended.
type Program interface {
	Run(ctx context.Context) error
	Addr() string    // the bound socket, "" for a program that only calls
	Summary() string // one line for people: "strategy-a: 12,345 orders, 12,300 fills"
	Counters() []Counter
}

// Counter is one figure of a program.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// Wiring says where a program listens and dials and how it plays.
type Wiring struct {
	Listen   string            // own socket; port 0 picks one
	Dial     map[string]string // service name to address
	Name     string            // instance name, "" for the service's
	Seed     uint64            // of the order flow
	Rate     float64           // orders per second of this strategy
	Attach   string            // socket of the direct node for what is dialled as "channel:NAME"; "" is the host's
	StateDir string            // FIX sequence numbers are kept there; "" keeps them in memory
	Log      *slog.Logger
}

// Wiring is the spec's own: its Listen and its upstreams' addresses.
func (s Spec) Wiring(log *slog.Logger) Wiring {
	w := Wiring{Listen: s.Listen, Dial: map[string]string{}, Name: s.Name, Seed: SeedDefault, Rate: RateDefault * s.Share(), Log: log}
	for _, u := range s.Upstreams {
		w.Dial[u.Service] = u.Address
	}
	for _, c := range s.Channels {
		w.Dial[c.For] = channelPrefix + c.Name
	}
	return w
}

// Share is the part of the floor's orders that a strategy sends.
func (s Spec) Share() float64 {
	if s.Service == "strategy-c" {
		return 0.25
	}
	return 0.375
}

// SeedDefault and RateDefault are the floor's: RateDefault orders per second over
// all strategies.
const (
	SeedDefault = 1
	RateDefault = 2000
)

// Verb is a program as a command of its own: `fire demo NAME --flag value`.
type Verb struct {
	Name  string
	Short string
	Flags []Flag
	New   func(values map[string]string, log *slog.Logger) (Program, error)
}

// Flag is a string flag of a Verb.
type Flag struct {
	Name, Default, Usage string
}
