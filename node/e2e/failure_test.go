package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fire/node/admin"
)

func TestTrafficGoesOnWithControlKilledAndEverythingRelinks(t *testing.T) {
	m := startMesh(t)
	l, f := startLoad(t, m.pages("h1")), startFlow(t, m.echo("h1"))
	l.goesOn(t, "h2", "h3")
	before := m.endpoints()

	m.control.p.kill()
	waitFor(t, 10*time.Second, "h1 notices", func() bool { i, err := m.h["h1"].info(); return err == nil && !i.Linked })
	f.goesOn(t)
	l.goesOn(t, "h2", "h3")
	table := must(t, m.h["h1"].runtime, "status")
	if !strings.Contains(table, "source snapshot, ") || !strings.Contains(table, " old") {
		t.Errorf("status does not say that it is a snapshot and how old:\n%s", table)
	}
	s := jsonOf[admin.Status](t, must(t, m.h["h1"].runtime, "status", "-o", "json"), "fire.status/v1")
	if s.Source != "snapshot" || s.SnapshotAgeMS <= 0 || len(s.Nodes) != 3 {
		t.Errorf("status %+v", s)
	}
	if out, errs, code := ask(t, m.h["h1"].runtime, "drain", "h2"); code != 1 || !oneErrorLine(errs, "control") {
		t.Errorf("a change on a proxy host: exit %d %s%s", code, out, errs)
	}

	m.h["h3"].terminate()
	m.h["h3"].start()
	m.h["h3"].answers()
	waitFor(t, 20*time.Second, "h3 carries traffic from its disk", func() bool { return echoes(m.echo("h3")) && serves(m.pages("h3")) })
	l.goesOn(t, "h2")
	f.goesOn(t)

	m.control.start()
	m.control.answers()
	m.healthy("pages@h2", "pages@h3", "echo@h2")
	waitFor(t, 20*time.Second, "every node is in sync", func() bool {
		s, err := m.control.remote.Status(t.Context())
		return err == nil && len(s.Nodes) == 3 && !slices.ContainsFunc(s.Nodes, func(n admin.NodeStatus) bool { return n.State != "SYNCED" })
	})
	after := m.endpoints()
	for name, e := range before {
		if now := after[name]; now.Epoch < e.Epoch || e.Node == "h3" && now.Epoch == e.Epoch {
			t.Errorf("%s had epoch %d, has %d: a restarted owner's must grow, no other may shrink", name, e.Epoch, now.Epoch)
		}
	}
	f.goesOn(t)
	l.goesOn(t, "h2", "h3")
	l.end()
	if bad := l.failed(); len(bad) > 0 {
		t.Errorf("%d of %d requests failed:\n%s", len(bad), l.count("h2")+l.count("h3"), strings.Join(bad, "\n"))
	}
}

// oneErrorLine tells whether text has exactly one line of the program itself (its log
// and its greeting aside) and that holds every one of words.
func oneErrorLine(text string, words ...string) bool {
	var own []string
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "fire ") && !strings.Contains(l, " runs as ") {
			own = append(own, l)
		}
	}
	if len(own) != 1 {
		return false
	}
	for _, w := range words {
		if !strings.Contains(own[0], w) {
			return false
		}
	}
	return true
}

// TestKilledApplicationLeavesEveryProxyWithinItsBound measures the design's "crash to
// removal everywhere, p99 below one second".
func TestKilledApplicationLeavesEveryProxyWithinItsBound(t *testing.T) {
	m := startMesh(t)
	l := startLoad(t, m.pages("h1"))
	const rounds = 10
	var took []time.Duration
	var bad int
	var back time.Duration // the longest from healthy to used again
	for round := range rounds {
		name := []string{"h2", "h3"}[round%2]
		m.healthy("pages@h2", "pages@h3")
		begun := time.Now()
		l.goesOn(t, "h2", "h3")
		back = max(back, time.Since(begun))
		took = append(took, m.crash(m.h[name]))
		m.h[name].startApp(m.at(13+round%2, 8000), m.at(13+round%2, 9000))
		bad = len(l.failed())
	}
	m.healthy("pages@h2", "pages@h3")
	l.end()
	slices.Sort(took)
	p50, p99 := took[rounds/2], took[rounds-1]
	t.Logf("crash to removal everywhere: p50 %v, p99 %v of %d; %d of %d requests failed", p50.Round(time.Millisecond),
		p99.Round(time.Millisecond), rounds, bad, l.count("h2")+l.count("h3"))
	if p99 >= time.Second {
		t.Errorf("p99 %v is not below a second: %v", p99, took)
	}
	if back > 5*time.Second { // an ejection's back-off doubles beyond that within the rounds
		t.Errorf("a restarted application was used again only %v after it was healthy", back)
	}
	// What was under way at the instant may fail, and is never sent twice; nothing else may.
	if bad > rounds*loadWorkers {
		t.Errorf("%d requests failed, more than were under way:\n%s", bad, strings.Join(l.failed(), "\n"))
	}
}

// crash kills a host's application and returns when every proxy has applied the
// version that says so.
func (m *mesh) crash(h *host) time.Duration {
	m.t.Helper()
	begun := time.Now()
	h.app.kill()
	waitFor(m.t, 20*time.Second, "control knows of the crash", func() bool {
		e, known := m.endpoints()["pages@"+h.name]
		return known && !e.Healthy
	})
	s, err := m.control.remote.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	waitFor(m.t, 20*time.Second, "every proxy knows of the crash", func() bool {
		for _, other := range m.h {
			if i, err := other.info(); err != nil || i.Version < s.Version {
				return false
			}
		}
		return true
	})
	return time.Since(begun)
}

