package balance

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fire/policy/reason"
)

func candidates(g *Group, n int) []Candidate {
	cs := make([]Candidate, n)
	for i := range cs {
		cs[i] = Candidate{Endpoint: g.Endpoint(fmt.Sprint("e", i)), Distance: SameRegion, Ready: true}
	}
	return cs
}

// noJitter makes times exact.
func noJitter() Config {
	c := Default()
	c.Jitter = 0
	return c
}

func mustPick(t testing.TB, p Policy, cs []Candidate, g *Group, now time.Duration, rnd uint64) Ticket {
	t.Helper()
	tk, code := Pick(p, cs, g, now, rnd)
	if code != reason.OK {
		t.Fatalf("pick at %v: %v", now, code)
	}
	return tk
}

// knock ejects candidate i by failures in a row.
func knock(t testing.TB, cs []Candidate, i int, g *Group, now time.Duration) {
	t.Helper()
	one := []Candidate{cs[i]}
	one[0].Ready = true
	for range g.cfg.ConsecutiveFailures {
		tk := mustPick(t, RoundRobin, one, g, now, 0)
		tk.Failed(now, 0)
		tk.Release(now)
	}
	if cs[i].Endpoint.standing(now) != out {
		t.Fatal("not ejected")
	}
}

func TestRoundRobinIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "endpoints")
		rounds := rapid.IntRange(1, 5).Draw(t, "rounds")
		g := NewGroup(Default(), rapid.Uint64().Draw(t, "seed"))
		cs := candidates(g, n)
		total := 0
		for i := range cs {
			cs[i].Weight = rapid.Uint16Range(0, 5).Draw(t, "weight")
			cs[i].Ready = i == 0 || rapid.Bool().Draw(t, "ready")
			if cs[i].Ready {
				total += int(cs[i].weight())
			}
		}
		got := make([]int, n)
		for range rounds * total {
			tk, code := Pick(RoundRobin, cs, g, 0, 0)
			if code != reason.OK {
				t.Fatal(code)
			}
			got[tk.Index]++
			tk.Release(0)
		}
		for i := range cs {
			want := 0
			if cs[i].Ready {
				want = rounds * int(cs[i].weight())
			}
			if got[i] != want {
				t.Fatalf("endpoint %d got %d of %d turns, want %d", i, got[i], rounds*total, want)
			}
		}
	})
}

// TestEjectionRules drives random picks, outcomes and time steps and holds the
// invariants of doc.go against a model after each.
func TestEjectionRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Default()
		cfg.MinRequests = 4
		g := NewGroup(cfg, 0)
		cs := candidates(g, rapid.IntRange(1, 4).Draw(t, "endpoints"))
		outUntil := make([]time.Duration, len(cs)) // 0: in, as the model sees it
		probes := make([]int, len(cs))
		var open []Ticket
		now := time.Duration(1)
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				p := rapid.SampledFrom([]Policy{RoundRobin, LeastRequest, PeakEWMA}).Draw(t, "policy")
				tk, code := Pick(p, cs, g, now, rapid.Uint64().Draw(t, "rnd"))
				if code != reason.OK {
					for i := range cs {
						if outUntil[i] == 0 || outUntil[i] <= now && probes[i] == 0 {
							t.Fatalf("%v though endpoint %d may be tried", code, i)
						}
					}
					return
				}
				i := tk.Index
				if outUntil[i] != 0 && (outUntil[i] > now || !tk.Probe) || outUntil[i] == 0 && tk.Probe {
					t.Fatalf("endpoint %d, out until %v, was picked at %v (probe %v)", i, outUntil[i], now, tk.Probe)
				}
				if tk.Probe {
					if probes[i]++; probes[i] > 1 {
						t.Fatalf("%d probes of endpoint %d in flight", probes[i], i)
					}
				}
				open = append(open, tk)
			},
			"end": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nothing open")
				}
				k := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				tk := open[k]
				open = append(open[:k:k], open[k+1:]...)
				i := tk.Index
				switch rapid.SampledFrom([]string{"ok", "failed", "failed", "none"}).Draw(t, "outcome") {
				case "ok":
					tk.Succeeded(now, time.Millisecond)
					if tk.Probe {
						outUntil[i], probes[i] = 0, 0
					}
				case "failed":
					if tk.Failed(now, rapid.Uint64().Draw(t, "rnd")) {
						least := time.Duration(float64(cfg.BackoffMin) * (1 - cfg.Jitter))
						until := time.Duration(cs[i].Endpoint.gate.Load())
						if until < now+least || until > now+cfg.BackoffMax {
							t.Fatalf("out for %v", until-now)
						}
						outUntil[i], probes[i] = until, 0
					} else if tk.Probe {
						t.Fatal("a failed probe did not keep its endpoint out")
					}
				case "none":
					if tk.Probe {
						outUntil[i], probes[i] = now, 0
					}
				}
				tk.Release(now)
			},
			"wait": func(t *rapid.T) {
				now += time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "ns"))
			},
			"": func(t *rapid.T) {
				active := make([]int64, len(cs))
				for _, tk := range open {
					active[tk.Index]++
				}
				for i := range cs {
					if got := cs[i].Endpoint.active.Load(); got != active[i] {
						t.Fatalf("endpoint %d counts %d open tickets of %d", i, got, active[i])
					}
				}
			},
		})
	})
}

