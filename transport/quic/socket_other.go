//go:build !linux || !(amd64 || arm64)

package quic

import "net"

// fast returns pc: the quicker calls of socket_linux.go exist on Linux only, for
// two architectures.
func fast(pc net.PacketConn) net.PacketConn { return pc }
