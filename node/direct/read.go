package direct

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"fire/policy"
	"fire/policy/reason"
	"fire/transport/shm"
)

// Ring is one lane as `fire ring ls` and `fire ring stat` show it.
type Ring struct {
	Channel  string             `json:"channel"`
	Kind     policy.ChannelKind `json:"kind"`
	Link     uint64             `json:"link"`
	Epoch    uint64             `json:"epoch"`
	Writer   End                `json:"writer"`
	Lines    uint64             `json:"lines"`
	Bytes    int                `json:"memory_bytes"`
	Locked   bool               `json:"memory_locked"` // it is never swapped out
	Created  time.Time          `json:"created"`
	Stat     shm.WriterStat     `json:"stat"`
	Readers  []RingReader       `json:"readers"`
	Released uint64             `json:"lanes_released_total"` // of its channel, since their writers died
	Audit    policy.AuditMode   `json:"audit"`
	Digested uint64             `json:"digested_total"`
	Unseen   uint64             `json:"unseen_total"` // messages that the audit came too late for
	AuditLag uint64             `json:"audit_lag_lines"`
}

// RingReader is one reader of a lane.
type RingReader struct {
	End
	Link  uint64         `json:"link"`
	Stat  shm.ReaderStat `json:"stat"`
	Lag   uint64         `json:"lag_lines"`
	P50   time.Duration  `json:"latency_p50_ns"` // of sampled messages, an upper bound within a factor of two
	P99   time.Duration  `json:"latency_p99_ns"`
	Max   time.Duration  `json:"latency_max_ns"`
	State string         `json:"state"` // mapping, reading, gone
}

// End is who holds one side.
type End struct {
	Service    string    `json:"service"`
	Node       string    `json:"node,omitempty"` // of an end that stands for other hosts
	Far        bool      `json:"far,omitempty"`
	PID        int       `json:"pid,omitempty"`
	User       string    `json:"user,omitempty"`
	Executable string    `json:"executable,omitempty"`
	Unit       string    `json:"unit,omitempty"`
	Since      time.Time `json:"since,omitzero"`
}

func endOf(service string, p *peer) End {
	e := End{Service: service}
	if p.isFar() {
		e.Far, e.Node, e.Since = true, p.nodes(), p.since
		return e
	}
	if p != nil {
		e.PID, e.User, e.Executable, e.Unit, e.Since = p.process.pid, p.process.user, p.process.executable, p.process.unit, p.since
	}
	return e
}

// Rings lists every lane of this host, by channel and age.
func (b *Broker) Rings(ctx context.Context) ([]Ring, error) {
	out := []Ring{}
	err := b.ask(ctx, func() {
		for _, name := range slices.Sorted(maps.Keys(b.channels)) {
			g := b.channels[name]
			for _, link := range slices.Sorted(maps.Keys(g.lanes)) {
				r := g.ring(g.lanes[link])
				if c := b.byChannel[name]; c != nil {
					r.Released = c.Released
				}
				out = append(out, r)
			}
		}
	})
	return out, err
}

func (g *governed) ring(l *lane) Ring {
	r := Ring{Channel: g.name, Kind: g.spec.Kind, Link: l.link, Epoch: l.epoch, Writer: endOf(l.service, l.writer), Bytes: l.bytes, Locked: l.pin != nil,
		Created: l.since, Readers: []RingReader{}, Audit: g.spec.Audit}
	if l.view != nil {
		r.Stat, r.Lines = l.view.Stat(), l.view.Info().Lines
	}
	if t := l.tail; t != nil {
		r.Digested, r.Unseen, r.AuditLag = t.digested.Load(), t.missed.Load(), t.lag.Load()
	}
	for _, link := range slices.Sorted(maps.Keys(l.readings)) {
		x := l.readings[link]
		e := RingReader{End: endOf(x.service, x.reader), Link: link, State: "mapping"}
		if x.view != nil {
			e.Stat = x.view.Stat()
			e.P50, e.P99, e.Max = e.Stat.Latency.Quantile(0.5), e.Stat.Latency.Quantile(0.99), e.Stat.Latency.Quantile(1)
			e.Lag = r.Stat.Position - min(r.Stat.Position, e.Stat.Position)
		}
		switch {
		case x.reader == nil:
			e.State = "gone"
		case x.state == begun:
			e.State = "reading"
		}
		r.Readers = append(r.Readers, e)
	}
	return r
}

// ChannelState is one channel as `fire channel ls` shows it.
type ChannelState struct {
	Name string `json:"name"`
	policy.Channel
	Here        bool         `json:"here"`     // some service of it is placed on this host
	Attached    []End        `json:"attached"` // publishers first
	Revocations []Revocation `json:"revocations"`
	Rings       int          `json:"rings"`
	Messages    uint64       `json:"messages_total"` // of the rings that are there
	Counts      Counts       `json:"counts"`
}

// Channels lists the floor's channels with what is attached on this host.
func (b *Broker) Channels(ctx context.Context) ([]ChannelState, error) {
	out := []ChannelState{}
	err := b.ask(ctx, func() {
		if b.rules == nil {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(b.rules.Channels)) {
			out = append(out, b.channelState(name, b.rules.Channels[name]))
		}
	})
	return out, err
}

