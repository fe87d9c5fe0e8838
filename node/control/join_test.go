package control

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fire/node/admin"
	"fire/node/catalog"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
	"fire/transport"
	"fire/twin"
)

// joinAs sends one join over a session of its own, as a host that knows no more
// than its token.
func (w *world) joinAs(token *pki.Token, node string, csr []byte) (catalog.JoinAnswer, error) {
	client, server := transport.Pipe(pki.ALPNJoin, transport.ClassControl, transport.PipeEnd{}, transport.PipeEnd{Who: domain.Control("c1")})
	defer client.Close(reason.OK, "")
	w.sessions <- server
	s, err := client.Open(w.t.Context())
	if err != nil {
		return catalog.JoinAnswer{}, err
	}
	r := catalog.JoinRequest{TokenID: token.ID, Secret: token.Secret, Node: node, CSR: csr, Addr: "10.0.0.9:7400"}
	if err := catalog.WriteMessage(s, catalog.JoinBytesMax, &r); err != nil {
		return catalog.JoinAnswer{}, err
	}
	var a catalog.JoinAnswer
	if err := catalog.ReadMessage(s, catalog.JoinBytesMax, &a); err != nil {
		return a, err
	}
	if a.Refuse != nil {
		return a, a.Refuse.Err()
	}
	return a, nil
}

func (w *world) token(node string) *pki.Token {
	w.t.Helper()
	a, err := w.c.CreateToken(w.t.Context(), admin.TokenRequest{Node: node})
	if err != nil {
		w.t.Fatal(err)
	}
	t, err := pki.ParseToken(a.Token)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func newKey(t testing.TB, p id.Principal) *pki.Identity {
	t.Helper()
	k, err := pki.NewKey(p)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestJoinGivesANodeItsCertificateAndMakesItAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token("")
		key := newKey(t, domain.Node("h7"))
		a, err := w.joinAs(token, "h7", key.CSR())
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Install(a.Chain); err != nil {
			t.Fatal(err)
		}
		if a.Node != "h7" || a.Bundle.Pin() != w.c.Bundle().Pin() || !a.Bundle.HasPin(token.Pin) || a.Controls[0] != "127.0.0.1:7400" {
			t.Fatalf("answer %+v", a)
		}
		if n := w.c.View().State.Nodes["h7"]; n.Addr != "10.0.0.9:7400" || n.Linked {
			t.Fatalf("node %+v", n)
		}
		_, err = w.joinAs(token, "h8", newKey(t, domain.Node("h8")).CSR())
		wantCode(t, err, reason.TokenUsed)
		if rows, _ := w.c.Tokens(t.Context()); rows[0].UsedBy != "h7" || rows[0].State != "used" {
			t.Fatalf("tokens %+v", rows)
		}
	})
}

func TestJoinRefusesAndSpendsNoTokenOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1")
		open, named, again := w.token(""), w.token("h5"), w.token("h1")
		csr := newKey(t, domain.Node("h5")).CSR()
		wrong := *open
		wrong.Secret = bytes.Repeat([]byte{7}, 32)
		unknown := *open
		unknown.ID = "0123456789abcdef"
		for name, tc := range map[string]struct {
			token *pki.Token
			node  string
			csr   []byte
			code  reason.Code
		}{
			"wrong secret":        {&wrong, "h5", csr, reason.TokenUnknown},
			"unknown token":       {&unknown, "h5", csr, reason.TokenUnknown},
			"unknown, name taken": {&unknown, "h1", csr, reason.TokenUnknown},
			"another's name":      {named, "h6", csr, reason.TokenUnknown},
			"a taken name":        {open, "h1", csr, reason.NotPermitted},
			"no name at all":      {open, "", csr, reason.NotPermitted},
			"no name of a node":   {open, "../h1", csr, reason.FrameMalformed},
			"no request":          {open, "h5", nil, reason.FrameMalformed},
			"a broken request":    {open, "h5", csr[:len(csr)-3], reason.FrameMalformed},
			"a changed request":   {open, "h5", append(csr[:len(csr)-1:len(csr)-1], csr[len(csr)-1]^1), reason.FrameMalformed},
		} {
			if _, err := w.joinAs(tc.token, tc.node, tc.csr); reason.Of(err, reason.OK) != tc.code {
				t.Errorf("%s: got %v, want %v", name, err, tc.code)
			}
		}
		// Every token is still good, the named one also without saying the name.
		for node, token := range map[string]*pki.Token{"h6": open, "": named, "h1": again} {
			if _, err := w.joinAs(token, node, csr); err != nil {
				t.Errorf("node %q: %v", node, err)
			}
		}
		expired := w.token("")
		time.Sleep(time.Hour + time.Second)
		_, err := w.joinAs(expired, "h8", csr)
		wantCode(t, err, reason.TokenExpired)
	})
}

