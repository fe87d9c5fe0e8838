package web

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"fire/policy/id"
)

// Config is the table [web] of mesh.toml. No field is reloadable.
type Config struct {
	// Listen is the TCP address of the map, host:port; "" serves no map. Anything
	// beyond loopback shows the floor to whoever can reach it: put a proxy with a
	// login in front. Default "127.0.0.1:7480".
	Listen string `toml:"listen"`
	// AllowedHosts are further names that a browser may use for this server, as in
	// its address bar and without a port. Loopback names and the listen address are
	// always allowed; anything else is refused, since it may be another site's name
	// pointed at this host (DNS rebinding). Default none.
	AllowedHosts []string `toml:"allowed_hosts"`
	// StreamsMax is how many browsers may follow the map at once; one more is told
	// to come back. Default 64.
	StreamsMax int `toml:"streams_max"`
	// WriteTimeout ends a stream whose reader takes nothing for so long. Default 10s.
	WriteTimeout time.Duration `toml:"write_timeout"`
}

// Default serves loopback only.
func Default() Config {
	return Config{Listen: "127.0.0.1:7480", StreamsMax: 64, WriteTimeout: 10 * time.Second}
}

// Check calls bad for every field that cannot be used.
func (c *Config) Check(bad func(key, problem string)) {
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			bad("listen", "want host:port, such as \"127.0.0.1:7480\"")
		}
	}
	for _, h := range c.AllowedHosts {
		if !legalHost(h) {
			bad("allowed_hosts", "\""+h+"\" is not a host name or an IP address without a port")
		}
	}
	if c.StreamsMax < 1 || c.StreamsMax > 10000 {
		bad("streams_max", "must lie between 1 and 10000")
	}
	if c.WriteTimeout < time.Second || c.WriteTimeout > time.Minute {
		bad("write_timeout", "must lie between 1s and 1m")
	}
}

func legalHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	for part := range strings.SplitSeq(strings.ToLower(h), ".") {
		if _, err := id.ParseName(part); err != nil {
			return false
		}
	}
	return true
}

// hostAllowed holds a Host header against the allow list.
func (c *Config) hostAllowed(header string) bool {
	host := header
	if h, _, err := net.SplitHostPort(header); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return true
	}
	if listen, _, err := net.SplitHostPort(c.Listen); err == nil && listen != "" && host == strings.ToLower(listen) {
		return true
	}
	return slices.ContainsFunc(c.AllowedHosts, func(a string) bool { return strings.EqualFold(a, host) })
}
