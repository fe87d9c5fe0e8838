package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fire/node/agent"
	"fire/node/config"
	"fire/node/proxy"
)

// Pair is two hosts and their control in one process: what connects to Address comes
// out at the target, through both proxies. It is what `fire bench mesh` measures.
type Pair struct {
	*cluster
	protocol string
	address  string
}

// pairFloor lets the one service call the other, and nothing else.
const pairFloor = `
[service.caller]
nodes = ["near"]

[service.target]
port = 7
nodes = ["far"]
protocol = "%s"

[policy.call]
from = ["caller"]
to = ["target"]
`

// NewPair binds everything and starts nothing. protocol is what the target speaks, as
// in a floor file.
func NewPair(ctx context.Context, target, protocol, release string, log *slog.Logger) (*Pair, error) {
	c, err := newCluster("", "", "", release, log)
	if err != nil {
		return nil, err
	}
	p := &Pair{cluster: c, protocol: protocol}
	if err := p.build(ctx, target); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return p, nil
}

func (p *Pair) build(ctx context.Context, target string) error {
	far := config.Default()
	far.Node.Name, far.Node.Listen = "far", "127.0.0.1:0"
	svc := agent.DefaultService()
	svc.Address = target
	far.Services = map[string]agent.Service{"target": svc}
	near := config.Default()
	near.Node.Name, near.Node.Listen = "near", "127.0.0.1:0"
	near.Services = map[string]agent.Service{"caller": agent.DefaultService()}
	near.Upstreams = map[string]proxy.Upstream{"target": {Service: "target", As: "caller", Listen: "127.0.0.1:0"}}
	for _, conf := range []*config.Config{&far, &near} {
		conf.Proxy.DrainTimeout = devDrain
		if err := p.add(ctx, conf); err != nil {
			return err
		}
	}
	p.address = p.hosts[1].proxy.Listeners()["target"].String()
	return nil
}

// Address is where to connect; it leads through once Run says so.
func (p *Pair) Address() string { return p.address }

// Run carries traffic until ctx ends and calls ready when it can.
func (p *Pair) Run(ctx context.Context, ready func()) error {
	parts := append(p.parts(devDrain), part{"floor", func(ctx context.Context) error {
		if err := p.apply(ctx, "pair.toml", fmt.Sprintf(pairFloor, p.protocol)); err != nil {
			return err
		}
		err := p.awaitReady(ctx, []placed{{"target", "far"}}, func([]string) {})
		if err == nil {
			ready()
			<-ctx.Done()
		}
		return nil
	}, time.Second})
	return errors.Join(runParts(ctx, p.log, parts, func() {}), p.close())
}
