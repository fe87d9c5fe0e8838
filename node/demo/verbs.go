package demo

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
)

// New makes the program of a spec, wired as w says.
func (s Spec) New(w Wiring) (Program, error) {
	if w.Name == "" {
		w.Name = s.Service
	}
	state := w.StateDir
	if state != "" {
		state = filepath.Join(state, s.Name)
	}
	switch s.Service {
	case "engine":
		return NewEngine(EngineConfig{Listen: w.Listen, StateDir: state}, w.Log)
	case "market-data":
		return NewMarketData(MarketDataConfig{Listen: w.Listen, Engine: w.Dial["engine"]}, w.Log)
	case "blotter":
		return NewBlotter(BlotterConfig{Listen: w.Listen}, w.Log)
	case "risk":
		return NewRisk(RiskConfig{Name: w.Name, Listen: w.Listen}, w.Log)
	case "gateway":
		return NewGateway(GatewayConfig{Listen: w.Listen, Engine: w.Dial["engine"], Risk: w.Dial["risk"], Blotter: w.Dial["blotter"],
			Channel: w.Dial["orders"], Attach: w.Attach, StateDir: state}, w.Log)
	case "feed":
		return NewFeed(FeedConfig{MarketData: w.Dial["market-data"], Channel: w.Dial["ticks"], Attach: w.Attach}, w.Log)
	case "strategy-a", "strategy-b", "strategy-c":
		return NewStrategy(StrategyConfig{Name: s.Service, Number: uint64(s.Service[len("strategy-")] - 'a'), Gateway: w.Dial["gateway"],
			MarketData: w.Dial["market-data"], Seed: w.Seed, Rate: w.Rate, Attach: w.Attach, StateDir: state}, w.Log)
	case "screen":
		return NewScreen(ScreenConfig{Ticks: w.Dial["ticks"], Attach: w.Attach}, w.Log)
	case "desk":
		return NewDesk(DeskConfig{Blotter: w.Dial["blotter"]}, w.Log)
	}
	return nil, fmt.Errorf("the floor has no program for service %q", s.Service)
}

// Verbs are the floor's programs as commands, one per service: its own socket is
// --listen, a callee's address is the flag of the callee's name. Defaults are the
// floor's own addresses.
func Verbs() []Verb {
	var verbs []Verb
	seen := map[string]bool{}
	for _, s := range Programs() {
		if seen[s.Service] {
			continue
		}
		seen[s.Service] = true
		verbs = append(verbs, verb(s))
	}
	return verbs
}

func verb(s Spec) Verb {
	v := Verb{Name: s.Service, Short: shortOf(s.Service)}
	if s.Listen != "" {
		v.Flags = append(v.Flags, Flag{"listen", s.Listen, "address of its own " + s.Protocol + " socket"})
	}
	for _, u := range s.Upstreams {
		v.Flags = append(v.Flags, Flag{u.Service, u.Address, "address where it dials " + u.Service + " (" + u.Protocol + ")"})
	}
	for _, c := range s.Channels {
		v.Flags = append(v.Flags, Flag{c.For, channelPrefix + c.Name, "direct path of this host, or an address where it dials " + c.For})
	}
	if len(s.Channels) > 0 {
		v.Flags = append(v.Flags, Flag{"attach", "", "attach socket of the direct node; empty is the host's"})
	}
	trades := strings.HasPrefix(s.Service, "strategy-")
	if s.Protocol == "fix" || trades {
		v.Flags = append(v.Flags, Flag{"state", "", "folder for FIX sequence numbers and sent messages; empty keeps them in memory"})
	}
	if trades {
		v.Flags = append(v.Flags, Flag{"rate", strconv.FormatFloat(RateDefault*s.Share(), 'f', -1, 64), "new orders per second"},
			Flag{"seed", strconv.Itoa(SeedDefault), "seed of the order flow"})
	}
	v.New = func(values map[string]string, log *slog.Logger) (Program, error) {
		return fromFlags(s, v.Flags, values, log)
	}
	return v
}

// fromFlags wires a program by flag values; a flag that is absent has its default.
func fromFlags(s Spec, flags []Flag, values map[string]string, log *slog.Logger) (Program, error) {
	w := Wiring{Dial: map[string]string{}, Log: log}
	known := map[string]bool{}
	for _, f := range flags {
		known[f.Name] = true
		value, given := values[f.Name]
		if !given {
			value = f.Default
		}
		var err error
		switch f.Name {
		case "listen":
			w.Listen = value
		case "attach":
			w.Attach = value
		case "state":
			w.StateDir = value
		case "rate":
			w.Rate, err = strconv.ParseFloat(value, 64)
		case "seed":
			w.Seed, err = strconv.ParseUint(value, 10, 64)
		default:
			w.Dial[f.Name] = value
		}
		if err != nil {
			return nil, fmt.Errorf("--%s %q: want a number", f.Name, value)
		}
	}
	for name := range values {
		if !known[name] {
			return nil, fmt.Errorf("%s has no flag --%s", s.Service, name)
		}
	}
	return s.New(w)
}

func shortOf(service string) string {
	switch service {
	case "engine":
		return "price-time matching engine behind FIX 4.4"
	case "market-data":
		return "market-data publisher: ITCH 5.0 over SoupBinTCP"
	case "blotter":
		return "blotter of traded orders over HTTP"
	case "risk":
		return "pre-trade risk over HTTP"
	case "gateway":
		return "FIX 4.4 order gateway"
	case "feed":
		return "feed handler: market data from the mesh to the programs of its host, over shared memory"
	case "strategy-c":
		return "trading strategy whose orders and market data go over shared memory"
	case "screen":
		return "price screen: market data from another host, over encrypted datagrams"
	case "desk":
		return "reader that polls the blotter"
	}
	return "trading strategy: FIX 4.4 initiator with a seeded order flow"
}
