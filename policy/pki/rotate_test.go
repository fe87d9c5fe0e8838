package pki

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fire/policy/id"
	"fire/policy/reason"
)

// wire is one long-lived connection that echoes.
type wire struct{ client, server *tls.Conn }

func (w wire) ping(b byte) error {
	if _, err := w.client.Write([]byte{b}); err != nil {
		return err
	}
	got := make([]byte, 1)
	if _, err := w.client.Read(got); err != nil || got[0] != b {
		return fmt.Errorf("echo %v: %w", got, err)
	}
	return nil
}

// dial makes a connection between two nodes, each with its own beliefs.
func dial(t *testing.T, wg *sync.WaitGroup, from, to *host) wire {
	t.Helper()
	any := Want{Kinds: []id.Kind{id.KindNode}}
	s, c := net.Pipe()
	w := wire{tls.Client(c, ClientConfig(from.identity.Certificate, from.trusts, any, ALPNMesh)), tls.Server(s, ServerConfig(to.identity.Certificate, to.trusts, any, ALPNMesh))}
	wg.Go(func() {
		b := make([]byte, 1)
		for {
			if _, err := w.server.Read(b); err != nil {
				s.Close()
				return
			}
			if _, err := w.server.Write(b); err != nil {
				return
			}
		}
	})
	if err := w.ping(1); err != nil {
		t.Fatalf("%v to %v at %v: %v", from.identity.Principal(), to.identity.Principal(), time.Now(), err)
	}
	return w
}

type host struct {
	identity *Identity
	trusts   *Verifier
}

func TestRotationUnderLiveTrafficDropsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := openAuthority(t, eu, time.Now)
		var hosts []*host
		for n := range 4 {
			hosts = append(hosts, &host{issued(t, a, eu.Node(fmt.Sprintf("h%d", n))), verifier(t, time.Now, a.Bundle())})
		}
		var wg sync.WaitGroup
		old := dial(t, &wg, hosts[0], hosts[1]) // lives through everything
		distribute := func() {
			for _, h := range hosts {
				if err := h.trusts.SetBundle(a.Bundle()); err != nil {
					t.Fatal(err)
				}
			}
		}
		firstPin, retired := a.Bundle().Pin(), false
		for hour := range 24 * 4 {
			switch hour {
			case 30:
				must(t, a.PrepareRoot())
				if a.Bundle().Pin() != firstPin || len(a.Bundle().Roots) != 2 {
					t.Fatal("a prepared root must be known, and must not be the pin yet")
				}
				distribute()
			case 31:
				must(t, a.ActivateRoot())
				distribute()
				if err := a.RetireRoot(); err == nil || !strings.Contains(err.Error(), "node/h0") {
					t.Fatalf("retired under live leaves: %v", err)
				}
			}
			for _, h := range hosts { // each by its own clock; the old and the new live side by side
				if !time.Now().Before(h.identity.RenewAt()) {
					renew(t, a, h.identity)
				}
			}
			if hour > 31 && !retired && a.RetireRoot() == nil {
				retired = true
				distribute()
				t.Logf("retired %d hours after activation", hour-31)
			}
			for n := range hosts {
				w := dial(t, &wg, hosts[n], hosts[(n+1)%len(hosts)])
				w.client.NetConn().Close()
			}
			must(t, old.ping(byte(hour)))
			time.Sleep(time.Hour)
		}
		if !retired || len(a.Bundle().Roots) != 1 || a.Bundle().Pin() == firstPin {
			t.Fatalf("retired %v, roots %d", retired, len(a.Bundle().Roots))
		}
		old.client.NetConn().Close()
		wg.Wait()
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRotationStepsOnlyInOrder(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	for name, step := range map[string]func() error{"activate": a.ActivateRoot, "retire": a.RetireRoot, "abandon": a.AbandonRoot} {
		if err := step(); codeOf(err) != reason.ConfigRejected {
			t.Errorf("%s first: %v", name, err)
		}
	}
	must(t, a.PrepareRoot())
	if err := a.PrepareRoot(); codeOf(err) != reason.ConfigRejected {
		t.Errorf("prepared twice: %v", err)
	}
	must(t, a.AbandonRoot())
	must(t, a.PrepareRoot())
	must(t, a.ActivateRoot())
	if err := a.PrepareRoot(); codeOf(err) != reason.ConfigRejected {
		t.Errorf("prepared while one retires: %v", err)
	}
	must(t, a.RetireRoot())
	if v := a.Bundle().Version; v != 6 {
		t.Errorf("bundle version %d; every step must raise it", v)
	}
	stages := ""
	for _, r := range a.Roots() {
		stages += string(r.Stage)
	}
	if stages != "active" {
		t.Errorf("roots are %s", stages)
	}
}

