package demo

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"fire/node/catalog"

	"go.uber.org/goleak"
)

// TestMain also plays one program of the floor in a process of its own, so that a
// test can kill it: DEMO_PLAY="gateway listen=... engine=...".
func TestMain(m *testing.M) {
	if play := os.Getenv("DEMO_PLAY"); play != "" {
		if err := playVerb(strings.Fields(play)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func playVerb(words []string) error {
	values := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		values[k] = v
	}
	for _, v := range Verbs() {
		if v.Name == words[0] {
			p, err := v.New(values, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			fmt.Println(p.Addr())
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			return p.Run(ctx)
		}
	}
	return fmt.Errorf("no verb %s", words[0])
}

// playing is a program in its own process.
func playing(t *testing.T, play string) (addr string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DEMO_PLAY="+play)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v", play, err)
	}
	dead := false
	kill = func() {
		if !dead {
			dead = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	t.Cleanup(kill)
	return strings.TrimSpace(line), kill
}

func TestKilledGatewayComesBackWithItsNumbers(t *testing.T) {
	f := newFloor(t)
	state := t.TempDir()
	engine := f.start("engine", nil)
	f.start("market-data", nil)
	f.start("risk-b", nil)
	f.start("blotter", nil)
	toEngine := newWiretap(t, engine.Addr)
	wires := fmt.Sprintf("engine=%s risk=%s blotter=%s state=%s", toEngine.addr(), f.addr["risk"], f.addr["blotter"], state)
	addr, kill := playing(t, "gateway listen=127.0.0.1:0 "+wires)
	toGateway := newWiretap(t, func() string { return addr })
	f.addr["gateway"] = toGateway.addr()
	slow := func(w *Wiring) { w.Rate = 400 }
	a, b := f.start("strategy-a", slow), f.start("strategy-b", slow)
	resent := func() int {
		return toGateway.of("GATEWAY>STRATEGY-A").resent + toGateway.of("GATEWAY>STRATEGY-B").resent +
			toEngine.of("ENGINE>GATEWAY").resent
	}
	kills := 0
	for ; kills < 2 || resent() == 0; kills++ { // not every kill meets a message on its way
		if kills == 30 {
			t.Fatal("30 kills and nothing was sent again, so nothing was tested")
		}
		want := counter(a, "fills") + 50
		eventually(t, "fills", func() bool { return counter(a, "fills") > want && counter(b, "fills") > 20 })
		kill()
		toGateway.cut()
		toEngine.cut()
		_, kill = playing(t, "gateway listen="+addr+" "+wires)
	}
	want := counter(a, "fills") + 50
	eventually(t, "fills after the last kill", func() bool { return counter(a, "fills") > want })
	eventually(t, "every number that was lost is paid for", func() bool { return toGateway.paid() && toEngine.paid() })
	for _, key := range []string{"STRATEGY-A>GATEWAY", "GATEWAY>STRATEGY-A"} {
		if y := toGateway.of(key); y.types["A"] < kills+1 || y.next < 100 {
			t.Errorf("%s: %d logons after %d kills, next number %d", key, y.types["A"], kills, y.next)
		}
	}
	f.stop("strategy-a")
	f.stop("strategy-b")
}

func TestFloorTradesThroughCuts(t *testing.T) {
	f := newFloor(t)
	engine := f.start("engine", nil)
	toEngine := newWiretap(t, engine.Addr)
	f.addr["engine"] = toEngine.addr()
	f.start("market-data", nil)
	f.start("risk-b", nil)
	f.start("blotter", nil)
	gateway := f.start("gateway", nil)
	toGateway := newWiretap(t, gateway.Addr)
	f.addr["gateway"] = toGateway.addr()
	calm := func(w *Wiring) { w.Rate = 300 }
	a, b := f.start("strategy-a", calm), f.start("strategy-b", calm)
	for range 3 {
		want := counter(a, "fills") + 100
		eventually(t, "fills", func() bool { return counter(a, "fills") > want && counter(b, "fills") > 100 })
		toGateway.cut()
		toEngine.cut()
	}
	want := counter(a, "fills") + 100
	eventually(t, "fills after the cuts", func() bool { return counter(a, "fills") > want })
	eventually(t, "every number that was lost is paid for", func() bool { return toGateway.paid() && toEngine.paid() })
	f.stop("strategy-a")
	f.stop("strategy-b")
	// Nothing was lost between gateway and engine: every trade made two fills.
	eventually(t, "every fill arrives", func() bool { return 2*counter(engine, "trades") == counter(gateway, "fills") })
	if y := toEngine.of("ENGINE>MARKETDATA"); y.types["X"] == 0 {
		t.Error("market data was not seen")
	}
	if y := toGateway.of("STRATEGY-A>GATEWAY"); y.types["D"] == 0 || y.types["F"] == 0 {
		t.Errorf("%+v", y)
	}
}

func TestRiskFaultRejectsOrdersUntilItEnds(t *testing.T) {
	f := newFloor(t)
	f.start("engine", nil)
	f.start("market-data", nil)
	f.start("risk-b", nil)
	blotter := f.start("blotter", nil)
	gateway := f.start("gateway", nil)
	calm := func(w *Wiring) { w.Rate = 300 }
	a, b := f.start("strategy-a", calm), f.start("strategy-b", calm)
	desk := f.start("desk", nil)
	eventually(t, "trading", func() bool { return counter(a, "fills") > 20 && counter(b, "fills") > 20 })
	inject := func(service, query string) int {
		resp, err := http.Post("http://"+f.addr[service]+"/fault?"+query, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, bad := range []string{"", "error_ratio=2&for=1s", "error_ratio=NaN&for=1s", "error_ratio=1&for=5", "error_ratio=1&for=2h"} {
		if code := inject("risk", bad); code != http.StatusBadRequest {
			t.Errorf("fault %q: %d", bad, code)
		}
	}
	inject("risk", "error_ratio=1&for=1h")
	inject("blotter", "error_ratio=1&for=1h")
	before := counter(a, "rejects")
	eventually(t, "rejects", func() bool { return counter(a, "rejects") > before+200 && counter(gateway, "risk_failures") > 10 })
	eventually(t, "the desk fails", func() bool { return counter(desk, "failures") > 0 })
	inject("risk", "error_ratio=0&for=0s")
	inject("blotter", "error_ratio=0&for=0s")
	fills := counter(a, "fills")
	eventually(t, "trading again", func() bool { return counter(a, "fills") > fills+100 })
	f.stop("strategy-a")
	f.stop("strategy-b")
	eventually(t, "all fills are booked, late but once", func() bool { return counter(blotter, "fills") == counter(gateway, "fills") })
}

func TestFloorFileSaysWhatTheProgramsDo(t *testing.T) {
	floor, problems := catalog.ParseFloor("floor.toml", []byte(FloorFile()))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	hosts := map[string]map[string]bool{}
	for _, s := range Programs() {
		if hosts[s.Service] == nil {
			hosts[s.Service] = map[string]bool{}
		}
		hosts[s.Service][s.Host] = true
		sv, ok := floor.Services[s.Service]
		if !ok || string(sv.Protocol) != s.Protocol {
			t.Errorf("%s: protocol %q in the file, %q in the program", s.Service, sv.Protocol, s.Protocol)
		}
		if s.Listen != "" && !strings.HasSuffix(s.Listen, fmt.Sprint(":", sv.Port)) {
			t.Errorf("%s: port %d in the file, %s in the program", s.Service, sv.Port, s.Listen)
		}
		for _, u := range s.Upstreams {
			allowed := false
			for _, r := range floor.Policies {
				allowed = allowed || contains(r.From, s.Service) && contains(r.To, u.Service)
			}
			if !allowed {
				t.Errorf("no rule lets %s call %s", s.Service, u.Service)
			}
		}
	}
	for name, sv := range floor.Services {
		if len(sv.Nodes) != len(hosts[name]) {
			t.Errorf("%s: on %v in the file, %v in the programs", name, sv.Nodes, hosts[name])
		}
	}
	direct := Direct(Programs())
	for _, s := range direct {
		for _, u := range s.Upstreams {
			if u.Address == "" || strings.Contains(u.Address, ":15") {
				t.Errorf("%s dials %s at %q", s.Name, u.Service, u.Address)
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestVerbsRefuseWhatTheyDoNotKnow(t *testing.T) {
	if n := len(Verbs()); n != 11 {
		t.Errorf("%d verbs, want 11", n)
	}
	log := slog.New(slog.DiscardHandler)
	for _, v := range Verbs() {
		if _, err := v.New(map[string]string{"bogus": "1"}, log); err == nil || !strings.Contains(err.Error(), "--bogus") {
			t.Errorf("%s --bogus: %v", v.Name, err)
		}
		if v.Name == "strategy-a" {
			for _, rate := range []string{"0", "-1", "x", "NaN", "2e6"} {
				if _, err := v.New(map[string]string{"rate": rate}, log); err == nil {
					t.Errorf("--rate %s is taken", rate)
				}
			}
		}
	}
}

func TestStrategySaysWhenItCannotKeepUp(t *testing.T) {
	f := newFloor(t)
	f.start("engine", nil)
	f.start("risk-b", nil)
	f.start("market-data", nil)
	f.start("blotter", nil)
	f.start("gateway", nil)
	a := f.start("strategy-a", func(w *Wiring) { w.Rate = 900_000 })
	eventually(t, "missed orders", func() bool { return counter(a, "missed") > 0 && counter(a, "orders") > 0 })
	if s := a.Summary(); !strings.Contains(s, "could not keep up") {
		t.Error(s)
	}
}
