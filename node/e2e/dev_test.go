package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fire/node/admin"
	"fire/node/direct"
)

// startDev starts a dev floor of its own and returns its runtime folder.
func startDev(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	runtimeDir := t.TempDir()
	args = append([]string{"dev", "--free-ports", "--web", "127.0.0.1:0", "--rate", "200"}, args...)
	p := start(t, "fire dev", fireCommand(t, runtimeDir, args...))
	p.printed(30*time.Second, "Ctrl-C stops it")
	return p, runtimeDir
}

// floorEdges are the calls of the demonstration floor, and what its direct paths carry.
var floorEdges = []string{"desk>blotter", "feed>market-data", "feed>strategy-c", "feed>screen", "gateway>strategy-c", "strategy-c>gateway", "gateway>blotter", "gateway>engine", "gateway>risk", "market-data>engine",
	"strategy-a>gateway", "strategy-a>market-data", "strategy-b>gateway", "strategy-b>market-data"}

func edgesOf(t *testing.T, runtimeDir string) map[string]admin.Edge {
	t.Helper()
	out := map[string]admin.Edge{}
	for _, e := range jsonOf[[]admin.Edge](t, must(t, runtimeDir, "edges", "-o", "json"), "fire.edges/v1") {
		out[e.Src+">"+e.Dst] = e
	}
	return out
}

