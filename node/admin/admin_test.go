package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"fire/policy/reason"
)

// mesh is a backend that answers from fixed facts and notes what was asked of it.
type mesh struct {
	applied []ApplyRequest
	down    bool

	mu      sync.Mutex
	acts    []Act
	stalled bool // no change finds room in the audit log
}

func (m *mesh) Status(context.Context) (Status, error) {
	if m.down {
		return Status{}, reason.New(reason.ControlUnreachable, "no control answers")
	}
	return Status{Domain: "eu.floor", Version: 7}, nil
}
func (m *mesh) Services(context.Context) ([]Service, error) {
	return []Service{{Service: "orders"}}, nil
}
func (m *mesh) Edges(context.Context) ([]Edge, error) {
	return []Edge{{Src: "a", Dst: "b", P50NS: 5}}, nil
}
func (m *mesh) Events(context.Context) ([]Event, error) { return nil, nil }
func (m *mesh) Why(_ context.Context, src, dst string) (Why, error) {
	if dst == "nobody" {
		return Why{}, reason.New(reason.NoSuchService, "nobody")
	}
	return Why{Src: src, Dst: dst}, nil
}
func (m *mesh) PolicyTry(_ context.Context, q PolicyQuery) (PolicyVerdict, error) {
	return PolicyVerdict{Src: q.Src, Dst: q.Dst, Rule: fmt.Sprintf("%d %s %s", q.Port, q.Method, q.Path)}, nil
}
func (m *mesh) CA(context.Context) (CA, error) { return CA{Pin: "sha256:00"}, nil }
func (m *mesh) Apply(_ context.Context, r ApplyRequest) (ApplyResult, error) {
	m.applied = append(m.applied, r)
	return ApplyResult{FloorVersion: 2}, nil
}
func (m *mesh) Rollback(context.Context, RollbackRequest) (ApplyResult, error) {
	return ApplyResult{FloorVersion: 1}, nil
}
func (m *mesh) CreateToken(context.Context, TokenRequest) (TokenAnswer, error) {
	return TokenAnswer{Token: "fire1.x"}, nil
}
func (m *mesh) Tokens(context.Context) ([]TokenInfo, error) { return []TokenInfo{{ID: "t"}}, nil }
func (m *mesh) Revoke(_ context.Context, r RevokeRequest) (RevokeAnswer, error) {
	return RevokeAnswer{ID: r.ID}, nil
}
func (m *mesh) Drain(_ context.Context, r DrainRequest) (DrainAnswer, error) {
	return DrainAnswer{Node: r.Node}, nil
}
func (m *mesh) RotateCA(context.Context, RotateRequest) (CA, error) { return CA{}, nil }
func (m *mesh) Info(context.Context) (Info, error)                  { return Info{Node: "h1", PID: os.Getpid()}, nil }
func (m *mesh) Flows(context.Context) ([]Flow, error)               { return []Flow{}, nil }
func (m *mesh) Refusals(context.Context) ([]Refusal, error)         { return []Refusal{}, nil }
func (m *mesh) Direct(_ context.Context, what string, q url.Values) (any, error) {
	return []string{what, q.Get("q")}, nil
}
func (m *mesh) Acted(_ context.Context, a Act) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acts = append(m.acts, a)
	if m.stalled && a.Change && !a.Done {
		return reason.New(reason.AuditStalled, "injected")
	}
	return nil
}

func (m *mesh) AuditStates(context.Context) ([]AuditState, error) {
	return []AuditState{{Node: "h1"}}, nil
}

func (m *mesh) Audit(_ context.Context, what string, body []byte, by string) (any, error) {
	return map[string]string{"what": what, "body": string(body), "by": by}, nil
}

func (m *mesh) ChangeDirect(_ context.Context, what string, body []byte, by string) (any, error) {
	return []string{what, string(body), by}, nil
}

func serve(t *testing.T, cfg Config, m *mesh, c Changer) string {
	t.Helper()
	if cfg.Socket == "" {
		cfg.Socket = filepath.Join(t.TempDir(), "a.sock")
	}
	s, err := Listen(t.Context(), cfg, m, c, m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, err := os.Stat(s.Path()); err == nil {
			t.Error("the socket file outlives the server")
		}
	})
	return s.Path()
}

