package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
)

// RiskConfig is pre-trade risk's.
type RiskConfig struct {
	Name     string // of the instance, in its log and summary
	Listen   string // host:port
	QtyMax   int64  // largest order in shares; 0: 10,000
	ValueMax int64  // largest order in hundredths of money; 0: 1,000,000.00
	CollarPC int64  // largest distance from the opening price in percent; 0: 10
}

// riskOrder is one order in a question to POST /v1/check; riskVerdict its answer.
type riskOrder struct {
	Client  string `json:"client"`
	ClOrdID string `json:"cl_ord_id"`
	Symbol  string `json:"symbol"`
	Side    string `json:"side"`
	Qty     int64  `json:"qty"`
	Cents   int64  `json:"price_cents"` // 0: market
}

type riskVerdict struct {
	Pass bool   `json:"pass"`
	Why  string `json:"why,omitempty"`
}

type riskQuestion struct {
	Orders []riskOrder `json:"orders"`
}

type riskAnswer struct {
	Verdicts []riskVerdict `json:"verdicts"`
}

// riskOrdersMax is how many orders one question may hold.
const riskOrdersMax = 256

// Risk checks orders against limits over HTTP. It is stateless, so that any
// instance may answer for any order.
type Risk struct {
	cfg    RiskConfig
	ln     net.Listener
	log    *slog.Logger
	open   map[string]int64
	broken fault

	calls, passed, refused atomic.Uint64
}

// NewRisk binds the socket.
func NewRisk(cfg RiskConfig, log *slog.Logger) (*Risk, error) {
	for _, d := range []struct {
		v    *int64
		unit int64
	}{{&cfg.QtyMax, 10_000}, {&cfg.ValueMax, 100_000_000}, {&cfg.CollarPC, 10}} {
		if *d.v == 0 {
			*d.v = d.unit
		}
	}
	if cfg.Name == "" {
		cfg.Name = "risk"
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name, err)
	}
	r := &Risk{cfg: cfg, ln: ln, log: log.With("svc", cfg.Name), open: map[string]int64{}}
	for _, in := range instruments() {
		r.open[in.name] = in.open
	}
	return r, nil
}

// Addr is the bound socket.
func (r *Risk) Addr() string { return r.ln.Addr().String() }

// Run serves until ctx ends.
func (r *Risk) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/check", r.check)
	mux.HandleFunc("GET "+HealthPath, healthy)
	mux.Handle("POST /fault", &r.broken)
	return serveHTTP(ctx, r.ln, mux, r.log)
}

// Counters tells what it did.
func (r *Risk) Counters() []Counter {
	return []Counter{{"calls", r.calls.Load()}, {"orders_passed", r.passed.Load()}, {"orders_refused", r.refused.Load()}, {"faults", r.broken.fired.Load()}}
}

// Summary is one line for people.
func (r *Risk) Summary() string { return summary(r.cfg.Name, r.Counters()) }

func (r *Risk) check(w http.ResponseWriter, req *http.Request) {
	if r.broken.hit(w) {
		return
	}
	var q riskQuestion
	if err := json.NewDecoder(req.Body).Decode(&q); err != nil || len(q.Orders) > riskOrdersMax {
		http.Error(w, fmt.Sprintf("want {\"orders\": [at most %d]}", riskOrdersMax), http.StatusBadRequest)
		return
	}
	r.calls.Add(1)
	a := riskAnswer{Verdicts: make([]riskVerdict, len(q.Orders))}
	for i := range q.Orders {
		why := r.judge(&q.Orders[i])
		a.Verdicts[i] = riskVerdict{Pass: why == "", Why: why}
		if why == "" {
			r.passed.Add(1)
		} else {
			r.refused.Add(1)
		}
	}
	answerJSON(w, http.StatusOK, a)
}

// judge returns why the order may not trade, or "".
func (r *Risk) judge(o *riskOrder) string {
	open, listed := r.open[o.Symbol]
	price := o.Cents
	if price == 0 {
		price = open
	}
	switch {
	case !listed:
		return "unknown symbol"
	case o.Qty <= 0:
		return "quantity is not above zero"
	case o.Qty > r.cfg.QtyMax:
		return fmt.Sprintf("quantity %d is above the limit %d", o.Qty, r.cfg.QtyMax)
	case price < 0, price > r.cfg.ValueMax, price*o.Qty > r.cfg.ValueMax*100:
		return "value is above the limit"
	case (price-open)*100 > open*r.cfg.CollarPC, (open-price)*100 > open*r.cfg.CollarPC:
		return fmt.Sprintf("price is more than %d%% from the opening price", r.cfg.CollarPC)
	}
	return ""
}