func TestExactlyOneOfManyConcurrentPicksProbes(t *testing.T) {
	g := NewGroup(noJitter(), 0)
	cs := candidates(g, 2)
	knock(t, cs, 0, g, 1)
	later := 1 + g.cfg.BackoffMin
	var mu sync.Mutex
	var probes, others int
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			tk, code := Pick(RoundRobin, cs, g, later, 0)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case code != reason.OK:
				t.Error(code)
			case tk.Probe:
				probes++
			case tk.Index == 0:
				t.Error("an ejected endpoint took an ordinary request")
			default:
				others++
			}
		})
	}
	wg.Wait()
	if probes != 1 || others != 63 {
		t.Fatalf("%d probes, %d others", probes, others)
	}
}

func TestProbeDecidesTheWayBack(t *testing.T) {
	g := NewGroup(noJitter(), 0)
	cs := candidates(g, 1)
	now := time.Duration(1)
	knock(t, cs, 0, g, now)
	for i := range 9 {
		wait := min(g.cfg.BackoffMin<<i, g.cfg.BackoffMax)
		if _, code := Pick(RoundRobin, cs, g, now+wait-1, 0); code != reason.AllEjected {
			t.Fatalf("ejection %d: picked before its time: %v", i, code)
		}
		now += wait
		tk := mustPick(t, RoundRobin, cs, g, now, 0)
		if _, code := Pick(RoundRobin, cs, g, now, 0); !tk.Probe || code != reason.AllEjected {
			t.Fatalf("probe %v, beside it %v", tk.Probe, code)
		}
		tk.Failed(now, 0)
		tk.Release(now)
	}
	now += g.cfg.BackoffMax
	tk := mustPick(t, RoundRobin, cs, g, now, 0)
	tk.Succeeded(now, time.Millisecond)
	tk.Release(now)
	if tk = mustPick(t, RoundRobin, cs, g, now, 0); tk.Probe {
		t.Fatal("still probing after a success")
	}
	tk.Release(now)
	knock(t, cs, 0, g, now+1) // flapping: the back-off goes on where it was
	if s := cs[0].Endpoint.Status(now + 1); s.Out != g.cfg.BackoffMax || s.Ejections != 11 {
		t.Fatalf("got %+v", s)
	}
	now += 2 * g.cfg.BackoffMax
	tk = mustPick(t, RoundRobin, cs, g, now, 0)
	tk.Succeeded(now, time.Millisecond)
	tk.Release(now)
	now += g.cfg.BackoffMax
	knock(t, cs, 0, g, now) // a long stay: it starts anew
	if s := cs[0].Endpoint.Status(now); s.Out != g.cfg.BackoffMin {
		t.Fatalf("got %+v", s)
	}
}

func TestRecoveredEndpointIsProbedAtOnceAndStartsAfresh(t *testing.T) {
	g := NewGroup(noJitter(), 0)
	cs := candidates(g, 2)
	knock(t, cs, 0, g, 1)
	cs[0].Endpoint.Recovered(2)
	tk := mustPick(t, PeakEWMA, cs, g, 2, 0)
	if tk.Index != 0 || !tk.Probe {
		t.Fatalf("picked %d, probe %v", tk.Index, tk.Probe)
	}
	tk.Failed(2, 0)
	tk.Release(2)
	if s := cs[0].Endpoint.Status(2); s.Out != 2*g.cfg.BackoffMin {
		t.Fatalf("a failed probe must double the back-off: %+v", s)
	}
	cs[1].Endpoint.Recovered(3) // one that was never out loses only its measurements
	tk = mustPick(t, PeakEWMA, cs, g, 3, 0)
	tk.Failed(3, 0)
	tk.Release(3)
	cs[1].Endpoint.Recovered(4)
	if s := cs[1].Endpoint.Status(4); s.Ejected || s.Latency != 0 {
		t.Fatalf("got %+v", s)
	}
}

