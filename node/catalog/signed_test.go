package catalog

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/pki"
	"fire/policy/reason"
)

func authority(t *testing.T, d id.Domain) *pki.Authority {
	t.Helper()
	a, err := pki.OpenAuthority(filepath.Join(t.TempDir(), "ca"), d, func() time.Time { return epoch0 })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOnlyWhatControlSignedIsOpened(t *testing.T) {
	ca := authority(t, domain)
	d := meshOf(t)
	d.SetBundle(ca.Bundle())
	one := Sign(d.State(), epoch0, ca.SignHead)
	state, err := decoded(t, one).Open(nil, ca.Bundle())
	if err != nil || state.Digest() != d.State().Digest() {
		t.Fatalf("%v", err)
	}
	must(d.Drain("", "h1", true, epoch0))
	two := Sign(d.State(), epoch0.Add(time.Second), ca.SignHead)
	delta := decoded(t, two.DeltaFrom(one))
	if same := decoded(t, two.AsDelta(state)); !reflect.DeepEqual(same, delta) {
		t.Fatalf("%+v\n%+v", same, delta)
	}
	next, err := delta.Open(state, ca.Bundle())
	if err != nil || !next.Nodes["h1"].Draining || state.Nodes["h1"].Draining {
		t.Fatalf("%+v, %v", next, err)
	}
	if _, err := one.Open(next, ca.Bundle()); reason.Of(err, 0) != reason.ConfigRejected {
		t.Fatalf("an older version was opened: %v", err)
	}
	if _, err := delta.Open(nil, ca.Bundle()); reason.Of(err, 0) != reason.ConfigRejected {
		t.Fatalf("a delta was opened on nothing: %v", err)
	}

	us := authority(t, id.Domain{Region: "us", Mesh: "floor"})
	for name, change := range map[string]func(*Signed){
		"another state":   func(s *Signed) { s.State.Floor++ },
		"another version": func(s *Signed) { s.Version++; s.State.Version++ },
		"another digest":  func(s *Signed) { s.State.Floor++; s.Digest = s.State.Digest() },
		"another time":    func(s *Signed) { s.SignedAt = s.SignedAt.Add(1) },
		"another domain":  func(s *Signed) { s.Domain = id.Domain{Region: "us", Mesh: "floor"} },
		"no signature":    func(s *Signed) { s.Sig = nil },
		"another signer":  func(s *Signed) { s.Sig = us.SignHead(s.head()) },
		"nothing inside":  func(s *Signed) { s.State = nil },
	} {
		bad := decoded(t, one)
		change(bad)
		if _, err := bad.Open(nil, ca.Bundle()); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestViewPrefersReadyEndpointsAndNeverUsesSickOnes(t *testing.T) {
	d := meshOf(t)
	h1, h2 := linkUp(t, d, "h1", epoch0), linkUp(t, d, "h2", epoch0)
	g1 := register(t, d, "h1", "orders", h1, 0, epoch0)
	g2 := register(t, d, "h2", "orders", h2, 0, epoch0)
	routable := func() (nodes string) {
		v := must(Compile(d.State()))
		for _, e := range v.Routable("orders") {
			nodes += e.Node + e.Addr + " "
		}
		return nodes
	}
	want := func(what, nodes string) {
		t.Helper()
		if got := routable(); got != nodes {
			t.Fatalf("%s: routable are %q, want %q", what, got, nodes)
		}
	}
	want("both ready", "h1h1:7000 h2h2:7000 ")
	d.Unlink("h1", h1, reason.PeerLost, epoch0)
	want("h1 unlinked", "h2h2:7000 ")
	must(d.Health("h2", h2, Health{Lease: g2.Lease}, epoch0))
	want("h2 sick", "h1h1:7000 ")
	h1 = linkUp(t, d, "h1", epoch0)
	want("h1 back", "h1h1:7000 ")
	must(d.Health("h2", h2, Health{Lease: g2.Lease, Healthy: true}, epoch0))
	must(d.Drain("orders", "h2", true, epoch0))
	want("h2 drains", "h1h1:7000 ")
	must(d.DrainSelf("h1", h1, Drain{On: true}, epoch0))
	want("both drain", "")
	must(d.Drain("orders", "h2", false, epoch0))
	want("h2 back", "h2h2:7000 ")
	must(d.Revoke(domain.Node("h2"), "", "", epoch0))
	want("h2 revoked", "")
	must(d.Unrevoke(domain.Node("h2"), epoch0))
	must(d.Revoke(domain.Service("orders"), "", "", epoch0))
	want("the service revoked", "")
	must(d.Unrevoke(domain.Service("orders"), epoch0))
	want("cleared", "h2h2:7000 ")
	must(d.Withdraw("h2", h2, g2.Lease, epoch0))
	want("h2 gone", "")
	if _, err := d.Health("h1", h1, Health{Lease: g1.Lease}, epoch0); err != nil {
		t.Fatal(err)
	}
	v := must(Compile(d.State()))
	if len(v.ByService("orders")) != 1 || !v.Placed("orders", "h1") || v.Placed("orders", "h3") || v.Placed("", "") {
		t.Fatalf("%+v", v.ByService("orders"))
	}
	if n := testing.AllocsPerRun(100, func() { v.Routable("orders"); v.Placed("orders", "h1"); v.Revoked(domain.Node("h1")) }); n > 0 {
		t.Fatalf("%v allocations on the data path", n)
	}
}

func TestChannelsConnectTheirEndsUnlessARuleDeniesIt(t *testing.T) {
	c := policy.DefaultChannel()
	c.Kind, c.Publishers, c.Subscribers = policy.Broadcast, []string{"feed"}, []string{"a", "b"}
	ask := c
	ask.Kind, ask.Publishers, ask.Subscribers = policy.RPC, []string{"a"}, []string{"feed"}
	v := must(Compile(&State{Domain: domain, Channels: map[string]policy.Channel{"md": c, "ask": ask},
		Rules: map[string]policy.Rule{"apart": {Action: policy.Deny, From: []string{"feed"}, To: []string{"b"}}}}))
	for _, w := range []struct {
		src, dst string
		want     []string
	}{{"feed", "a", []string{"ask", "md"}}, {"a", "feed", []string{"ask"}}, {"feed", "b", nil}, {"b", "feed", nil}} {
		if got := v.ChannelsBetween(w.src, w.dst); !slices.Equal(got, w.want) {
			t.Errorf("%s to %s: %v, want %v", w.src, w.dst, got, w.want)
		}
	}
}
