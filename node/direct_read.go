package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"fire/node/admin"
	"fire/node/bridge"
	"fire/node/direct"
	"fire/policy"
	"fire/policy/reason"
)

// noDirect answers for a process without the role.
func noDirect() error {
	return reason.New(reason.DirectUnreachable, "this process has no direct role; `fire run --role direct` gives a host one")
}

// directs are the direct nodes of this process, by host.
func (l *local) directs(only string) (out []*host, err error) {
	for _, h := range l.hosts {
		if h.direct != nil && (only == "" || only == h.self.Name) {
			out = append(out, h)
		}
	}
	if len(out) == 0 && only != "" {
		return nil, reason.New(reason.DirectUnreachable, "no host %q with a direct role runs in this process", only)
	}
	if len(out) == 0 {
		return nil, noDirect()
	}
	return out, nil
}

// Direct reads of the direct nodes: rings, channels, try, events, counts.
func (l *local) Direct(ctx context.Context, what string, q url.Values) (any, error) {
	hosts, err := l.directs(q.Get("node"))
	if err != nil {
		return nil, err
	}
	switch what {
	case "rings":
		return gather(hosts, func(h *host) ([]direct.Ring, error) { return h.direct.broker.Rings(ctx) })
	case "channels":
		return gather(hosts, func(h *host) ([]direct.ChannelState, error) { return h.direct.broker.Channels(ctx) })
	case "paths":
		return gather(hosts, func(h *host) ([]bridge.PathState, error) { return h.direct.bridge.Paths(), nil })
	case "events":
		return gather(hosts, func(h *host) ([]direct.Event, error) { return h.direct.trail.Last(), nil })
	case "try":
		side := policy.Publish
		if q.Get("side") == policy.Subscribe.String() {
			side = policy.Subscribe
		}
		return gather(hosts, func(h *host) ([]direct.Verdict, error) {
			v, err := h.direct.broker.Try(ctx, q.Get("channel"), q.Get("service"), side)
			return []direct.Verdict{v}, err
		})
	}
	return nil, &admin.Error{Reason: "usage", Message: fmt.Sprintf("the direct role answers nothing to %q", what)}
}

// gather asks every host, and marks what it answers with its name.
func gather[T any](hosts []*host, ask func(*host) ([]T, error)) ([]direct.At[T], error) {
	out := []direct.At[T]{}
	for _, h := range hosts {
		all, err := ask(h)
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			out = append(out, direct.At[T]{Node: h.self.Name, Value: v})
		}
	}
	return out, nil
}

// ChangeDirect revokes and restores channels, and shows what rings carry, which is for the
// owner alone.
func (l *local) ChangeDirect(ctx context.Context, what string, body []byte, by string) (any, error) {
	var q direct.ChangeRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, &admin.Error{Reason: "usage", Message: "the request cannot be read: " + err.Error()}
	}
	hosts, err := l.directs(q.Node)
	if err != nil {
		return nil, err
	}
	switch what {
	case "revoke":
		return gather(hosts, func(h *host) ([]direct.RevokeAnswer, error) {
			n, err := h.direct.broker.Revoke(ctx, direct.Revocation{Channel: q.Channel, Service: q.Service, By: by, Why: q.Why})
			return []direct.RevokeAnswer{{Cut: n}}, err
		})
	case "restore":
		return gather(hosts, func(h *host) ([]direct.RevokeAnswer, error) {
			return []direct.RevokeAnswer{{}}, h.direct.broker.Restore(ctx, q.Channel, q.Service, by)
		})
	case "tail":
		return l.tail(ctx, hosts, q)
	}
	return nil, &admin.Error{Reason: "usage", Message: fmt.Sprintf("the direct role does not do %q", what)}
}

// tailWithinMax bounds one request for the messages of a ring.
const tailWithinMax = 10 * time.Second

func (l *local) tail(ctx context.Context, hosts []*host, q direct.ChangeRequest) (any, error) {
	if len(hosts) > 1 {
		return nil, &admin.Error{Reason: "usage", Message: "several hosts run in this process", Next: "say which one with --node"}
	}
	within := min(time.Duration(q.WithinMS)*time.Millisecond, tailWithinMax)
	seen, err := hosts[0].direct.broker.Look(ctx, q.Link, q.From, q.Most, within)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("ring %s: %w", strconv.FormatUint(q.Link, 10), err)
	}
	return seen, err
}
