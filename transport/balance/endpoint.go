package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Endpoint is this proxy's memory of one endpoint. The zero value is one that has
// never been used.
type Endpoint struct {
	active   atomic.Int64  // open tickets
	gate     atomic.Int64  // 0: in; > 0: out until then; gateProbing
	latency  atomic.Uint64 // float32 nanoseconds << 32 | milliseconds it was set at
	outcomes atomic.Uint64 // window number (20 bits) | successes (22) | failures (22)
	failures atomic.Int64  // in a row
	backoff  atomic.Int64  // ejections without a long stay since
	returned atomic.Int64  // when the last probe succeeded, nanoseconds
	ejected  atomic.Uint64 // ejections ever
}

const gateProbing = -1

type gateState uint8

const (
	in gateState = iota
	out
	probeDue
	probing
)

func (e *Endpoint) standing(now time.Duration) gateState {
	switch gate := e.gate.Load(); {
	case gate == 0:
		return in
	case gate == gateProbing:
		return probing
	case gate <= int64(now):
		return probeDue
	}
	return out
}

// claimProbe makes the caller the one probe.
func (e *Endpoint) claimProbe(now time.Duration) bool {
	gate := e.gate.Load()
	return gate > 0 && gate <= int64(now) && e.gate.CompareAndSwap(gate, gateProbing)
}

// Recovered tells that the endpoint works again by another's word: it was started
// anew, or its health check passes after it did not. What was measured before tells
// nothing of it now, and the probe that an ejected one needs is due at once. How long
// a failed probe keeps it out stays: one that only looks well must not gain by it.
func (e *Endpoint) Recovered(now time.Duration) {
	e.latency.Store(0)
	if gate := e.gate.Load(); gate > int64(now) {
		e.gate.CompareAndSwap(gate, max(int64(now), 1))
	} else if gate == 0 {
		e.failures.Store(0)
		e.outcomes.Store(0)
	}
}

// Status is what an endpoint looks like from here, for tables.
type Status struct {
	Active    int64         `json:"active"`
	Ejected   bool          `json:"ejected"`
	Probing   bool          `json:"probing"`
	Out       time.Duration `json:"out_ns"` // until a probe is due
	Latency   time.Duration `json:"latency_ns"`
	Ejections uint64        `json:"ejections_total"`
}

// Status reads the endpoint's memory.
func (e *Endpoint) Status(now time.Duration) Status {
	gate := e.gate.Load()
	s := Status{Active: e.active.Load(), Ejected: gate != 0, Probing: gate == gateProbing, Ejections: e.ejected.Load()}
	if gate > 0 {
		s.Out = max(time.Duration(gate)-now, 0)
	}
	if ns, _ := unpackLatency(e.latency.Load()); ns > 0 {
		s.Latency = time.Duration(ns)
	}
	return s
}

// cost is peak-EWMA's measure: decayed latency times the queue it would join.
func (e *Endpoint) cost(now time.Duration, cfg *Config) float64 {
	ns, at := unpackLatency(e.latency.Load())
	if ns == 0 {
		ns = float64(cfg.FirstLatency)
	} else {
		ns *= decayed(now, at, cfg)
	}
	return ns * float64(e.active.Load()+1)
}

// observe takes a latency in: a peak at once, an improvement by and by.
func (e *Endpoint) observe(now, latency time.Duration, cfg *Config) {
	sample := math.Max(float64(latency), 1)
	for {
		old := e.latency.Load()
		ns, at := unpackLatency(old)
		next := sample
		if ns > sample {
			keep := decayed(now, at, cfg)
			next = ns*keep + sample*(1-keep)
		}
		if e.latency.CompareAndSwap(old, packLatency(next, now)) {
			return
		}
	}
}

// decayed is the share of an old value that is still believed. Milliseconds wrap
// after 49 days; the difference is right as long as an endpoint is used more often.
func decayed(now time.Duration, at uint32, cfg *Config) float64 {
	age := time.Duration(uint32(now/time.Millisecond)-at) * time.Millisecond
	return math.Exp(-float64(age) / float64(cfg.Decay))
}

func packLatency(ns float64, now time.Duration) uint64 {
	return uint64(math.Float32bits(float32(ns)))<<32 | uint64(uint32(now/time.Millisecond))
}

func unpackLatency(w uint64) (ns float64, at uint32) {
	return float64(math.Float32frombits(uint32(w >> 32))), uint32(w)
}

const (
	outcomeBits = 22
	outcomeMax  = 1<<outcomeBits - 1
	windowMask  = 1<<20 - 1
)

// count adds one outcome to the current window and returns the window's counts. A
// full count halves both, which keeps the ratio.
func (e *Endpoint) count(now, window time.Duration, failed bool) (ok, bad uint64) {
	number := uint64(now/window) & windowMask
	for {
		old := e.outcomes.Load()
		ok, bad = old>>outcomeBits&outcomeMax, old&outcomeMax
		if old>>(2*outcomeBits) != number {
			ok, bad = 0, 0
		}
		if ok == outcomeMax || bad == outcomeMax {
			ok, bad = ok/2, bad/2
		}
		if failed {
			bad++
		} else {
			ok++
		}
		if e.outcomes.CompareAndSwap(old, number<<(2*outcomeBits)|ok<<outcomeBits|bad) {
			return ok, bad
		}
	}
}
