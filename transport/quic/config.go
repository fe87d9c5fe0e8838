package quic

import (
	"strconv"
	"time"
)

// Config is the [quic] table of mesh.toml. None of it is reloadable: a running
// socket keeps the bounds it was made with.
type Config struct {
	// HeartbeatInterval is the pause between two heartbeats of a session. Default 200ms. Not reloadable.
	HeartbeatInterval time.Duration `toml:"heartbeat_interval"`
	// HeartbeatMisses is how many intervals without an answer end a session as peer_lost. Default 4. Not reloadable.
	HeartbeatMisses int `toml:"heartbeat_misses"`

	// HandshakeTimeout bounds a handshake, from the first packet to the peer's welcome. Default 3s. Not reloadable.
	HandshakeTimeout time.Duration `toml:"handshake_timeout"`
	// HandshakesPerSecond is how many handshakes per second start without proof of address; those above must echo a Retry. Default 200. Not reloadable.
	HandshakesPerSecond int `toml:"handshakes_per_second"`
	// HalfOpenMax is the most handshakes under way at once; each costs up to 4 goroutines and 64 KiB. Default 256. Not reloadable.
	HalfOpenMax int `toml:"half_open_max"`

	// StreamsMax is the most streams a peer may have open in one session. Default 16384. Not reloadable.
	StreamsMax int `toml:"streams_max"`
	// StreamWindowBytes is how many bytes one stream may have under way at first. Default 262144. Not reloadable.
	StreamWindowBytes int `toml:"stream_window_bytes"`
	// StreamWindowMaxBytes is how far a stream's window may grow while its reader keeps up. Default 1048576. Not reloadable.
	StreamWindowMaxBytes int `toml:"stream_window_max_bytes"`
	// SessionWindowMaxBytes bounds what one peer can make this side hold, over all streams of a session. Readers that take nothing are cut before they fill half of it. Default 67108864. Not reloadable.
	SessionWindowMaxBytes int `toml:"session_window_max_bytes"`

	// PacketBytes is the size of the first packets to other hosts; 0 starts at 1280 and finds the path's limit. Default 0. Not reloadable.
	PacketBytes int `toml:"packet_bytes"`
}

// Default is what an empty table means.
func Default() Config {
	return Config{
		HeartbeatInterval:     200 * time.Millisecond,
		HeartbeatMisses:       4,
		HandshakeTimeout:      3 * time.Second,
		HandshakesPerSecond:   200,
		HalfOpenMax:           256,
		StreamsMax:            16384,
		StreamWindowBytes:     256 << 10,
		StreamWindowMaxBytes:  1 << 20,
		SessionWindowMaxBytes: 64 << 20,
	}
}

// Check reports every field that is out of its range.
func (c *Config) Check(bad func(key, problem string)) {
	span := func(key string, v, low, high time.Duration) {
		if v < low || v > high {
			bad(key, v.String()+" is not between "+low.String()+" and "+high.String())
		}
	}
	count := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, strconv.Itoa(v)+" is not between "+strconv.Itoa(low)+" and "+strconv.Itoa(high))
		}
	}
	span("heartbeat_interval", c.HeartbeatInterval, heartbeatMin, heartbeatMax)
	count("heartbeat_misses", c.HeartbeatMisses, 2, 100)
	span("handshake_timeout", c.HandshakeTimeout, 100*time.Millisecond, time.Minute)
	count("handshakes_per_second", c.HandshakesPerSecond, 1, 100_000)
	count("half_open_max", c.HalfOpenMax, 2, 65536)
	count("streams_max", c.StreamsMax, 1, 1<<20)
	count("stream_window_bytes", c.StreamWindowBytes, 16<<10, 64<<20)
	count("stream_window_max_bytes", c.StreamWindowMaxBytes, c.StreamWindowBytes, 256<<20)
	count("session_window_max_bytes", c.SessionWindowMaxBytes, c.StreamWindowMaxBytes, 1<<30)
	if c.PacketBytes != 0 {
		count("packet_bytes", c.PacketBytes, 1200, 1452)
	}
}
