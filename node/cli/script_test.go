package cli

import (
	"context"
	stdflag "flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fire/node/admin"
	"fire/node/demo"
	"fire/policy/reason"
	"fire/transport/meter"
)

var update = stdflag.Bool("update", false, "write the golden parts of testdata/script")

// TestMain lets this test program be `fire`: the scripts start it again as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fire": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := Run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		stop()
		os.Exit(code)
	}})
}

// TestScripts runs the program as its users do. The scripts that need a mesh and not
// just an answer (dev_*.txtar) start `fire dev` themselves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/script", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			if testing.Short() && strings.Contains(env.WorkDir, "dev_") {
				env.T().Skip("a dev floor takes seconds")
			}
			if runtime.NumCPU() < 2 && strings.HasSuffix(env.WorkDir, "script-bench") {
				env.T().Skip("two processes that spin need two cores")
			}
			run := filepath.Join(env.WorkDir, "run")
			env.Setenv("FIRE_RUNTIME_DIR", run)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("NO_COLOR", "")
			return os.Mkdir(run, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mesh":    serveMesh,
			"meter":   writeMeter,
			"exits":   exits,
			"example": writeExample,
			"floor":   writeFloor,
			"until":   until,
			"order":   someOrder,
			"hang":    hang,
			"ended":   endedSocket,
			"mute":    muteSocket,
			"steady":  steady,
			"figures": figures,
			"oneline": oneline,
		},
	})
}

// exits runs fire and wants an exit code: exits 2 edgse.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE [arguments of fire]")
	}
	err := ts.Exec("fire", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("fire %s exits %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// varying is what differs from run to run in an output that is else a promise.
var varying = []struct{ what, as string }{
	{`"pid": [0-9]+`, `"pid": 1`},
	{`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"`, `"TIME"`},
	{`"(took|elapsed)_(ms|ns)": [0-9.e-]+`, `"${1}_${2}": 1`},
}

// steady writes stdout to a file, without what varies: steady FILE. Then cmp FILE GOLDEN.
func steady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: steady FILE")
	}
	out := ts.ReadFile("stdout")
	for _, v := range varying {
		out = regexp.MustCompile(v.what).ReplaceAllString(out, v.as)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(out), 0o600))
}

// until runs fire again and again until its output has the pattern: until PATTERN
// [arguments of fire]. A mesh takes its time; nobody knows how much on a busy machine.
func until(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	for give := time.Now().Add(30 * time.Second); time.Now().Before(give); {
		_ = ts.Exec("fire", args[1:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	ts.Fatalf("fire %s never shows %s", strings.Join(args[1:], " "), args[0])
}

// someOrder puts the identifier of an order that both proxies of a flow have recorded into $ORDER, and
// the index of one of its entries on host-b into $INDEX.
func someOrder(ts *testscript.TestScript, _ bool, _ []string) {
	id := regexp.MustCompile(`"index":([0-9]+),.*"hop":"server-proxy".*"msg_type":"D".*"cl_ord_id":"([^"]+)"`)
	for give := time.Now().Add(30 * time.Second); time.Now().Before(give); {
		ts.Check(ts.Exec("fire", "audit", "tail", "--node", "host-b", "-n", "400", "-o", "jsonl"))
		if m := id.FindStringSubmatch(ts.ReadFile("stdout")); m != nil {
			ts.Setenv("INDEX", m[1])
			ts.Setenv("ORDER", m[2])
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	ts.Fatalf("no order is ever recorded")
}

// serveMesh answers as a mesh would, on the socket where fire looks: mesh [broken|direct].
func serveMesh(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: mesh [broken|direct]")
	}
	broken := len(args) == 1 && args[0] == "broken"
	cfg := admin.Default()
	cfg.Socket = filepath.Join(ts.Getenv("FIRE_RUNTIME_DIR"), "h1.sock")
	f := fakeMesh{broken: broken, direct: len(args) == 1 && args[0] == "direct"}
	s, err := admin.Listen(context.Background(), cfg, f, f, f, slog.New(slog.DiscardHandler))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		if err := <-done; err != nil {
			ts.Logf("admin server: %v", err)
		}
	})
}

// endedSocket leaves the socket of a process that was killed: ended NAME.
func endedSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ended NAME")
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(ts.Getenv("FIRE_RUNTIME_DIR"), args[0]+".sock"), Net: "unix"})
	ts.Check(err)
	ln.SetUnlinkOnClose(false)
	ts.Check(ln.Close())
}