func (b *Broker) channelState(name string, spec policy.Channel) ChannelState {
	s := ChannelState{Name: name, Channel: spec, Attached: []End{}, Revocations: []Revocation{}}
	s.Here = slices.ContainsFunc(slices.Concat(spec.Publishers, spec.Subscribers), func(service string) bool { return b.rules.Placed(service, b.rules.Node) })
	var ends []*peer
	for p := range b.ends {
		if p.in.name == name {
			ends = append(ends, p)
		}
	}
	slices.SortFunc(ends, func(x, y *peer) int {
		return cmp.Or(cmp.Compare(x.side, y.side), cmp.Compare(x.service, y.service), cmp.Compare(x.process.pid, y.process.pid))
	})
	for _, p := range ends {
		s.Attached = append(s.Attached, endOf(p.service, p))
	}
	for key, r := range b.revoked {
		if key.channel == name {
			s.Revocations = append(s.Revocations, r)
		}
	}
	slices.SortFunc(s.Revocations, func(x, y Revocation) int { return cmp.Compare(x.Service, y.Service) })
	if c := b.byChannel[name]; c != nil {
		s.Counts = *c
	}
	if g := b.channels[name]; g != nil {
		s.Rings = len(g.lanes)
		for _, l := range g.lanes {
			if l.view != nil {
				s.Messages += l.view.Stat().Messages
			}
		}
	}
	return s
}

// Count reads the counters.
func (b *Broker) Count(ctx context.Context) (c Counts, err error) {
	err = b.ask(ctx, func() { c = b.counts })
	return c, err
}

// Seen is one message as `fire ring tail` shows it.
type Seen struct {
	Link   uint64 `json:"link"`
	Number uint64 `json:"number"`
	Type   uint16 `json:"type"`
	Length int    `json:"length_bytes"`
	Head   string `json:"head_hex"`         // the first bytes
	Missed uint64 `json:"missed,omitempty"` // messages before it that were written over
}

const (
	seenMax  = 1000
	seenHead = 48
)

// Look follows a lane for a while and returns what came from a message on: most of them, or
// what came within the time. From 0 it begins at what is there.
func (b *Broker) Look(ctx context.Context, link, from uint64, most int, within time.Duration) ([]Seen, error) {
	var tail *shm.Tail
	var open error
	err := b.ask(ctx, func() {
		for _, g := range b.channels {
			if l := g.lanes[link]; l != nil && l.sealed {
				tail, open = shm.OpenTail(l.data)
				return
			}
		}
		open = reason.New(reason.NoSuchChannel, "no ring %d is open on this host", link)
	})
	if err := cmp.Or(err, open); err != nil {
		return nil, err
	}
	defer tail.Close()
	return look(ctx, tail, link, from, min(most, seenMax), within), nil
}

func look(ctx context.Context, tail *shm.Tail, link, from uint64, most int, within time.Duration) []Seen {
	out, missed := []Seen{}, uint64(0)
	if at := tail.Next(); from > 0 && at > from {
		missed = at - from
	}
	limit, pause := time.NewTimer(within), time.NewTicker(tailPause)
	defer limit.Stop()
	defer pause.Stop()
	for len(out) < most {
		n, gap, err := tail.Poll(most-len(out), func(number uint64, typ uint16, p []byte) {
			if number < from {
				return
			}
			out = append(out, Seen{Link: link, Number: number, Type: typ, Length: len(p), Head: hex.EncodeToString(p[:min(len(p), seenHead)]), Missed: missed})
			missed = 0
		})
		if gap != (shm.Gap{}) {
			missed += gap.Last - gap.First + 1
		}
		if err != nil || len(out) >= most {
			break
		}
		if n > 0 {
			continue
		}
		select {
		case <-pause.C:
		case <-limit.C:
			return out
		case <-ctx.Done():
			return out
		}
	}
	return out
}

// At is a value with the host that it is of: a process may run several.
type At[T any] struct {
	Node  string `json:"node"`
	Value T      `json:"value"`
}

// ChangeRequest is what an operator asks of a direct node.
type ChangeRequest struct {
	Node     string `json:"node,omitempty"`
	Channel  string `json:"channel,omitempty"`
	Service  string `json:"service,omitempty"`
	Why      string `json:"why,omitempty"`
	Link     uint64 `json:"link,omitempty"`
	From     uint64 `json:"from,omitempty"` // the number of the first message wanted
	Most     int    `json:"most,omitempty"`
	WithinMS int64  `json:"within_ms,omitempty"`
}

// RevokeAnswer says what a revocation has cut.
type RevokeAnswer struct {
	Cut int `json:"cut"`
}

// Since is what happened between two readings of the same rings: totals become
// differences, the rest is as it is now.
func Since(before, now []At[Ring]) []At[Ring] {
	type key struct {
		node string
		link uint64
	}
	was := map[key]Ring{}
	for _, r := range before {
		was[key{r.Node, r.Value.Link}] = r.Value
	}
	out := slices.Clone(now)
	for i := range out {
		r := &out[i].Value
		old, ok := was[key{out[i].Node, r.Link}]
		if !ok || old.Epoch != r.Epoch {
			continue
		}
		r.Stat = r.Stat.Since(old.Stat)
		r.Digested -= min(r.Digested, old.Digested)
		r.Unseen -= min(r.Unseen, old.Unseen)
		r.Released -= min(r.Released, old.Released)
		r.Readers = slices.Clone(r.Readers)
		for j := range r.Readers {
			x := &r.Readers[j]
			k := slices.IndexFunc(old.Readers, func(o RingReader) bool { return o.Link == x.Link })
			if k < 0 {
				continue
			}
			x.Stat = x.Stat.Since(old.Readers[k].Stat)
			x.P50, x.P99, x.Max = x.Stat.Latency.Quantile(0.5), x.Stat.Latency.Quantile(0.99), x.Stat.Latency.Quantile(1)
		}
	}
	return out
}
