package control

import (
	"net"
	"time"

	"fire/policy/pki"
)

// Config is the [control] table: the role that holds the catalogue, the authority
// and the live model of one region.
type Config struct {
	// Advertise holds the addresses at which other hosts reach this control; they go
	// into join tokens. Unit: host:port. Default: [], which is the node's own advertised
	// address. Needs a restart.
	Advertise []string `toml:"advertise"`
	// Lease is how long an endpoint stays known without a renewal by its node. A node
	// whose session dies is set aside at once, whatever this is. Unit: duration.
	// Default: "3s". Needs a restart.
	Lease time.Duration `toml:"lease"`
	// Debounce is how long changes are gathered before nodes hear of them. What takes
	// traffic away from a place bypasses it. Unit: duration. Default: "20ms". Needs a
	// restart.
	Debounce time.Duration `toml:"debounce"`
	// ReportEvery is how often nodes send their counters. Unit: duration. Default:
	// "250ms". Needs a restart.
	ReportEvery time.Duration `toml:"report_every"`
	// TokenLife is how long a join token lives when its maker does not say. Unit:
	// duration. Default: "1h". Needs a restart.
	TokenLife time.Duration `toml:"token_life"`
	// StaleAfter is how long a node may run an older version before it is shown as
	// STALE. Unit: duration. Default: "2s". Needs a restart.
	StaleAfter time.Duration `toml:"stale_after"`
	// History is how many versions of the floor are kept for `fire rollback`. Unit:
	// versions. Default: 32. Needs a restart.
	History int `toml:"history"`
}

// Default is the configuration of an empty table.
func Default() Config {
	return Config{
		Lease:       3 * time.Second,
		Debounce:    20 * time.Millisecond,
		ReportEvery: 250 * time.Millisecond,
		TokenLife:   time.Hour,
		StaleAfter:  2 * time.Second,
		History:     32,
	}
}

// Check reports every problem by key.
func (c *Config) Check(bad func(key, problem string)) {
	within := func(key string, v, least, most time.Duration) {
		if v < least || v > most {
			bad(key, "must lie between "+least.String()+" and "+most.String())
		}
	}
	for _, a := range c.Advertise {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" || port == "0" {
			bad("advertise", "\""+a+"\" is not host:port")
		}
	}
	if len(c.Advertise) > pki.ControlsMax {
		bad("advertise", "has more than 16 addresses")
	}
	within("lease", c.Lease, 500*time.Millisecond, time.Minute)
	within("debounce", c.Debounce, 0, time.Second)
	within("report_every", c.ReportEvery, 50*time.Millisecond, 10*time.Second)
	within("token_life", c.TokenLife, time.Minute, pki.TokenLifeMax)
	within("stale_after", c.StaleAfter, 100*time.Millisecond, time.Minute)
	if c.History < 2 || c.History > 1000 {
		bad("history", "must lie between 2 and 1000")
	}
}
