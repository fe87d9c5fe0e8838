package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// DeskConfig is the blotter's reader's.
type DeskConfig struct {
	Blotter  string        // where it dials the blotter
	Interval time.Duration // between polls; 0: 200 ms
}

// Desk polls the blotter as a trader's screen does: the newest orders, then one of them.
type Desk struct {
	cfg    DeskConfig
	log    *slog.Logger
	client *http.Client

	reads, failures, rows atomic.Uint64
}

// NewDesk makes a desk; it binds nothing.
func NewDesk(cfg DeskConfig, log *slog.Logger) (*Desk, error) {
	if cfg.Interval == 0 {
		cfg.Interval = 200 * time.Millisecond
	}
	if cfg.Interval < time.Millisecond {
		return nil, fmt.Errorf("desk: interval %v is below 1ms", cfg.Interval)
	}
	return &Desk{cfg: cfg, log: log.With("svc", "desk"), client: keepAlive(1)}, nil
}

// Addr is "": a desk only calls.
func (d *Desk) Addr() string { return "" }

// Counters tells what it did.
func (d *Desk) Counters() []Counter {
	return []Counter{{"reads", d.reads.Load()}, {"failures", d.failures.Load()}, {"orders_seen", d.rows.Load()}}
}

// Summary is one line for people.
func (d *Desk) Summary() string { return summary("desk", d.Counters()) }

// Run polls until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	defer d.client.CloseIdleConnections()
	tick := time.NewTicker(d.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var list struct{ Orders []Booked }
		if !d.get(ctx, "/orders?limit=10", &list) || len(list.Orders) == 0 {
			continue
		}
		d.rows.Add(uint64(len(list.Orders)))
		var one Booked
		d.get(ctx, fmt.Sprintf("/orders/%d", list.Orders[0].OrderID), &one)
	}
}

func (d *Desk) get(ctx context.Context, path string, into any) bool {
	d.reads.Add(1)
	err := d.read(ctx, path, into)
	if err != nil && ctx.Err() == nil {
		d.failures.Add(1)
		d.log.Debug("blotter read failed", "err", err)
	}
	return err == nil
}

func (d *Desk) read(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.cfg.Blotter+path, nil)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	defer io.Copy(io.Discard, io.LimitReader(resp.Body, bodyBytesMax))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, bodyBytesMax)).Decode(into)
}
