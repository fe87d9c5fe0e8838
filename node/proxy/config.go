package proxy

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"fire/node/admin"
	"fire/policy/id"
)

// Config is the [proxy] table of mesh.toml: the bounds of the data path.
type Config struct {
	// ConnectTimeout is the longest time from a client's connection to the remote
	// application's acceptance, over all tries. Unit: duration. Default: "3s". Needs a restart.
	ConnectTimeout time.Duration `toml:"connect_timeout"`
	// ConnectTries is how many endpoints are tried for one connection; later ones only
	// when no byte of the client has left. Unit: tries. Default: 3. Needs a restart.
	ConnectTries int `toml:"connect_tries"`
	// HeaderTimeout is how long another proxy may take to say what its stream is for.
	// Unit: duration. Default: "5s". Needs a restart.
	HeaderTimeout time.Duration `toml:"header_timeout"`
	// IdleTimeout ends a connection on which neither side sent a byte; 0 is never.
	// Unit: duration. Default: "1h". Needs a restart.
	IdleTimeout time.Duration `toml:"idle_timeout"`
	// WriteTimeout ends a connection whose receiver takes no byte while some wait for
	// it. Unit: duration. Default: "30s". Needs a restart.
	WriteTimeout time.Duration `toml:"write_timeout"`
	// SlowReadersMax is how many receivers of what one other host sends may take no byte
	// for half a second at once; above it those that wait longest are ended before
	// write_timeout. They hold up to [quic] stream_window_max_bytes each, and a session
	// whose session_window_max_bytes is full stands still for everybody: keep it below half
	// of their quotient. Unit: connections. Default: 32. Needs a restart.
	SlowReadersMax int `toml:"slow_readers_max"`
	// SpinMax is how long the proxy may look for the next message before it sleeps, when
	// messages come that densely and one processor is in use. It costs processor time and
	// saves the waking; 0 sleeps at once. Unit: duration. Default: "200us". Needs a restart.
	SpinMax time.Duration `toml:"spin_max"`
	// DrainTimeout is how long a stopping proxy waits for its connections to end by
	// themselves. Unit: duration. Default: "10s". Needs a restart.
	DrainTimeout time.Duration `toml:"drain_timeout"`
	// SessionIdle closes a session to another proxy that carried no stream for that
	// long. Unit: duration. Default: "1m". Needs a restart.
	SessionIdle time.Duration `toml:"session_idle"`
	// SessionsMax is the most sessions to other proxies. Unit: sessions. Default: 4096. Needs a restart.
	SessionsMax int `toml:"sessions_max"`
	// MaxConnections is the most open connections of one upstream. Unit: connections.
	// Default: 10000. Needs a restart.
	MaxConnections int `toml:"max_connections"`
	// MaxConnectionsPerSource is the most open connections that one service may have to
	// the applications of this host. Unit: connections. Default: 20000. Needs a restart.
	MaxConnectionsPerSource int `toml:"max_connections_per_source"`
	// The HTTP/1.1 relay.
	HTTP HTTPConfig `toml:"http"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		ConnectTimeout: 3 * time.Second, ConnectTries: 3, HeaderTimeout: 5 * time.Second,
		IdleTimeout: time.Hour, WriteTimeout: 30 * time.Second, DrainTimeout: 10 * time.Second,
		SlowReadersMax: 32, SpinMax: 200 * time.Microsecond,
		SessionIdle: time.Minute, SessionsMax: 4096,
		MaxConnections: 10_000, MaxConnectionsPerSource: 20_000,
		HTTP: DefaultHTTP(),
	}
}

// Check reports every value that makes no sense.
func (c *Config) Check(bad func(key, problem string)) {
	span := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			bad(key, fmt.Sprintf("%v is outside %v to %v", v, low, high))
		}
	}
	count := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, fmt.Sprintf("%d is outside %d to %d", v, low, high))
		}
	}
	span("connect_timeout", c.ConnectTimeout, 10*time.Millisecond, 5*time.Minute)
	count("connect_tries", c.ConnectTries, 1, 16)
	span("header_timeout", c.HeaderTimeout, 10*time.Millisecond, 5*time.Minute)
	if c.IdleTimeout != 0 {
		span("idle_timeout", c.IdleTimeout, tickEvery, 30*24*time.Hour)
	}
	span("write_timeout", c.WriteTimeout, tickEvery, time.Hour)
	count("slow_readers_max", c.SlowReadersMax, 1, 1_000_000)
	span("spin_max", c.SpinMax, 0, 10*time.Millisecond)
	span("drain_timeout", c.DrainTimeout, 0, time.Hour)
	span("session_idle", c.SessionIdle, tickEvery, 24*time.Hour)
	count("sessions_max", c.SessionsMax, 1, 65536)
	count("max_connections", c.MaxConnections, 1, 1_000_000)
	count("max_connections_per_source", c.MaxConnectionsPerSource, 1, 1_000_000)
	c.HTTP.Check(func(key, problem string) { bad("http."+key, problem) })
}

// Upstream is one [upstream.NAME] table: a local door to a service of the mesh.
type Upstream struct {
	// Service that the connections go to. Unit: name. Default: none, it must be given.
	// Needs a restart.
	Service string `toml:"service"`
	// As is the service in whose name the connections are made; it must be placed on
	// this node. Unit: name. Default: none, it must be given. Needs a restart.
	As string `toml:"as"`
	// Listen is a TCP address for applications of this host. Unit: address:port.
	// Default: "", which is none. Needs a restart.
	Listen string `toml:"listen"`
	// Unix is the path of a unix socket, made with mode 0660. Unit: path. Default: "",
	// which is none. Needs a restart.
	Unix string `toml:"unix"`
	// MaxConnections is the most open connections. Unit: connections. Default: 0, which
	// is max_connections of [proxy]. Needs a restart.
	MaxConnections int `toml:"max_connections"`
}

// Check reports every value that makes no sense.
func (u *Upstream) Check(bad func(key, problem string)) {
	for key, name := range map[string]string{"service": u.Service, "as": u.As} {
		if _, err := id.ParseName(name); err != nil {
			bad(key, err.Error())
		}
	}
	if (u.Listen == "") == (u.Unix == "") {
		bad("listen", `give either listen = "127.0.0.1:PORT" or unix = "PATH"`)
	}
	if u.Listen != "" {
		host, port, err := net.SplitHostPort(u.Listen)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n > 65535 || net.ParseIP(host) == nil {
			bad("listen", fmt.Sprintf("%q is not ADDRESS:PORT such as 127.0.0.1:15001", u.Listen))
		}
	}
	if len(u.Unix) > unixPathMax {
		bad("unix", fmt.Sprintf("the path is %d bytes long, the system's limit is %d", len(u.Unix), unixPathMax))
	}
	if u.MaxConnections < 0 || u.MaxConnections > 1_000_000 {
		bad("max_connections", fmt.Sprintf("%d is outside 0 to 1000000", u.MaxConnections))
	}
}

const unixPathMax = admin.SocketPathBytesMax
