package shm

import (
	"fmt"
	"os"
	"sync/atomic"
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

// Set tells both ends. The reason is a number of policy/reason.
func (g *Gate) Set(s State, reason uint32) {
	g.mem.storeHalf(offReason, reason)
	g.mem.storeHalf(offState, uint32(s))
}

// Close gives the mapping and the file back. The peers keep theirs, as it is.
func (g *Gate) Close() error {
	err := g.mem.unmap()
	if cerr := g.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// gate is a peer's side.
type gate struct {
	memory
	state *uint32
}

func openGate(f *os.File, epoch uint64) (gate, error) {
	if err := checkSealed(f); err != nil {
		return gate{}, err
	}
	m, err := mapMemory(f, false, func(n int64) bool { return n == gateBytes })
	if err != nil {
		return gate{}, err
	}
	err = m.checkHead(magicGate, "gate")
	if err == nil && m.load(offEpoch) != epoch {
		err = fmt.Errorf("the gate is of epoch %d, the ring of %d", m.load(offEpoch), epoch)
	}
	if err != nil {
		m.unmap()
		return gate{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return gate{m, m.half(offState)}, nil
}

func (g gate) open() bool { return atomic.LoadUint32(g.state) == uint32(Open) }

// now is the state and its reason.
func (g gate) now() (State, uint32) {
	s := State(atomic.LoadUint32(g.state))
	return s, g.loadHalf(offReason)
}
