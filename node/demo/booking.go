package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fire/transport/fix"
)

// Fill is one execution as the blotter keeps it.
type Fill struct {
	ExecID  uint64 `json:"exec_id"` // rises with every execution of an order
	OrderID uint64 `json:"order_id"`
	ClOrdID string `json:"cl_ord_id"`
	Client  string `json:"client"`
	Symbol  string `json:"symbol"`
	Side    string `json:"side"`
	Qty     int64  `json:"qty"`
	Price   int64  `json:"price_cents"`
	Total   int64  `json:"order_qty"`
	Done    int64  `json:"cum_qty"`
}

const (
	fillsWaitingMax = 8192
	fillsPerPost    = 512
	postInterval    = 100 * time.Millisecond
)

// booking posts fills to the blotter, gathered. A post that failed is made again:
// the blotter knows a fill by its ExecID. When more wait than fillsWaitingMax the
// newest are dropped and counted; trading does not wait for the blotter.
type booking struct {
	url    string
	client *http.Client
	log    *slog.Logger

	mu      sync.Mutex
	waiting []Fill // guarded by mu

	posted, dropped atomic.Uint64
}

func newBooking(addr string, log *slog.Logger) *booking {
	b := &booking{client: keepAlive(1), log: log}
	if addr != "" {
		b.url = "http://" + addr + "/fills"
	}
	return b
}

// add queues the fill that an ExecutionReport tells of.
func (b *booking) add(m *fix.Message, client string) {
	if b.url == "" {
		return
	}
	w := Fill{Client: client, Side: "buy"}
	f := m.Fields()
	for tag, v, ok := f.Next(); ok; tag, v, ok = f.Next() {
		switch tag {
		case 17:
			w.ExecID, _ = fix.Uint(v)
		case 37:
			w.OrderID, _ = fix.Uint(v)
		case 11:
			w.ClOrdID = string(v)
		case 55:
			w.Symbol = string(v)
		case 54:
			if v[0] == byte(sell) {
				w.Side = "sell"
			}
		case 32:
			w.Qty, _ = fix.Int(v)
		case 31:
			w.Price, _ = fix.Decimal(v, priceScale)
		case 38:
			w.Total, _ = fix.Int(v)
		case 14:
			w.Done, _ = fix.Int(v)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) >= fillsWaitingMax {
		b.dropped.Add(1)
		return
	}
	b.waiting = append(b.waiting, w)
}

// run posts until ctx ends, then once more.
func (b *booking) run(ctx context.Context) {
	if b.url == "" {
		return
	}
	tick := time.NewTicker(postInterval)
	defer tick.Stop()
	defer b.client.CloseIdleConnections()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-tick.C:
		}
		for wait := backoffMin; ; {
			n, err := b.post(context.WithoutCancel(ctx))
			if err == nil && n < fillsPerPost {
				break
			}
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				break
			}
			b.log.Debug("blotter post failed", "err", err)
			wait = pause(ctx, wait)
		}
	}
	b.mu.Lock()
	b.dropped.Add(uint64(len(b.waiting)))
	b.mu.Unlock()
}

// post sends the oldest fills and forgets them when they were taken.
func (b *booking) post(ctx context.Context) (int, error) {
	b.mu.Lock()
	batch := b.waiting[:min(len(b.waiting), fillsPerPost)]
	body, err := json.Marshal(batch)
	n := len(batch)
	b.mu.Unlock()
	if n == 0 || err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, bodyBytesMax))
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("blotter answers %s", resp.Status)
	}
	b.mu.Lock()
	b.waiting = append(b.waiting[:0], b.waiting[n:]...)
	b.mu.Unlock()
	b.posted.Add(uint64(n))
	return n, nil
}
