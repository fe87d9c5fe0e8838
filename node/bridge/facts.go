package bridge

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"fire/policy/reason"

	"golang.org/x/time/rate"
)

// Fact is something that the audit trail is told.
type Fact struct {
	Kind    string // one of the kinds below
	Channel string
	Service string
	Node    string
	Detail  string
	Reason  reason.Code
}

// Kinds of facts. What is lost or forged has an allowance of its own, so that a host that
// asks and leaves again and again cannot hide it.
var (
	factKinds     = []string{"opened", "closed", "refused", "blocked", "cleared", "lost", "forged"}
	factsGrave    = 5 // from here on
	factUntoldOne = "untold"
)

// Another host can make facts as fast as it asks, and each is a synced write. Of every host
// and class so many are told at once and then so many per second; what is beyond is counted
// by kind, and the count is told: untold, with how many of what.
const (
	factsBurst     = 256
	factsPerSecond = 4
	factsHostsMax  = 4096 // whose counts are kept; hosts are names that the mesh has proved
)

// facts is what each host has had told.
type facts struct {
	mu    sync.Mutex // alone; held for no I/O
	hosts map[string]*telling
}

// telling is the allowance of a host.
type telling struct {
	class  [2]*rate.Limiter
	heard  time.Time
	untold [8]uint64 // by kind; the last: any other
	since  time.Time // of the first that was not told
}

// allow takes one from the allowance; false: it is only counted.
func (f *facts) allow(node, kind string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.hosts[node]
	if t == nil {
		if len(f.hosts) >= factsHostsMax {
			f.forget(now)
		}
		t = &telling{}
		for i := range t.class {
			t.class[i] = rate.NewLimiter(factsPerSecond, factsBurst)
		}
		f.hosts[node] = t
	}
	t.heard = now
	k, class := kindOf(kind), t.class[0]
	if k >= factsGrave {
		class = t.class[1]
	}
	if class.AllowN(now, 1) {
		return true
	}
	if t.count() == 0 {
		t.since = now
	}
	t.untold[k]++
	return false
}

// forget makes room: of hosts that have nothing untold and were quiet the longest.
func (f *facts) forget(now time.Time) {
	oldest, at := "", now
	for node, t := range f.hosts {
		if last := t.heard; t.count() == 0 && !last.After(at) {
			oldest, at = node, last
		}
	}
	delete(f.hosts, oldest)
}

func kindOf(kind string) int {
	for i, k := range factKinds {
		if k == kind {
			return i
		}
	}
	return len(factKinds)
}

func (t *telling) count() (n uint64) {
	for _, u := range t.untold {
		n += u
	}
	return n
}

// take returns what was not told, as one fact for each host, and begins to count anew.
func (f *facts) take(now time.Time) (out []Fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for node, t := range f.hosts {
		n := t.count()
		if n == 0 {
			continue
		}
		var of []string
		for k, u := range t.untold {
			if u > 0 && k < len(factKinds) {
				of = append(of, fmt.Sprintf("%d %s", u, factKinds[k]))
			} else if u > 0 {
				of = append(of, fmt.Sprintf("%d other", u))
			}
		}
		out = append(out, Fact{Kind: factUntoldOne, Node: node, Reason: reason.TooManyStreams,
			Detail: fmt.Sprintf("%d events of this host in %v are not told one by one: %s", n, now.Sub(t.since).Round(time.Millisecond), strings.Join(of, ", "))})
		t.untold = [8]uint64{}
	}
	return out
}

// untoldEvery is how often the counts are told.
const untoldEvery = 10 * time.Second

func (b *Bridge) tell(f Fact) {
	if b.facts.allow(f.Node, f.Kind, time.Now()) {
		b.say(f)
	}
}

func (b *Bridge) say(f Fact) {
	b.deps.Log.Info("bridge "+f.Kind, "channel", f.Channel, "svc", f.Service, "node", f.Node, "reason", f.Reason.String(), "detail", f.Detail)
	b.deps.Tell(f)
}

// tellUntold tells the counts.
func (b *Bridge) tellUntold() {
	for _, f := range b.facts.take(time.Now()) {
		b.say(f)
	}
}
