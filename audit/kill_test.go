package audit

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fire/audit/entry"
	"fire/audit/tlog"
)

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FIRE_TEST_LOG"); dir != "" {
		if err := appendUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func killedWorld(dir string) (Config, Deps, error) {
	cfg := Default()
	cfg.Origin, cfg.SegmentBytes, cfg.Rings, cfg.RingBytes = testOrigin, 256<<10, 1, 64<<10
	var d Deps
	var err error
	if d.Disk, err = OpenFolder(filepath.Join(dir, "log")); err != nil {
		return cfg, d, err
	}
	if d.Away, err = OpenFolder(filepath.Join(dir, "away")); err != nil {
		return cfg, d, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "keys"))
	if err != nil {
		return cfg, d, err
	}
	d.Keys, err = parseKeys(b, testOrigin)
	d.Now, d.Log = time.Now, slog.New(slog.DiscardHandler)
	return cfg, d, err
}

// appendUntilKilled writes the size of its log to standard output, 8 bytes each time that an entry
// was acknowledged.
func appendUntilKilled(dir string) error {
	cfg, deps, err := killedWorld(dir)
	if err != nil {
		return err
	}
	l, found, err := Open(cfg, deps)
	if err != nil {
		return err
	}
	go func() { _ = l.Run(context.Background()) }()
	write := make(chan int64, 4096)
	for g := range 8 {
		go func() {
			for n := uint64(found.Size); ; n++ {
				at, err := l.Append(context.Background(), fact(uint64(g), n))
				if err != nil {
					return
				}
				write <- at + 1
			}
		}()
	}
	for size := range write {
		if _, err := os.Stdout.Write(binary.LittleEndian.AppendUint64(nil, uint64(size))); err != nil {
			return err
		}
	}
	return nil
}

// TestAKilledProcessLosesNothingAcknowledged kills one at any moment, again and again, on one log.
// FIRE_KILLS says how often; 500 in CI.
func TestAKilledProcessLosesNothingAcknowledged(t *testing.T) {
	kills := 25
	if s := os.Getenv("FIRE_KILLS"); s != "" {
		kills, _ = strconv.Atoi(s)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys"), newKeys(t).format(), 0o600); err != nil {
		t.Fatal(err)
	}
	var acked, size int64
	cuts := 0
	for n := range kills {
		if got := killOnce(t, dir); got > acked {
			acked = got
		}
		cfg, deps, err := killedWorld(dir)
		if err != nil {
			t.Fatal(err)
		}
		l, found, err := Open(cfg, deps)
		if err != nil {
			t.Fatalf("kill %d: %v", n, err)
		}
		if found.Size < acked || found.Size < size {
			t.Fatalf("kill %d: %d entries; %d were acknowledged, and %d were there before", n, found.Size, acked, size)
		}
		if size = found.Size; found.CutBytes > 0 {
			cuts++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cfg, deps, _ := killedWorld(dir)
	l, found, err := Open(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := [8]uint64{}
	if err := l.Range(t.Context(), 0, found.Size, func(i int64, e []byte) error {
		v, err := entry.Parse(e)
		if h := v.Head(); err == nil && h.Source < 8 {
			seen[h.Source]++
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	r, err := l.Verify(t.Context(), Verification{Known: l.knownKeys(t), Away: deps.Away})
	if err != nil || r.Verdict != Good {
		t.Errorf("%v %+v", err, r)
	}
	t.Logf("%d kills, %d entries, %d half-written ends", kills, found.Size, cuts)
	if found.Size < int64(kills) {
		t.Errorf("%d entries of %d runs: the test tests nothing", found.Size, kills)
	}
}

// killOnce runs the process until a random moment and returns what it has acknowledged.
func killOnce(t *testing.T, dir string) (acked int64) {
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "FIRE_TEST_LOG="+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(5+rand.IntN(40))*time.Millisecond, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	r := bufio.NewReader(out)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			break
		}
		acked = max(acked, int64(binary.LittleEndian.Uint64(b[:])))
	}
	_ = c.Wait() // it was killed
	return acked
}

// knownKeys are a log's public keys.
func (l *Log) knownKeys(t testing.TB) *tlog.Verifiers {
	t.Helper()
	v, err := tlog.NewVerifiers(l.deps.Keys.Known...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
