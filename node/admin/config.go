package admin

import "net/netip"

// Config is the [admin] table.
type Config struct {
	// Socket is the unix socket's path. Unit: path. Default: "", which is NODE.sock in
	// /run/fire for root and in the user's runtime folder otherwise. Needs a restart.
	Socket string `toml:"socket"`
	// Readers says who may read: "owner" (the process's user and root), "group" (also its
	// group) or "everyone". Changes always need the owner or root. Unit: word. Default: "group". Needs a restart.
	Readers string `toml:"readers"`
	// MetricsListen is where /metrics is served to Prometheus, over plain HTTP, or "off".
	// Unit: host:port. Default: "127.0.0.1:7481". Needs a restart.
	MetricsListen string `toml:"metrics_listen"`
}

// Default is the configuration of an empty table.
func Default() Config { return Config{Readers: "group", MetricsListen: "127.0.0.1:7481"} }

// Check reports every problem by key.
func (c *Config) Check(bad func(key, problem string)) {
	switch c.Readers {
	case "owner", "group", "everyone":
	default:
		bad("readers", `want "owner", "group" or "everyone"`)
	}
	if c.MetricsListen != "off" {
		if _, err := netip.ParseAddrPort(c.MetricsListen); err != nil {
			bad("metrics_listen", `want an address and port such as "127.0.0.1:7481", or "off"`)
		}
	}
	if len(c.Socket) > SocketPathBytesMax {
		bad("socket", "the path is longer than a unix socket's may be (99 bytes)")
	}
}

// mode is the socket's file mode for the readers.
func (c *Config) mode() uint32 {
	switch c.Readers {
	case "owner":
		return 0o600
	case "everyone":
		return 0o666
	}
	return 0o660
}
