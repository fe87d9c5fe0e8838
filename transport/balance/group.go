package balance

import (
	"sync"
	"sync/atomic"
	"time"
)

// EndpointsMax bounds the endpoints one group remembers.
const EndpointsMax = 4096

// Config is how endpoints are ejected and come back.
type Config struct {
	// Failures in a row that eject an endpoint. Default 5; 0 turns this off. Reloadable: new connections.
	ConsecutiveFailures int `toml:"consecutive_failures"`
	// Least share of successes, 0 to 1, below which an endpoint is ejected. Default 0.8; 0 turns this off. Reloadable: new connections.
	SuccessRatio float64 `toml:"success_ratio"`
	// Outcomes in a window before the ratio counts. Default 20. Reloadable: new connections.
	MinRequests int `toml:"min_requests"`
	// Length of the window over which the ratio is taken. Default "2s". Reloadable: new connections.
	Window time.Duration `toml:"window"`
	// First time an endpoint stays out. Default "1s". Reloadable: new connections.
	BackoffMin time.Duration `toml:"backoff_min"`
	// Longest time an endpoint stays out. Default "1m". Reloadable: new connections.
	BackoffMax time.Duration `toml:"backoff_max"`
	// Share of the time out that is random, 0 to 1. Default 0.5. Reloadable: new connections.
	Jitter float64 `toml:"jitter"`
	// Latency assumed for an endpoint that has answered nothing yet (peak_ewma). Default "1ms". Reloadable: new connections.
	FirstLatency time.Duration `toml:"first_latency"`
	// Latency that a failure counts as, so that failing fast does not attract (peak_ewma). Default "100ms". Reloadable: new connections.
	FailureLatency time.Duration `toml:"failure_latency"`
	// Time in which a latency peak is forgotten to 1/e (peak_ewma): one stall must not
	// empty a host for half a minute. Default "2s". Reloadable: new connections.
	Decay time.Duration `toml:"decay"`
}

// Default is what an empty table means.
func Default() Config {
	return Config{
		ConsecutiveFailures: 5,
		SuccessRatio:        0.8,
		MinRequests:         20,
		Window:              10 * time.Second,
		BackoffMin:          time.Second,
		BackoffMax:          time.Minute,
		Jitter:              0.5,
		FirstLatency:        time.Millisecond,
		FailureLatency:      100 * time.Millisecond,
		Decay:               2 * time.Second,
	}
}

// Check reports every problem of c.
func (c *Config) Check(bad func(key, problem string)) {
	inRange := func(key string, ok bool, want string) {
		if !ok {
			bad(key, "want "+want)
		}
	}
	inRange("consecutive_failures", c.ConsecutiveFailures >= 0 && c.ConsecutiveFailures <= 1000, "0 to 1000")
	inRange("success_ratio", c.SuccessRatio >= 0 && c.SuccessRatio <= 1, "0 to 1")
	inRange("min_requests", c.MinRequests >= 1 && c.MinRequests <= 1_000_000, "1 to 1000000")
	inRange("window", c.Window >= 100*time.Millisecond && c.Window <= time.Hour, "100ms to 1h")
	inRange("backoff_min", c.BackoffMin >= time.Millisecond && c.BackoffMin <= time.Hour, "1ms to 1h")
	inRange("backoff_max", c.BackoffMax >= c.BackoffMin && c.BackoffMax <= 24*time.Hour, "backoff_min to 24h")
	inRange("jitter", c.Jitter >= 0 && c.Jitter <= 1, "0 to 1")
	inRange("first_latency", c.FirstLatency >= time.Microsecond && c.FirstLatency <= time.Minute, "1us to 1m")
	inRange("failure_latency", c.FailureLatency >= time.Microsecond && c.FailureLatency <= time.Minute, "1us to 1m")
	inRange("decay", c.Decay >= 10*time.Millisecond && c.Decay <= time.Hour, "10ms to 1h")
}

// Group is what one proxy remembers of one service's endpoints.
type Group struct {
	// constant
	cfg Config

	// atomic
	cursor    atomic.Uint64 // round robin's place
	ejections atomic.Uint64 // endpoints put out, ever; changes under mu

	// guarded by mu
	mu        sync.Mutex
	endpoints map[string]*Endpoint
}

// NewGroup makes an empty group. seed sets where round robin starts, so that many
// proxies do not all begin at the same endpoint.
func NewGroup(cfg Config, seed uint64) *Group {
	g := &Group{cfg: cfg, endpoints: map[string]*Endpoint{}}
	g.cursor.Store(seed >> 1) // far from wrapping
	return g
}

// Endpoint returns the memory of the endpoint with that key, made new when needed.
// It is for building candidates from a catalogue snapshot, not for each Pick. Beyond
// EndpointsMax the memory is not kept: the endpoint works but is never ejected for long.
func (g *Group) Endpoint(key string) *Endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[key]
	if e == nil {
		e = new(Endpoint)
		if len(g.endpoints) < EndpointsMax {
			g.endpoints[key] = e
		}
	}
	return e
}

// Retain forgets every endpoint but those of the current snapshot.
func (g *Group) Retain(keep func(key string) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.endpoints {
		if !keep(key) {
			delete(g.endpoints, key)
		}
	}
}
