package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// BlotterConfig is the blotter's.
type BlotterConfig struct {
	Listen string // host:port
}

// Blotter keeps the newest traded orders and shows them over HTTP.
type Blotter struct {
	ln     net.Listener
	log    *slog.Logger
	page   *template.Template
	broken fault

	mu     sync.RWMutex
	orders map[uint64]*Booked // guarded by mu, by OrderID
	ring   []uint64           // guarded by mu: OrderIDs in order of first fill, newest at at-1
	at     int

	fills, again, reads atomic.Uint64
}

// Booked is one order with what it has traded.
type Booked struct {
	OrderID  uint64    `json:"order_id"`
	ClOrdID  string    `json:"cl_ord_id"`
	Client   string    `json:"client"`
	Symbol   string    `json:"symbol"`
	Side     string    `json:"side"`
	Total    int64     `json:"order_qty"`
	Done     int64     `json:"cum_qty"`
	Fills    int       `json:"fills"`
	Value    int64     `json:"value_cents"`
	LastExec uint64    `json:"last_exec_id"`
	At       time.Time `json:"at"`
}

const bookedMax = 20_000

// NewBlotter binds the socket.
func NewBlotter(cfg BlotterConfig, log *slog.Logger) (*Blotter, error) {
	page, err := template.New("blotter").Funcs(template.FuncMap{"money": money}).Parse(blotterPage)
	if err != nil {
		return nil, fmt.Errorf("blotter: %w", err)
	}
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("blotter: %w", err)
	}
	return &Blotter{ln: ln, log: log.With("svc", "blotter"), page: page, orders: map[uint64]*Booked{}, ring: make([]uint64, bookedMax)}, nil
}

// Addr is the bound socket.
func (b *Blotter) Addr() string { return b.ln.Addr().String() }

// Run serves until ctx ends.
func (b *Blotter) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fills", b.takeFills)
	mux.HandleFunc("GET /orders", b.list)
	mux.HandleFunc("GET /orders/{id}", b.one)
	mux.HandleFunc("GET /{$}", b.show)
	mux.HandleFunc("GET "+HealthPath, healthy)
	mux.Handle("POST /fault", &b.broken)
	return serveHTTP(ctx, b.ln, mux, b.log)
}

// Counters tells what it did.
func (b *Blotter) Counters() []Counter {
	return []Counter{{"fills", b.fills.Load()}, {"fills_told_twice", b.again.Load()}, {"reads", b.reads.Load()}, {"faults", b.broken.fired.Load()}}
}

// Summary is one line for people.
func (b *Blotter) Summary() string { return summary("blotter", b.Counters()) }

func (b *Blotter) takeFills(w http.ResponseWriter, r *http.Request) {
	if b.broken.hit(w) {
		return
	}
	var fills []Fill
	if err := json.NewDecoder(r.Body).Decode(&fills); err != nil {
		http.Error(w, "want a JSON array of fills: "+err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	b.mu.Lock()
	for i := range fills {
		b.book(&fills[i], now)
	}
	b.mu.Unlock()
	fmt.Fprintln(w, len(fills))
}

// book adds a fill; one that is known by its ExecID changes nothing. mu is held.
func (b *Blotter) book(f *Fill, now time.Time) {
	o := b.orders[f.OrderID]
	if o == nil {
		delete(b.orders, b.ring[b.at])
		b.ring[b.at] = f.OrderID
		b.at = (b.at + 1) % len(b.ring)
		o = &Booked{OrderID: f.OrderID, ClOrdID: f.ClOrdID, Client: f.Client, Symbol: f.Symbol, Side: f.Side}
		b.orders[f.OrderID] = o
	}
	if f.ExecID <= o.LastExec {
		b.again.Add(1)
		return
	}
	b.fills.Add(1)
	o.ClOrdID, o.Total, o.Done, o.LastExec, o.At = f.ClOrdID, f.Total, f.Done, f.ExecID, now
	o.Fills++
	o.Value += f.Qty * f.Price
}

// newest copies the n newest orders, newest first.
func (b *Blotter) newest(n int) []Booked {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Booked, 0, n)
	for i := range b.ring {
		o := b.orders[b.ring[(b.at-1-i+2*len(b.ring))%len(b.ring)]]
		if o == nil || len(out) == n {
			break
		}
		out = append(out, *o)
	}
	return out
}

func (b *Blotter) list(w http.ResponseWriter, r *http.Request) {
	b.reads.Add(1)
	if b.broken.hit(w) {
		return
	}
	n := 50
	if s := r.URL.Query().Get("limit"); s != "" {
		v, err := strconv.Atoi(s)
		if err != nil || v < 1 || v > 1000 {
			http.Error(w, "limit must be between 1 and 1000", http.StatusBadRequest)
			return
		}
		n = v
	}
	answerJSON(w, http.StatusOK, map[string]any{"schema": "fire.demo.orders/v1", "orders": b.newest(n)})
}

func (b *Blotter) one(w http.ResponseWriter, r *http.Request) {
	b.reads.Add(1)
	if b.broken.hit(w) {
		return
	}
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "an order id is a number", http.StatusBadRequest)
		return
	}
	b.mu.RLock()
	o, ok := b.orders[id]
	var copied Booked
	if ok {
		copied = *o
	}
	b.mu.RUnlock()
	if !ok {
		http.Error(w, "no such order; GET /orders lists the newest", http.StatusNotFound)
		return
	}
	answerJSON(w, http.StatusOK, copied)
}

func (b *Blotter) show(w http.ResponseWriter, r *http.Request) {
	b.reads.Add(1)
	if b.broken.hit(w) {
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := b.page.Execute(w, b.newest(50)); err != nil {
		b.log.Debug("page not written", "err", err)
	}
}

// money is cents as 1234.56.
func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

const blotterPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Blotter</title>
<style>body{font:14px system-ui;margin:2rem;color-scheme:light dark}td,th{padding:.2rem .8rem;text-align:right}td:nth-child(-n+5),th:nth-child(-n+5){text-align:left}</style>
<h1>Blotter</h1>
<table><tr><th>time<th>order<th>client<th>symbol<th>side<th>traded<th>of<th>value
{{range .}}<tr><td>{{.At.Format "15:04:05.000"}}<td><a href="/orders/{{.OrderID}}">{{.ClOrdID}}</a><td>{{.Client}}<td>{{.Symbol}}<td>{{.Side}}<td>{{.Done}}<td>{{.Total}}<td>{{money .Value}}
{{else}}<tr><td colspan="8">nothing traded yet
{{end}}</table>
`