// muteSocket is a process that takes connections and answers nothing: mute NAME.
func muteSocket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mute NAME")
	}
	path := filepath.Join(ts.Getenv("FIRE_RUNTIME_DIR"), args[0]+".sock")
	ln, err := net.Listen("unix", path)
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
}

// writeMeter leaves a meter page as a process does that hangs.
func writeMeter(ts *testscript.TestScript, neg bool, args []string) {
	p, err := meter.Create(filepath.Join(ts.Getenv("FIRE_RUNTIME_DIR"), "h1.meter"), 16)
	ts.Check(err)
	p.Describe("proxy", "h1", "test")
	e := p.Edge(meter.EdgeKey{Src: "strategy-a", Dst: "orders", Side: "out"})
	e.Opened.Add(3)
	e.Closed.Add(1)
	e.Active.Add(2)
	e.Refused.Add(1)
	e.AddReason(uint16(reason.DeniedByDefault))
	e.Requests.Add(1000)
	e.BytesOut.Add(256_000)
	e.BytesIn.Add(1_500_000)
	for range 1000 {
		e.Latency.Record(250 * time.Microsecond)
	}
	ts.Defer(func() { p.Close() }) // which removes the page
}

// writeFloor writes the demonstration floor with more rules: floor FILE [RULES-FILE].
func writeFloor(ts *testscript.TestScript, neg bool, args []string) {
	text := demo.FloorFile()
	if len(args) == 2 {
		text += "\n" + ts.ReadFile(args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// writeExample writes mesh.toml.example, with free ports alone put in so that two
// runs of the tests do not meet: example FILE.
func writeExample(ts *testscript.TestScript, neg bool, args []string) {
	data, err := os.ReadFile("../../mesh.toml.example")
	ts.Check(err)
	text := string(data)
	for _, change := range [][2]string{
		{"\nlisten = \"127.0.0.1:7400\"", "\nlisten = \"127.0.0.1:0\""},
		{"\n#: listen = \"127.0.0.1:7480\"", "\nlisten = \"127.0.0.1:0\""},
		{"\n#: metrics_listen = \"127.0.0.1:7481\"", "\nmetrics_listen = \"127.0.0.1:0\""},
	} {
		if strings.Count(text, change[0]) != 1 {
			ts.Fatalf("the example does not have %q once", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// hang stops the process that answers here, or lets it go on: hang, hang off.
func hang(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 {
		pid, err := strconv.Atoi(ts.Getenv("HUNG"))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, syscall.SIGCONT))
		return
	}
	a := admin.Dial(filepath.Join(ts.Getenv("FIRE_RUNTIME_DIR"), admin.DevName+".sock"))
	defer a.Close()
	info, err := a.Info(context.Background())
	ts.Check(err)
	ts.Setenv("HUNG", strconv.Itoa(info.PID))
	ts.Check(syscall.Kill(info.PID, syscall.SIGSTOP))
	ts.Defer(func() { _ = syscall.Kill(info.PID, syscall.SIGCONT) }) // so that it can end when the script fails
}

// fakeMesh answers every question of the admin API with fixed facts.
type fakeMesh struct{ broken, direct bool }

var then = time.Date(2030, 3, 1, 9, 30, 0, 0, time.UTC)

func (f fakeMesh) Status(context.Context) (admin.Status, error) {
	s := admin.Status{Domain: "eu.floor", Version: 42, FloorVersion: 7, Digest: "sha256:00", Source: "control", Nodes: []admin.NodeStatus{
		{Node: "c1", Address: "10.0.0.1:7400", Release: "0.1.0", Roles: []string{"control"}, State: "SYNCED", Linked: true, Version: 42, LastSeenMS: 12, CertExpires: then},
		{Node: "h1", Address: "10.0.0.2:7400", Zone: "rack-1", Release: "0.1.0", Roles: []string{"proxy"}, State: "SYNCED", Linked: true, Version: 42, LastSeenMS: 80, ApplyMS: 1.5, ClockSkewMS: 0.2, CertExpires: then},
		{Node: "h2", Address: "10.0.0.3:7400", Zone: "rack-2", Release: "0.1.0", Roles: []string{"proxy"}, State: "SYNCED", Linked: true, Version: 42, LastSeenMS: 90, CertExpires: then},
	}}
	if f.broken {
		s.Source, s.SnapshotAgeMS = "snapshot", 95_000
		s.Nodes[2].State, s.Nodes[2].Linked, s.Nodes[2].Reason, s.Nodes[2].Detail = "OFFLINE", false, "peer_lost", "no heartbeat\x1b[31m for 800ms"
		s.Nodes[2].LastSeenMS, s.Nodes[2].Version = 95_000, 41
	}
	return s, nil
}

func (f fakeMesh) Services(context.Context) ([]admin.Service, error) {
	list := []admin.Service{
		{Service: "orders", Protocol: "fix", Port: 9001, Class: "order", Balance: "peak_ewma", Placed: []string{"h1", "h2"}, Endpoints: []admin.Endpoint{
			{Node: "h1", Epoch: 3, Linked: true, Healthy: true}, {Node: "h2", Epoch: 5, Linked: true, Healthy: true}}},
		{Service: "risk", Protocol: "http", Port: 9002, Class: "order", Balance: "least_request", Placed: []string{"h2"}, Endpoints: []admin.Endpoint{
			{Node: "h2", Epoch: 1, Linked: true, Healthy: true}}},
		{Service: "strategy-a", Protocol: "tcp", Class: "order", Balance: "peak_ewma", Placed: []string{"h1"}, Endpoints: []admin.Endpoint{}},
	}
	if f.broken {
		list[1].Endpoints[0].Healthy, list[1].Endpoints[0].Why = false, "GET /healthz: connection refused"
	}
	return list, nil
}

func (f fakeMesh) Edges(context.Context) ([]admin.Edge, error) {
	list := []admin.Edge{
		{Src: "orders", Dst: "risk", Protocol: "http", State: "ok", RatePerSecond: 400, P50NS: 310_000, P99NS: 1_400_000, P999NS: 3_100_000,
			BytesPerSecond: 96_000, ActiveFlows: 4, RequestsTotal: 81_000, Secured: true, Path: "mesh"},
		{Src: "strategy-a", Dst: "orders", Protocol: "fix", State: "ok", RatePerSecond: 2000, P50NS: 95_000, P99NS: 420_000, P999NS: 990_000,
			BytesPerSecond: 512_000, ActiveFlows: 1, RequestsTotal: 405_000, Secured: true, Path: "mesh"},
	}
	if f.broken {
		list[0].State, list[0].Reason, list[0].ErrorRatio, list[0].ErrorsPerSecond, list[0].ErrorsTotal = "error", "no_healthy_endpoint", .25, 100, 900
	}
	return list, nil
}

func (f fakeMesh) Events(context.Context) ([]admin.Event, error) {
	return []admin.Event{{At: then, Kind: "node_linked", Subject: "h1", Text: "h1 is linked"},
		{At: then.Add(time.Second), Kind: "endpoint_unhealthy", Subject: "risk@h2", Text: "GET /healthz: connection refused", Reason: "no_healthy_endpoint"}}, nil
}

func (f fakeMesh) Why(_ context.Context, src, dst string) (admin.Why, error) {
	if dst == "nobody" {
		return admin.Why{Src: src, Dst: dst, Reason: "no_such_service", Refusals: []admin.Refusal{}, Findings: []admin.Finding{
			{OK: true, Step: "service", Text: src + " is declared on the floor"},
			{Step: "service", Text: `no service "nobody" is declared`, Reason: "no_such_service", Next: reason.NoSuchService.Info().Fix}}}, nil
	}
	w := admin.Why{Src: src, Dst: dst, Works: true, Findings: []admin.Finding{
		{OK: true, Step: "service", Text: "risk is a http service on port 9002"},
		{OK: true, Step: "policy", Text: "rule gateway-asks-risk allows it"},
		{OK: true, Step: "endpoints", Text: "1 of 1 is healthy"}}, Refusals: []admin.Refusal{}}
	if f.broken {
		w.Works, w.Reason = false, "no_healthy_endpoint"
		w.Findings[2] = admin.Finding{Step: "endpoints", Text: "0 of 1 is healthy: h2: GET /healthz: connection refused", Reason: "no_healthy_endpoint", Next: "fire services risk"}
		w.Refusals = []admin.Refusal{{At: then, Node: "h1", Side: "out", Src: src, Dst: dst, Reason: "no_healthy_endpoint"}}
	}
	return w, nil
}

func (f fakeMesh) PolicyTry(_ context.Context, q admin.PolicyQuery) (admin.PolicyVerdict, error) {
	v := admin.PolicyVerdict{Src: q.Src, Dst: q.Dst, Allowed: q.Dst == "orders" && q.Path != "/admin", Reason: "denied_by_default", Bundle: "c0ffee00c0ffee00"}
	if v.Allowed {
		v.Reason, v.Rule = "ok", "strategies-trade"
	}
	return v, nil
}

func (f fakeMesh) CA(context.Context) (admin.CA, error) {
	return admin.CA{Domain: "eu.floor", Pin: "sha256:aa", BundleVersion: 1, Roots: []admin.RootInfo{{Pin: "sha256:aa", Active: true, NotBefore: then, NotAfter: then.AddDate(10, 0, 0)}},
		Nodes: []admin.CertInfo{{ID: "spiffe://eu.floor/node/h1", NotBefore: then, NotAfter: then.Add(24 * time.Hour), RenewAt: then.Add(12 * time.Hour), Serial: "7f"}}}, nil
}

func (f fakeMesh) Apply(_ context.Context, r admin.ApplyRequest) (admin.ApplyResult, error) {
	if strings.Contains(r.Text, "prot =") {
		return admin.ApplyResult{FloorVersion: 7, Problems: []string{r.Name + ":2: service.orders.prot: no such key; did you mean \"protocol\"?"}}, nil
	}
	a := admin.ApplyResult{FloorVersion: 8, DryRun: r.DryRun, Changed: true, Changes: []string{"service.orders: port 9001 becomes 9011"},
		Allowed: []string{"strategy-b > orders"}, Denied: []string{}, Problems: []string{}, Nodes: []admin.ApplyNode{
			{Node: "h1", Received: true, Accepted: true, Applied: true, ApplyMS: 1.25}, {Node: "h2", Received: true, Accepted: true, Applied: true, ApplyMS: 2}}}
	if r.DryRun {
		a.FloorVersion, a.Nodes = 7, []admin.ApplyNode{}
	}
	if f.broken && !r.DryRun {
		a.Nodes[1] = admin.ApplyNode{Node: "h2", Received: true, Rejected: true, Reason: "disk_full", Detail: "write snapshot: no space left on device"}
	}
	return a, nil
}

func (f fakeMesh) Rollback(_ context.Context, r admin.RollbackRequest) (admin.ApplyResult, error) {
	if r.Version > 7 {
		return admin.ApplyResult{}, &admin.Error{Reason: "config_rejected", Message: fmt.Sprintf("there is no floor version %d", r.Version), Next: "versions 1 to 7 are kept"}
	}
	return admin.ApplyResult{FloorVersion: 8, Changed: true, Changes: []string{"policy.strategies-trade: gone"}, Allowed: []string{}, Denied: []string{"strategy-a > orders"}, Problems: []string{}, Nodes: []admin.ApplyNode{}}, nil
}

func (f fakeMesh) CreateToken(_ context.Context, r admin.TokenRequest) (admin.TokenAnswer, error) {
	return admin.TokenAnswer{ID: "t-1", Token: "fire1.dGVzdA", Node: r.Node, ExpiresAt: then.Add(time.Duration(r.TTLMS) * time.Millisecond)}, nil
}

func (f fakeMesh) Tokens(context.Context) ([]admin.TokenInfo, error) {
	return []admin.TokenInfo{{ID: "t-1", ExpiresAt: then, State: "open"}, {ID: "t-0", Node: "h1", ExpiresAt: then, UsedBy: "h1", State: "used"}}, nil
}

func (f fakeMesh) Revoke(_ context.Context, r admin.RevokeRequest) (admin.RevokeAnswer, error) {
	return admin.RevokeAnswer{ID: "spiffe://eu.floor/" + r.ID, Undo: r.Undo, Nodes: []admin.ApplyNode{{Node: "h1", Received: true, Accepted: true, Applied: true, ApplyMS: .5}}}, nil
}

func (f fakeMesh) Drain(_ context.Context, r admin.DrainRequest) (admin.DrainAnswer, error) {
	return admin.DrainAnswer{Node: r.Node, Endpoints: []string{"orders@" + r.Node}, Undo: r.Undo, Version: 43}, nil
}

func (f fakeMesh) RotateCA(ctx context.Context, _ admin.RotateRequest) (admin.CA, error) {
	return f.CA(ctx)
}

func (f fakeMesh) Info(context.Context) (admin.Info, error) {
	i := admin.Info{Node: "h1", Domain: "eu.floor", Roles: []string{"proxy"}, Release: "0.1.0", PID: 4242, Linked: !f.broken, Version: 42, MaxProcs: 4, OpenFilesMax: 1 << 20,
		Listeners:    []admin.Listener{{Purpose: "mesh", Address: "10.0.0.2:7400"}},
		Certificates: []admin.CertInfo{{ID: "spiffe://eu.floor/node/h1", NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(23 * time.Hour), RenewAt: time.Now().Add(11 * time.Hour)}}}
	if f.broken {
		i.LinkReason, i.SnapshotAgeMS = "control_unreachable", 95_000
	}
	return i, nil
}

func (f fakeMesh) Flows(context.Context) ([]admin.Flow, error) {
	return []admin.Flow{{ID: "01", Side: "out", Src: "strategy-a", Dst: "orders", Peer: "h2", Protocol: "fix", Since: time.Now().Add(-90 * time.Minute), BytesOut: 1_200_000, BytesIn: 900}}, nil
}

func (f fakeMesh) Direct(_ context.Context, what string, _ url.Values) (any, error) {
	if f.direct {
		return fakeDirect(what)
	}
	return nil, reason.New(reason.DirectUnreachable, "this process has no direct role")
}

func (f fakeMesh) Acted(context.Context, admin.Act) error { return nil }

func (f fakeMesh) AuditStates(context.Context) ([]admin.AuditState, error) { return nil, nil }

func (f fakeMesh) Audit(context.Context, string, []byte, string) (any, error) {
	return nil, &admin.Error{Reason: "usage", Message: "there is no audit log here"}
}

func (f fakeMesh) ChangeDirect(context.Context, string, []byte, string) (any, error) {
	return nil, reason.New(reason.DirectUnreachable, "this process has no direct role")
}

func (f fakeMesh) Refusals(context.Context) ([]admin.Refusal, error) {
	if !f.broken {
		return []admin.Refusal{}, nil
	}
	return []admin.Refusal{{At: then, Node: "h1", Side: "out", Src: "web", Dst: "risk", Reason: "denied_by_default"}}, nil
}
