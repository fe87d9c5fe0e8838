package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// measureIdle fills the memory table for every path whose processes are known.
func (b *Bench) measureIdle(ctx context.Context, res *Result) error {
	if b.cfg.Idle == 0 {
		return nil
	}
	for _, p := range res.Paths {
		if len(p.PIDs) == 0 {
			continue
		}
		b.deps.Progress(fmt.Sprintf("memory of %d idle connections: %s", b.cfg.Idle, p.Name))
		row, err := idle(ctx, p, b.cfg.Idle)
		if err != nil {
			return fmt.Errorf("path %s, %d idle connections: %w", p.Name, b.cfg.Idle, err)
		}
		res.Idle = append(res.Idle, row)
	}
	return nil
}

// idle opens n connections, sends one message through each so that both proxies hold
// it, waits until the memory stands still and compares.
func idle(ctx context.Context, p Path, n int) (IdleRow, error) {
	row := IdleRow{Path: p.Name, Connections: n}
	var err error
	if row.RSSBeforeBytes, err = settledRSS(ctx, p.PIDs); err != nil {
		return row, err
	}
	var wires []*wire
	defer func() {
		for _, w := range wires {
			w.close()
		}
	}()
	out, back := newMessage(sizeMin), make([]byte, sizeMin)
	for i := range n {
		w, err := dial(ctx, p.Address)
		if err != nil {
			return row, fmt.Errorf("connection %d: %w", i+1, err)
		}
		wires = append(wires, w)
		if err := w.trip(out, back, uint64(i)); err != nil {
			return row, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	if row.RSSAfterBytes, err = settledRSS(ctx, p.PIDs); err != nil {
		return row, err
	}
	row.RSSPer1000Bytes = (row.RSSAfterBytes - row.RSSBeforeBytes) * 1000 / int64(n)
	return row, nil
}

// settledRSS reads until two readings are within 1 %, at most settleReadings times.
func settledRSS(ctx context.Context, pids []int) (int64, error) {
	const settleReadings = 20
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last int64
	for range settleReadings {
		now, err := rss(pids)
		if err != nil {
			return 0, err
		}
		if diff := now - last; diff <= last/100 && -diff <= last/100 {
			return now, nil
		}
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}

// rss is the resident memory of all of pids.
func rss(pids []int) (int64, error) {
	var pages int64
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		fields := strings.Fields(string(text))
		if len(fields) < 2 {
			return 0, errors.New("statm has no resident field")
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		pages += n
	}
	return pages * int64(os.Getpagesize()), nil
}