func TestARestartedControlKnowsWhoStillNeedsTheOldRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() + "/ca"
		a, err := OpenAuthority(dir, eu, time.Now)
		must(t, err)
		h1, h2 := issued(t, a, eu.Node("h1")), issued(t, a, eu.Node("h2"))
		must(t, a.PrepareRoot())
		must(t, a.ActivateRoot())
		renew(t, a, h1)
		a, err = OpenAuthority(dir, eu, time.Now)
		must(t, err)
		if err := a.RetireRoot(); err == nil || !strings.Contains(err.Error(), "1 live leaves") || !strings.Contains(err.Error(), "node/h2") {
			t.Fatalf("got %v", err)
		}
		renew(t, a, h2)
		a, err = OpenAuthority(dir, eu, time.Now)
		must(t, err)
		must(t, a.RetireRoot())
	})
}

func TestALostJournalMakesRetiringWaitForTheLastLeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir() + "/ca"
		a, err := OpenAuthority(dir, eu, time.Now)
		must(t, err)
		h := issued(t, a, eu.Node("h1"))
		must(t, a.PrepareRoot())
		must(t, a.ActivateRoot())
		journal := filepath.Join(dir, ledgerFile)
		must(t, os.Remove(journal))
		for range 2 { // what is not known stays unknown over another restart
			a, err = OpenAuthority(dir, eu, time.Now)
			must(t, err)
		}
		renew(t, a, h)
		if err := a.RetireRoot(); codeOf(err) != reason.ConfigRejected || !strings.Contains(err.Error(), "may live until") {
			t.Fatalf("retired blindly: %v", err)
		}
		time.Sleep(LeafLife + time.Minute)
		must(t, a.RetireRoot())
	})
}

func TestATornJournalLosesOnlyTheLeafThatNobodyGot(t *testing.T) {
	dir := t.TempDir() + "/ca"
	a, err := OpenAuthority(dir, eu, time.Now)
	must(t, err)
	issued(t, a, eu.Node("h1"))
	issued(t, a, eu.Node("h2"))
	journal := filepath.Join(dir, ledgerFile)
	whole, err := os.ReadFile(journal)
	must(t, err)
	for cut := range whole {
		must(t, os.WriteFile(journal, whole[:cut], 0o600))
		a, err := OpenAuthority(dir, eu, time.Now)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if n := a.Roots()[0].LiveLeaves; n != bytes.Count(whole[:cut], []byte{'\n'}) {
			t.Fatalf("cut at %d: %d leaves", cut, n)
		}
	}
	must(t, os.WriteFile(journal, append([]byte("{}\n"), whole...), 0o600))
	if _, err := OpenAuthority(dir, eu, time.Now); err == nil || !strings.Contains(err.Error(), journal) || !strings.Contains(err.Error(), "remove it") {
		t.Fatalf("a damaged line: %v", err)
	}
}

func TestALeafThatCannotBeStoredIsNotIssued(t *testing.T) {
	dir := t.TempDir() + "/ca"
	a, err := OpenAuthority(dir, eu, time.Now)
	must(t, err)
	h := issued(t, a, eu.Node("h1"))
	must(t, a.PrepareRoot())
	must(t, a.ActivateRoot())
	journal := filepath.Join(dir, ledgerFile)
	must(t, os.Rename(journal, journal+".away"))
	if _, err := a.Issue(h.CSR(), h.Principal()); err == nil {
		t.Fatal("issued without a record")
	}
	must(t, os.Rename(journal+".away", journal))
	if err := a.RetireRoot(); err == nil {
		t.Fatal("the holder's older leaf was forgotten for one that was never issued")
	}
	renew(t, a, h)
	if a, err = OpenAuthority(dir, eu, time.Now); err != nil { // the journal is whole again
		t.Fatal(err)
	}
	must(t, a.RetireRoot())
}

func TestTheJournalIsRewrittenBeforeItGrows(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(filepath.Join(dir, ledgerFile), time.Time{}, start)
	must(t, err)
	key := leafKey{principal: eu.Node("h1"), node: eu.Node("h1")}
	for n := range 3 * ledgerSlack { // straight into the queue: an fsync each would take minutes
		line, err := lineOf(key, leafFact{until: start.Add(time.Duration(n))})
		must(t, err)
		l.pending, l.queued = append(l.pending, line...), l.queued+1
		l.leaves[key] = leafFact{until: start.Add(time.Duration(n))}
		if n%1000 == 999 {
			must(t, l.commit(l.queued, start.Add(-time.Hour)))
		}
	}
	if info, err := os.Stat(l.path); err != nil || info.Size() > 2*ledgerSlack*200 {
		t.Fatalf("%v, %v", info.Size(), err)
	}
	back, err := openLedger(l.path, time.Time{}, start.Add(-time.Hour))
	must(t, err)
	if len(back.leaves) != 1 {
		t.Fatalf("%d leaves", len(back.leaves))
	}
}

