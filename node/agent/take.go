package agent

import (
	"time"

	"fire/node/catalog"
	"fire/policy/reason"
)

// held is the catalogue in force. The reader of the link is its only writer.
type held struct {
	view     *catalog.View
	head     catalog.Head
	fromDisk bool
}

// take verifies, compiles and puts in force what control sent, and tells it how far
// that went. Whatever fails, the last good catalogue stays.
func (a *Agent) take(l *link, s *catalog.Signed) {
	begun := a.now()
	ack := func(stage catalog.Stage, err error) {
		m := &catalog.Ack{Version: s.Version, Stage: stage, Took: float64(a.now().Sub(begun)) / float64(time.Millisecond)}
		if err != nil {
			m.Code, m.Detail = reason.Of(err, reason.ConfigRejected), oneLine(err.Error())
		}
		_ = l.send(catalog.NodeMessage{Ack: m}) // fails only when the link is gone, and then the next Hello tells
	}
	base := l.base
	if base == nil && a.held.Load() != nil {
		base = a.held.Load().view.State
	}
	if s.Delta == nil {
		l.resyncing = false
	} else if l.resyncing {
		return // it left before control heard that we want a snapshot
	} else if base == nil || s.Delta.From != base.Version {
		a.resync(l, "the delta starts from a version that is not ours")
		return
	}
	state, err := s.Open(base, a.known.Load().Bundle)
	if err != nil {
		a.rejected(s.Version, err)
		ack(catalog.Rejected, err)
		if s.Delta != nil {
			a.resync(l, err.Error())
		}
		return
	}
	l.base = state
	ack(catalog.Received, nil)
	view, err := catalog.Compile(state)
	if err != nil {
		a.rejected(s.Version, err)
		ack(catalog.Rejected, err)
		return
	}
	view.SignedAt = s.SignedAt
	ack(catalog.Accepted, nil)
	if err := a.apply(s, state, view); err != nil {
		a.rejected(s.Version, err)
		ack(catalog.Rejected, err)
		return
	}
	a.setTrouble(func(t *trouble) { t.rejected = nil })
	ack(catalog.Applied, nil)
}

// apply puts view in force: who is trusted first, then the view, then whoever cuts
// by it.
func (a *Agent) apply(s *catalog.Signed, state *catalog.State, view *catalog.View) error {
	if err := a.trust(state.Bundle); err != nil {
		return err
	}
	a.verifier.SetRevoked(view.RevokedSet())
	a.held.Store(&held{view: view, head: s.Head()})
	for _, f := range a.listeners() {
		f(view)
	}
	a.board.floor(view, a.Node().Name, a.spoken)
	poke(a.hurry) // placement may have changed
	whole := *s   // the head's signature covers the whole state, so a delta's serves its result
	whole.State, whole.Delta = state, nil
	a.offerCopy(&whole)
	return nil
}

// spoken is the protocol that this host says the service speaks, "" for the floor's.
func (a *Agent) spoken(service string) string { return a.services[service].Protocol }

func (a *Agent) listeners() []func(*catalog.View) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]func(*catalog.View), 0, len(a.watchers))
	for n := range a.nextID {
		if f := a.watchers[n]; f != nil {
			out = append(out, f)
		}
	}
	return out
}

func (a *Agent) rejected(version uint64, err error) {
	a.log.Error("catalogue rejected, the last good one stays", "version", version, "reason", reason.Of(err, reason.ConfigRejected).String(), "err", err)
	a.setTrouble(func(t *trouble) { t.rejected = err })
}

// resync asks for a whole snapshot.
func (a *Agent) resync(l *link, why string) {
	l.base, l.resyncing = nil, true
	r := &catalog.Resync{Why: oneLine(why)}
	if h := a.held.Load(); h != nil {
		r.Have = h.head
	}
	_ = l.send(catalog.NodeMessage{Resync: r}) // as above
}
