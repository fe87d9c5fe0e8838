package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// madeLog makes its entries when they are asked for: messages of orders, each entry one of the
// four of its order, at a gateway of 64 connections and 500 symbols.
type madeLog struct{ size int64 }

func (l madeLog) Origin() string            { return "eu.floor/audit/host-1" }
func (l madeLog) Head() (tlog.Head, []byte) { return tlog.Head{Origin: l.Origin(), Size: l.size}, nil }
func (l madeLog) Minimum() int64            { return 0 }

func (l madeLog) Entry(index int64) ([]byte, error) { return appendMade(nil, index), nil }

func (l madeLog) Range(_ context.Context, from, to int64, f func(int64, []byte) error) error {
	var buf []byte
	for i := from; i < to; i++ {
		buf = appendMade(buf[:0], i)
		if err := f(i, buf); err != nil {
			return err
		}
	}
	return nil
}

func clOrdID(order int64) string { return "CL-" + strconv.FormatInt(order*7919, 36) }

func appendMade(buf []byte, i int64) []byte {
	var b entry.Builder
	order := i / 4
	h := uint64(order) * 0x9e3779b97f4a7c15
	b.Begin(buf, entry.Head{Kind: entry.Message, Sync: entry.Synchronised, Clock: entry.ClockPTP, Bound: 900, Time: epoch + i*10_000, Source: 7, Seq: uint64(i)})
	var flow [16]byte
	flow[0] = byte(h>>20) & 63
	b.Bytes(entry.Flow, flow[:])
	b.Str(entry.Hop, "client-proxy")
	b.Str(entry.Direction, "up")
	b.Str(entry.Service, "strategy-"+strconv.FormatUint(h>>60, 10))
	b.Str(entry.Peer, "gateway")
	b.Str(entry.Principal, "spiffe://eu.floor/svc/strategy-"+strconv.FormatUint(h>>60, 10))
	b.Str(entry.Protocol, "fix")
	b.Str(entry.Rule, "strategies-trade")
	var digest [32]byte
	for j := range 4 {
		binary.LittleEndian.PutUint64(digest[8*j:], (uint64(i)+uint64(j)<<50)*0xff51afd7ed558ccd)
	}
	b.Bytes(entry.Digest, digest[:])
	b.Uint(entry.Size, 180)
	b.Str(entry.MsgType, "8")
	b.Uint(entry.SeqNum, uint64(i))
	b.Str(entry.Sender, "ALPHA"+strconv.FormatUint(h>>60, 10))
	b.Str(entry.Target, "NYSE")
	b.Str(entry.ClOrdID, clOrdID(order))
	if i%4 > 0 {
		b.Str(entry.OrderID, "O"+strconv.FormatInt(order*104729, 36))
		b.Str(entry.ExecID, "E"+strconv.FormatInt(i*31337, 36))
	}
	b.Str(entry.Symbol, "SYM"+strconv.FormatUint(h>>32%500, 10))
	return b.Raw()
}

// BenchmarkIndex makes an index of FIRE_INDEX_ENTRIES entries (200,000) once and then looks
// orders up. It prints the rate, the bytes on disk, and times of searches.
func BenchmarkIndex(b *testing.B) {
	n := int64(200_000)
	if s := os.Getenv("FIRE_INDEX_ENTRIES"); s != "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.Fatal(err)
		}
		n = int64(f)
	}
	l := madeLog{n}
	dir := b.TempDir()
	deps := Deps{Dir: dir, Logs: func() []Log { return []Log{l} }, Check: time.Second}
	began := time.Now()
	x := start(b, deps)
	var heap, all uint64
	for x.States()[0].Lag() > 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap, all = max(heap, m.HeapInuse), max(all, m.Sys)
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(began)
	x.stop()
	closed := time.Since(began)
	began = time.Now()
	_ = l.Range(b.Context(), 0, n, func(int64, []byte) error { return nil })
	making := time.Since(began)
	began = time.Now()
	x = start(b, deps)
	for x.States()[0].Lag() > 0 {
		time.Sleep(time.Millisecond)
	}
	b.Logf("%d entries: %.0f entries/s (%.0f without making them; closed after %v), reopened and verified in %v",
		n, float64(n)/took.Seconds(), float64(n)/(took-making).Seconds(), closed.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	runtime.GC()
	var idle runtime.MemStats
	runtime.ReadMemStats(&idle)
	b.Logf("heap at most %d MiB, of the system at most %d MiB; %d MiB while there is nothing to do", heap>>20, all>>20, idle.HeapAlloc>>20)
	var disk int64
	files, _ := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			disk += st.Size()
		}
	}
	b.Logf("%d tables, %.1f bytes per entry; an entry has %d", len(files), float64(disk)/float64(n), len(appendMade(nil, n/2)))
	rnd := rand.New(rand.NewPCG(1, 1))
	look := func(name string, q func() Query) {
		var took []time.Duration
		reads, hits := 0, 0
		for range 200 {
			q := q()
			began := time.Now()
			a, err := x.Search(b.Context(), q)
			took = append(took, time.Since(began))
			if err != nil || len(a.Hits) == 0 {
				b.Fatal(name, err, q)
			}
			reads, hits = reads+a.Reads, hits+len(a.Hits)
		}
		slices.Sort(took)
		b.Logf("%-44s p50 %8v  p99 %8v  %d hits, %d entries read, each", name, took[100].Round(time.Microsecond), took[197].Round(time.Microsecond), hits/200, reads/200)
	}
	byID := func() Query {
		return Query{Match: []Match{{entry.ClOrdID, clOrdID(rnd.Int64N(n / 4))}}}
	}
	look("cl_ord_id", byID)
	look("cl_ord_id, service", func() Query {
		q := byID()
		q.Match = append(q.Match, Match{entry.Peer, "gateway"})
		return q
	})
	look("8 ids (Find)", func() Query {
		var q Query
		for range 8 {
			q.Any = append(q.Any, byID().Match...)
		}
		return q
	})
	look("symbol, service, newest 100", func() Query {
		return Query{Match: []Match{{entry.Symbol, fmt.Sprintf("SYM%d", rnd.IntN(500))}, {entry.Peer, "gateway"}}}
	})
	look("symbol, flow, one minute, oldest 100", func() Query {
		at := epoch + rnd.Int64N(n)*10_000
		i := (at - epoch) / 10_000
		h := uint64(i/4) * 0x9e3779b97f4a7c15
		return Query{Match: []Match{{entry.Symbol, "SYM" + strconv.FormatUint(h>>32%500, 10)}, {entry.Sender, "ALPHA" + strconv.FormatUint(h>>60, 10)}}, From: at - 1, To: at + 60_000_000_000, Oldest: true}
	})
	look("newest 100", func() Query { return Query{} })
	for b.Loop() {
		if _, err := x.Search(b.Context(), byID()); err != nil {
			b.Fatal(err)
		}
	}
}
