package bridge

import (
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"fire/transport/lines"
	"fire/transport/udp"
)

// Config is the [bridge] table of mesh.toml: how channels go on to other hosts.
type Config struct {
	// Lines are this host's addresses for datagrams, one, or two on networks of their own (A
	// and B), which then carry the same. Unit: IP addresses. Default: [], which is the
	// address of the mesh's socket. Needs a restart.
	Lines []string `toml:"lines"`
	// PortFirst is the first of the UDP ports that are used, one for each channel and peer.
	// Unit: port. Default: 0, which is any port. Needs a restart.
	PortFirst int `toml:"port_first"`
	// PortLast is the last of them. Unit: port. Default: 0. Needs a restart.
	PortLast int `toml:"port_last"`
	// DatagramBytes is how long a datagram is at most. Unit: bytes. Default: 1408, which
	// every Ethernet carries. Needs a restart.
	DatagramBytes int `toml:"datagram_bytes"`
	// Window is how many packets are kept for repair. Unit: packets, a power of two.
	// Default: 4096. Needs a restart.
	Window int `toml:"window"`
	// SpinMax is how long a bridge looks for the next message before it sleeps. Unit:
	// duration. Default: "20us". Needs a restart.
	SpinMax time.Duration `toml:"spin_max"`
	// BusyPoll is how long the kernel asks the network card before a bridge sleeps
	// (SO_BUSY_POLL). Unit: duration. Default: "0s", not at all. Needs a restart.
	BusyPoll time.Duration `toml:"busy_poll"`
	// Offload lets the kernel send and receive runs of datagrams as one (GSO, GRO), but on
	// kernels that are known to spoil them. Unit: yes or no. Default: true. Needs a restart.
	Offload bool `toml:"offload"`
	// PeersMax bounds channels times hosts, each way. Unit: streams. Default: 256. Needs a
	// restart.
	PeersMax int `toml:"peers_max"`
	// HostBytesMax bounds the memory for what is on its way from one other host, all its
	// channels together; lanes beyond are refused. Unit: bytes. Default: 536870912.
	// Needs a restart.
	HostBytesMax int `toml:"host_bytes_max"`
	// Hops is how many networks a datagram to a group may cross. Unit: hops. Default: 1, the
	// network of the line. Needs a restart.
	Hops int `toml:"multicast_hops"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{DatagramBytes: 1408, Window: 4096, SpinMax: 20 * time.Microsecond, Offload: true, PeersMax: 256, HostBytesMax: 512 << 20, Hops: 1}
}

// Check reports every value that makes no sense.
func (c *Config) Check(bad func(key, problem string)) {
	if len(c.Lines) > udp.LinesMax {
		bad("lines", fmt.Sprintf("%d lines, %d are legal", len(c.Lines), udp.LinesMax))
	}
	for _, l := range c.Lines {
		if a, err := netip.ParseAddr(l); err != nil || a.IsUnspecified() || a.IsMulticast() {
			bad("lines", fmt.Sprintf("%q is no IP address of this host", l))
		}
	}
	if c.PortFirst < 0 || c.PortLast > 65535 || c.PortFirst > c.PortLast || (c.PortFirst == 0) != (c.PortLast == 0) {
		bad("port_first", fmt.Sprintf("%d to port_last %d is no range of ports", c.PortFirst, c.PortLast))
	}
	if c.DatagramBytes < udp.DatagramBytesMin || c.DatagramBytes > udp.DatagramBytesMax {
		bad("datagram_bytes", fmt.Sprintf("%d is outside %d to %d", c.DatagramBytes, udp.DatagramBytesMin, udp.DatagramBytesMax))
	}
	if c.Window < 128 || c.Window > 65536 || c.Window&(c.Window-1) != 0 {
		bad("window", fmt.Sprintf("%d is no power of two from 128 to 65536", c.Window))
	} else if least := udp.PacketsMost(max(c.DatagramBytes, udp.DatagramBytesMin)); c.Window < least {
		bad("window", fmt.Sprintf("%d datagrams of %d bytes do not hold the longest message (%d bytes): make window at least %d, or datagram_bytes larger",
			c.Window, c.DatagramBytes, udp.MessageBytesMax, powerOfTwo(least)))
	}
	if c.HostBytesMax < windowBytesMax || c.HostBytesMax > 64<<30 {
		bad("host_bytes_max", fmt.Sprintf("%d is outside %d to %d", c.HostBytesMax, windowBytesMax, 64<<30))
	}
	if c.Hops < 1 || c.Hops > 255 {
		bad("multicast_hops", fmt.Sprintf("%d is outside 1 to 255", c.Hops))
	}
	if c.Window*c.DatagramBytes > windowBytesMax {
		bad("window", fmt.Sprintf("%d datagrams of %d bytes are above %d bytes", c.Window, c.DatagramBytes, windowBytesMax))
	}
	if c.SpinMax < 0 || c.SpinMax > 100*time.Millisecond {
		bad("spin_max", fmt.Sprintf("%v is outside 0s to 100ms", c.SpinMax))
	}
	if c.BusyPoll < 0 || c.BusyPoll > 10*time.Millisecond {
		bad("busy_poll", fmt.Sprintf("%v is outside 0s to 10ms", c.BusyPoll))
	}
	if c.PeersMax < 1 || c.PeersMax > 4096 {
		bad("peers_max", fmt.Sprintf("%d is outside 1 to 4096", c.PeersMax))
	}
}

// callWindow is packets of each stream of a crossing: calls wait for answers, so few are
// under way, but the longest must find room.
func (c *Config) callWindow() int { return max(256, powerOfTwo(udp.PacketsMost(c.DatagramBytes))) }

// powerOfTwo is the least that is not below n.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

// port is how a bridge's sockets are opened.
func (c *Config) port(addresses []netip.Addr) lines.Config {
	return lines.Config{Addresses: addresses, PortFirst: c.PortFirst, PortLast: c.PortLast, DatagramBytes: c.DatagramBytes, BusyPoll: c.BusyPoll, NoOffload: !c.Offload, Hops: c.Hops}
}
