package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"fire/policy"
	"fire/policy/id"
	"fire/policy/reason"

	"pgregory.net/rapid"
)

var (
	domain = id.Domain{Region: "eu", Mesh: "floor"}
	epoch0 = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
)

func testLimits() Limits {
	l := DefaultLimits()
	l.SeqReserve = 20 // small, so that tests run out of it
	return l
}

func service(nodes ...string) Service {
	s := DefaultService()
	s.Port, s.Nodes = 9000, nodes
	return s
}

func allow(from, to string) policy.Rule {
	return policy.Rule{Action: policy.Allow, From: []string{from}, To: []string{to}}
}

// meshOf is a directory with nodes h1..h3 joined, and orders on h1 and h2.
func meshOf(t testing.TB) *Directory {
	t.Helper()
	d := NewDirectory(domain, testLimits())
	d.Reserve()
	for _, n := range []string{"h1", "h2", "h3"} {
		must(d.Join(n, n+":7000", false, epoch0))
	}
	f := Floor{Services: map[string]Service{"orders": service("h1", "h2"), "risk": service("h1", "h2", "h3")},
		Policies: map[string]policy.Rule{"in": allow("risk", "orders")}}
	if _, _, err := d.ApplyFloor(f, "test", "", epoch0); err != nil {
		t.Fatal(err)
	}
	return d
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func linkUp(t testing.TB, d *Directory, node string, now time.Time) uint64 {
	t.Helper()
	n, _, err := d.Link(node, &Hello{Protocol: 1, Addr: node + ":7000", Zone: "z-" + node}, now)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func register(t testing.TB, d *Directory, node, svc string, n, epoch uint64, now time.Time) Grant {
	t.Helper()
	g, _, err := d.Register(node, n, Claim{Service: svc, Healthy: true, Epoch: epoch}, now)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func wantCode(t testing.TB, err error, c reason.Code) {
	t.Helper()
	if got := reason.Of(err, reason.OK); err == nil || got != c {
		t.Fatalf("got %v; want %v", err, c)
	}
}

func TestLeaseExpiresWhenOwnerDies(t *testing.T) {
	d := meshOf(t)
	n := linkUp(t, d, "h1", epoch0)
	register(t, d, "h1", "orders", n, 0, epoch0)
	if e := d.State().Endpoints["orders@h1"]; !e.Linked || !e.Healthy {
		t.Fatalf("registered endpoint is %+v", e)
	}
	d.Unlink("h1", n, reason.PeerLost, epoch0.Add(time.Second))
	if e := d.State().Endpoints["orders@h1"]; e.Linked || !e.Healthy {
		t.Fatalf("after the session died the endpoint is %+v; want unlinked and still healthy", e)
	}
	at, ok := d.NextExpiry()
	if want := epoch0.Add(3 * time.Second); !ok || !at.Equal(want) {
		t.Fatalf("next expiry %v, %v; want %v", at, ok, want)
	}
	if ev := d.Expire(at.Add(-time.Nanosecond)); ev != nil {
		t.Fatalf("expired too early: %v", ev)
	}
	ev := d.Expire(at)
	if len(ev) != 1 || ev[0].Kind != EndpointRemoved || ev[0].Code != reason.LeaseExpired {
		t.Fatalf("got %v", ev)
	}
	if len(d.State().Endpoints) != 0 {
		t.Fatal("the endpoint is still there")
	}
}

func TestRenewKeepsALeaseAndMakesNoVersion(t *testing.T) {
	d := meshOf(t)
	n := linkUp(t, d, "h1", epoch0)
	g := register(t, d, "h1", "orders", n, 0, epoch0)
	v := d.State().Version
	stale, err := d.Renew("h1", n, []Lease{g.Lease, {Service: "risk", Epoch: 1}}, epoch0.Add(2*time.Second))
	if err != nil || len(stale) != 1 || stale[0].Service != "risk" || stale[0].Code != reason.LeaseExpired {
		t.Fatalf("stale %v, %v", stale, err)
	}
	if d.Expire(epoch0.Add(4*time.Second)) != nil || d.State().Version != v {
		t.Fatal("a renewed lease expired, or a renewal made a version")
	}
}

func TestOlderSessionOfANodeNeverSpeaksForIt(t *testing.T) {
	d := meshOf(t)
	old := linkUp(t, d, "h1", epoch0)
	g := register(t, d, "h1", "orders", old, 0, epoch0)
	linkUp(t, d, "h1", epoch0)
	before := must(d.Clone().Encode())
	_, _, err := d.Register("h1", old, Claim{Service: "orders"}, epoch0)
	wantCode(t, err, reason.EpochStale)
	_, err = d.Renew("h1", old, []Lease{g.Lease}, epoch0)
	wantCode(t, err, reason.EpochStale)
	_, err = d.Health("h1", old, Health{Lease: g.Lease}, epoch0)
	wantCode(t, err, reason.EpochStale)
	_, err = d.Withdraw("h1", old, g.Lease, epoch0)
	wantCode(t, err, reason.EpochStale)
	_, err = d.DrainSelf("h1", old, Drain{On: true}, epoch0)
	wantCode(t, err, reason.EpochStale)
	if ev := d.Unlink("h1", old, reason.PeerLost, epoch0); ev != nil {
		t.Fatalf("the older session's end did %v", ev)
	}
	if after := must(d.Encode()); !bytes.Equal(before, after) || !d.State().Nodes["h1"].Linked {
		t.Fatal("the older session changed the directory")
	}
}

func TestReturningHolderKeepsItsEpochAndAnotherDoesNot(t *testing.T) {
	d := meshOf(t)
	g := register(t, d, "h1", "orders", linkUp(t, d, "h1", epoch0), 0, epoch0)
	again := register(t, d, "h1", "orders", linkUp(t, d, "h1", epoch0), g.Epoch, epoch0)
	if again.Epoch != g.Epoch {
		t.Fatalf("epoch went from %d to %d", g.Epoch, again.Epoch)
	}
	n := linkUp(t, d, "h1", epoch0)
	other := register(t, d, "h1", "orders", n, g.Epoch-1, epoch0)
	if other.Epoch <= g.Epoch {
		t.Fatalf("a claim with another epoch got %d, not above %d", other.Epoch, g.Epoch)
	}
	_, err := d.Health("h1", n, Health{Lease: g.Lease}, epoch0)
	wantCode(t, err, reason.EpochStale)
}

func TestRegisterRefusesWhatTheFloorDoesNotPlace(t *testing.T) {
	d := meshOf(t)
	n := linkUp(t, d, "h3", epoch0)
	_, _, err := d.Register("h3", n, Claim{Service: "orders"}, epoch0)
	wantCode(t, err, reason.NotPlaced)
	_, _, err = d.Register("h3", n, Claim{Service: "nothing"}, epoch0)
	wantCode(t, err, reason.NoSuchService)
}

func TestJoinRefusesATakenNameUnlessTheTokenNamesIt(t *testing.T) {
	d := meshOf(t)
	_, err := d.Join("h1", "", false, epoch0)
	wantCode(t, err, reason.NotPermitted)
	must(d.Join("h1", "", true, epoch0))
	if d.State().Nodes["h1"].Addr != "h1:7000" {
		t.Fatal("a new join without an address lost the old one")
	}
	must(d.Revoke(domain.Node("h1"), "", "", epoch0))
	_, err = d.Join("h1", "", true, epoch0)
	wantCode(t, err, reason.IdentityRevoked)
	_, _, err = d.Link("h1", &Hello{}, epoch0)
	wantCode(t, err, reason.IdentityRevoked)
	_, _, err = d.Link("stranger", &Hello{}, epoch0)
	wantCode(t, err, reason.NotPermitted)
	_, err = d.Revoke(domain.Control("c1"), "", "", epoch0)
	wantCode(t, err, reason.NotPermitted)
	_, err = d.Revoke(id.Domain{Region: "us", Mesh: "floor"}.Node("h1"), "", "", epoch0)
	wantCode(t, err, reason.CertWrongDomain)
}

func TestRestartRemembersEndpointsForOneLeaseAndNumbersGrow(t *testing.T) {
	d := meshOf(t)
	g := register(t, d, "h1", "orders", linkUp(t, d, "h1", epoch0), 0, epoch0)
	must(d.Drain("", "h2", true, epoch0))
	version := d.State().Version
	later := epoch0.Add(time.Hour)
	r, err := DecodeDirectory(must(d.Encode()), testLimits(), later)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Low() {
		t.Fatal("a restarted directory must reserve before it numbers")
	}
	if _, _, err := r.Link("h1", &Hello{}, later); reason.Of(err, 0) != reason.DiskFull {
		t.Fatalf("linked without a reserved number: %v", err)
	}
	r.Reserve()
	s := r.State()
	if e := s.Endpoints["orders@h1"]; e.Linked || e.Epoch != g.Epoch {
		t.Fatalf("remembered endpoint is %+v", e)
	}
	if s.Version <= version || !s.Nodes["h2"].Draining || s.Floor != 1 {
		t.Fatalf("version %d after %d, node %+v", s.Version, version, s.Nodes["h2"])
	}
	if kept := register(t, r, "h1", "orders", linkUp(t, r, "h1", later), g.Epoch, later); kept.Epoch != g.Epoch {
		t.Fatal("the returning holder lost its epoch")
	}
	if len(r.Expire(later.Add(3*time.Second))) != 1 || len(r.State().Endpoints) != 0 {
		t.Fatal("a remembered endpoint must go with its lease")
	}
}

func TestRollbackMakesANewVersionWithTheOldContent(t *testing.T) {
	d := meshOf(t)
	one := d.Current()
	f := Floor{Services: map[string]Service{"orders": service("h1")}}
	register(t, d, "h2", "orders", linkUp(t, d, "h2", epoch0), 0, epoch0)
	v, ev, err := d.ApplyFloor(f, "", "", epoch0)
	if err != nil || v != 2 || len(ev) != 2 || ev[1].Code != reason.NotPlaced {
		t.Fatalf("%d %v %v", v, ev, err)
	}
	if v, _, _ := d.ApplyFloor(f, "", "", epoch0); v != 2 {
		t.Fatalf("the same floor again made version %d", v)
	}
	v, _, err = d.Rollback(0, "", "", epoch0)
	if err != nil || v != 3 || !d.Current().Floor.equal(one.Floor) {
		t.Fatalf("rollback: %d, %v", v, err)
	}
	_, _, err = d.Rollback(9, "", "", epoch0)
	wantCode(t, err, reason.NoSuchVersion)
	for i := range 3 * d.limits.History {
		f.Services["orders"] = service("h1", fmt.Sprint("n", i))
		must2(d.ApplyFloor(f.copy(), "", "", epoch0))
	}
	if n := len(d.History()); n != d.limits.History {
		t.Fatalf("%d editions kept, want %d", n, d.limits.History)
	}
}

func (f Floor) copy() Floor {
	return Floor{Services: copied(f.Services), Policies: copied(f.Policies)}
}

func must2(_ uint64, _ []Event, err error) {
	if err != nil {
		panic(err)
	}
}

func TestWhatIsNotThereIsSaidByItsKind(t *testing.T) {
	d := NewDirectory(domain, testLimits())
	d.Reserve()
	if _, err := d.Drain("", "h9", true, epoch0); reason.Of(err, 0) != reason.NoSuchNode {
		t.Error(err)
	}
	for _, version := range []uint64{0, 7} {
		if _, err := d.Edition(version); reason.Of(err, 0) != reason.NoSuchVersion {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestDryRunNamesNewlyAllowedAndDeniedPairs(t *testing.T) {
	d := meshOf(t)
	register(t, d, "h2", "orders", linkUp(t, d, "h2", epoch0), 0, epoch0)
	f := Floor{Services: map[string]Service{"orders": service("h1"), "risk": service("h1", "h2", "h3"), "blotter": service("h9")},
		Policies: map[string]policy.Rule{"see": allow("blotter", "risk")}}
	before := must(d.Encode())
	got := d.DryRun(f)
	want := Difference{
		Added: []string{"service.blotter", "policy.see"}, Removed: []string{"policy.in"}, Changed: []string{"service.orders"},
		Allowed: []Pair{{"blotter", "risk", "see"}}, Denied: []Pair{{From: "risk", To: "orders"}}, AllowedTotal: 1, DeniedTotal: 1,
		Unplaced: []string{"orders@h2"}, Unknown: []string{"h9"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if !bytes.Equal(before, must(d.Encode())) || d.Current().Version != 1 {
		t.Fatal("a dry run changed the directory")
	}
	if !d.DryRun(d.Current().Floor).Empty() {
		t.Fatal("the floor in force differs from itself")
	}
}

// walk drives one or more directories through the same random calls.
type walk struct {
	dirs  []*Directory
	now   time.Time
	links map[string][]uint64 // every number a node ever had
	held  map[string][]uint64 // every epoch an endpoint ever had
}

func newWalk(t *rapid.T, n int) *walk {
	w := &walk{now: epoch0, links: map[string][]uint64{}, held: map[string][]uint64{}}
	for range n {
		d := NewDirectory(domain, testLimits())
		d.Reserve()
		w.dirs = append(w.dirs, d)
	}
	return w
}

// step does one random call on every directory and returns the first's answer.
func (w *walk) step(t *rapid.T) {
	node := rapid.SampledFrom([]string{"h1", "h2", "h3"}).Draw(t, "node")
	svc := rapid.SampledFrom([]string{"orders", "risk"}).Draw(t, "svc")
	key := EndpointKey(svc, node)
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "ms")) * time.Millisecond)
	link := pick(t, w.links[node], "link")
	epoch := pick(t, w.held[key], "epoch")
	on := rapid.Bool().Draw(t, "on")
	op := rapid.IntRange(0, 13).Draw(t, "op")
	placed := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"h1", "h2", "h3"}), 1, 3, rapid.ID[string]).Draw(t, "placed")
	for i, d := range w.dirs {
		if d.Low() {
			d.Reserve()
		}
		n, g := call(d, op, node, svc, link, epoch, on, placed, w.now)
		if i == 0 && n != 0 {
			w.links[node] = append(w.links[node], n)
		}
		if i == 0 && g != 0 {
			w.held[key] = append(w.held[key], g)
		}
	}
}

func pick(t *rapid.T, from []uint64, label string) uint64 {
	if len(from) == 0 {
		return 0
	}
	if rapid.IntRange(0, 3).Draw(t, label+"-newest") > 0 {
		return from[len(from)-1]
	}
	return rapid.SampledFrom(from).Draw(t, label)
}

func call(d *Directory, op int, node, svc string, link, epoch uint64, on bool, placed []string, now time.Time) (newLink, newEpoch uint64) {
	l := Lease{Service: svc, Epoch: epoch}
	switch op {
	case 0:
		d.Join(node, "", on, now)
	case 1, 2:
		newLink, _, _ = d.Link(node, &Hello{Addr: node + ":1", Have: Head{Version: epoch}}, now)
	case 3:
		d.Unlink(node, link, reason.PeerLost, now)
	case 4, 5, 6:
		g, _, _ := d.Register(node, link, Claim{Service: svc, Epoch: epoch, Healthy: on}, now)
		newEpoch = g.Epoch
	case 7:
		d.Renew(node, link, []Lease{l}, now)
	case 8:
		d.Health(node, link, Health{Lease: l, Healthy: on}, now)
	case 9:
		d.Withdraw(node, link, l, now)
	case 10:
		d.Expire(now)
	case 11:
		f := Floor{Services: map[string]Service{"orders": service(placed...), "risk": service("h1", "h2", "h3")}}
		if on {
			c := policy.DefaultChannel()
			c.Kind, c.Publishers, c.Subscribers, c.Size = policy.Orders, []string{"orders"}, []string{"risk"}, policy.SizeMin*policy.Size(len(placed))
			f.Channels = map[string]policy.Channel{"direct": c}
		}
		d.ApplyFloor(f, "", "", now)
	case 12:
		if on {
			d.Drain(svc, node, true, now)
		} else {
			d.DrainSelf(node, link, Drain{On: true}, now)
		}
	case 13:
		if on {
			d.Revoke(domain.Node(node), "", "", now)
		} else {
			d.Unrevoke(domain.Node(node), now)
		}
	}
	return newLink, newEpoch
}

func TestTwoDirectoriesFedTheSameCallsAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t, 2)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.step(t)
			if rapid.IntRange(0, 5).Draw(t, "clone") == 0 {
				w.dirs[1] = w.dirs[1].Clone()
			}
		}
		a, b := w.dirs[0], w.dirs[1]
		if !reflect.DeepEqual(a.State(), b.State()) || !bytes.Equal(must(a.Encode()), must(b.Encode())) {
			t.Fatalf("they differ:\n%+v\n%+v", a.State(), b.State())
		}
	})
}

func TestOlderEpochNeverOverwritesANewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t, 1)
		d := w.dirs[0]
		highest := map[string]uint64{}
		var version, epoch uint64
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			was := d.State()
			w.step(t)
			s := d.State()
			if s.Version < version || s != was && s.Version == version {
				t.Fatalf("version went from %d to %d", version, s.Version)
			}
			version = s.Version
			for key, e := range s.Endpoints {
				if e.Epoch < highest[key] {
					t.Fatalf("%s went from epoch %d back to %d", key, highest[key], e.Epoch)
				}
				if old := was.Endpoints[key]; old.Epoch != e.Epoch && e.Epoch <= epoch {
					t.Fatalf("%s got epoch %d, and %d was given before", key, e.Epoch, epoch)
				}
				highest[key], epoch = max(highest[key], e.Epoch), max(epoch, e.Epoch)
				if !s.Placed(e.Service, e.Node) {
					t.Fatalf("%s is not placed there", key)
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				d = must(DecodeDirectory(must(d.Encode()), testLimits(), w.now))
				d.Reserve()
				w.dirs[0] = d
			}
		}
	})
}

func TestDeltasAppliedToTheOldStateEqualTheNewDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWalk(t, 1)
		have := decoded(t, w.dirs[0].State())
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			for range rapid.IntRange(1, 4).Draw(t, "batch") {
				w.step(t)
			}
			s := w.dirs[0].State()
			d := decoded(t, new(Diff(have, s)))
			before := have.Digest()
			got, err := d.Apply(have)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest() != s.Digest() || have.Digest() != before {
				t.Fatalf("the delta's result differs, or it changed its input:\n%+v\n%+v", got, s)
			}
			if s.Version != have.Version {
				if _, err := d.Apply(got); err == nil {
					t.Fatal("the same delta applied twice")
				}
			}
			have = got
		}
	})
}

// decoded is v after a trip over the wire.
func decoded[T any](t interface{ Fatal(...any) }, v *T) *T {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out := new(T)
	if err := json.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCloneSharesNothingThatChanges(t *testing.T) {
	d := meshOf(t)
	n := linkUp(t, d, "h1", epoch0)
	g := register(t, d, "h1", "orders", n, 0, epoch0)
	before := must(d.Encode())
	c := d.Clone()
	must(c.Health("h1", n, Health{Lease: g.Lease}, epoch0))
	must(c.Drain("orders", "h1", true, epoch0))
	must(c.Revoke(domain.Node("h2"), "", "", epoch0))
	must(c.Join("h9", "", false, epoch0))
	must2(c.ApplyFloor(Floor{Services: map[string]Service{"x": service("h1")}}, "", "", epoch0))
	c.Unlink("h1", n, reason.PeerLost, epoch0)
	c.Expire(epoch0.Add(time.Hour))
	if !bytes.Equal(before, must(d.Encode())) || d.Linked("h1") != n {
		t.Fatal("a change of the clone reached the original")
	}
}
