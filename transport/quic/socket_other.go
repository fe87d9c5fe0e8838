//go:build !linux || !(amd64 || arm64)

package quic

import (
	"net"

	"fire/transport/spin"
)

// fast returns pc: the quicker calls of socket_linux.go exist on Linux only, for
// two architectures.
func fast(pc net.PacketConn, _ *spin.Spinner) net.PacketConn { return pc }