func TestReleasedProbeIsDueAgain(t *testing.T) {
	g := NewGroup(noJitter(), 0)
	cs := candidates(g, 1)
	knock(t, cs, 0, g, 1)
	now := 1 + g.cfg.BackoffMin
	tk := mustPick(t, RoundRobin, cs, g, now, 0)
	tk.Release(now)
	if again := mustPick(t, RoundRobin, cs, g, now, 0); !again.Probe {
		t.Fatal("the probe was lost")
	}
}

func TestLowRatioNeverEjectsTheLastOne(t *testing.T) {
	cfg := noJitter()
	cfg.ConsecutiveFailures = 0
	g := NewGroup(cfg, 0)
	cs := candidates(g, 3)
	var held []Ticket // picked while all three were in, so each alone says "two others"
	for range 3 * cfg.MinRequests {
		held = append(held, mustPick(t, RoundRobin, cs, g, 1, 0))
	}
	ejected := 0
	for i := range held {
		if held[i].Failed(1, 0) {
			ejected++
		}
		held[i].Release(1)
	}
	if ejected != 2 {
		t.Fatalf("%d of 3 ejected, want 2", ejected)
	}
	if tk := mustPick(t, RoundRobin, cs, g, 1, 0); tk.Probe {
		t.Fatal("the last one was not left in")
	}
}

func TestRatioLooksAtOneWindow(t *testing.T) {
	cfg := noJitter()
	cfg.ConsecutiveFailures = 0
	g := NewGroup(cfg, 0)
	cs := candidates(g, 2)
	tell := func(now time.Duration, fail bool) bool {
		tk := mustPick(t, RoundRobin, cs[:1], g, now, 0)
		tk.choices = 2
		defer tk.Release(now)
		if !fail {
			tk.Succeeded(now, time.Millisecond)
			return false
		}
		return tk.Failed(now, 0)
	}
	for range 19 {
		if tell(1, true) {
			t.Fatal("ejected before the least number of requests")
		}
	}
	for range 100 {
		tell(cfg.Window, false)
	}
	for i := range 25 {
		if tell(cfg.Window, true) {
			t.Fatalf("ejected at %d of %d failures", i+1, i+101)
		}
	}
	if !tell(cfg.Window, true) { // 26 of 126: 0.794
		t.Fatal("not ejected below the ratio")
	}
}

func TestNearestFirstThenSpill(t *testing.T) {
	for _, p := range []Policy{RoundRobin, LeastRequest, PeakEWMA} {
		g := NewGroup(noJitter(), 0)
		cs := candidates(g, 4)
		for i, d := range []Distance{Elsewhere, SameZone, SameNode, SameRegion} {
			cs[i].Distance = d
		}
		for _, want := range []int{2, 1, 3, 0} {
			for rnd := range uint64(50) {
				tk := mustPick(t, p, cs, g, 1, rnd<<32|rnd)
				if tk.Index != want {
					t.Fatalf("%v: picked %d, want %d", p, tk.Index, want)
				}
				tk.Release(1)
			}
			if want == 1 {
				cs[want].Ready = false
			} else {
				knock(t, cs, want, g, 1)
			}
		}
		if _, code := Pick(p, cs, g, 1, 0); code != reason.AllEjected {
			t.Fatal(code)
		}
		if tk := mustPick(t, p, cs, g, 1+g.cfg.BackoffMin, 0); !tk.Probe || tk.Index != 2 {
			t.Fatalf("%v: the first way back is %d, want the nearest", p, tk.Index)
		}
	}
}

func TestRefusalsNameTheReason(t *testing.T) {
	g := NewGroup(Default(), 0)
	cs := candidates(g, 2)
	cs[0].Ready, cs[1].Ready = false, false
	if tk, code := Pick(RoundRobin, nil, g, 0, 0); code != reason.NoEndpoint || tk.Index != -1 {
		t.Fatal(code)
	}
	if _, code := Pick(RoundRobin, cs, g, 0, 0); code != reason.NoHealthyEndpoint {
		t.Fatal(code)
	}
	var none Ticket // an empty ticket may be ended like any other
	none.Succeeded(0, 0)
	none.Failed(0, 0)
	none.Release(0)
}

func TestLeastRequestEvensOpenTickets(t *testing.T) {
	g := NewGroup(Default(), 0)
	cs := candidates(g, 3)
	cs[2].Weight = 2
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		mustPick(t, LeastRequest, cs, g, 0, rnd.Uint64())
	}
	a, b, c := cs[0].Endpoint.active.Load(), cs[1].Endpoint.active.Load(), cs[2].Endpoint.active.Load()
	if a != 10 || b != 10 || c != 20 {
		t.Fatalf("%d %d %d open tickets", a, b, c)
	}
}

