//go:build !linux || !(amd64 || arm64)

package proxy

import (
	"net"

	"fire/transport/spin"
)

// rawIO exists on Linux only, for two architectures.
type rawIO struct{}

func newRawIO(net.Conn, *spin.Spinner) *rawIO { return nil }

func (*rawIO) read([]byte) (int, error)  { return 0, net.ErrClosed }
func (*rawIO) write([]byte) (int, error) { return 0, net.ErrClosed }

func (*rawIO) quiet(func(uintptr)) bool { return false }
func (*rawIO) ear() func(uintptr)       { return nil }
