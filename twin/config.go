package twin

import "time"

// Config bounds the live model. The table is [twin] of mesh.toml; no field is
// reloadable.
type Config struct {
	// QueueReports is how many reports may wait for the writer; a further one is
	// dropped and counted, since a fresh report follows 250 ms later. Default 4096.
	QueueReports int `toml:"queue_reports"`
	// PublishEvery is the pause between two snapshots. Default 250ms.
	PublishEvery time.Duration `toml:"publish_every"`
	// StaleAfter is how long a node may be silent before it and its edges are shown
	// as stale. Default 2s (eight missed reports).
	StaleAfter time.Duration `toml:"stale_after"`
	// ForgetAfter is how long an edge without any traffic stays on the map, and a
	// node that nobody knows and that does not report. Default 15m.
	ForgetAfter time.Duration `toml:"forget_after"`
	// ErrorRatioRed is the share of failed requests that turns an edge red; a lower
	// share above zero turns it yellow. Default 0.01.
	ErrorRatioRed float64 `toml:"error_ratio_red"`
	// EdgesMax is how many edge sides (edge, side, node, other node) are kept; what
	// comes beyond is refused, counted and told in an event. Default 20000.
	EdgesMax int `toml:"edges_max"`
	// NodesMax is how many nodes are kept. Default 2000.
	NodesMax int `toml:"nodes_max"`
}

// Default is the configuration for a floor of up to 2,000 hosts.
func Default() Config {
	return Config{
		QueueReports:  4096,
		PublishEvery:  250 * time.Millisecond,
		StaleAfter:    2 * time.Second,
		ForgetAfter:   15 * time.Minute,
		ErrorRatioRed: 0.01,
		EdgesMax:      20000,
		NodesMax:      2000,
	}
}

// Check calls bad for every field that cannot be used.
func (c *Config) Check(bad func(key, problem string)) {
	if c.QueueReports < 16 || c.QueueReports > 1<<20 {
		bad("queue_reports", "must lie between 16 and 1048576")
	}
	if c.PublishEvery < 50*time.Millisecond || c.PublishEvery > time.Second {
		bad("publish_every", "must lie between 50ms and 1s")
	}
	if c.StaleAfter < 500*time.Millisecond || c.StaleAfter > time.Minute {
		bad("stale_after", "must lie between 500ms and 1m")
	}
	if c.ForgetAfter < time.Minute || c.ForgetAfter > 30*24*time.Hour {
		bad("forget_after", "must lie between 1m and 720h")
	}
	if !(c.ErrorRatioRed > 0 && c.ErrorRatioRed <= 1) {
		bad("error_ratio_red", "must lie above 0 and at most 1")
	}
	if c.EdgesMax < 1 || c.EdgesMax > 1_000_000 {
		bad("edges_max", "must lie between 1 and 1000000")
	}
	if c.NodesMax < 1 || c.NodesMax > 100_000 {
		bad("nodes_max", "must lie between 1 and 100000")
	}
}
