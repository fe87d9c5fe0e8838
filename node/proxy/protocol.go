package proxy

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"time"

	"encoding/binary"

	"fire/node/catalog"
	"fire/transport"
)

// The protocol byte of frame.Open. Numbers never change.
const (
	protocolTCP     = 1
	protocolHTTP    = 2
	protocolFIX     = 3
	protocolSoupBin = 4
)

func protocolByte(t catalog.Transport) uint8 {
	switch t {
	case catalog.HTTP:
		return protocolHTTP
	case catalog.FIX:
		return protocolFIX
	case catalog.SoupBin:
		return protocolSoupBin
	}
	return protocolTCP
}

// laneOf sorts traffic onto sessions: orders and prices keep clear of bytes in bulk.
// A service that is declared bulk is bulk whatever it speaks.
func laneOf(s catalog.Service) (class transport.Class, http bool) {
	switch {
	case s.Protocol == catalog.HTTP:
		return transport.ClassBulk, true
	case s.Class == catalog.Bulk || s.Protocol == catalog.TCP:
		return transport.ClassBulk, false
	}
	return transport.ClassOrder, false
}

// newID names a flow at both of its ends. It is no secret.
func newID() (b [16]byte) {
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return b
}

func idText(b [16]byte) string { return hex.EncodeToString(b[:]) }

func durationOf(nanos int64) time.Duration { return time.Duration(nanos) }

func sortedNames(m map[string]Upstream) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
