package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fire/node/catalog"
	"fire/policy"
	"fire/policy/reason"
	"fire/transport/http1"
	"fire/transport/meter"
)

// webOf is a floor where desk on h1 calls web, which runs on every further host.
func webOf(t testing.TB, apps map[string]http.HandlerFunc) (*mesh, *host, map[string]*host) {
	t.Helper()
	m := newMesh(t)
	h1 := m.host("h1")
	hosts := map[string]*host{}
	var servers []*host
	for _, name := range []string{"h2", "h3"} {
		if apps[name] != nil {
			hosts[name] = m.host(name)
			servers = append(servers, hosts[name])
		}
	}
	m.service("desk", catalog.TCP, h1)
	m.service("web", catalog.HTTP, servers...)
	for name, h := range hosts {
		m.endpointOf("web", h)
		addr := startApp(t, apps[name]).Listener.Addr().String()
		m.publish()
		cfg := quick()
		cfg.DrainTimeout = 5 * time.Second
		m.run(h, cfg, nil, map[string]App{"web": {Network: "tcp", Address: addr}})
	}
	m.allow("desk", "web")
	m.publish()
	cfg := quick()
	cfg.DrainTimeout = 5 * time.Second
	m.run(h1, cfg, map[string]Upstream{"web": {Service: "web", As: "desk", Listen: "127.0.0.1:0"}}, nil)
	return m, h1, hosts
}

func (h *host) url(upstream, path string) string {
	return "http://" + h.proxy.Listeners()[upstream].String() + path
}

// asker is one client connection that keeps alive.
type asker struct {
	t    testing.TB
	conn *net.TCPConn
	r    *bufio.Reader
}

func (h *host) asker(t testing.TB, upstream string) *asker {
	c := h.dial(t, upstream)
	return &asker{t, c, bufio.NewReader(c)}
}

func (a *asker) get(path string) (status int, why, body string) {
	a.t.Helper()
	fmt.Fprintf(a.conn, "GET %s HTTP/1.1\r\nHost: web\r\n\r\n", path)
	res, err := http.ReadResponse(a.r, nil)
	if err != nil {
		a.t.Fatalf("GET %s: %v", path, err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, res.Header.Get("X-Fire-Reason"), string(b)
}

func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.Header.Get("X-Fire-Source"), r.Header.Get("Traceparent"))
	}
}

func TestHTTPCrossesTheMeshWithIdentityTraceAndCounters(t *testing.T) {
	_, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": named("h2")})
	a := h1.asker(t, "web")
	for range 5 {
		status, _, body := a.get("/x")
		words := strings.Fields(body)
		if status != 200 || len(words) != 3 || words[1] != "spiffe://eu.floor/svc/desk" || len(words[2]) != 55 {
			t.Fatalf("%d %q", status, body)
		}
	}
	key := meter.EdgeKey{Src: "desk", Dst: "web", Side: sideOut}
	eventually(t, "both ends have counted", func() bool {
		in := meter.EdgeKey{Src: "desk", Dst: "web", Side: sideIn}
		return h1.page.Edge(key).Requests.Load() == 5 && hosts["h2"].page.Edge(in).Requests.Load() == 5 &&
			h1.page.Edge(key).BytesIn.Load() > 0 && hosts["h2"].page.Edge(in).BytesOut.Load() > 0
	})
	e := h1.page.Edge(key)
	if latency := e.Latency.Snapshot(); e.Errors.Load() != 0 || latency.Count() != 5 || e.Active.Load() != 1 || e.Opened.Load() != 1 {
		t.Errorf("errors %d, latencies %d, active %d, opened %d", e.Errors.Load(), latency.Count(), e.Active.Load(), e.Opened.Load())
	}
	a.conn.Close()
	eventually(t, "the flow is gone", func() bool { return len(h1.proxy.Flows()) == 0 && e.Active.Load() == 0 })
}

// An application that answers 503 is no broken path: `fire why` must not say so.
func TestApplicationsOwnErrorHasItsOwnReason(t *testing.T) {
	_, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }})
	res, err := httpClient(t).Get(h1.url("web", "/"))
	if err != nil || res.StatusCode != 503 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	for side, h := range map[string]*host{"client": h1, "server": hosts["h2"]} {
		var reasons map[string]uint64
		eventually(t, side+" counts it", func() bool {
			for _, d := range h.proxy.Deltas() {
				if d.Errors == 1 {
					reasons = d.Reasons
				}
			}
			return reasons != nil
		})
		if len(reasons) != 1 || reasons[reason.AppError.String()] != 1 {
			t.Errorf("%s: %v", side, reasons)
		}
	}
}

