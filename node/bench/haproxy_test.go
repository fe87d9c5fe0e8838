package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestHAProxyPairIsMeasuredBeside runs the whole bench against the real rival. Its
// figures are printed; what is held is that they can be had.
func TestHAProxyPairIsMeasuredBeside(t *testing.T) {
	if os.Getenv("FIRE_REAL") != "1" {
		t.Skip("needs real peers; set FIRE_REAL=1")
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is absent (Debian package haproxy)")
	}
	cfg := Default()
	cfg.Sizes, cfg.Rounds, cfg.RoundTime, cfg.Idle, cfg.HAProxy = []int{256}, 3, 300*time.Millisecond, 200, true
	b, err := New(cfg, Deps{StartPair: startRelay, EchoCommand: self("echo")})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range res.Rows {
		cpu := int64(-1)
		if r.CPUPathNSPerMessage != nil {
			cpu = *r.CPUPathNSPerMessage
		}
		t.Logf("%-10s %-8s n=%d p50=%v p99=%v p99.9=%v p99.99=%v max=%v cpu/msg=%v late p99=%v", r.Table, r.Path, r.Messages, time.Duration(r.P50NS),
			time.Duration(r.P99NS), time.Duration(r.P999NS), time.Duration(r.P9999), time.Duration(r.MaxNS), time.Duration(cpu), time.Duration(r.SendLateP99NS))
		if r.Path == HAProxyName {
			seen++
			if cpu <= 0 || r.Unanswered != 0 || r.AddedP50NS == nil {
				t.Errorf("got %+v", r)
			}
		}
	}
	for _, r := range res.Idle {
		t.Logf("%s: %d KiB per 1000 idle connections", r.Path, r.RSSPer1000Bytes>>10)
	}
	if seen != 2 || len(res.Idle) != 2 {
		t.Fatalf("%d rows, %d idle rows", seen, len(res.Idle))
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "fire-bench-haproxy-*"))
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHAProxyThatCannotStartSaysWhy(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is absent (Debian package haproxy)")
	}
	if h, err := StartHAProxy(t.Context(), "127.0.0.1:1", "carrier-pigeon"); err == nil {
		h.Close()
		t.Fatal("a mode that is none was started")
	}
}
