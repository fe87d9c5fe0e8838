package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fire/node/bench"
)

// pair is two proxies, each a process of its own as on two hosts, with a tcp and an
// http service behind the second one. Their control is a third process: it is not on
// the path and not in the figures.
type pair struct {
	runtime    string // of control
	tcp, http  string // where an application of the first host connects
	near, far  *process
	tcpTarget  string
	httpTarget string
}

func (p *pair) pids() []int { return []int{p.near.cmd.Process.Pid, p.far.cmd.Process.Pid} }

const pairFloor = `
[service.caller]
nodes = ["h1"]
[service.echo]
protocol = "tcp"
port = %s
nodes = ["h2"]
[service.pages]
protocol = "http"
port = %s
nodes = ["h2"]
[policy.caller-out]
from = ["caller"]
to = ["echo", "pages"]
`

const controlConfig = `
[mesh]
name = "bench"
region = "eu"
[node]
name = "c1"
roles = ["control"]
dir = "c1"
listen = "127.0.0.1:0"
[web]
listen = ""
[admin]
metrics_listen = "off"
[log]
level = "warn"
`

const nearConfig = `
[mesh]
name = "bench"
region = "eu"
[node]
name = "h1"
dir = "h1"
listen = "127.0.0.1:0"
[admin]
metrics_listen = "off"
[log]
level = "warn"
[service.caller]
[upstream.echo]
service = "echo"
as = "caller"
listen = %q
[upstream.pages]
service = "pages"
as = "caller"
listen = %q
`

const farConfig = `
[mesh]
name = "bench"
region = "eu"
[node]
name = "h2"
roles = ["proxy"]
dir = "h2"
listen = "127.0.0.1:0"
[admin]
metrics_listen = "off"
[log]
level = "warn"
[service.echo]
address = %q
[service.pages]
address = %q
`

// startPair starts both processes and waits until both services answer through them.
func startPair(t *testing.T, tcpTarget, httpTarget string) *pair {
	t.Helper()
	dir := t.TempDir()
	p := &pair{runtime: filepath.Join(dir, "run0"), tcp: freeAddress(t), http: freeAddress(t), tcpTarget: tcpTarget, httpTarget: httpTarget}
	control := writeFile(t, dir, "c1.toml", controlConfig)
	near := writeFile(t, dir, "h1.toml", fmt.Sprintf(nearConfig, p.tcp, p.http))
	far := writeFile(t, dir, "h2.toml", fmt.Sprintf(farConfig, tcpTarget, httpTarget))
	floor := writeFile(t, dir, "floor.toml", fmt.Sprintf(pairFloor, portOf(t, tcpTarget), portOf(t, httpTarget)))

	start(t, "c1", fireCommand(t, p.runtime, "run", "--config", control))
	waitFor(t, 20*time.Second, "control answers", func() bool {
		_, _, code := ask(t, p.runtime, "status")
		return code == 0
	})
	join := func(name, config string) *process {
		token := writeFile(t, dir, "token-"+name, must(t, p.runtime, "token", "create", "--node", name))
		return start(t, name, fireCommand(t, filepath.Join(dir, "run-"+name), "run", "--config", config, "--token", "file:"+token))
	}
	p.near, p.far = join("h1", near), join("h2", far)
	must(t, p.runtime, "apply", "-f", floor)
	waitFor(t, 20*time.Second, "the echo service answers through the pair", func() bool { return echoes(p.tcp) })
	waitFor(t, 20*time.Second, "the http service answers through the pair", func() bool { return serves(p.http) })
	return p
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func echoes(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	b := []byte("ping")
	if _, err := c.Write(b); err != nil {
		return false
	}
	n, err := c.Read(b)
	return err == nil && n > 0
}

func serves(address string) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// backends are an echo server and an HTTP server with a page of 256 bytes.
func backends(t *testing.T) (echo, pages string) {
	t.Helper()
	le, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- bench.Echo(ctx, le) }()
	page := []byte(strings.Repeat("x", 256))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(page) })}
	go func() {
		err := srv.Serve(lh)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		srv.Close()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return le.Addr().String(), lh.Addr().String()
}

