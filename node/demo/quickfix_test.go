package demo

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// initiatorProgram compiles testdata/quickfix/initiator.cpp, or skips.
func initiatorProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("compiles a C++ program; not with -short")
	}
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip("g++ is absent: apt-get install g++ libquickfix-dev")
	}
	probe := exec.Command("g++", "-std=c++14", "-fsyntax-only", "-w", "-x", "c++", "-")
	probe.Stdin = strings.NewReader("#include <quickfix/Session.h>\n")
	if probe.Run() != nil {
		t.Skip("QuickFIX is absent: apt-get install libquickfix-dev")
	}
	out := filepath.Join(t.TempDir(), "initiator")
	source := filepath.Join("..", "..", "testdata", "quickfix", "initiator.cpp")
	if text, err := exec.Command("g++", "-std=c++14", "-O0", "-w", "-o", out, source, "-lquickfix", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("g++: %v\n%s", err, text)
	}
	return out
}

func TestQuickFIXTrades(t *testing.T) {
	program := initiatorProgram(t)
	f := newFloor(t)
	f.start("engine", nil)
	f.start("risk-b", nil)
	f.start("blotter", nil)
	gateway := f.start("gateway", nil).(*Gateway)
	eventually(t, "the gateway reaches the engine", gateway.engine.up.Load)
	tap := newWiretap(t, gateway.Addr)
	tap.skips["QUICKFIX>GATEWAY"] = true
	host, port, _ := net.SplitHostPort(tap.addr())
	play := func(mode ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program, append([]string{host, port, "QUICKFIX"}, mode...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, out, gateway.Summary())
		}
		if n := strings.Count(string(out), "ok "); n != 15 {
			t.Errorf("%d steps went well, want 15:\n%s", n, out)
		}
	}
	play("exact")
	f.start("market-data", nil)
	calm := func(w *Wiring) { w.Rate = 200 }
	a, b := f.start("strategy-a", calm), f.start("strategy-b", calm)
	eventually(t, "others trade", func() bool { return counter(a, "fills") > 10 && counter(b, "fills") > 10 })
	play()
}
