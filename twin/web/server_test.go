package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fire/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a Source whose snapshots the test publishes.
type script struct {
	mu      sync.Mutex
	now     *twin.Snapshot
	changed chan struct{}
}

func newScript() *script {
	return &script{now: &twin.Snapshot{Version: 1}, changed: make(chan struct{}, 1)}
}

func (s *script) Snapshot() *twin.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *script) Subscribe() (<-chan struct{}, func()) { return s.changed, func() {} }

func (s *script) publish(edges ...twin.EdgeView) {
	s.mu.Lock()
	next := s.now.Version + 1
	events := append(append([]twin.Event(nil), s.now.Events...), twin.Event{ID: next, Text: "published"})
	s.now = &twin.Snapshot{Version: next, At: time.Unix(1e9, 0), Edges: edges, Events: events,
		Services: []twin.ServiceView{{Name: "a"}, {Name: "b"}}, Nodes: []twin.NodeView{{Name: "host-a"}}}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func busy(src, dst string, rate float64) twin.EdgeView {
	return twin.EdgeView{Src: src, Dst: dst, RatePerSecond: rate, State: twin.StateOK}
}

// serve runs a server over src until the test ends.
func serve(t *testing.T, cfg Config, src Source) (*Server, string) {
	cfg.Listen = "127.0.0.1:0"
	s := New(cfg, src, slog.New(slog.DiscardHandler))
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, "http://" + addr.String()
}

// follower reads a stream.
type follower struct {
	t    *testing.T
	body io.Closer
	read *bufio.Reader
}

func follow(t *testing.T, url, last string) *follower {
	req, _ := http.NewRequest("GET", url+"/api/v1/events", nil)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("%s %s", res.Status, res.Header.Get("Content-Type"))
	}
	f := &follower{t, res.Body, bufio.NewReader(res.Body)}
	t.Cleanup(func() { res.Body.Close() })
	return f
}

// next skips signs of life.
func (f *follower) next() (id, name string, m message) {
	f.t.Helper()
	var data string
	for {
		line, err := f.read.ReadString('\n')
		if err != nil {
			f.t.Fatal(err)
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		}
		if line == "\n" && data != "" {
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				f.t.Fatal(err)
			}
			return id, name, m
		}
	}
}

func TestStreamSendsTheWholeThenOnlyWhatChanged(t *testing.T) {
	src := newScript()
	src.publish(busy("a", "b", 1), busy("a", "c", 1))
	_, url := serve(t, Default(), src)
	f := follow(t, url, "")
	_, name, m := f.next()
	if name != "snapshot" || len(m.Edges) != 2 || len(m.Layout) == 0 || m.Schema != Schema {
		t.Fatalf("%s: %d edges, layout of %d", name, len(m.Edges), len(m.Layout))
	}
	src.publish(busy("a", "b", 1), busy("a", "c", 2))
	_, name, d := f.next()
	if name != "delta" || d.From != m.Version || len(d.Edges) != 1 || !strings.Contains(string(d.Edges[0]), `"dst":"c"`) || d.Layout != nil || len(d.Nodes) != 0 {
		t.Fatalf("%s from %d: %s", name, d.From, d.Edges)
	}
	src.publish(busy("a", "c", 2), busy("c", "d", 2))
	_, _, d = f.next()
	if d.Gone == nil || !reflect.DeepEqual(d.Gone.Edges, []string{"a>b"}) || len(d.Edges) != 1 || d.Layout == nil {
		t.Fatalf("%+v", d)
	}
}

func TestStreamResumesWithOneDelta(t *testing.T) {
	src := newScript()
	src.publish(busy("a", "b", 1), busy("a", "c", 1))
	_, url := serve(t, Default(), src)
	f := follow(t, url, "")
	id, _, first := f.next()
	f.body.Close()
	for i := range 5 {
		src.publish(busy("a", "b", float64(i+2)), busy("a", "c", 1))
	}
	_, name, m := follow(t, url, id).next()
	if name != "delta" || m.From != first.Version || m.Version != first.Version+5 || len(m.Edges) != 1 || len(m.Events) != 5 {
		t.Errorf("%s from %d to %d, %d edges", name, m.From, m.Version, len(m.Edges))
	}
	for _, stranger := range []string{"ffffffffffff-2", "nonsense", "-", m.Epoch + "-999999", m.Epoch + "-x", strings.Repeat("9", 5000)} {
		if _, name, _ := follow(t, url, stranger).next(); name != "snapshot" {
			t.Errorf("Last-Event-ID %.20q is answered with a %s", stranger, name)
		}
	}
}

