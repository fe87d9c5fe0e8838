package node

import (
	"net"
	"net/netip"
)

// reachable are the addresses that a join token names when [control] advertise does
// not: the advertised one, the bound one, or for 0.0.0.0 every address of this host
// that others can route to, so that a token works without configuration.
func reachable(advertise string, bound net.Addr) []string {
	if advertise != "" {
		return []string{advertise}
	}
	at, err := netip.ParseAddrPort(bound.String())
	if err != nil || !at.Addr().IsUnspecified() {
		return []string{bound.String()}
	}
	out := []string{}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return []string{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()}
	}
	var loopback []string
	for _, a := range interfaces {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLinkLocalUnicast() || at.Addr().Is4() && !p.Addr().Is4() {
			continue
		}
		address := netip.AddrPortFrom(p.Addr(), at.Port()).String()
		if p.Addr().IsLoopback() {
			loopback = append(loopback, address)
		} else {
			out = append(out, address)
		}
	}
	// Loopback last: it serves this host, and a host that has no other address.
	return first(append(out, loopback...), advertisedMax)
}

// advertisedMax bounds the addresses of one token.
const advertisedMax = 8

func first(s []string, n int) []string { return s[:min(n, len(s))] }