func TestPeakEWMAAvoidsTheSlowAndForgives(t *testing.T) {
	g := NewGroup(Default(), 0)
	cs := candidates(g, 3)
	rnd := rand.New(rand.NewPCG(1, 2))
	share := func(now time.Duration) int {
		slow := 0
		for range 300 {
			tk := mustPick(t, PeakEWMA, cs, g, now, rnd.Uint64())
			if tk.Index == 0 {
				slow++
			}
			tk.Release(now)
		}
		return slow
	}
	for i := range cs {
		cs[i].Endpoint.observe(0, time.Millisecond, &g.cfg)
	}
	cs[0].Endpoint.observe(0, time.Second, &g.cfg) // one peak counts at once
	if n := share(0); n > 0 {
		t.Fatalf("the slow one took %d of 300", n)
	}
	for i := range cs[1:] {
		cs[1+i].Endpoint.observe(2*time.Minute, time.Millisecond, &g.cfg)
	}
	if n := share(2 * time.Minute); n == 0 {
		t.Fatal("the peak is never forgotten")
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	g := NewGroup(Default(), 0)
	cs := candidates(g, 16)
	rnd := uint64(1)
	for _, p := range []Policy{RoundRobin, LeastRequest, PeakEWMA} {
		if n := testing.AllocsPerRun(500, func() {
			rnd = rnd*6364136223846793005 + 1442695040888963407
			tk, _ := Pick(p, cs, g, 1, rnd)
			if rnd%7 == 0 {
				tk.Failed(1, rnd)
			} else {
				tk.Succeeded(1, time.Millisecond)
			}
			tk.Release(1)
		}); n != 0 {
			t.Errorf("%v: %v allocations", p, n)
		}
	}
}

func TestTimeOutStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Default()
		c.Jitter = rapid.Float64Range(0, 1).Draw(t, "jitter")
		n := rapid.Int64Range(0, 1<<40).Draw(t, "n")
		d := c.timeOut(n, rapid.Uint64().Draw(t, "rnd"))
		full := c.BackoffMax
		if n < 6 {
			full = c.BackoffMin << n
		}
		if least := time.Duration(float64(full)*(1-c.Jitter)) - 1; d < least || d > full {
			t.Fatalf("%v is not in [%v, %v]", d, least, full)
		}
	})
}

func TestConfigNamesEveryProblem(t *testing.T) {
	bad := map[string]bool{}
	c := Default()
	c.Check(func(key, _ string) { t.Errorf("the default's %s is refused", key) })
	c = Config{ConsecutiveFailures: -1, SuccessRatio: 2, BackoffMax: -1, Jitter: 9}
	c.Check(func(key, _ string) { bad[key] = true })
	if len(bad) != 10 {
		t.Fatalf("named only %v", bad)
	}
}

func TestGroupForgetsAndIsBounded(t *testing.T) {
	g := NewGroup(Default(), 0)
	e := g.Endpoint("a")
	if g.Endpoint("a") != e {
		t.Fatal("an endpoint's memory was lost")
	}
	g.Retain(func(key string) bool { return key == "b" })
	if g.Endpoint("a") == e {
		t.Fatal("a forgotten endpoint came back with its past")
	}
	for i := range EndpointsMax + 10 {
		g.Endpoint(fmt.Sprint(i))
	}
	if len(g.endpoints) != EndpointsMax {
		t.Fatalf("%d endpoints are kept", len(g.endpoints))
	}
}

func TestPolicyTextRoundTrips(t *testing.T) {
	for _, p := range []Policy{RoundRobin, LeastRequest, PeakEWMA} {
		b, _ := p.MarshalText()
		var back Policy
		if err := back.UnmarshalText(b); err != nil || back != p {
			t.Fatalf("%s: %v", b, err)
		}
	}
	if p, err := ParsePolicy(""); p != RoundRobin || err != nil {
		t.Fatal("no name is not round robin")
	}
	if _, err := ParsePolicy("random"); err == nil {
		t.Fatal("random was accepted")
	}
}

func BenchmarkPick(b *testing.B) {
	for _, p := range []Policy{RoundRobin, LeastRequest, PeakEWMA} {
		b.Run(p.String(), func(b *testing.B) {
			g := NewGroup(Default(), 0)
			cs := candidates(g, 8)
			rnd := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				rnd = rnd*6364136223846793005 + 1442695040888963407
				tk, _ := Pick(p, cs, g, 1, rnd)
				tk.Succeeded(1, time.Millisecond)
				tk.Release(1)
			}
		})
	}
}
