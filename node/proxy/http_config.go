package proxy

import (
	"fmt"
	"time"

	"fire/transport/http1"
)

// HTTPConfig is the table [proxy.http]: the bounds of the HTTP/1.1 relay.
type HTTPConfig struct {
	// Largest head of a request or response. Unit: bytes. Default: 16384. Needs a restart.
	MaxHeaderBytes int `toml:"max_header_bytes"`
	// Longest time from the first byte of a head to its end, and from a connection to
	// its first byte. Unit: duration. Default: "10s". Needs a restart.
	HeaderTimeout time.Duration `toml:"header_timeout"`
	// Longest time that a client's connection may wait between two requests. Unit:
	// duration. Default: "75s". Needs a restart.
	KeepAliveTimeout time.Duration `toml:"keep_alive_timeout"`
	// Longest time from a request's last byte to the head of its response. Unit:
	// duration. Default: "60s". Needs a restart.
	ResponseTimeout time.Duration `toml:"response_timeout"`
	// Longest silence in the middle of a body. Unit: duration. Default: "5m". Needs a restart.
	BodyTimeout time.Duration `toml:"body_timeout"`
	// Longest time that a receiver may take no byte while some wait for it. Unit:
	// duration. Default: "30s". Needs a restart.
	WriteTimeout time.Duration `toml:"write_timeout"`
	// Longest time that a stream to another proxy is kept for the next request. Unit:
	// duration. Default: "60s". Needs a restart.
	StreamIdleTimeout time.Duration `toml:"stream_idle_timeout"`
	// Most idle streams kept for one endpoint. Unit: streams. Default: 64. Needs a restart.
	StreamsIdleMax int `toml:"streams_idle_max"`
	// Longest time that a connection to the local application is kept for the next
	// request; shorter than the application's own limit, which is 5 s in some
	// servers. Unit: duration. Default: "4s". Needs a restart.
	AppIdleTimeout time.Duration `toml:"app_idle_timeout"`
	// Most connections to one local application. Unit: connections. Default: 256. Needs a restart.
	AppConnectionsMax int `toml:"app_connections_max"`
	// Whether a request may switch to WebSocket. Each end decides for itself. Default:
	// false. Needs a restart.
	WebSocket bool `toml:"websocket"`
}

// DefaultHTTP is the configuration of an empty [proxy.http].
func DefaultHTTP() HTTPConfig {
	return HTTPConfig{
		MaxHeaderBytes: 16 << 10, HeaderTimeout: 10 * time.Second, KeepAliveTimeout: 75 * time.Second,
		ResponseTimeout: time.Minute, BodyTimeout: 5 * time.Minute, WriteTimeout: 30 * time.Second,
		StreamIdleTimeout: time.Minute, StreamsIdleMax: 64, AppIdleTimeout: 4 * time.Second, AppConnectionsMax: 256,
	}
}

// Check reports every value that makes no sense.
func (c *HTTPConfig) Check(bad func(key, problem string)) {
	if c.MaxHeaderBytes < 1<<10 || c.MaxHeaderBytes > http1.HeadBytesMax {
		bad("max_header_bytes", fmt.Sprintf("%d is outside 1024 to %d", c.MaxHeaderBytes, http1.HeadBytesMax))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"header_timeout", c.HeaderTimeout}, {"keep_alive_timeout", c.KeepAliveTimeout}, {"response_timeout", c.ResponseTimeout},
		{"body_timeout", c.BodyTimeout}, {"write_timeout", c.WriteTimeout}, {"stream_idle_timeout", c.StreamIdleTimeout},
		{"app_idle_timeout", c.AppIdleTimeout},
	} {
		if d.value < time.Millisecond || d.value > 24*time.Hour {
			bad(d.key, fmt.Sprintf("%v is outside 1ms to 24h", d.value))
		}
	}
	if c.StreamsIdleMax < 1 || c.StreamsIdleMax > 4096 {
		bad("streams_idle_max", fmt.Sprintf("%d is outside 1 to 4096", c.StreamsIdleMax))
	}
	if c.AppConnectionsMax < 1 || c.AppConnectionsMax > 65535 {
		bad("app_connections_max", fmt.Sprintf("%d is outside 1 to 65535", c.AppConnectionsMax))
	}
}
