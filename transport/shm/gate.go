package shm

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Gate is the broker's side of a channel's gate: the one mapping that may write it.
type Gate struct {
	file *os.File
	mem  memory
}

// CreateGate makes an open gate, sealed. File is what the peers get.
func CreateGate(name string, epoch uint64) (*Gate, error) {
	f, err := created("fire-gate-"+name, gateBytes, magicGate, epoch, func(m memory) { m.storeHalf(offState, uint32(Open)) })
	if err != nil {
		return nil, err
	}
	m, err := mapMemory(f, true, func(n int64) bool { return n == gateBytes })
	if err == nil {
		err = Seal(f)
	}
	if err != nil {
		m.unmap()
		f.Close()
		return nil, err
	}
	return &Gate{f, m}, nil
}

// File is the gate's memory; the Gate owns it.
func (g *Gate) File() *os.File { return g.file }

// Set tells both ends, also those that sleep. The reason is a number of policy/reason.
func (g *Gate) Set(s State, reason uint32) {
	g.mem.storeHalf(offReason, reason)
	g.mem.storeHalf(offState, uint32(s))
	futexWake(g.mem.half(offState))
}

// Close gives the mapping and the file back. The peers keep theirs, as it is.
func (g *Gate) Close() error {
	err := g.mem.unmap()
	if cerr := g.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// valve is a peer's side of a gate. The gate may be replaced while another goroutine
// looks: a broker that follows one that died cannot write the old, which is sealed.
type valve struct {
	state atomic.Pointer[uint32] // of the gate that counts; its reason lies behind it

	mu    sync.Mutex
	epoch uint64   // of the ring
	gates []memory // all that ever counted: somebody may still be looking
}

// gatesMax bounds the gates of one peer; each has cost a broker its life.
const gatesMax = 256

// open maps a gate and makes it the one that counts.
func (v *valve) open(f *os.File, epoch uint64) error {
	if err := checkSealed(f); err != nil {
		return err
	}
	m, err := mapMemory(f, false, func(n int64) bool { return n == gateBytes })
	if err != nil {
		return err
	}
	err = m.checkHead(magicGate, "gate")
	if err == nil && m.load(offEpoch) != epoch {
		err = fmt.Errorf("the gate is of epoch %d, the ring of %d", m.load(offEpoch), epoch)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && len(v.gates) == gatesMax {
		err = fmt.Errorf("the gate was replaced %d times, which is the limit", gatesMax)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", f.Name(), err), m.unmap())
	}
	v.epoch, v.gates = epoch, append(v.gates, m)
	v.state.Store(m.half(offState))
	return nil
}

// replace makes another gate of the same epoch the one that counts.
func (v *valve) replace(f *os.File) error {
	v.mu.Lock()
	epoch := v.epoch
	v.mu.Unlock()
	return v.open(f, epoch)
}

// shut is a state of this side's own: the broker that could have told it is not there.
func (v *valve) shut(s State, reason uint32) {
	own := &[2]uint32{uint32(s), reason}
	v.state.Store(&own[0])
}

func (v *valve) isOpen() bool { return atomic.LoadUint32(v.state.Load()) == uint32(Open) }

// now is the state and its reason.
func (v *valve) now() (State, uint32) {
	at := v.state.Load()
	s := State(atomic.LoadUint32(at))
	return s, atomic.LoadUint32((*uint32)(unsafe.Add(unsafe.Pointer(at), offReason-offState)))
}

func (v *valve) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for _, m := range v.gates {
		errs = append(errs, m.unmap())
	}
	v.gates = nil
	return errors.Join(errs...)
}