func TestHTTPLargeBodiesCrossTheMesh(t *testing.T) {
	_, h1, _ := webOf(t, map[string]http.HandlerFunc{"h2": func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}})
	payload := make([]byte, 16<<20)
	for i := range payload {
		payload[i] = byte(i >> 8 * 31)
	}
	res, err := httpClient(t).Post(h1.url("web", "/"), "x", bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	n, err := io.Copy(h, res.Body)
	if want := sha256.Sum256(payload); err != nil || !bytes.Equal(h.Sum(nil), want[:]) {
		t.Errorf("%d bytes back, %v", n, err)
	}
}

func TestHTTPRequestsOfOneConnectionAreBalanced(t *testing.T) {
	_, h1, _ := webOf(t, map[string]http.HandlerFunc{"h2": named("h2"), "h3": named("h3")})
	a := h1.asker(t, "web")
	got := map[string]int{}
	for range 20 {
		_, _, body := a.get("/")
		got[body[:2]]++
	}
	if got["h2"] != 10 || got["h3"] != 10 {
		t.Errorf("requests went to %v, want 10 each", got)
	}
}

func TestHTTPPolicyChangeReachesAnOpenConnection(t *testing.T) {
	started := make(chan struct{}, 2)
	m, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun")
		if strings.HasPrefix(r.URL.Path, "/stream") {
			_ = http.NewResponseController(w).Flush()
			started <- struct{}{}
			<-r.Context().Done()
		}
	}})
	only := func(paths ...string) {
		m.state.Rules = map[string]policy.Rule{"desk-web": {From: []string{"desk"}, To: []string{"web"}, Paths: paths}}
		m.publish()
	}
	a := h1.asker(t, "web")
	if status, _, _ := a.get("/a"); status != 200 {
		t.Fatal(status)
	}
	// Until it is accounted for, just after its answer, a request counts as under way
	// and a change that forbids it cuts the connection.
	eventually(t, "the first request is over at both ends", func() bool {
		over := uint64(0)
		for _, h := range []*host{h1, hosts["h2"]} {
			for _, e := range h.proxy.edges.page.Snapshot() {
				over += e.Requests
			}
		}
		return over == 2
	})
	kept, doomed := h1.asker(t, "web"), h1.asker(t, "web")
	fmt.Fprint(kept.conn, "GET /stream/kept HTTP/1.1\r\nHost: web\r\n\r\n")
	fmt.Fprint(doomed.conn, "GET /stream/doomed HTTP/1.1\r\nHost: web\r\n\r\n")
	<-started
	<-started
	only("/b", "/stream/kept")
	if status, why, _ := a.get("/a"); status != 403 || why != "denied_by_default" {
		t.Errorf("a request that the new rules forbid: %d %s", status, why)
	}
	if status, _, _ := a.get("/b"); status != 200 {
		t.Errorf("a request that the new rules allow, on the same connection: %d", status)
	}
	cut := time.Now()
	if _, err := io.ReadAll(doomed.conn); err == nil || time.Since(cut) > 5*time.Second {
		t.Errorf("the forbidden response ended with %v after %v", err, time.Since(cut))
	}
	h1.refused(t, reason.PolicyChanged)
	kept.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := io.ReadAll(kept.conn); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a response that is still allowed ended: %v", err)
	}
	m.state.Rules = nil
	m.publish()
	a.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := a.r.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("an idle connection that may carry nothing any more: %v", err)
	}
}

func TestHTTPStoppedApplicationCostsNoRequestWhileAnotherRuns(t *testing.T) {
	m, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": named("h2"), "h3": named("h3")})
	_ = m
	hosts["h3"].proxy.deps.Apps["web"] = App{Network: "tcp", Address: "127.0.0.1:1"} // nothing listens there
	a := h1.asker(t, "web")
	for range 20 {
		if status, why, body := a.get("/"); status != 200 || body[:2] != "h2" {
			t.Fatalf("%d %s %q", status, why, body)
		}
	}
}

