package proxy

import (
	"sync"

	"fire/policy/id"
)

// sourceLimits bounds the open connections of each source identity.
type sourceLimits struct {
	max int

	mu   sync.Mutex
	open map[id.Principal]int
}

func (l *sourceLimits) init(most int) { l.max, l.open = most, map[id.Principal]int{} }

func (l *sourceLimits) take(who id.Principal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[who] >= l.max {
		return false
	}
	l.open[who]++
	return true
}

func (l *sourceLimits) give(who id.Principal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[who]--; l.open[who] <= 0 {
		delete(l.open, who)
	}
}