func TestClientAndServerAgreeOnEveryVerb(t *testing.T) {
	m := &mesh{}
	c := Dial(serve(t, Default(), m, m))
	defer c.Close()
	ctx := t.Context()
	check := func(name string, err error, ok bool) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: ok=%v err=%v", name, ok, err)
		}
	}
	st, err := c.Status(ctx)
	check("status", err, st.Version == 7)
	sv, err := c.Services(ctx)
	check("services", err, len(sv) == 1 && sv[0].Service == "orders")
	ed, err := c.Edges(ctx)
	check("edges", err, len(ed) == 1 && ed[0].P50NS == 5)
	_, err = c.Events(ctx)
	check("events", err, true)
	why, err := c.Why(ctx, "a b", "c&d")
	check("why", err, why.Src == "a b" && why.Dst == "c&d")
	pv, err := c.PolicyTry(ctx, PolicyQuery{Src: "a", Dst: "b", Port: 8080, Method: "GET", Path: "/x?y=1&z"})
	check("policy try", err, pv.Rule == "8080 GET /x?y=1&z")
	ca, err := c.CA(ctx)
	check("ca", err, ca.Pin == "sha256:00")
	in, err := c.Info(ctx)
	check("info", err, in.PID == os.Getpid())
	_, err = c.Flows(ctx)
	check("flows", err, true)
	_, err = c.Refusals(ctx)
	check("refusals", err, true)
	ap, err := c.Apply(ctx, ApplyRequest{Name: "floor.toml", Text: "x", DryRun: true})
	check("apply", err, ap.FloorVersion == 2 && len(m.applied) == 1 && m.applied[0].DryRun)
	rb, err := c.Rollback(ctx, RollbackRequest{})
	check("rollback", err, rb.FloorVersion == 1)
	tk, err := c.CreateToken(ctx, TokenRequest{})
	check("token", err, tk.Token == "fire1.x")
	tl, err := c.Tokens(ctx)
	check("tokens", err, len(tl) == 1)
	rv, err := c.Revoke(ctx, RevokeRequest{ID: "svc/a"})
	check("revoke", err, rv.ID == "svc/a")
	dr, err := c.Drain(ctx, DrainRequest{Node: "h1"})
	check("drain", err, dr.Node == "h1")
	read, err := AskDirect[[]string](ctx, c, "rings", url.Values{"q": {"a b"}})
	check("direct", err, len(read) == 2 && read[0] == "rings" && read[1] == "a b")
	told, err := TellDirect[[]string](ctx, c, "revoke", map[string]string{"channel": "md"})
	check("change direct", err, len(told) == 3 && told[1] == `{"channel":"md"}` && told[2] == fmt.Sprint("uid ", os.Geteuid()))
	_, err = c.RotateCA(ctx, RotateRequest{Step: "prepare"})
	check("rotate", err, true)
}

func TestErrorsKeepReasonAndNextStep(t *testing.T) {
	m := &mesh{down: true}
	c := Dial(serve(t, Default(), m, nil))
	defer c.Close()
	for name, tc := range map[string]struct {
		err  func() error
		want string
	}{
		"control down":    {func() error { _, err := c.Status(t.Context()); return err }, "control_unreachable"},
		"no such service": {func() error { _, err := c.Why(t.Context(), "a", "nobody"); return err }, "no_such_service"},
		"no control role": {func() error { _, err := c.Apply(t.Context(), ApplyRequest{}); return err }, "not_permitted"},
		"unknown path": {func() error {
			status, body, err := c.get(t.Context(), "/v1/nonsense", nil)
			if err != nil {
				return err
			}
			_, err = decode[Status](status, body)
			return err
		}, "usage"},
	} {
		err := tc.err()
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason != tc.want || e.Message == "" || e.Next == "" {
			t.Errorf("%s: got %v, want reason %s with a message and a next step", name, err, tc.want)
		}
	}
}

func TestRemoteAnswersLikeControl(t *testing.T) {
	m := &mesh{}
	r := Remote{Ask: func(ctx context.Context, path string, q url.Values) (int, []byte, error) {
		status, body := Answer(ctx, m, path, q)
		return status, body, nil
	}}
	st, err := r.Status(t.Context())
	if err != nil || st.Version != 7 {
		t.Fatalf("got %+v, %v", st, err)
	}
	if _, err := r.PolicyTry(t.Context(), PolicyQuery{Src: "a", Dst: "b"}); err != nil {
		t.Fatal(err)
	}
	status, body := Answer(t.Context(), m, "/v1/policy/try", map[string][]string{"port": {"70000"}})
	var e Error
	if json.Unmarshal(body, &e) != nil || status != http.StatusBadRequest || !strings.Contains(e.Message, "70000") {
		t.Fatalf("a bad port gives %d %s", status, body)
	}
}

func TestStrangerMayReadButNotChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	dir, err := os.MkdirTemp("", "fire-admin-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &mesh{}
	exe, err := copySelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ readers, want string }{{"everyone", "read ok, change not_permitted"}, {"owner", "read not_permitted, change not_permitted"}} {
		path := serve(t, Config{Socket: filepath.Join(dir, tc.readers+".sock"), Readers: tc.readers}, m, m)
		cmd := exec.Command(exe, "-test.run=^TestActAsStranger$", "-test.v")
		cmd.Env = append(os.Environ(), "FIRE_STRANGER_SOCKET="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("readers=%s: want %q in the stranger's output, got %v\n%s", tc.readers, tc.want, err, out)
		}
	}
	if len(m.applied) != 0 {
		t.Fatal("a stranger's change went through")
	}
}

// TestActAsStranger runs in the re-executed binary under another uid.
func TestActAsStranger(t *testing.T) {
	path := os.Getenv("FIRE_STRANGER_SOCKET")
	if path == "" {
		t.Skip("only runs as the stranger of TestStrangerMayReadButNotChange")
	}
	c := Dial(path)
	word := func(err error) string {
		if e, ok := errors.AsType[*Error](err); ok {
			return e.Reason
		}
		return map[bool]string{true: "ok", false: fmt.Sprint(err)}[err == nil]
	}
	_, readErr := c.Status(context.Background())
	_, changeErr := c.Apply(context.Background(), ApplyRequest{})
	t.Logf("read %s, change %s", word(readErr), word(changeErr))
}

func copySelf(dir string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "admin.test")
	return to, os.WriteFile(to, b, 0o755)
}

func TestListenRefusesALiveSocketAndTakesADeadOne(t *testing.T) {
	m := &mesh{}
	path := serve(t, Default(), m, m)
	if _, err := Listen(t.Context(), Config{Socket: path}, m, m, m, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("a live socket was taken over: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "dead.sock")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(t.Context(), Config{Socket: dead, Readers: "owner"}, m, m, m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	if st, err := os.Stat(dead); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
}

func TestChoosePrefersTheDevFloorAndRefusesToGuess(t *testing.T) {
	cases := []struct {
		alive, denied []string
		want, reason  string
	}{
		{[]string{"/run/fire/h1.sock"}, nil, "/run/fire/h1.sock", ""},
		{[]string{"/run/fire/h1.sock", "/run/fire/_dev.sock"}, nil, "/run/fire/_dev.sock", ""},
		{[]string{"/run/fire/h1.sock", "/run/fire/h2.sock"}, nil, "", "usage"},
		{nil, []string{"/run/fire/h1.sock"}, "", "not_permitted"},
		{nil, nil, "", "not_running"},
	}
	for i, tc := range cases {
		got, _, err := choose(tc.alive, tc.denied)
		e, _ := errors.AsType[*Error](err)
		if got != tc.want || (e == nil) != (tc.reason == "") || e != nil && e.Reason != tc.reason {
			t.Errorf("case %s: got %q, %v", strconv.Itoa(i), got, err)
		}
	}
}

func TestCheckNamesBadValues(t *testing.T) {
	c := Config{Readers: "all", Socket: strings.Repeat("x", 200)}
	var keys []string
	c.Check(func(key, _ string) { keys = append(keys, key) })
	if strings.Join(keys, " ") != "readers metrics_listen socket" {
		t.Fatalf("got %v", keys)
	}
}

// TestAChangeIsRecordedBeforeAndAfter, and not made where it cannot be.
func TestAChangeIsRecordedBeforeAndAfter(t *testing.T) {
	m := &mesh{}
	c := Dial(serve(t, Default(), m, m))
	defer c.Close()
	if _, err := c.Apply(t.Context(), ApplyRequest{Name: "floor.toml", Text: "x"}); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	acts := m.acts
	m.stalled = true
	m.mu.Unlock()
	if len(acts) != 2 || acts[0].Done || !acts[1].Done || acts[1].Result != "ok" || acts[0].Verb != "/v1/apply" || len(acts[0].Request) != 64 || acts[0].By == "" {
		t.Errorf("%+v", acts)
	}
	_, err := c.Apply(t.Context(), ApplyRequest{Name: "floor.toml", Text: "y"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != reason.AuditStalled.String() || len(m.applied) != 1 {
		t.Errorf("%v, %d applied", err, len(m.applied))
	}
	if _, err := c.Services(t.Context()); err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.acts[len(m.acts)-1]; a.Change || a.Verb != "/v1/services" {
		t.Errorf("%+v", a)
	}
}
