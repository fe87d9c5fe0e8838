package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fire/node/catalog"

	"golang.org/x/time/rate"
)

// voices bound what peers can make control write to its log. Each node has an allowance
// of its own, so that a hostile one silences nobody else; hosts without a name share
// one. What goes beyond is counted, and told with the node's next line.
type voices struct {
	mu sync.Mutex
	by map[string]*voice
}

type voice struct {
	limit      *rate.Limiter
	suppressed uint64
}

const (
	linesPerSecond = 2
	linesBurst     = catalog.ClaimsMax + 256 // a node with all its services comes and goes
	voicesMax      = 8192                    // nodes beyond share one allowance
)

// may tells whether the node may write a line now, and how many it could not before.
func (v *voices) may(node string, now time.Time) (suppressed uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by[node] == nil && len(v.by) >= voicesMax {
		node = ""
	}
	one := v.by[node]
	if one == nil {
		one = &voice{limit: rate.NewLimiter(linesPerSecond, linesBurst)}
		v.by[node] = one
	}
	if !one.limit.AllowN(now, 1) {
		one.suppressed++
		return 0, false
	}
	suppressed, one.suppressed = one.suppressed, 0
	return suppressed, true
}

// heard writes a line that a peer caused; node is "" for a host that has not joined.
func (c *Control) heard(level slog.Level, node, what string, args ...any) {
	suppressed, ok := c.voices.may(node, c.now())
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	c.log.With("node", node).Log(context.Background(), level, what, args...)
}
