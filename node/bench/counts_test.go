package bench

import (
	"runtime"
	"testing"
	"time"
)

func TestCountsAreByMessageOfBothSidesAndOfTheOther(t *testing.T) {
	calls := func(n uint64) *uint64 { return &n }
	rows := newRingRows()
	for range 2 { // rounds
		r := RingRow{Table: RowRoundTrip, Path: PathFire, SizeBytes: 64, Messages: 40}
		r.counts(50, threadCounts{Mallocs: 5, Calls: calls(100)}, threadCounts{Mallocs: 20, Calls: calls(50), Collections: 1})
		rows.add(r)
	}
	r := rows.finish()[0]
	if *r.MallocsPerMessage != 0.5 || *r.CallsPerMessage != 3 || *r.PeerMallocsPerMessage != 0.4 || *r.PeerCallsPerMessage != 1 || r.Counted != 100 || *r.Collections != 2 {
		t.Errorf("mallocs %v, peer's %v, calls %v, peer's %v, of %d", *r.MallocsPerMessage, *r.PeerMallocsPerMessage, *r.CallsPerMessage, *r.PeerCallsPerMessage, r.Counted)
	}
}

func TestCallsOfOneSideAloneAreNotShown(t *testing.T) {
	n := uint64(7)
	for _, sides := range [][2]threadCounts{{{Calls: &n}, {}}, {{}, {Calls: &n}}, {{}, {}}} {
		rows := newRingRows()
		r := RingRow{Table: RowPingPong, Path: pathLane}
		r.counts(10, sides[0], sides[1])
		rows.add(r)
		if r := rows.finish()[0]; r.CallsPerMessage != nil || r.PeerCallsPerMessage != nil || *r.MallocsPerMessage != 0 {
			t.Errorf("%+v", r)
		}
	}
}

// TestCountsAreOfWarmUpToo: the UDP rows count from their first message, and time later ones only.
func TestCountsAreOfWarmUpToo(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("two processes that spin need two cores")
	}
	cfg := DefaultUDP()
	cfg.Rounds, cfg.RoundTime, cfg.Sizes = 1, 100*time.Millisecond, []int{64}
	m, err := measureUDP(t.Context(), cfg, self("udp"), PathFireSpin)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range m.rows {
		if r.Table == RowFixedRate && r.Counted > 0 {
			continue // on a machine that stalls it times what it could not send
		}
		if r.Counted <= r.Messages || r.Mallocs == nil {
			t.Errorf("%s: counts are of %d messages, latencies of %d", r.Table, r.Counted, r.Messages)
		}
	}
}
