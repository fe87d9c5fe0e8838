package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

const testOrigin = "eu.floor/audit/host-1"

// world is a log in a folder, with what is needed to open it again.
type world struct {
	t    *testing.T
	dir  string
	cfg  Config
	deps Deps

	log  *Log
	stop context.CancelFunc
	done chan error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), cfg: Default()}
	w.cfg.Origin, w.cfg.SegmentBytes, w.cfg.Linger = testOrigin, 1<<20, 0
	w.deps = Deps{Keys: newKeys(t), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	var err error
	if w.deps.Disk, err = OpenFolder(filepath.Join(w.dir, "log")); err != nil {
		t.Fatal(err)
	}
	if w.deps.Away, err = OpenFolder(filepath.Join(w.dir, "away")); err != nil {
		t.Fatal(err)
	}
	return w
}

func newKeys(t testing.TB) *Keys {
	t.Helper()
	k, err := tlog.NewKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	return &Keys{Signing: []*tlog.Key{k}, Known: []string{k.Verifier()}}
}

// open opens and runs the log; close, or the test's end, stops it.
func (w *world) open() (*Log, *Found) {
	w.t.Helper()
	l, found, err := Open(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.log, w.stop, w.done = l, cancel, make(chan error, 1)
	go func() { w.done <- l.Run(ctx) }()
	w.t.Cleanup(w.close)
	return l, found
}

func (w *world) close() {
	if w.stop == nil {
		return
	}
	w.stop()
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
	w.stop = nil
}

// fact is entry seq of a source, of about 256 bytes.
func fact(source, seq uint64) []byte {
	var b entry.Builder
	b.Begin(nil, entry.Head{Kind: entry.Message, Bound: 1000, Time: int64(1e18 + seq), Source: source, Seq: seq})
	b.Str(entry.Hop, "client-proxy")
	b.Str(entry.Service, "strategy-a")
	b.Str(entry.Peer, "gateway")
	b.Bytes(entry.Digest, make([]byte, 32))
	b.Str(entry.ClOrdID, fmt.Sprintf("ORD-%d-%d", source, seq))
	b.Bytes(entry.Content, make([]byte, 110))
	return b.Raw()
}

// append makes n entries of a source durable, from several goroutines.
func (w *world) append(source uint64, from, n int) {
	w.t.Helper()
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := g; i < n; i += 16 {
				if _, err := w.log.Append(w.t.Context(), fact(source, uint64(from+i))); err != nil {
					w.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func name(workers int) string { return fmt.Sprintf("workers=%d", workers) }

func benchWorld(b *testing.B) *Log {
	cfg := Default()
	cfg.Origin = testOrigin
	dir := b.TempDir()
	disk, err := OpenFolder(dir + "/log")
	if err != nil {
		b.Fatal(err)
	}
	away, err := OpenFolder(dir + "/away")
	if err != nil {
		b.Fatal(err)
	}
	l, _, err := Open(cfg, Deps{Disk: disk, Away: away, Keys: newKeys(b), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return l
}