func TestStreamGivesASignOfLifeEachSecond(t *testing.T) {
	src := newScript()
	_, url := serve(t, Default(), src)
	f := follow(t, url, "")
	f.next()
	line, err := f.read.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, ":") {
		t.Errorf("%q %v", line, err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	cfg := Default()
	cfg.StreamsMax = 2
	src := newScript()
	_, url := serve(t, cfg, src)
	a, b := follow(t, url, ""), follow(t, url, "")
	a.next()
	b.next()
	res, err := http.Get(url + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s", res.Status)
	}
}

// A reader that takes nothing must neither hold up the others nor stay for ever.
func TestASlowReaderIsCutAndHoldsUpNobody(t *testing.T) {
	cfg := Default()
	cfg.WriteTimeout = time.Second
	src := newScript()
	var wide []twin.EdgeView
	for i := range 200 { // 3 MB a delta, to fill the socket's buffers soon
		e := busy("a", fmt.Sprintf("svc-%d", i), 1)
		e.Why = []string{strings.Repeat("x", 15000)}
		wide = append(wide, e)
	}
	src.publish(wide...)
	s, url := serve(t, cfg, src)
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprint(c, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	f := follow(t, url, "")
	_, _, m := f.next()
	limit := time.Now().Add(15 * time.Second)
	for rate := 2.0; ; rate++ {
		if time.Now().After(limit) {
			t.Fatal("the slow reader is still served")
		}
		for i := range wide {
			wide[i].RatePerSecond = rate
		}
		src.publish(append([]twin.EdgeView(nil), wide...)...)
		_, _, d := f.next()
		if d.From != m.Version {
			t.Fatalf("the quick reader got a delta from %d, has %d", d.From, m.Version)
		}
		m = d
		s.publisher.mu.Lock()
		n := len(s.publisher.clients)
		s.publisher.mu.Unlock()
		if n == 1 {
			return
		}
	}
}

// TestDeltasAddUpToTheWhole plays random changes to a client that skips frames.
func TestDeltasAddUpToTheWhole(t *testing.T) {
	src := newScript()
	p := newPublisher(src)
	state := map[string]string{}
	base := p.newest()
	rnd := uint64(1)
	for step := range 200 {
		var edges []twin.EdgeView
		for i := range 8 {
			rnd = rnd*6364136223846793005 + 1442695040888963407
			if rnd>>61 != 0 {
				edges = append(edges, busy("a", fmt.Sprintf("s%d", i), float64(rnd>>62)))
			}
		}
		src.publish(edges...)
		if step%3 == 0 {
			p.newest() // a frame that this client never sees
			continue
		}
		next := p.newest()
		var d message
		if err := json.Unmarshal(next.since(base, "e"), &d); err != nil {
			t.Fatal(err)
		}
		apply(state, d)
		var whole message
		if err := json.Unmarshal(next.full("e"), &whole); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		apply(want, whole)
		if !reflect.DeepEqual(state, want) {
			t.Fatalf("step %d: %v, want %v", step, state, want)
		}
		base = next
	}
	if len(p.frames) > framesKept {
		t.Errorf("%d frames kept", len(p.frames))
	}
}

func apply(state map[string]string, m message) {
	for _, e := range m.Events {
		state[fmt.Sprint("event ", e.ID)] += "x" // twice would show
	}
	for _, raw := range m.Edges {
		var e edgeLine
		_ = json.Unmarshal(raw, &e)
		state[e.Src+">"+e.Dst] = string(raw)
	}
	if m.Gone != nil {
		for _, id := range m.Gone.Edges {
			delete(state, id)
		}
	}
}

func TestGuardTurnsOthersAway(t *testing.T) {
	cfg := Default()
	cfg.AllowedHosts = []string{"floor.example"}
	h := New(cfg, newScript(), slog.New(slog.DiscardHandler)).Handler()
	for _, row := range []struct {
		name, method, host string
		headers            map[string]string
		want               int
	}{
		{"loopback", "GET", "127.0.0.1:7480", nil, 200},
		{"loopback v6", "GET", "[::1]:7480", nil, 200},
		{"other loopback", "GET", "127.0.0.3", nil, 200},
		{"localhost", "GET", "LOCALHOST:7480", nil, 200},
		{"configured", "GET", "floor.example:7480", nil, 200},
		{"head", "HEAD", "localhost", nil, 200},
		{"rebound name", "GET", "evil.example:7480", nil, 421},
		{"near miss", "GET", "localhost.evil.example", nil, 421},
		{"other address", "GET", "10.0.0.1:7480", nil, 421},
		{"no host", "GET", "", nil, 421},
		{"post", "POST", "localhost", nil, 405},
		{"put", "PUT", "localhost", nil, 405},
		{"options", "OPTIONS", "localhost", nil, 405},
		{"own origin", "GET", "localhost:7480", map[string]string{"Origin": "http://localhost:7480"}, 200},
		{"foreign origin", "GET", "localhost:7480", map[string]string{"Origin": "https://evil.example"}, 403},
		{"null origin", "GET", "localhost:7480", map[string]string{"Origin": "null"}, 403},
		{"other port", "GET", "localhost:7480", map[string]string{"Origin": "http://localhost:1"}, 403},
		{"cross-site fetch", "GET", "localhost", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"same-site fetch", "GET", "localhost", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"frame", "GET", "localhost", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"link", "GET", "localhost", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
	} {
		for _, path := range []string{"/", "/api/v1/snapshot"} {
			r := httptest.NewRequest(row.method, path, nil)
			r.Host = row.host
			for k, v := range row.headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != row.want {
				t.Errorf("%s %s: %d, want %d", row.name, path, w.Code, row.want)
			}
			csp := w.Header().Get("Content-Security-Policy")
			if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") ||
				!strings.Contains(csp, "frame-ancestors 'none'") || w.Header().Get("X-Content-Type-Options") != "nosniff" || len(w.Result().Cookies()) != 0 {
				t.Errorf("%s: headers %v", row.name, w.Header())
			}
		}
	}
}

// FuzzHostAllowed: whatever is let in is one of the few names.
func FuzzHostAllowed(f *testing.F) {
	for _, seed := range []string{"localhost:1", "[::1]:7480", "127.0.0.1", "floor.example:x", "localhost.evil", "[[::1]]", "::ffff:127.0.0.1", "127.0.0.1.evil", "localhost@evil"} {
		f.Add(seed)
	}
	cfg := Default()
	cfg.AllowedHosts = []string{"floor.example"}
	legal := regexp.MustCompile(`^\[*(localhost|floor\.example|127\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f:.]*:[0-9a-f:.]*1?(%[^\]]+)?)\]*(:[^:]*)?$`)
	f.Fuzz(func(t *testing.T, host string) {
		if !cfg.hostAllowed(host) {
			return
		}
		if !legal.MatchString(strings.ToLower(host)) {
			t.Fatalf("%q is let in", host)
		}
	})
}

func TestThePageNamesOnlyItsOwnFilesAndHasNoInlineScript(t *testing.T) {
	assets, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for path, a := range assets {
		total += len(a.data)
		text := string(a.data)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://", "document.cookie", "style=\"", "onclick=\""} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
		if strings.Contains(strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), "http://") {
			t.Errorf("%s names another site", path)
		}
	}
	if total > 300<<10 {
		t.Errorf("the page is %d bytes", total)
	}
	page := string(assets["/"].data)
	for _, part := range strings.Split(page, "\"") {
		if strings.HasPrefix(part, "/ui/") && assets[part].data == nil {
			t.Errorf("the page names %s, which is not there", part)
		}
	}
	if strings.Count(page, "<script") != strings.Count(page, "></script>") {
		t.Error("an inline script")
	}
}

func TestAssetsAreRevalidated(t *testing.T) {
	h := New(Default(), newScript(), slog.New(slog.DiscardHandler)).Handler()
	get := func(path, match string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "localhost"
		r.Header.Set("If-None-Match", match)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	first := get("/ui/app.js", "")
	if first.Code != 200 || first.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	if again := get("/ui/app.js", first.Header().Get("ETag")); again.Code != 304 {
		t.Errorf("%d", again.Code)
	}
	for _, path := range []string{"/ui/", "/ui/nothing.js", "/index.html", "/ui/../server.go", "/api/v1/", "/api/v1/edge?src=x&dst=y", "/api/v1/node?name=x"} {
		if w := get(path, ""); w.Code != 404 && w.Code != 301 && w.Code != 307 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestEdgeAnswersBothSidesAndHistory(t *testing.T) {
	src := newScript()
	e := busy("a", "b", 5)
	e.Client, e.Server = &twin.SideView{Nodes: []string{"h"}}, &twin.SideView{}
	src.publish(e)
	h := New(Default(), src, slog.New(slog.DiscardHandler)).Handler()
	r := httptest.NewRequest("GET", "/api/v1/edge?src=a&dst=b", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var got struct {
		Schema  string
		Edge    twin.EdgeView
		History []twin.Point
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Schema != "fire.edge/v1" || got.Edge.Client == nil || got.Edge.Server == nil || got.History == nil {
		t.Errorf("%v %s", err, w.Body)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := Default()
	cfg.Listen = l.Addr().String()
	s := New(cfg, newScript(), slog.New(slog.DiscardHandler))
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "web.listen") {
		t.Errorf("%v", err)
	}
}

func TestConfigNamesEveryBadField(t *testing.T) {
	bad := map[string]bool{}
	(&Config{Listen: "7480", AllowedHosts: []string{"a_b"}}).Check(func(key, _ string) { bad[key] = true })
	for _, key := range []string{"listen", "allowed_hosts", "streams_max", "write_timeout"} {
		if !bad[key] {
			t.Errorf("%s is accepted", key)
		}
	}
	cfg := Default()
	cfg.AllowedHosts = []string{"floor.example", "10.0.0.1", "::1"}
	cfg.Check(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
}