func TestHTTPDrainedHostCostsNoRequest(t *testing.T) {
	m, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": named("h2"), "h3": named("h3")})
	var bad atomic.Int64
	var first atomic.Pointer[string]
	var clients sync.WaitGroup
	stop := make(chan struct{})
	var done atomic.Int64
	for range 4 {
		a := h1.asker(t, "web")
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				fmt.Fprint(a.conn, "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nbuy")
				res, err := http.ReadResponse(a.r, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
				}
				done.Add(1)
				if err != nil || res.StatusCode != 200 {
					bad.Add(1)
					said := fmt.Sprint(err)
					if err == nil {
						said = res.Status + " " + res.Header.Get("X-Fire-Reason")
					}
					first.CompareAndSwap(nil, &said)
					return
				}
			}
		})
	}
	eventually(t, "requests flow", func() bool { return done.Load() > 100 })
	e := m.state.Endpoints["web@h3"]
	e.Draining = true
	m.state.Endpoints["web@h3"] = e
	m.publish()
	hosts["h3"].stop()
	before := done.Load()
	eventually(t, "requests go on", func() bool { return done.Load() > before+100 || bad.Load() > 0 })
	close(stop)
	clients.Wait()
	if bad.Load() > 0 {
		t.Errorf("%d clients saw an error, the first: %s", bad.Load(), *first.Load())
	}
}

func TestHTTPStopEndsIdleConnectionsAtOnce(t *testing.T) {
	_, h1, hosts := webOf(t, map[string]http.HandlerFunc{"h2": named("h2")})
	a := h1.asker(t, "web")
	a.get("/")
	began := time.Now()
	hosts["h2"].stop() // an idle mesh stream must not use up its 5 s of drain
	h1.stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping with an idle connection took %v", took)
	}
	if _, err := a.r.ReadByte(); err != io.EOF {
		t.Errorf("the idle client saw %v, want an end", err)
	}
}

func TestHTTPRevokedSourceIsCutOff(t *testing.T) {
	m, h1, _ := webOf(t, map[string]http.HandlerFunc{"h2": named("h2")})
	a := h1.asker(t, "web")
	a.get("/")
	m.state.Revoked[domain.Service("desk").String()] = catalog.Revocation{At: time.Now()}
	m.publish()
	if _, err := a.r.ReadByte(); err == nil {
		t.Error("a revoked service keeps its connection")
	}
	h1.refused(t, reason.IdentityRevoked)
}

func TestHTTPNoServiceToGoToIsAnAnswer(t *testing.T) {
	m, h1, _ := webOf(t, map[string]http.HandlerFunc{"h2": named("h2")})
	e := m.state.Endpoints["web@h2"]
	e.Healthy, e.Why = false, "GET /health said 500"
	m.state.Endpoints["web@h2"] = e
	m.publish()
	a := h1.asker(t, "web")
	if status, why, body := a.get("/"); status != 503 || why != "no_healthy_endpoint" || !strings.Contains(body, "GET /health said 500") {
		t.Errorf("%d %s %q", status, why, body)
	}
	e.Healthy = true
	m.state.Endpoints["web@h2"] = e
	m.publish()
	if status, why, _ := a.get("/"); status != 200 {
		t.Errorf("after it came back, on the same connection: %d %s", status, why)
	}
}

// Rule paths that compile are canonical paths of the framer, so a rule can match.
func TestRulePathsAreCanonicalPaths(t *testing.T) {
	for c := range 256 {
		for _, p := range []string{fmt.Sprintf("/a%cb", c), fmt.Sprintf("/a%%%02Xb", c), fmt.Sprintf("/%%C3%%%02X", c)} {
			_, problems := policy.Compile("floor", map[string]policy.Rule{"r": {From: []string{"*"}, To: []string{"*"}, Paths: []string{p}}})
			canonical, code := canonicalPath(p)
			if same := code == reason.OK && canonical == p; same != (len(problems) == 0) && p != "/a*b" && p != "/*b" {
				t.Errorf("%q: problems %v, canonical %q %v", p, problems, canonical, code)
			}
		}
	}
}

func canonicalPath(p string) (string, reason.Code) {
	b, code := http1.CanonicalPath(nil, []byte(p))
	return string(b), code
}