func TestKilledHostIsReplacedByTheOther(t *testing.T) {
	m := startMesh(t)
	l := startLoad(t, m.pages("h1"))
	l.goesOn(t, "h2", "h3")
	before := m.endpoints()
	begun := time.Now()
	m.h["h2"].p.kill()
	waitFor(t, 20*time.Second, "h2 is out of use", func() bool { return !m.endpoints()["pages@h2"].Linked })
	removed := time.Since(begun)
	bad := len(l.failed())
	l.goesOn(t, "h3")
	l.goesOn(t, "h3")
	if late := len(l.failed()) - bad; late > loadWorkers {
		t.Errorf("%d requests failed after every proxy knew:\n%s", late, strings.Join(l.failed(), "\n"))
	}
	m.h["h2"].start()
	m.healthy("pages@h2", "echo@h2")
	l.goesOn(t, "h2", "h3")
	l.end()
	after := m.endpoints()
	for _, name := range []string{"pages@h2", "echo@h2"} {
		if after[name].Epoch <= before[name].Epoch {
			t.Errorf("%s came back with epoch %d after %d", name, after[name].Epoch, before[name].Epoch)
		}
	}
	if after["pages@h3"].Epoch != before["pages@h3"].Epoch {
		t.Errorf("h3 was not touched, its epoch went from %d to %d", before["pages@h3"].Epoch, after["pages@h3"].Epoch)
	}
	bad = len(l.failed())
	t.Logf("host out of use after %v; %d of %d requests failed: %s", removed.Round(time.Millisecond), bad, l.count("h2")+l.count("h3"), strings.Join(l.failed(), "; "))
	if bad > 3*loadWorkers {
		t.Errorf("%d requests failed, %d were under way at any time", bad, loadWorkers)
	}
}

func TestPlannedDrainCostsNoRequest(t *testing.T) {
	m := startMesh(t)
	l, f := startLoad(t, m.pages("h1")), startFlow(t, m.echo("h1"))
	l.goesOn(t, "h2", "h3")
	for _, step := range []struct {
		what string
		out  func()
		back func()
	}{
		{"fire drain", func() { m.must("drain", "h2") }, func() { m.must("drain", "h2", "--undo") }},
		{"fire drain of one service", func() { m.must("drain", "h3", "--service", "pages") }, func() { m.must("drain", "h3", "--service", "pages", "--undo") }},
		{"SIGTERM", m.h["h3"].terminate, func() { m.h["h3"].start() }},
	} {
		gone, stays := "h3", "h2"
		if step.what == "fire drain" {
			gone, stays = "h2", "h3"
		}
		step.out()
		l.leaves(t, gone, 10*time.Second)
		l.goesOn(t, stays)
		f.goesOn(t) // a drain lets live connections end by themselves
		step.back()
		m.healthy("pages@h2", "pages@h3")
		l.goesOn(t, "h2", "h3")
		if bad := l.failed(); len(bad) > 0 {
			t.Fatalf("%s: %d requests failed:\n%s", step.what, len(bad), strings.Join(bad, "\n"))
		}
	}
	if err := m.h["h3"].p.stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

func TestRootRotationCutsNothing(t *testing.T) {
	m := startMesh(t)
	l, f := startLoad(t, m.pages("h1")), startFlow(t, m.echo("h1"))
	l.goesOn(t, "h2", "h3")
	ca := func() admin.CA { return jsonOf[admin.CA](t, m.must("ca", "show", "-o", "json"), "fire.ca/v1") }
	before := ca()
	m.must("ca", "rotate", "prepare")
	if now := ca(); len(now.Roots) != 2 || now.Pin == "" {
		t.Errorf("after prepare: %+v", now.Roots)
	}
	serials := m.serials()
	m.must("ca", "rotate", "activate")
	waitFor(t, 20*time.Second, "every node renews under the new root", func() bool {
		now := m.serials()
		for node, was := range serials {
			for id, serial := range was {
				if now[node][id] == serial {
					return false
				}
			}
		}
		return true
	})
	l.goesOn(t, "h2", "h3")
	f.goesOn(t)
	waitFor(t, 20*time.Second, "the old root is retired", func() bool {
		_, _, code := ask(t, m.control.runtime, "ca", "rotate", "retire")
		return code == 0
	})
	if now := ca(); len(now.Roots) != 1 || now.Roots[0].Pin == before.Roots[0].Pin {
		t.Errorf("after retire: %+v, before %+v", now.Roots, before.Roots)
	}
	l.goesOn(t, "h2", "h3")
	f.goesOn(t)
	m.h["h3"].terminate() // what starts now knows only the new root
	m.h["h3"].start()
	m.healthy("pages@h3")
	l.goesOn(t, "h2", "h3")
	l.end()
	if bad := l.failed(); len(bad) > 0 {
		t.Errorf("%d requests failed:\n%s", len(bad), strings.Join(bad, "\n"))
	}
}

// serials are the certificates in use by node and identity.
func (m *mesh) serials() map[string]map[string]string {
	m.t.Helper()
	out := map[string]map[string]string{}
	for name, h := range m.h {
		i, err := h.info()
		if err != nil {
			m.t.Fatal(err)
		}
		out[name] = map[string]string{}
		for _, c := range i.Certificates {
			out[name][c.ID] = c.Serial
		}
		if len(out[name]) == 0 {
			m.t.Fatal(fmt.Errorf("%s holds no certificate", name))
		}
	}
	return out
}
