package pki

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"fire/policy/reason"
)

// Root rotation in three steps, none of which cuts a connection:
//
//	prepare   the bundle holds old and new; only old signs
//	          (caller waits until every node has acknowledged that bundle)
//	activate  new signs; nodes see it last in the bundle and renew early
//	retire    refused while a live leaf still chains to old; then old is dropped

// RootStatus is one root as `fire ca show` prints it.
type RootStatus struct {
	Pin        string    `json:"pin"`
	Stage      Stage     `json:"stage"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	LiveLeaves int       `json:"live_leaves"` // newest leaves of holders that chain to it
	LiveUntil  time.Time `json:"live_until"`  // none of them ends later; zero when there is none
}

// Roots lists the roots, oldest first.
func (a *Authority) Roots() []RootStatus {
	var out []RootStatus
	for _, e := range a.state.Load().eras {
		pin := e.pin()
		live, until := a.ledger.count(pin, a.now())
		out = append(out, RootStatus{"sha256:" + hex.EncodeToString(pin[:]), e.Stage, e.root.NotBefore, e.root.NotAfter, live, until})
	}
	return out
}

// PrepareRoot adds the next root to the bundle.
func (a *Authority) PrepareRoot() error {
	return a.change(func(s *caState) (*caState, error) {
		if len(s.eras) > 1 {
			return nil, reason.New(reason.ConfigRejected, "a rotation is under way (%s); finish it first: fire ca rotate", s.others()[0].Stage)
		}
		e, err := newEra(s.domain, s.active(), a.now())
		if err != nil {
			return nil, err
		}
		next := s.with(func(*era) {})
		next.eras = append(next.eras, e)
		return next, nil
	})
}

// ActivateRoot lets the prepared root sign from now on. The caller has made sure
// that every node holds the bundle with both roots.
func (a *Authority) ActivateRoot() error {
	return a.change(func(s *caState) (*caState, error) {
		if !slices.ContainsFunc(s.eras, func(e *era) bool { return e.Stage == StagePrepared }) {
			return nil, reason.New(reason.ConfigRejected, "no root is prepared")
		}
		return s.with(func(e *era) {
			switch e.Stage {
			case StageActive:
				e.Stage = StageRetiring
			case StagePrepared:
				e.Stage = StageActive
			}
		}), nil
	})
}

// RetireRoot drops the old root, or says who still depends on it.
func (a *Authority) RetireRoot() error {
	var sealed [32]byte
	err := a.change(func(s *caState) (*caState, error) {
		at := slices.IndexFunc(s.eras, func(e *era) bool { return e.Stage == StageRetiring })
		if at < 0 {
			return nil, reason.New(reason.ConfigRejected, "no root is retiring")
		}
		old := s.eras[at]
		if live, blindUntil, ok := a.ledger.seal(old.pin(), a.now()); !ok {
			return nil, stillLive(live, blindUntil)
		}
		sealed = old.pin()
		next := s.with(func(e *era) { e.CrossDER = nil }) // signed by the root that goes
		next.eras = slices.Delete(next.eras, at, at+1)
		return next, nil
	})
	if err != nil {
		a.ledger.unseal(sealed)
	}
	return err
}

// stillLive names the holders that keep a root alive.
func stillLive(live []leafKey, blindUntil time.Time) error {
	if len(live) == 0 {
		return reason.New(reason.ConfigRejected, "leaves of the old root that the journal does not name may live until %s", stamp(blindUntil))
	}
	var names []string
	for _, k := range live {
		names = append(names, k.principal.Short()+" on "+k.node.Short())
	}
	slices.Sort(names)
	shown := names[:min(len(names), 5)]
	return reason.New(reason.ConfigRejected, "%d live leaves chain to the old root (first: %s); they renew by themselves, try again later", len(names), strings.Join(shown, ", "))
}

// AbandonRoot takes back a prepared root that was never activated.
func (a *Authority) AbandonRoot() error {
	return a.change(func(s *caState) (*caState, error) {
		at := slices.IndexFunc(s.eras, func(e *era) bool { return e.Stage == StagePrepared })
		if at < 0 {
			return nil, reason.New(reason.ConfigRejected, "no root is prepared")
		}
		next := s.with(func(*era) {})
		next.eras = slices.Delete(next.eras, at, at+1)
		return next, nil
	})
}

// change takes the turn, applies f and stores the result with the next version.
func (a *Authority) change(f func(*caState) (*caState, error)) error {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	next, err := f(a.state.Load())
	if err != nil {
		return err
	}
	next.version++
	return a.store(next)
}

// store writes s, then publishes it: nothing is used that a crash could forget. The
// caller has the turn, or is the constructor.
func (a *Authority) store(s *caState) error {
	data, err := s.encode()
	if err != nil {
		return err
	}
	if err := WritePrivate(a.path, data); err != nil {
		return fmt.Errorf("store authority: %w", err)
	}
	a.state.Store(s)
	return nil
}
