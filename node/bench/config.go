package bench

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Config says what is measured.
type Config struct {
	Sizes         []int         // message bytes; default 64, 256, 1024
	RatePerSecond int           // of the fixed-rate table, over all connections; default 2000; 0 leaves the table out
	Connections   int           // of the fixed-rate table; default 4
	PingPong      bool          // the ping-pong table; default true
	Rounds        int           // default 5
	RoundTime     time.Duration // one path, size and table in one round; default 500 ms
	Warmup        time.Duration // not counted, before each; default 100 ms
	Idle          int           // connections of the memory table; 0 leaves it out
	EchoListen    string        // where the echo server listens; default 127.0.0.1:0
	Target        Path          // measure this pair instead of an own one; its name does not count
	Baseline      string        // an echo server to reach without the pair; default our own
	Rivals        []Path        // measured beside
	HAProxy       bool          // start an HAProxy pair and measure it beside
}

// Path is one way to the echo server. PIDs are the processes that carry it, for
// processor time and memory; none: unknown.
type Path struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	PIDs    []int  `json:"pids,omitempty"`
}

// Default is what `fire bench mesh` does without flags.
func Default() Config {
	return Config{
		Sizes:         []int{64, 256, 1024},
		RatePerSecond: 2000,
		Connections:   4,
		PingPong:      true,
		Rounds:        5,
		RoundTime:     500 * time.Millisecond,
		Warmup:        100 * time.Millisecond,
		EchoListen:    "127.0.0.1:0",
	}
}

const (
	sizeMin        = 16 // the message's number and a pattern
	sizeMax        = 1 << 20
	connectionsMax = 4096
	pathsMax       = 64

	// AnswerTimeout is how long one message is waited for.
	AnswerTimeout = 5 * time.Second
)

// Check returns every problem at once.
func (c *Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Sizes) == 0 {
		bad("no message size")
	}
	for _, s := range c.Sizes {
		if s < sizeMin || s > sizeMax {
			bad("message size %d is not %d to %d bytes", s, sizeMin, sizeMax)
		}
	}
	if c.RatePerSecond < 0 || c.RatePerSecond > 1_000_000 {
		bad("rate %d is not 0 to 1000000 messages/s", c.RatePerSecond)
	}
	if c.Connections < 1 || c.Connections > connectionsMax {
		bad("%d connections, want 1 to %d", c.Connections, connectionsMax)
	}
	if c.Rounds < 1 || c.Rounds > 10_000 {
		bad("%d rounds, want 1 to 10000", c.Rounds)
	}
	if c.RoundTime < 10*time.Millisecond || c.RoundTime > time.Hour {
		bad("round time %v, want 10ms to 1h", c.RoundTime)
	}
	if c.Warmup < 0 || c.Warmup > time.Minute {
		bad("warm-up %v, want 0 to 1m", c.Warmup)
	}
	if c.Idle < 0 || c.Idle > 20_000 {
		bad("%d idle connections, want 0 to 20000", c.Idle)
	}
	if c.Target.Address != "" && c.Baseline == "" {
		bad("a target needs a baseline: the address of the echo server it leads to")
	}
	if len(c.Rivals) > pathsMax {
		bad("%d rivals, the limit is %d", len(c.Rivals), pathsMax)
	}
	seen := map[string]bool{direct: true, ours: true, HAProxyName: c.HAProxy}
	for _, r := range c.Rivals {
		if r.Name == "" || seen[r.Name] {
			bad("rival name %q is empty or taken", r.Name)
		}
		seen[r.Name] = true
	}
	return errors.Join(errs...)
}

// ParseTarget reads "host:port" with any number of ",pid=N" behind it.
func ParseTarget(s string) (Path, error) {
	p, err := ParsePath(ours + "=" + s)
	if err != nil {
		return p, fmt.Errorf("target %q: want host:port[,pid=N]", s)
	}
	return p, nil
}

// ParsePath reads "name=host:port" with any number of ",pid=N" behind it.
func ParsePath(s string) (Path, error) {
	name, rest, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return Path{}, fmt.Errorf("rival %q: want name=host:port[,pid=N]", s)
	}
	parts := strings.Split(rest, ",")
	p := Path{Name: name, Address: parts[0]}
	if _, port, err := net.SplitHostPort(p.Address); err != nil || port == "" {
		return Path{}, fmt.Errorf("rival %q: %q is not host:port", s, p.Address)
	}
	for _, part := range parts[1:] {
		text, ok := strings.CutPrefix(part, "pid=")
		pid, err := strconv.Atoi(text)
		if !ok || err != nil || pid < 1 {
			return Path{}, fmt.Errorf("rival %q: %q is not pid=N", s, part)
		}
		p.PIDs = append(p.PIDs, pid)
	}
	return p, nil
}