func TestDevFloorTradesAndIsInspected(t *testing.T) {
	p, dir := startDev(t)
	t.Run("every edge carries traffic under mutual TLS", func(t *testing.T) {
		waitFor(t, 30*time.Second, "all edges with requests and latency", func() bool {
			edges := edgesOf(t, dir)
			for _, name := range floorEdges {
				if e := edges[name]; e.RequestsTotal == 0 || e.P99NS <= 0 || !e.Secured || e.P99NS < e.P50NS {
					return false
				}
			}
			return len(edges) == len(floorEdges)
		})
	})
	t.Run("direct paths are governed and seen", func(t *testing.T) { directIsSeen(t, dir) })
	t.Run("every node is in sync", func(t *testing.T) {
		waitFor(t, 10*time.Second, "three nodes SYNCED", func() bool {
			s := jsonOf[admin.Status](t, must(t, dir, "status", "-o", "json"), "fire.status/v1")
			return len(s.Nodes) == 3 && !slices.ContainsFunc(s.Nodes, func(n admin.NodeStatus) bool { return n.State != "SYNCED" })
		})
	})
	t.Run("why names the missing rule", func(t *testing.T) {
		out, _, code := ask(t, dir, "why", "strategy-a", "risk")
		if code != 3 || !strings.Contains(out, "denied_by_default") {
			t.Errorf("exit %d\n%s", code, out)
		}
		if out, _, code := ask(t, dir, "why", "strategy-a", "gateway"); code != 0 {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
	t.Run("policy try names the deciding rule", func(t *testing.T) {
		for _, tc := range []struct {
			path, want string
			code       int
		}{{"/orders", "reading", 0}, {"/orders/17", "reading", 0}, {"/fills", "denied_by_default", 3}, {"/orders/../fills", "http_path_unclean", 3}} {
			out, _, code := ask(t, dir, "policy", "try", "desk", "blotter", "--http", "GET", tc.path)
			if code != tc.code || !strings.Contains(out, tc.want) {
				t.Errorf("GET %s: exit %d\n%s", tc.path, code, out)
			}
		}
	})
	t.Run("the map serves the same floor", func(t *testing.T) { mapServes(t, dir) })
	t.Run("stat reads a stopped process", func(t *testing.T) { statOfStopped(t, p, dir) })
	t.Run("Ctrl-C ends it with exit 0 and a summary", func(t *testing.T) {
		p.signal(syscall.SIGINT)
		<-p.done
		if p.err != nil || !strings.Contains(p.output(), "strategy-a:") || !strings.Contains(p.output(), "stopped after") {
			t.Errorf("ended with %v:\n%s", p.err, tail(p.output(), 20))
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// directIsSeen looks at the floor's direct paths with every verb, cuts one and lets it come
// back.
func directIsSeen(t *testing.T, dir string) {
	for name, e := range edgesOf(t, dir) {
		if name == "feed>screen" {
			if e.Protocol != "udp" {
				t.Errorf("%s is over %s", name, e.Protocol)
			}
			continue
		}
		if direct := e.Protocol == "shm"; direct != slices.Contains([]string{"feed>strategy-c", "gateway>strategy-c", "strategy-c>gateway"}, name) {
			t.Errorf("%s is over %s", name, e.Protocol)
		}
	}
	rings := jsonOf[[]direct.At[direct.Ring]](t, must(t, dir, "ring", "ls", "-o", "json"), "fire.rings/v2")
	far := 0
	rings = slices.DeleteFunc(rings, func(r direct.At[direct.Ring]) bool {
		if !r.Value.Writer.Far {
			return false
		}
		far++
		if r.Node != "host-a" || r.Value.Writer.Node != "host-b" || r.Value.Stat.Messages == 0 || r.Value.Readers[0].Service != "screen" {
			t.Errorf("what comes from another host: %+v", r)
		}
		return true
	})
	if len(rings) != 3 || far != 1 {
		t.Fatalf("%+v", rings)
	}
	for _, r := range rings {
		if r.Node != "host-b" || r.Value.Stat.Messages == 0 || len(r.Value.Readers) < 1 || r.Value.Readers[0].State != "reading" || r.Value.Writer.PID == 0 {
			t.Errorf("%+v", r)
		}
	}
	if out := must(t, dir, "ring", "tail", "ticks", "--count", "3", "-o", "jsonl"); strings.Count(out, `"fire.ring.tail/v1"`) != 3 {
		t.Errorf("ring tail:\n%s", out)
	}
	if out := must(t, dir, "ring", "stat", "orders", "--every", "100ms", "--count", "2"); strings.Count(out, "RING") != 2 {
		t.Errorf("ring stat:\n%s", out)
	}
	if out := must(t, dir, "why", "strategy-c", "gateway"); !strings.Contains(out, "channel.orders connects them") {
		t.Errorf("why:\n%s", out)
	}
	if out := must(t, dir, "channel", "subscribe", "ticks", "--as", "strategy-c", "--wait", "poll", "--cpu", "0", "--count", "3", "--attach", filepath.Join(dir, "_dev-host-b.attach")); strings.Count(out, "feed ") != 3 {
		t.Errorf("channel subscribe:\n%s", out)
	}
	must(t, dir, "channel", "try", "ticks", "strategy-c", "--side", "subscribe")
	if out, _, code := ask(t, dir, "channel", "try", "ticks", "feed", "--side", "subscribe"); code != 3 || !strings.Contains(out, "denied_by_default") {
		t.Errorf("channel try: exit %d\n%s", code, out)
	}
	if _, errs, code := ask(t, dir, "ring", "tail", "nothing"); code != 1 || !strings.Contains(errs, "fire ring ls") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if out := must(t, dir, "channel", "revoke", "ticks", "strategy-c", "--why", "test"); !strings.Contains(out, "1 end was ended") {
		t.Errorf("channel revoke:\n%s", out)
	}
	if out := must(t, dir, "channel", "ls"); !strings.Contains(out, "strategy-c by uid") {
		t.Errorf("channel ls:\n%s", out)
	}
	reads := func() bool {
		r := jsonOf[[]direct.At[direct.Ring]](t, must(t, dir, "ring", "stat", "ticks", "--node", "host-b", "-o", "json"), "fire.ring.stat/v2")[0].Value
		return slices.ContainsFunc(r.Readers, func(x direct.RingReader) bool { return x.Service == "strategy-c" && x.State == "reading" })
	}
	if reads() {
		t.Error("who is cut reads on")
	}
	must(t, dir, "channel", "revoke", "ticks", "strategy-c", "--undo")
	waitFor(t, 20*time.Second, "the strategy reads again", reads)
	if out := must(t, dir, "channel", "paths", "ticks"); !strings.Contains(out, "from host-b") || !strings.Contains(out, "to host-a") {
		t.Errorf("channel paths:\n%s", out)
	}
	if out := must(t, dir, "why", "feed", "screen"); !strings.Contains(out, "from host-b to host-a over encrypted datagrams") {
		t.Errorf("why:\n%s", out)
	}
}

func mapServes(t *testing.T, dir string) {
	info := localInfo(t, dir)
	r, err := http.Get(info.MapURL + "api/v1/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 || !strings.Contains(string(b), "strategy-a") {
		t.Errorf("%d %v %.200s", r.StatusCode, err, b)
	}
	// A page of another site that resolves to this address must get nothing.
	q, err := http.NewRequest("GET", info.MapURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = "evil.example"
	if r, err := http.DefaultClient.Do(q); err != nil || r.StatusCode/100 != 4 {
		t.Errorf("a foreign Host is answered: %v %v", r, err)
	}
}

func localInfo(t *testing.T, dir string) admin.Info {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.sock"))
	if err != nil || len(found) != 1 {
		t.Fatalf("sockets %v, %v", found, err)
	}
	c := admin.Dial(found[0])
	defer c.Close()
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// statOfStopped reads the counters of a process that cannot answer.
func statOfStopped(t *testing.T, p *process, dir string) {
	pages := localInfo(t, dir).MeterPages
	if len(pages) != 3 {
		t.Fatalf("meter pages %v", pages)
	}
	p.signal(syscall.SIGSTOP)
	defer p.signal(syscall.SIGCONT)
	out := must(t, dir, "stat", "-o", "json")
	var any struct {
		Schema string `json:"schema"`
		Data   []json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &any); err != nil || len(any.Data) == 0 || !strings.Contains(out, "strategy-a") {
		t.Errorf("%v in\n%.400s", err, out)
	}
}

func TestDevKeepsItsStateWhenAsked(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	for round := range 2 {
		p, dir := startDev(t, "--dir", state)
		s := jsonOf[admin.Status](t, must(t, dir, "status", "-o", "json"), "fire.status/v1")
		if len(s.Nodes) != 3 || s.FloorVersion != 1 {
			t.Fatalf("round %d: %+v", round, s)
		}
		if err := p.stop(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if st, err := os.Stat(state); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("state folder %v, %v", st.Mode(), err)
	}
}

func TestDevRefusesToBindBeyondLoopback(t *testing.T) {
	_, errs, code := ask(t, t.TempDir(), "dev", "--web", "0.0.0.0:7480")
	if code == 0 || !strings.Contains(errs, "loopback") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// within waits for what must be so within a time, the last look included.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	begun := time.Now()
	waitFor(t, 5*time.Second, what, ok)
	took := time.Since(begun)
	t.Logf("%s after %v", what, took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("%s after %v only", what, took)
	}
}

func TestRevokeAndPolicyCutWhatTheyMeanAndNothingElse(t *testing.T) {
	_, dir := startDev(t)
	waitFor(t, 30*time.Second, "traffic from both strategies", func() bool {
		e := edgesOf(t, dir)
		return e["strategy-a>gateway"].ActiveFlows > 0 && e["strategy-b>gateway"].ActiveFlows > 0
	})
	flows := func() map[string]string { // id by edge, of the client's side
		out := map[string]string{}
		for _, f := range jsonOf[[]admin.Flow](t, must(t, dir, "flows", "-o", "json"), "fire.flows/v1") {
			if f.Side == "out" && f.Protocol != "http" {
				out[f.Src+">"+f.Dst] = f.ID
			}
		}
		return out
	}
	before := flows()
	must(t, dir, "revoke", "svc/strategy-a", "--why", "test")
	within(t, time.Second, "strategy-a cut", func() bool {
		now := flows()
		return now["strategy-a>gateway"] == "" && now["strategy-a>market-data"] == ""
	})
	after := flows()
	for _, keep := range []string{"strategy-b>gateway", "strategy-b>market-data", "gateway>engine"} {
		if before[keep] == "" || after[keep] != before[keep] {
			t.Errorf("%s was flow %q, is %q: revoking strategy-a must not touch it", keep, before[keep], after[keep])
		}
	}
	out, _, code := ask(t, dir, "why", "strategy-a", "gateway")
	if code != 3 || !strings.Contains(out, "identity_revoked") {
		t.Errorf("why: exit %d\n%s", code, out)
	}
	must(t, dir, "revoke", "svc/strategy-a", "--undo")
	waitFor(t, 20*time.Second, "strategy-a back", func() bool { return flows()["strategy-a>gateway"] != "" })

	floor := strings.Replace(must(t, dir, "demo", "floor"), `from = ["strategy-a", "strategy-b"]
to = ["gateway"]`, `from = ["strategy-b"]
to = ["gateway"]`, 1)
	path := writeFile(t, t.TempDir(), "floor.toml", floor)
	before = flows()
	if out := must(t, dir, "apply", "-f", path, "--dry-run"); !strings.Contains(out, "strategy-a > gateway") {
		t.Errorf("the dry run does not name what it would deny:\n%s", out)
	}
	if now := flows(); now["strategy-a>gateway"] != before["strategy-a>gateway"] {
		t.Error("a dry run cut a connection")
	}
	must(t, dir, "apply", "-f", path)
	if out, _, _ := ask(t, dir, "why", "strategy-a", "gateway"); !strings.Contains(out, "policy_changed") && !strings.Contains(out, "denied_by_default") {
		t.Errorf("why does not name the policy:\n%s", out)
	}
	within(t, time.Second, "strategy-a cut by policy", func() bool { return flows()["strategy-a>gateway"] == "" })
	if now := flows(); now["strategy-b>gateway"] != before["strategy-b>gateway"] {
		t.Error("a policy change cut a connection that it allows")
	}
	must(t, dir, "rollback")
	waitFor(t, 20*time.Second, "strategy-a allowed again", func() bool { return flows()["strategy-a>gateway"] != "" })
}
