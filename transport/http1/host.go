package http1

import (
	"net/netip"
	"strconv"
)

func quote(b []byte) string { return strconv.QuoteToASCII(string(b)) }

// authority is a Host value in its one form.
type authority struct {
	text []byte // host[:port], lower-case, no trailing dot: what is forwarded
	host []byte // without the port: what is matched
	made [HostBytesMax + 8]byte
}

// parse reads "host", "host:port", "1.2.3.4:port" or "[v6]:port".
func (a *authority) parse(raw []byte) error {
	if len(raw) == 0 {
		return malformed("Host is empty")
	}
	if len(raw) > HostBytesMax {
		return malformed("Host is longer than %d bytes", HostBytesMax)
	}
	n, err := hostEnd(raw)
	if err != nil {
		return err
	}
	port := raw[n:]
	if len(port) > 0 && !goodPort(port) {
		return malformed("Host %s has a bad port", show(raw))
	}
	name := raw[:n]
	if name[len(name)-1] == '.' {
		name = name[:len(name)-1]
	}
	if !goodName(name) {
		return malformed("Host %s is no host name", show(raw))
	}
	made := a.made[:0]
	for _, c := range name {
		made = append(made, lower(c))
	}
	made = append(made, port...)
	a.text, a.host = made, made[:len(name)]
	return nil
}

// hostEnd is where the host of raw ends and the port, if any, begins.
func hostEnd(raw []byte) (int, error) {
	if raw[0] != '[' {
		for i, c := range raw {
			if c == ':' && i > 0 {
				return i, nil
			}
			if classes[c]&host == 0 {
				return 0, malformed("Host %s holds a byte that no host may hold", show(raw))
			}
		}
		return len(raw), nil
	}
	for i, c := range raw {
		if c == ']' {
			ip, err := netip.ParseAddr(string(raw[1:i]))
			if err != nil || !ip.Is6() || ip.Zone() != "" {
				return 0, malformed("Host %s is no IPv6 address", show(raw))
			}
			return i + 1, nil
		}
	}
	return 0, malformed("Host %s has no closing bracket", show(raw))
}

// goodName refuses empty labels; the bytes, or the whole IPv6 address, have been checked.
func goodName(name []byte) bool {
	label := 0
	for _, c := range name {
		if c != '.' {
			label++
			continue
		}
		if label == 0 {
			return false
		}
		label = 0
	}
	return label > 0
}

// goodPort takes ":1" to ":65535" in the one spelling without leading zeros.
func goodPort(p []byte) bool {
	if p[0] != ':' || len(p) < 2 || len(p) > 6 || p[1] == '0' {
		return false
	}
	n := 0
	for _, c := range p[1:] {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}
