package unit

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write testdata/*.service")

func TestUnitsAreGolden(t *testing.T) {
	for _, roles := range []string{"proxy", "control", "control,proxy", "proxy,control", "direct", "proxy,direct"} {
		name, text, err := Text(roles)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || string(want) != text {
			t.Errorf("%s differs from %s (%v); look at the difference, then run with -update", roles, golden, err)
		}
		if strings.Contains(text, "ROLE") || strings.Contains(text, "MEMLOCK") && !strings.Contains(text, "LimitMEMLOCK=infinity\n") || strings.Contains(text, "CAPABILITIES") {
			t.Errorf("%s: a place holder is left", roles)
		}
	}
	for _, bad := range []string{"", "witness", "proxy,proxy", "proxy,", "../x"} {
		if _, _, err := Text(bad); err == nil {
			t.Errorf("%q has a unit", bad)
		}
	}
}

// TestSystemdTakesTheUnitAndFindsItHard runs systemd's own checks where they exist.
func TestSystemdTakesTheUnitAndFindsItHard(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	for _, roles := range []string{"proxy", "control", "control,proxy", "direct"} {
		name, text, err := Text(roles)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		program := filepath.Join(dir, "fire")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/bin/fire", program)), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
		if text := string(out); err != nil || strings.Contains(text, name) {
			if strings.Contains(text, "Failed to initialize manager") || strings.Contains(text, "Operation not permitted") {
				t.Skipf("systemd-analyze does not work here: %s", text)
			}
			t.Errorf("verify %s: %v\n%s", name, err, text)
		}
		// Exposure is counted in tenths: 20 is 2.0, "OK".
		out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", "--no-pager", file).CombinedOutput()
		if err != nil {
			t.Errorf("security %s: %v\n%s", name, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
}

func TestNotificationsReachTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	n := NewNotifier(slog.New(slog.DiscardHandler))
	n.Ready("linked\nWATCHDOG=1")
	n.Status(strings.Repeat("é", StatusBytesMax))
	n.Stopping("draining")
	for _, want := range []string{
		"READY=1\nSTATUS=linked WATCHDOG=1",
		"STATUS=" + strings.Repeat("é", StatusBytesMax/2),
		"STOPPING=1\nSTATUS=draining",
	} {
		buf := make([]byte, 4096)
		k, err := c.Read(buf)
		if err != nil || string(buf[:k]) != want {
			t.Errorf("got %q, %v; want %q", buf[:k], err, want)
		}
	}
}

func TestWatchdogIsFedOnlyWhileEveryPartAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan string, 16)
		took := func() string {
			synctest.Wait()
			var out []string
			for len(sent) > 0 {
				out = append(out, <-sent)
			}
			return strings.Join(out, ",")
		}
		var hung atomic.Bool
		n := &Notifier{every: 10 * time.Second, log: slog.New(slog.DiscardHandler), send: func(s string) error { sent <- s; return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- n.Run(ctx, func() error {
				if hung.Load() {
					return errors.New("proxy loop")
				}
				return nil
			})
		}()
		time.Sleep(25 * time.Second)
		if got := took(); got != "WATCHDOG=1,WATCHDOG=1,WATCHDOG=1" {
			t.Errorf("in 25 s: %s", got)
		}
		hung.Store(true)
		time.Sleep(10 * time.Second)
		if got := took(); got != "STATUS=hangs: proxy loop" {
			t.Errorf("while a part hangs: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutSystemdNothingIsSent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n := NewNotifier(slog.New(slog.DiscardHandler))
	n.Ready("x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx, func() error { return errors.New("never asked") }); err != nil {
		t.Error(err)
	}
}