func TestTheSameServiceOnTwoNodesKeepsARootAlive(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	orders := eu.Service("orders")
	ask := func(node id.Principal) {
		i, err := NewKey(orders)
		must(t, err)
		_, err = a.IssueHeld(i.CSR(), orders, node)
		must(t, err)
	}
	ask(eu.Node("h1"))
	ask(eu.Node("h2"))
	must(t, a.PrepareRoot())
	must(t, a.ActivateRoot())
	ask(eu.Node("h1"))
	if err := a.RetireRoot(); err == nil || !strings.Contains(err.Error(), "node/h2") || strings.Contains(err.Error(), "node/h1") {
		t.Fatalf("got %v", err)
	}
	ask(eu.Node("h2"))
	must(t, a.RetireRoot())
	anonymous := openAuthority(t, eu, time.Now)
	key, err := NewKey(orders)
	must(t, err)
	issue := func() { _, err := anonymous.Issue(key.CSR(), orders); must(t, err) }
	issue()
	must(t, anonymous.PrepareRoot())
	must(t, anonymous.ActivateRoot())
	issue() // no holder is known, so nobody can tell whether this one replaces that one
	if err := anonymous.RetireRoot(); err == nil {
		t.Fatal("retired a root whose leaf may still be in use")
	}
}

func TestIssuingDuringRotationNeverOutlivesItsRoot(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() {
			i, err := NewKey(eu.Node(fmt.Sprintf("h%d", n)))
			if err != nil {
				t.Error(err)
				return
			}
			for {
				select {
				case <-stop:
					return
				default:
				}
				chain, err := a.Issue(i.CSR(), i.Principal())
				if err != nil || i.Install(chain) != nil {
					t.Error("issue", err)
					return
				}
			}
		})
	}
	for range 5 {
		must(t, a.PrepareRoot())
		must(t, a.ActivateRoot())
		for a.RetireRoot() != nil { // both renew all the time, so it ends soon
			select {
			case <-t.Context().Done():
				t.Fatal("never retired")
			default:
			}
		}
		live := 0
		for _, r := range a.Roots() {
			live += r.LiveLeaves
		}
		if live > 2 || len(a.Roots()) != 1 {
			t.Fatalf("%d leaves of two holders, %d roots", live, len(a.Roots()))
		}
	}
	close(stop)
	wg.Wait()
}

func TestTokensOfBothRootsJoinDuringARotation(t *testing.T) {
	a := openAuthority(t, eu, time.Now)
	control := issued(t, a, eu.Control("c1"))
	before, err := a.Bundle().PinBytes()
	must(t, err)
	join := func(pin [32]byte) error {
		_, c := shake(t, JoinServerConfig(control.Certificate, a), JoinClientConfig(pin, eu, time.Now))
		return c
	}
	must(t, a.PrepareRoot())
	must(t, join(before))
	must(t, a.ActivateRoot())
	renew(t, a, control)
	after, err := a.Bundle().PinBytes()
	must(t, err)
	if before == after {
		t.Fatal("the pin did not change")
	}
	must(t, join(before))
	must(t, join(after))
	must(t, a.RetireRoot())
	must(t, join(after))
	if err := join(before); codeOf(err) != reason.PinMismatch {
		t.Fatalf("a token of the retired root: %v", err)
	}
}

func TestNothingIsEnteredUnderASealedRoot(t *testing.T) {
	l, err := openLedger(filepath.Join(t.TempDir(), ledgerFile), time.Time{}, start)
	must(t, err)
	root, key := [32]byte{1}, leafKey{principal: eu.Node("h1"), node: eu.Node("h1")}
	if _, _, ok := l.seal(root, start); !ok {
		t.Fatal("nobody needs the root, yet it was not sealed")
	}
	if ok, err := l.add(key, root, start.Add(time.Hour), start); ok || err != nil {
		t.Fatal("a leaf was entered under a root that retires")
	}
	l.unseal(root)
	if ok, err := l.add(key, root, start.Add(time.Hour), start); !ok || err != nil {
		t.Fatal("a root whose end was not stored must go on")
	}
}

func TestALostJournalFileComesBackWithTheNextLeaf(t *testing.T) {
	l, err := openLedger(filepath.Join(t.TempDir(), ledgerFile), time.Time{}, start)
	must(t, err)
	add := func(node string) error {
		_, err := l.add(leafKey{principal: eu.Node(node), node: eu.Node(node)}, [32]byte{1}, start.Add(time.Hour), start)
		return err
	}
	must(t, add("h1"))
	must(t, os.Remove(l.path))
	must(t, l.commit(1, start)) // on disk long ago: nothing to write
	if err := add("h2"); err == nil {
		t.Fatal("a lost journal went unnoticed")
	}
	must(t, add("h3"))
	back, err := openLedger(l.path, time.Time{}, start)
	must(t, err)
	if _, h1 := back.leaves[leafKey{principal: eu.Node("h1"), node: eu.Node("h1")}]; !h1 {
		t.Fatalf("leaves %v; want the earlier ones, too", back.leaves)
	}
}

func FuzzLedgerLine(f *testing.F) {
	line, err := lineOf(leafKey{principal: eu.Node("h1"), node: eu.Node("h1")}, leafFact{until: start})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"root":""}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l := &ledger{leaves: map[leafKey]leafFact{}, blind: map[[32]byte]time.Time{}}
		if err := l.replay(line); err == nil && len(l.leaves)+len(l.blind) > 1 {
			t.Fatal("one line, more than one fact")
		}
	})
}
