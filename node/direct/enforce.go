package direct

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// enforce holds every end and every pair against the rules in force. It cuts what they
// forbid and touches nothing else.
func (b *Broker) enforce() {
	for p := range b.ends {
		spec, v, no := b.judgeEnd(p)
		switch {
		case no == nil && spec.Kind != p.in.spec.Kind:
			no = reason.New(reason.PolicyChanged, "channel.%s is of kind %s now", p.in.name, spec.Kind)
		case no != nil && no.Code == reason.DeniedByDefault:
			no.Code = reason.PolicyChanged
		}
		if no != nil {
			b.cut(p, no, decision{v.Rule, v.Bundle.Short()})
		}
	}
	for _, g := range b.channels {
		if spec, ok := b.rules.Channels[g.name]; ok {
			g.spec = spec // sizes of what is there stay
			g.audits()
		}
		for _, l := range g.lanes {
			b.keepApart(l)
		}
		if g.spec.Kind == policy.RPC {
			b.recouple(g)
		}
	}
}

// keepApart ends the readings of a lane that a deny rule has come to forbid, and begins
// those that it forbids no more.
func (b *Broker) keepApart(l *lane) {
	g := l.writer.in
	for _, r := range l.readings {
		v := b.verdict(l, r.service)
		if r.reader != nil {
			v = b.pairEnd(l, r.reader)
		}
		if v.Allowed {
			continue
		}
		b.count(g.name, func(c *Counts) { c.Cut++ })
		e := Event{Kind: Cut, Channel: g.name, Service: l.service, Peer: r.service, Link: l.link, Reason: v.Code, Rule: v.Rule, Bundle: v.Bundle.Short()}
		if r.reader != nil {
			e = e.of(r.reader.process)
		}
		b.tell(e)
		b.deps.Log.Info("direct pair cut", "channel", g.name, "svc", l.service, "peer", r.service, "reason", v.Code.String(), "rule", v.Rule)
		if l.pair != nil { // one way alone is no use
			b.endPair(l, shm.Revoked, v.Code)
			return
		}
		b.lookAfter(r, r.service)
		r.shut(shm.Revoked, v.Code)
		b.forget(r)
	}
	if l.sealed {
		b.offerAll(l)
	}
}

// revocation names what an operator has cut: a channel, or one service on it.
type revocation struct{ channel, service string }

// Revocation is an operator's cut.
type Revocation struct {
	Channel string    `json:"channel"`
	Service string    `json:"service,omitempty"` // empty: everybody
	By      string    `json:"by"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at"`
}

// revokedMax bounds the cuts in force.
const revokedMax = 4096

// Revoke cuts a channel, or a service on it, until it is restored. It returns how many ends
// it has cut. A full disk keeps nobody from cutting: the error then says that the cut is in
// force, and not yet on the disk.
func (b *Broker) Revoke(ctx context.Context, r Revocation) (cut int, err error) {
	err = cmp.Or(b.ask(ctx, func() {
		if b.rules == nil || b.rules.Channels[r.Channel].Kind == "" {
			err = reason.New(reason.NoSuchChannel, "the floor in force declares no channel %q", r.Channel)
			return
		}
		if len(b.revoked) >= revokedMax {
			err = reason.New(reason.ChannelBusy, "%d cuts are in force, which is the limit", revokedMax)
			return
		}
		r.At = b.deps.Now()
		b.tell(Event{Kind: Revoked, Channel: r.Channel, Service: r.Service, User: r.By, Detail: r.Why, Reason: reason.ChannelRevoked})
		b.revoked[revocation{r.Channel, r.Service}] = r
		if no := b.saveRevoked(b.revoked); no != nil {
			b.unsaved = b.deps.Now().Add(saveAgain)
			err = reason.New(reason.DiskFull, "the cut is in force, but lost if this direct node ends before there is room for it: %w", no)
		} else {
			b.unsaved = time.Time{}
		}
		for p := range b.ends {
			if no := b.revocationOf(p.in.name, p.service); no != nil {
				b.cut(p, no, decision{"revoke", b.rules.bundle()})
				cut++
			}
		}
	}), err)
	return cut, err
}

// saveAgain is the pause between two tries to save the cuts in force.
const saveAgain = 200 * time.Millisecond

// saveLate saves the cuts that found no room on the disk when they were made.
func (b *Broker) saveLate(now time.Time) {
	if b.unsaved.IsZero() || now.Before(b.unsaved) {
		return
	}
	b.unsaved = now.Add(saveAgain)
	if b.saveRevoked(b.revoked) == nil {
		b.unsaved = time.Time{}
		b.deps.Log.Info("the cuts in force are on the disk", "cuts", len(b.revoked))
	}
}

// Restore takes a cut back.
func (b *Broker) Restore(ctx context.Context, channel, service, by string) (err error) {
	return cmp.Or(b.ask(ctx, func() {
		key := revocation{channel, service}
		if _, ok := b.revoked[key]; !ok {
			err = reason.New(reason.NoSuchChannel, "no cut of channel %q, service %q, is in force", channel, service)
			return
		}
		next := maps.Clone(b.revoked)
		delete(next, key)
		if err = b.record(Event{Kind: Restored, Channel: channel, Service: service, User: by}); err == nil {
			err = b.saveRevoked(next)
		}
		if err == nil {
			b.revoked, b.unsaved = next, time.Time{}
		}
	}), err)
}

func (b *Broker) revocationOf(channel, service string) *reason.Error {
	for _, key := range []revocation{{channel, ""}, {channel, service}} {
		if r, ok := b.revoked[key]; ok {
			return reason.New(reason.ChannelRevoked, "cut by %s at %s%s", r.By, r.At.UTC().Format(time.RFC3339), because(r.Why))
		}
	}
	return nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// Verdict is what the direct node would say to an attach.
type Verdict struct {
	Channel string      `json:"channel"`
	Service string      `json:"service"`
	Side    string      `json:"side"`
	Allowed bool        `json:"allowed"`
	Reason  reason.Code `json:"reason"`
	Rule    string      `json:"rule,omitempty"`
	Bundle  string      `json:"bundle,omitempty"`
	Version uint64      `json:"version"`
	Detail  string      `json:"detail,omitempty"`
	Apart   []string    `json:"kept_apart"` // services of the other side that deny rules keep from it
}

// Try decides as for an attach, and attaches nobody.
func (b *Broker) Try(ctx context.Context, channel, service string, side policy.Side) (v Verdict, err error) {
	err = b.ask(ctx, func() {
		spec, d, no := b.rules.judge(channel, service, side)
		if no == nil {
			no = b.revocationOf(channel, service)
		}
		v = Verdict{Channel: channel, Service: service, Side: side.String(), Allowed: no == nil, Rule: d.Rule, Bundle: d.Bundle.Short(), Apart: []string{}}
		if b.rules != nil {
			v.Version = b.rules.Version
		}
		if no != nil {
			v.Reason, v.Detail = no.Code, no.Detail
			return
		}
		others := spec.Subscribers
		if side == policy.Subscribe {
			others = spec.Publishers
		}
		for _, o := range others {
			publisher, subscriber := service, o
			if side == policy.Subscribe {
				publisher, subscriber = o, service
			}
			if !b.rules.pair(channel, publisher, subscriber).Allowed {
				v.Apart = append(v.Apart, o)
			}
		}
		slices.Sort(v.Apart)
	})
	return v, err
}