func TestThousandJoinsWithOneTokenAdmitExactlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		token := w.token("")
		csr := newKey(t, domain.Node("x")).CSR()
		var joiners sync.WaitGroup
		var mu sync.Mutex
		outcome := map[string]int{}
		for i := range 1000 {
			joiners.Go(func() {
				_, err := w.joinAs(token, fmt.Sprintf("h%d", i), csr)
				mu.Lock()
				defer mu.Unlock()
				outcome[reason.Of(err, reason.OK).String()]++
				if err != nil && reason.Of(err, reason.OK) == reason.OK {
					t.Error(err)
				}
			})
		}
		joiners.Wait()
		if outcome["ok"] != 1 || outcome["token_used"] != 999 || len(w.c.View().State.Nodes) != 1 {
			t.Fatalf("outcomes %v, %d members", outcome, len(w.c.View().State.Nodes))
		}
	})
}

func TestJoinHangsOnNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client, server := transport.Pipe(pki.ALPNJoin, transport.ClassControl, transport.PipeEnd{}, transport.PipeEnd{})
		w.sessions <- server
		s, err := client.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte{0, 0, 0})
		time.Sleep(answerTimeout + openingTimeout)
		synctest.Wait()
		select {
		case <-client.Done():
		default:
			t.Fatal("a host that says nothing keeps its session")
		}
	})
}

func TestIssueGivesANodeOnlyWhatIsPlacedOnIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h3")
		ask := func(p id.Principal) catalog.Answer {
			return n.request(catalog.Request{Issue: &catalog.IssueRequest{Principal: p, CSR: newKey(t, p).CSR()}})
		}
		for _, p := range []id.Principal{domain.Node("h3"), domain.Service("risk")} {
			a := ask(p)
			if a.Issue == nil {
				t.Fatalf("%s: %+v", p, a.Refuse)
			}
			leaf, err := x509.ParseCertificate(a.Issue.Chain[0])
			if err != nil || leaf.URIs[0].String() != p.String() || a.Issue.Bundle.Pin() != w.c.Bundle().Pin() {
				t.Fatalf("%v %v", leaf.URIs, err)
			}
		}
		for p, code := range map[id.Principal]reason.Code{
			domain.Node("h1"):                                 reason.NotPermitted,
			domain.Control("c1"):                              reason.NotPermitted,
			domain.Service("orders"):                          reason.NotPlaced,
			domain.Service("nothing"):                         reason.NotPlaced,
			id.Domain{Region: "us", Mesh: "floor"}.Node("h3"): reason.CertWrongDomain,
		} {
			if a := ask(p); a.Refuse == nil || a.Refuse.Code != code {
				t.Fatalf("%s: %+v, want %v", p, a, code)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		events, _ := w.c.Events(t.Context())
		alarms := 0
		for _, e := range events {
			if e.Kind == "refused" && e.Subject == "node h3" {
				alarms++
			}
		}
		if alarms != 5 {
			t.Fatalf("%d alarms, want 5: %+v", alarms, events)
		}
		if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "svc/risk"}); err != nil {
			t.Fatal(err)
		}
		if a := ask(domain.Service("risk")); a.Refuse == nil || a.Refuse.Code != reason.IdentityRevoked {
			t.Fatalf("a revoked service: %+v", a)
		}
	})
}

func TestNodesReadTheMeshAndNeverChangeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h1", healthy("orders"))
		for path, want := range map[string]string{
			"/v1/status":   `"state":"SYNCED"`,
			"/v1/services": `"service":"orders"`,
			"/v1/edges":    `[]`,
			"/v1/events":   `[`,
			"/v1/ca":       `"pin":"sha256:`,
		} {
			a := n.request(catalog.Request{Inspect: &catalog.InspectRequest{Method: "GET", Path: path}})
			if a.Inspect == nil || a.Inspect.Status != 200 || !strings.Contains(string(a.Inspect.Body), want) {
				t.Errorf("%s: %+v", path, a)
			}
		}
		a := n.request(catalog.Request{Inspect: &catalog.InspectRequest{Method: "GET", Path: "/v1/policy/try", Query: "src=risk&dst=orders"}})
		if a.Inspect == nil || !strings.Contains(string(a.Inspect.Body), `"allowed":true`) || !strings.Contains(string(a.Inspect.Body), `"rule":"in"`) {
			t.Errorf("policy: %+v", a)
		}
		for _, path := range []string{"/v1/apply", "/v1/rollback", "/v1/token", "/v1/tokens", "/v1/revoke", "/v1/drain", "/v1/ca/rotate", "/v1/local/info"} {
			for _, method := range []string{"POST", "GET", "get", ""} {
				a := n.request(catalog.Request{Inspect: &catalog.InspectRequest{Method: method, Path: path, Body: []byte(`{"id":"node/h1"}`)}})
				if a.Refuse == nil && a.Inspect.Status == 200 {
					t.Errorf("%s %s was answered: %s", method, path, a.Inspect.Body)
				}
			}
		}
		if a := n.request(catalog.Request{Inspect: &catalog.InspectRequest{Method: "POST", Path: "/v1/status"}}); a.Refuse == nil || a.Refuse.Code != reason.NotPermitted {
			t.Errorf("POST: %+v", a)
		}
		if s := w.c.View().State; s.Floor != 1 || len(s.Revoked) != 0 {
			t.Fatal("the mesh was changed")
		}
	})
}

func TestWhyNamesTheFirstBrokenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.members("h1", "h2", "h3")
		n := w.node("h1", healthy("orders"))
		why := func(src, dst string) admin.Why {
			t.Helper()
			a, err := w.c.Why(t.Context(), src, dst)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		want := func(a admin.Why, code reason.Code, step string) {
			t.Helper()
			for _, f := range a.Findings {
				if !f.OK {
					if a.Works || a.Reason != code.String() || f.Step != step || f.Next == "" {
						t.Fatalf("got %+v", a)
					}
					return
				}
			}
			t.Fatalf("nothing is broken in %+v", a)
		}
		if a := why("risk", "orders"); !a.Works || a.Verdict.Rule != "in" {
			t.Fatalf("got %+v", a)
		}
		want(why("risk", "nothing"), reason.NoSuchService, "service")
		want(why("orders", "risk"), reason.DeniedByDefault, "policy")
		n.say(catalog.NodeMessage{Health: &catalog.Health{Lease: n.lease("orders"), Why: "refused"}})
		synctestWait(t)
		a := why("risk", "orders")
		want(a, reason.NoHealthyEndpoint, "endpoints")
		if !strings.Contains(a.Findings[len(a.Findings)-2].Text, "h1 is unhealthy: refused") {
			t.Fatalf("got %+v", a.Findings)
		}
		n.say(catalog.NodeMessage{Withdraw: new(n.lease("orders"))})
		synctestWait(t)
		want(why("risk", "orders"), reason.NoEndpoint, "endpoints")
		if _, err := w.c.Revoke(t.Context(), admin.RevokeRequest{ID: "svc/risk"}); err != nil {
			t.Fatal(err)
		}
		want(why("risk", "orders"), reason.IdentityRevoked, "identity")
		n.say(catalog.NodeMessage{Report: &twin.Report{Seq: 1, At: time.Now(),
			Edges: []twin.EdgeDelta{{Src: "risk", Dst: "orders", Side: twin.SideOut, Requests: 9, Errors: 9, Reasons: map[string]uint64{"app_unreachable": 9}}}}})
		time.Sleep(time.Second)
		synctest.Wait()
		if a := why("risk", "orders"); a.Edge == nil || a.Edge.Reason != "app_unreachable" {
			t.Fatalf("got %+v", a.Edge)
		}
	})
}