// TestPairBesideHAProxy is the measurement of the README: two fire processes and two
// HAProxy processes with mutual TLS between the same ends, in the same run. Figures
// are printed; asserted is only that both carry every message.
func TestPairBesideHAProxy(t *testing.T) {
	real(t, "haproxy")
	echo, pages := backends(t)
	p := startPair(t, echo, pages)
	cfg := bench.Default()
	cfg.Target, cfg.Baseline, cfg.HAProxy = bench.Path{Address: p.tcp, PIDs: p.pids()}, echo, true
	cfg.Rounds, cfg.Idle = 3, 1000
	b, err := bench.New(cfg, bench.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	logRows(t, res)
	for _, r := range res.Rows {
		if r.Unanswered != 0 || r.Messages == 0 {
			t.Errorf("%s %s %d bytes: %d of %d messages unanswered", r.Table, r.Path, r.SizeBytes, r.Unanswered, r.Messages)
		}
	}
}

func logRows(t *testing.T, res *bench.Result) {
	t.Helper()
	t.Logf("%-10s %-8s %5s %10s %10s %10s %10s %10s %10s %12s", "table", "path", "bytes", "p50", "p99", "p99.9", "p99.99", "max", "added p50", "cpu/message")
	for _, r := range res.Rows {
		added, cpu := "-", "-"
		if r.AddedP50NS != nil {
			added = micros(*r.AddedP50NS)
		}
		if r.CPUPathNSPerMessage != nil {
			cpu = micros(*r.CPUPathNSPerMessage)
		}
		t.Logf("%-10s %-8s %5d %10s %10s %10s %10s %10s %10s %12s", r.Table, r.Path, r.SizeBytes, micros(r.P50NS), micros(r.P99NS), micros(r.P999NS),
			micros(r.P9999), micros(r.MaxNS), added, cpu)
	}
	for _, r := range res.Idle {
		t.Logf("%-8s %6d KiB per 1000 idle connections (%d KiB before)", r.Path, r.RSSPer1000Bytes>>10, r.RSSBeforeBytes>>10)
	}
}

func micros(ns int64) string { return strconv.FormatFloat(float64(ns)/1000, 'f', 1, 64) + "us" }

// TestRequestsPerCoreBesideHAProxy drives HTTP/1.1 by wrk through both pairs in turn
// and divides the requests by the processor time of the pair's processes.
func TestRequestsPerCoreBesideHAProxy(t *testing.T) {
	real(t, "haproxy", "wrk")
	echo, pages := backends(t)
	p := startPair(t, echo, pages)
	h, err := bench.StartHAProxy(t.Context(), pages, "http")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, 20*time.Second, "haproxy serves", func() bool { return serves(h.Address()) })
	for round := range 3 {
		for _, path := range []bench.Path{{Name: "direct", Address: pages}, {Name: "fire", Address: p.http, PIDs: p.pids()}, {Name: "haproxy", Address: h.Address(), PIDs: h.PIDs()}} {
			before, known := bench.ProcessorTime(path.PIDs)
			perSecond, total := wrk(t, path.Address)
			after, _ := bench.ProcessorTime(path.PIDs)
			perCore := "-"
			if known {
				perCore = strconv.FormatFloat(float64(total)/(after-before).Seconds(), 'f', 0, 64)
			}
			t.Logf("round %d %-8s %9.0f requests/s %8s requests per processor second of the pair", round+1, path.Name, perSecond, perCore)
		}
	}
}

var (
	wrkRate  = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkTotal = regexp.MustCompile(`(\d+) requests in`)
	wrkBad   = regexp.MustCompile(`(?m)^\s*(Socket errors|Non-2xx).*$`)
)

func wrk(t *testing.T, address string) (perSecond float64, total int) {
	t.Helper()
	out := run(t, 30*time.Second, "wrk", "-t1", "-c32", "-d3s", "--timeout", "10s", "http://"+address+"/")
	if bad := wrkBad.FindString(out); bad != "" {
		t.Errorf("%s: %s", address, bad)
	}
	rate, count := wrkRate.FindStringSubmatch(out), wrkTotal.FindStringSubmatch(out)
	if rate == nil || count == nil {
		t.Fatalf("wrk printed:\n%s", out)
	}
	perSecond, _ = strconv.ParseFloat(rate[1], 64)
	total, _ = strconv.Atoi(count[1])
	return perSecond, total
}

// TestBenchVerbStartsItsOwnPair runs the verb as the README shows it.
func TestBenchVerbStartsItsOwnPair(t *testing.T) {
	out := must(t, t.TempDir(), "bench", "mesh", "--rounds", "1", "--round-time", "100ms", "--size", "256", "-o", "json")
	res := jsonOf[bench.Result](t, out, bench.Schema)
	seen := map[string]bool{}
	for _, r := range res.Rows {
		seen[r.Table+" "+r.Path] = true
		if r.Messages == 0 || r.Unanswered != 0 || r.P50NS <= 0 {
			t.Errorf("%s %s: %+v", r.Table, r.Path, r)
		}
	}
	for _, want := range []string{"ping_pong direct", "ping_pong fire", "fixed_rate direct", "fixed_rate fire"} {
		if !seen[want] {
			t.Errorf("no row %s", want)
		}
	}
	if !json.Valid([]byte(out)) {
		t.Error("not JSON")
	}
}
